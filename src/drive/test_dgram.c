/* test_dgram.c - a datagram socket in a loop: whatever number of datagrams waits, all are answered and then it is quiet. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drive/loop_priv.h"
#include "proto/protos.h"

enum { MOST = 260, ROOM = 4 << 20 };

struct world {
	struct loop *l;
	struct svc svc;
	struct lane lane;
	_Atomic uint64_t stats[STAT_N];
	void *options;
	const struct peer *local;
	int server, client;
};

static int bound(struct sockaddr_in *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(*ret);
	int room = ROOM, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	assert_int_equal(bind(fd, (const struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &n), 0);
	return fd;
}

static void begin(struct world *w)
{
	struct loop_setup setup = { .many = true, .stop_fd = -1, .cut_fd = -1 };
	struct sockaddr_in at, from;
	sess_id id;

	*w = (struct world){};
	w->server = bound(&at);
	w->client = bound(&from);
	assert_int_equal(connect(w->client, (const struct sockaddr *)&at, sizeof(at)), 0);
	w->svc = (struct svc){ .name = "echo", .proto = protos_find("echo") };
	w->svc.limits.input = w->svc.limits.output = 1 << 20;
	assert_int_equal(option_values_new(w->svc.proto->options, &w->options), 0);
	w->svc.options = w->options;
	assert_int_equal(w->svc.proto->svc_open(&w->svc, NULL), 0);
	w->lane = (struct lane){ .svc = &w->svc, .stats = w->stats };
	w->local = peer_new(PEER_IP4, &at.sin_addr, 4, ntohs(at.sin_port), 0);
	assert_non_null(w->local);
	assert_int_equal(loop_new(&setup, &w->l), 0);
	assert_int_equal(loop_adopt_dgram(w->l, w->server, &w->lane, w->local, false, false, &id), 0);
}

static void end(struct world *w)
{
	loop_free(&w->l);
	close(w->server);
	close(w->client);
	peer_unref(w->local);
	w->svc.proto->svc_close(&w->svc);
	option_values_free(w->svc.proto->options, &w->options);
}

/* Also when a number of whole batches was all there was: then no edge tells that there is no more. */
static void test_all_numbers(void **state)
{
	static const int numbers[] = { 1, 7, 8, 63, 64, 65, 128, 192, 255, 256, 257, MOST };
	struct world w;
	char b[8];

	(void)state;
	begin(&w);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		int got = 0;

		for (int k = 0; k < numbers[i]; k++)
			assert_int_equal(send(w.client, "x", 1, 0), 1);
		for (int k = 0; k < 20; k++) {
			loop_turn(w.l, MSEC);
			while (recv(w.client, b, sizeof(b), 0) == 1)
				got++;
		}
		assert_int_equal(got, numbers[i]);
		assert_true(list_empty(&w.l->host.dirty)); /* else the next turn would not wait */
	}
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
