/* test_dgram.c - a datagram socket in a loop: whatever number of datagrams waits, all are answered and then it is quiet. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "drive/loop_priv.h"
#include "drive/net/guard.h"
#include "proto/protos.h"

enum { MOST = 260, ROOM = 4 << 20, RATE = 20 };

struct world {
	struct loop *l;
	struct svc svc;
	struct lane lane;
	_Atomic uint64_t stats[STAT_N];
	void *options;
	const struct peer *local;
	struct guard guard;
	sess_id id;
	struct sockaddr_in from; /* the client's */
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
	struct loop_setup setup = { .many = true, .stop_fd = -1, .cut_fd = -1, .tuning = { .dgram_rate = RATE } };
	struct sockaddr_in at;

	*w = (struct world){};
	assert_int_equal(guard_init(&w->guard), 0);
	setup.guard = &w->guard;
	w->server = bound(&at);
	w->client = bound(&w->from);
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
	assert_int_equal(loop_adopt_dgram(w->l, w->server, &w->lane, w->local, false, false, &w->id), 0);
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

/* As if n datagrams had come from `from`; it answers with the same. */
static struct conn *give(struct loop *l, sess_id id, const struct sockaddr_in *from, bool proven, const char *text,
			 int n)
{
	struct conn *c = loop_find_conn(l, id);
	struct route r = { .n = sizeof(*from), .proven = proven };

	memcpy(r.sa, from, sizeof(*from));
	for (int i = 0; i < n; i++)
		sess_dgram(&c->s, span_str(text), &r);
	sess_mark(&c->s);
	return c;
}

static void turns(struct loop *l)
{
	for (int i = 0; i < 5; i++)
		loop_turn(l, MSEC);
}

static int got(const struct world *w)
{
	char b[8];
	int n = 0;

	while (recv(w->client, b, sizeof(b), 0) > 0)
		n++;
	return n;
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

/* The loops of a server answer a network that nobody has proven as one. */
static void test_rate_of_all_loops(void **state)
{
	struct loop *other;
	struct world w;
	sess_id id;

	(void)state;
	begin(&w);
	assert_int_equal(loop_new(&w.l->setup, &other), 0);
	assert_int_equal(loop_adopt_dgram(other, w.server, &w.lane, w.local, false, false, &id), 0);
	give(w.l, w.id, &w.from, false, "x", RATE - 5);
	turns(w.l);
	give(other, id, &w.from, false, "x", RATE);
	turns(other);
	assert_in_range(got(&w), RATE, RATE + 2); /* the time this takes may bring another */
	assert_in_range(w.stats[STAT_DROP_RATE], RATE - 7, RATE - 5);
	give(other, id, &w.from, true, "x", RATE);
	turns(other);
	assert_int_equal(got(&w), RATE);
	loop_free(&other);
	end(&w);
}

static void test_no_guard(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.l->setup.guard = NULL;
	give(w.l, w.id, &w.from, false, "x", 3);
	turns(w.l);
	assert_int_equal(got(&w), 0);
	assert_int_equal(w.stats[STAT_DROP_RATE], 3);
	end(&w);
}

/* What the system refuses to send is not what the socket had no room for. */
static void test_unsendable(void **state)
{
	struct sockaddr_in all = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = INADDR_BROADCAST };
	struct world w;

	(void)state;
	begin(&w);
	give(w.l, w.id, &all, true, "x", 3); /* without SO_BROADCAST */
	give(w.l, w.id, &w.from, true, "x", 2);
	turns(w.l);
	assert_int_equal(got(&w), 2);
	assert_int_equal(w.stats[STAT_DROP_UNSENDABLE], 3);
	assert_int_equal(w.stats[STAT_DROP_FULL], 0);
	end(&w);
}

/* It is counted once, although what is before it goes first. */
static void test_too_long(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.l->setup.tuning.dgram_reply = 4;
	give(w.l, w.id, &w.from, false, "four", 2);
	give(w.l, w.id, &w.from, false, "five.", 1);
	give(w.l, w.id, &w.from, false, "four", 1);
	turns(w.l);
	assert_int_equal(got(&w), 3);
	assert_int_equal(w.stats[STAT_DROP_SIZE], 1);
	end(&w);
}

#ifdef GUICHET_FAULTS
/* The socket is full for a moment: those that wait have had their tokens, and take no others when they go. */
static void test_tokens_once(void **state)
{
	struct world w;
	struct conn *c;

	(void)state;
	begin(&w);
	c = give(w.l, w.id, &w.from, false, "x", RATE);
	fault_arm(FAULT_SYS, 1, EAGAIN, false);
	dgram_flush(w.l, c);
	fault_arm(FAULT_SYS, 0, 0, false);
	assert_int_equal(got(&w), 0);
	turns(w.l);
	assert_int_equal(got(&w), RATE);
	assert_int_equal(w.stats[STAT_DROP_RATE], 0);
	end(&w);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_numbers), cmocka_unit_test(test_rate_of_all_loops),
		cmocka_unit_test(test_no_guard),    cmocka_unit_test(test_unsendable),
		cmocka_unit_test(test_too_long),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_tokens_once),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
