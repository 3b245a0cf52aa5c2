/*
 * test_reload.c - what a reload may do to those who are connected: nothing. Addresses change their section, transport and
 * width, options and certificates change, plans fail, all while clients come and talk.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mail.h"
#include "base/mem.h"
#include "drive/sys.h"
#include "support/live.h"

/* ---- where a section is ---- */

static char listen_at[8][64];

/* listen=WHERE:PORT; lives until the same slot is used again. */
static const char *at(unsigned slot, const char *where, unsigned port)
{
	snprintf(listen_at[slot], sizeof(listen_at[slot]), "listen=%s:%u", where, port);
	return listen_at[slot];
}

/* Each of these follows each other on one port; who comes is never refused, who is there stays. */
static void test_address_moves(void **state)
{
	static const char *const forms[] = { "tcp", "tcp:*",         "tcp:127.0.0.1", "tcp:*",
					     "tcp", "tcp:127.0.0.1", "tcp",           "tcp:*" };
	static const char *const families[] = { "any", "4", "any", "4", "4", "any", "4", "any" };
	unsigned port = live_free_port();
	const char *words[] = { "echo", at(0, forms[0], port), NULL, NULL, NULL };
	struct live_caller c;
	struct live w;
	int old;

	(void)state;
	assert_int_equal(live_start(&w, words), 0);
	old = live_dial_port(port, SOCK_STREAM);
	assert_true(live_exchange(old, "abc", "abc"));
	live_call(&c, port);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 1; i <= 8; i++) {
			char family[32];

			snprintf(family, sizeof(family), "family=%s", families[i % 8]);
			words[1] = at(0, forms[i % 8], port);
			words[2] = family;
			if (live_reload(&w, words) < 0)
				fail_msg("%s, %s: %s", words[1], family, w.problem);
			assert_null(strchr(strchr(buf_str(&w.addresses), '\n') + 1, '*')); /* one address, shown once */
		}
	}
	live_call_end(&c);
	assert_true(live_exchange(old, "abc", "abc"));
	close(old);
	assert_int_equal(live_stop(&w), 0);
}

/* Families come and go; what does not depend on them, as a path, is not touched by that. */
static void test_families(void **state)
{
	static const char *const families[] = { "family=any", "family=6", "family=any",
						"family=4",   "family=6", "family=4" };
	unsigned port = live_free_port();
	char listen[128], path[64];
	const char *words[] = { "echo", listen, families[0], NULL, NULL };
	struct live w;
	int old;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/guichet-test-%d.sock", (int)getpid());
	snprintf(listen, sizeof(listen), "listen=tcp:*:%u unix:%s", port, path);
	assert_int_equal(live_start(&w, words), 0);
	old = live_dial_port(port, SOCK_STREAM);
	assert_true(live_exchange(old, "abc", "abc"));
	for (unsigned i = 1; i <= 12; i++) {
		int fd;

		words[2] = families[i % 6];
		if (live_reload(&w, words) < 0)
			fail_msg("%s: %s", words[2], w.problem);
		fd = live_dial_port(port, SOCK_STREAM);
		assert_int_equal(fd < 0, i % 6 == 1 || i % 6 == 4); /* IPv6 alone */
		if (fd >= 0)
			assert_true(live_exchange(fd, "x", "x"));
		close(fd);
		assert_int_equal(access(path, F_OK), 0);
	}
	assert_true(live_exchange(old, "abc", "abc"));
	close(old);
	assert_int_equal(live_stop(&w), 0);
	assert_int_equal(access(path, F_OK), -1);
}

/* Two sections change ports and names; a third takes both. */
static void test_sections_swap(void **state)
{
	unsigned one = live_free_port(), two = live_free_port();
	const char *before[] = { "echo",      at(0, "tcp", one), NULL, "shout", "protocol=echo",
				 "upper=yes", at(1, "tcp", two), NULL, NULL };
	const char *after[] = { "echo",      at(2, "tcp", two), NULL, "shout", "protocol=echo",
				"upper=yes", at(3, "tcp", one), NULL, NULL };
	const char *only[] = { "loud", "protocol=echo", "upper=yes", at(4, "tcp:*", one), NULL, NULL };
	struct live_caller c, d;
	struct live w;
	int low, loud;

	(void)state;
	assert_int_equal(live_start(&w, before), 0);
	low = live_dial_port(one, SOCK_STREAM);
	loud = live_dial_port(two, SOCK_STREAM);
	assert_true(live_exchange(low, "a\n", "a\n"));
	assert_true(live_exchange(loud, "a\n", "A\n"));
	live_call(&c, one);
	live_call(&d, two);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(live_reload(&w, i % 2 ? before : after), 0);
	live_call_end(&d);
	assert_int_equal(live_reload(&w, only), 0);
	live_call_end(&c);
	assert_true(live_exchange(low, "a\n", "a\n")); /* theirs stays as it was */
	assert_true(live_exchange(loud, "a\n", "A\n"));
	close(low);
	close(loud);
	assert_int_equal(live_dial_port(two, SOCK_STREAM), -1);
	low = live_dial_port(one, SOCK_STREAM);
	assert_true(live_exchange(low, "a\n", "A\n"));
	close(low);
	assert_int_equal(live_stop(&w), 0);
}

/* The same for datagrams, which have one socket for each loop. */
static void test_datagrams_move(void **state)
{
	static const char *const forms[] = { "udp", "udp:*", "udp:127.0.0.1", "udp:*" };
	unsigned port = live_free_port();
	const char *words[] = { "echo", at(0, forms[0], port), NULL, NULL };
	struct live w;

	(void)state;
	assert_int_equal(live_start(&w, words), 0);
	for (unsigned i = 1; i < 12; i++) {
		for (unsigned k = 0; k < 6; k++) { /* from several ports, so to several of them */
			int fd = live_dial_port(port, SOCK_DGRAM);

			assert_true(live_exchange(fd, "ping", "ping"));
			close(fd);
		}
		words[0] = i % 3 ? "echo" : "discard";
		words[1] = at(0, forms[i % 4], port);
		if (live_reload(&w, words) < 0)
			fail_msg("%s: %s", words[1], w.problem);
		words[0] = "echo";
		if (i % 3 == 0)
			assert_int_equal(live_reload(&w, words), 0);
	}
	assert_int_equal(live_stop(&w), 0);
}

/* ---- a room ---- */

static bool hears(int speaker, int listener, const char *line)
{
	return send(speaker, line, strlen(line), MSG_NOSIGNAL) > 0 && live_exchange(listener, "", line);
}

/* Everybody hears everybody, whenever they came: the room is older than any of its options. */
static void test_room_stays(void **state)
{
	enum { PEOPLE = 12 };
	unsigned port = live_free_port(), more = live_free_port();
	const char *words[] = { "chat", at(0, "tcp", port), at(1, "tls", more), "max=50", NULL, NULL };
	char listen[128];
	struct live w;
	int fd[PEOPLE];

	(void)state;
	snprintf(listen, sizeof(listen), "listen=tcp:%u tls:%u", port, more);
	words[1] = listen;
	words[2] = "idle=10m";
	assert_int_equal(live_start(&w, words), 0);
	for (unsigned i = 0; i < PEOPLE; i++) {
		assert_true((fd[i] = live_dial_port(port, SOCK_STREAM)) >= 0);
		live_is_in(fd, i + 1);
		for (unsigned k = 0; k < i; k++) {
			char line[32];

			snprintf(line, sizeof(line), "%u to %u\n", k, i);
			assert_true(hears(fd[k], fd[i], line));
			for (unsigned j = 0; j < i; j++)
				if (j != k)
					assert_true(live_exchange(fd[j], "", line));
		}
		words[2] = i % 3 ? "idle=10m" : "idle=20m"; /* else only the certificate is another one */
		assert_int_equal(live_reload(&w, words), 0);
	}
	close(fd[0]); /* the last of the first snapshot, and then all of them */
	assert_true(hears(fd[1], fd[PEOPLE - 1], "still\n"));
	for (unsigned i = 1; i < PEOPLE; i++)
		close(fd[i]);
	assert_int_equal(live_stop(&w), 0);
}

/* The section goes while they talk: they go on, and the room ends with the last of them. */
static void test_room_ends(void **state)
{
	static const char *const with[] = { "chat", "listen=tcp:0", NULL, "echo", "listen=tcp:0", NULL, NULL };
	static const char *const without[] = { "echo", "listen=tcp:0", NULL, NULL };
	enum { PEOPLE = 8 };
	struct live w;
	int fd[PEOPLE];

	(void)state;
	assert_int_equal(live_start(&w, with), 0);
	for (unsigned i = 0; i < PEOPLE; i++) {
		assert_true((fd[i] = live_dial(&w, "chat", SOCK_STREAM)) >= 0);
		live_is_in(fd, i + 1);
	}
	assert_int_equal(live_reload(&w, without), 0);
	assert_int_equal(live_dial(&w, "chat", SOCK_STREAM), -1);
	for (unsigned i = 1; i < PEOPLE; i++)
		assert_true(hears(fd[i - 1], fd[i], "one\n") && (i < 2 || live_exchange(fd[0], "", "one\n")));
	for (unsigned i = 0; i < PEOPLE; i++)
		close(fd[i]);
	assert_int_equal(live_reload(&w, with), 0);
	assert_int_equal(live_reload(&w, without), 0);
	assert_int_equal(live_stop(&w), 0);
}

/* ---- a store whose thread posts until it is closed ---- */

struct store {
	pthread_t thread;
	struct port *port;
	_Atomic bool end;
};

static _Atomic unsigned opened, heard, reloads;

static void drop_mail(struct mail *m)
{
	mem_free(m);
}

static void *tell(void *arg)
{
	struct store *st = arg;

	while (!atomic_load(&st->end)) {
		for (unsigned i = 0; i < port_loops(st->port); i++) {
			struct mail *m = mem_alloc(sizeof(*m));

			if (m) {
				m->drop = drop_mail;
				port_post(st->port, i, 1, m);
			}
		}
		usleep(500);
	}
	return NULL;
}

static int open_store(struct svc *svc, struct buf *ret_why)
{
	struct store *st = mem_zalloc(sizeof(*st));

	(void)ret_why;
	if (!st)
		return -ENOMEM;
	st->port = svc->port;
	if (pthread_create(&st->thread, NULL, tell, st) != 0) {
		mem_free(st);
		return -EAGAIN;
	}
	svc->state = st;
	atomic_fetch_add(&opened, 1);
	return 0;
}

static void close_store(struct svc *svc)
{
	struct store *st = svc->state;

	atomic_store(&st->end, true);
	pthread_join(st->thread, NULL);
	mem_free(st);
	svc->state = NULL;
}

static enum verdict store_step(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	(void)io;
	return ev->kind == EV_EOF || ev->kind == EV_STOP ? V_CLOSE : V_GO;
}

static enum verdict store_shard(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	(void)io;
	if (ev->kind == EV_MSG)
		atomic_fetch_add(&heard, (unsigned)ev->mail.n);
	if (ev->kind == EV_RELOAD)
		atomic_fetch_add(&reloads, 1);
	return V_GO;
}

static const struct proto store_proto = {
	.abi = PROTO_ABI,
	.name = "store",
	.flags = P_STREAM | P_SHARED,
	.self_size = 1,
	.shard_size = 1,
	.step = store_step,
	.shard = store_shard,
	.svc_open = open_store,
	.svc_close = close_store,
};

/* Opened once, through all its options; it may post before the shards are there, and when the loops have ended. */
static void test_store_posts(void **state)
{
	static const char *const few[] = { "store", "listen=tcp:0", "max=5", NULL, NULL };
	static const char *const many[] = { "store", "listen=tcp:0", "max=50", NULL, NULL };
	static const char *const none[] = { "echo", "listen=tcp:0", NULL, NULL };
	struct live w;
	unsigned before;
	int fd;

	(void)state;
	live_proto = &store_proto;
	assert_int_equal(live_start(&w, few), 0);
	fd = live_dial(&w, "store", SOCK_STREAM);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(live_reload(&w, i % 2 ? few : many), 0);
	assert_int_equal(atomic_load(&opened), 1);
	assert_int_equal(atomic_load(&reloads), 6 * server_event_loops(w.s));
	before = atomic_load(&heard);
	while (atomic_load(&heard) < before + 20)
		usleep(1000);
	assert_int_equal(live_reload(&w, none), 0);
	close(fd);
	assert_int_equal(live_reload(&w, few), 0);
	assert_int_equal(atomic_load(&opened), 2);
	assert_int_equal(live_stop(&w), 0); /* AddressSanitizer looks */
	live_proto = NULL;
}

/* ---- hand-over ---- */

/* Bursts are spread over the loops while options change: whoever was accepted is served, by the one or the other. */
static void test_burst(void **state)
{
	static const char *const one[] = { "echo", "listen=tcp:0", "idle=10m", NULL, NULL };
	static const char *const two[] = { "echo", "listen=tcp:0", "idle=20m", NULL, NULL };
	enum { BURST = 60, ROUNDS = 8 };
	struct live w;
	int fd[BURST];

	(void)state;
	assert_int_equal(live_start(&w, one), 0);
	for (unsigned r = 0; r < ROUNDS; r++) {
		for (unsigned i = 0; i < BURST; i++)
			assert_true((fd[i] = live_dial(&w, "echo", SOCK_STREAM)) >= 0);
		assert_int_equal(live_reload(&w, r % 2 ? one : two), 0);
		for (unsigned i = 0; i < BURST; i++)
			assert_true(live_exchange(fd[i], "x", "x"));
		for (unsigned i = 0; i < BURST; i++)
			close(fd[i]);
	}
	assert_int_equal(live_stop(&w), 0);
}

/* Those too who are on their way to another loop when the stop comes: they are told, and nothing is cut. */
static void test_stop_burst(void **state)
{
	static const char *const words[] = { "echo", "listen=tcp:0", NULL, NULL };
	enum { BURST = 60 };
	struct live w;
	int fd[BURST];

	(void)state;
	for (unsigned r = 0; r < 4; r++) {
		assert_int_equal(live_start(&w, words), 0);
		for (unsigned i = 0; i < BURST; i++)
			assert_true((fd[i] = live_dial(&w, "echo", SOCK_STREAM)) >= 0);
		assert_int_equal(live_stop(&w), 0);
		for (unsigned i = 0; i < BURST; i++)
			close(fd[i]);
	}
}

/* ---- plans that fail ---- */

static void test_in_use(void **state)
{
	unsigned port = live_free_port(), other = live_free_port();
	const char *before[] = { "echo", at(0, "tcp", port), NULL, NULL };
	const char *after[] = { "echo", at(0, "tcp", port), NULL, "discard", at(1, "tcp:*", port), NULL, NULL };
	const char *taken[] = { "echo", at(2, "tcp:*", port), NULL, "discard", at(3, "tcp", other), NULL, NULL };
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)other),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct live_caller c;
	struct live w;

	(void)state;
	assert_int_equal(live_start(&w, before), 0);
	live_call(&c, port);
	assert_int_equal(live_reload(&w, after), -EADDRINUSE);
	assert_non_null(strstr(w.problem, "[discard] cannot listen on tcp:*:"));
	assert_non_null(strstr(w.problem, ": address in use by [echo]"));
	assert_int_equal(bind(fd, (const struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(live_reload(&w, taken), -EADDRINUSE);
	assert_non_null(strstr(w.problem, ": address in use by another program; `ss -ltnup` says which"));
	live_call_end(&c);
	close(fd);
	assert_int_equal(live_stop(&w), 0);
}

#ifdef GUICHET_FAULTS
/* Addresses, sections, shards and a certificate. */
static void fail_each(enum fault_kind kind)
{
	unsigned port = live_free_port();
	char wide[64], narrow[64];
	const char *before[] = { "echo", narrow, NULL, "chat", "listen=tcp:0", NULL, NULL };
	const char *after[] = { "shout", "protocol=echo",      "upper=yes", wide, NULL,
				"chat",  "listen=tcp:0 tls:0", NULL,        NULL };

	snprintf(narrow, sizeof(narrow), "listen=tcp:%u udp:%u", port, port);
	snprintf(wide, sizeof(wide), "listen=tcp:*:%u udp:*:%u", port, port);
	live_fail_each(port, before, after, kind);
}

static void test_failing_calls(void **state)
{
	(void)state;
	fail_each(FAULT_SYS);
}

static void test_failing_memory(void **state)
{
	(void)state;
	fail_each(FAULT_MEM);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_address_moves), cmocka_unit_test(test_families),
		cmocka_unit_test(test_sections_swap), cmocka_unit_test(test_datagrams_move),
		cmocka_unit_test(test_room_stays),    cmocka_unit_test(test_room_ends),
		cmocka_unit_test(test_store_posts),   cmocka_unit_test(test_burst),
		cmocka_unit_test(test_stop_burst),    cmocka_unit_test(test_in_use),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_failing_calls), cmocka_unit_test(test_failing_memory),
#endif
	};

	live_no_log();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
