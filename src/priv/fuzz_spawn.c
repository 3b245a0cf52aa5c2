/*
 * fuzz_spawn.c - whatever comes as an order for the spawner is refused, or is one that may be carried out: paths that are absolute,
 * words that end, as many descriptors as it says, all within the message; and it says the same when it is written again.
 *
 * Input: how many descriptors come with it, then the body.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "priv/spawn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct chan_msg m, again;
static struct spawn_order order;

static void require(bool good)
{
	if (!good)
		abort();
}

static void require_text(const char *s)
{
	const char *body = (const char *)m.body;

	require(s >= body && s + strlen(s) < body + m.n);
}

static size_t require_words(const char *const *v)
{
	size_t n = 0;

	while (v[n])
		require_text(v[n++]);
	require(n <= SPAWN_WORDS);
	return n;
}

static void set_body(const uint8_t *p, size_t n, size_t n_fds)
{
	chan_msg_init(&m, SPAWN_RUN, 1);
	m.n = (uint32_t)(n < CHAN_BODY ? n : CHAN_BODY);
	memcpy(m.body, p, m.n);
	m.owner = true;
	for (size_t i = 0; i < n_fds; i++) {
		m.fds[i] = dup(0);
		require(m.fds[i] >= 0);
	}
	m.n_fds = (uint8_t)n_fds;
}

static void check_run(size_t n_fds)
{
	const struct spawn_run *r = &order.run;
	size_t fds = 0;

	require_text(r->path);
	require_text(r->dir);
	require(*r->path == '/' && strlen(r->path) <= SPAWN_PATH && *r->dir == '/' && r->grace <= SPAWN_GRACE);
	require(require_words(r->argv) > 0);
	require_words(r->envp);
	for (int i = 0; i < 3; i++)
		fds += r->fds[i] >= 0;
	require(fds == n_fds && chan_take_fd(&m) == -1);
	chan_msg_init(&again, SPAWN_RUN, 1);
	require(spawn_put_run(&again, r) == 0 && again.n == m.n && memcmp(again.body, m.body, m.n) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct spawn_user users[SPAWN_USERS];
	size_t n_fds, n;
	int a, b, first = dup(0);
	uint32_t pid;

	if (size < 1) {
		close(first);
		return 0;
	}
	close(first);
	n_fds = data[0] % 7;
	set_body(data + 1, size - 1, n_fds);
	if (spawn_get_door(&m, users, &n) == 0)
		require(n <= SPAWN_USERS && m.n == 4 + 8 * n);
	if (spawn_get_started(&m, &a, &pid) == 0)
		require(a <= 0 && a >= -4095);
	if (spawn_get_ended(&m, &a, &b) == 0)
		require(a >= 0 && a <= 255 && b >= 0 && b <= 255);
	if (spawn_get_run(&m, &order) == 0) {
		check_run(n_fds);
		spawn_order_done(&order);
	}
	chan_msg_done(&m);
	a = dup(0);
	require(a == first); /* every descriptor is closed */
	close(a);
	return 0;
}
