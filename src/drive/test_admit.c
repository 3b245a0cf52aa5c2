/*
 * test_admit.c - who may come in: penalties, descriptors that are kept for others, overload, and lines of the log that a flood
 * cannot multiply; and in loops of the real thing the deadlines for a first message and a login.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/peer.h"
#include "conf/option.h"
#include "drive/admit.h"
#include "drive/clock.h"
#include "support/live.h"

static const struct proto nothing = { .name = "nothing" };
static const struct svc svc = { .name = "echo", .proto = &nothing };

/* A service of the process that `all` is. */
struct place {
	struct admit admit;
	struct admit_state state;
	_Atomic unsigned open;
	_Atomic uint64_t stats[STAT_N];
	struct lane lane;
};

static struct admit_all all;
static struct place a, b;
static struct guichet_options g;
static char logged[100][LOG_LINE];
static unsigned lines;

static void see(enum log_level level, bool json, const char *text, size_t n)
{
	(void)level;
	(void)json;
	if (lines < 100)
		snprintf(logged[lines], sizeof(logged[0]), "%.*s", (int)n, text);
	lines++;
}

static void place(struct place *p, struct service_options c)
{
	*p = (struct place){};
	admit_init(&p->admit, &all, &p->state, p == &a ? "a" : "b", &c);
	p->lane = (struct lane){ .svc = &svc, .stats = p->stats, .open_all = &p->open, .max = c.max };
	admit_lane(&p->admit, &p->lane);
}

static int setup(void **state)
{
	(void)state;
	all = (struct admit_all){};
	g = (struct guichet_options){
		.fds = 1000, .reserve = 100, .reserve_service = 50, .overload = true, .crashes = 2
	};
	g.penalty = 600 * SEC;
	lines = 0;
	log_setup(LOG_INFO, false, see);
	place(&a, (struct service_options){});
	place(&b, (struct service_options){});
	all.limits = mem_zalloc(sizeof(*all.limits));
	return all.limits ? limits_init(all.limits) : -1;
}

static int teardown(void **state)
{
	(void)state;
	log_setup(LOG_INFO, false, NULL);
	mem_free(all.limits);
	return 0;
}

static struct peer *peer(const char *host)
{
	uint8_t bytes[4];

	assert_int_equal(inet_pton(AF_INET, host, bytes), 1);
	return peer_new(PEER_IP4, bytes, 4, 99, 0);
}

/* The reason, or "": it is in. */
static const char *came(struct place *p, const char *host, int fd)
{
	struct peer *from = peer(host);
	uint32_t ticket;
	const char *reason = admit_enter(&p->lane, fd, from, &ticket);

	peer_unref(from);
	return reason ? reason : "";
}

static uint64_t counted(const struct place *p, enum counter which)
{
	return atomic_load(&p->stats[which]);
}

/* ---- penalties ---- */

static void who_crashes_us_is_not_let_in(void **state)
{
	static const uint8_t host[4] = { 192, 0, 2, 1 };
	struct route route = { .n = sizeof(struct sockaddr_in) };
	struct sockaddr_in in = { .sin_family = AF_INET };
	nsec now = clock_mono();

	(void)state;
	memcpy(&in.sin_addr, host, 4);
	memcpy(route.sa, &in, sizeof(in));
	admit_crashed(all.limits, &g, host, 4, now);
	assert_string_equal(came(&a, "192.0.2.1", 10), "");
	assert_int_equal(lines, 0);
	admit_crashed(all.limits, &g, host, 4, now);
	assert_int_equal(lines, 1);
	assert_string_equal(logged[0], "warn penalty peer=192.0.2.1 reason=crash seconds=600.000");
	assert_string_equal(came(&a, "192.0.2.1", 10), "penalty");
	assert_string_equal(came(&b, "192.0.2.1", 10), "penalty"); /* at no door */
	assert_string_equal(came(&b, "192.0.2.2", 10), "");
	assert_int_equal(counted(&a, STAT_REFUSED_PENALTY), 1);
	assert_true(admit_is_penalised(&a.lane, &route, now));
	assert_false(admit_is_penalised(&a.lane, &route, now + 601 * SEC));
	assert_int_equal(counted(&a, STAT_DROP_PENALTY), 1);
}

static void our_own_machine_is_not_locked_out(void **state)
{
	static const uint8_t host[4] = { 127, 0, 0, 1 };
	nsec now = clock_mono();

	(void)state;
	for (int i = 0; i < 5; i++)
		admit_crashed(all.limits, &g, host, 4, now);
	assert_string_equal(came(&a, "127.0.0.1", 10), "");
	g.limit_loopback = true;
	admit_tune(&all, &g, 2);
	for (int i = 0; i < 2; i++)
		admit_crashed(all.limits, &g, host, 4, now);
	assert_string_equal(came(&a, "127.0.0.1", 10), "penalty");
	admit_crashed(all.limits, &g, NULL, 0, now); /* of a pipe */
}

/* ---- logins ---- */

static bool fails(struct place *p, const char *host)
{
	struct peer *from = peer(host);
	struct sess s = { .lane = &p->lane, .peer = from, .id = 0x2a };
	bool barred = admit_login_failed(&s, span_str("al ice"));

	peer_unref(from);
	return barred;
}

static void who_cannot_log_in_is_not_let_in(void **state)
{
	(void)state;
	g.logins = 3;
	admit_tune(&all, &g, 2);
	assert_false(fails(&a, "192.0.2.1"));
	assert_string_equal(logged[0], "warn login-failed service=echo peer=192.0.2.1:99 user=\"al ice\" session=2a");
	assert_false(fails(&b, "192.0.2.1")); /* all doors count together */
	assert_string_equal(came(&a, "192.0.2.1", 10), "");
	assert_true(fails(&a, "192.0.2.1"));
	assert_string_equal(logged[3], "warn penalty peer=192.0.2.1 reason=logins seconds=600.000");
	assert_int_equal(lines, 4);
	assert_string_equal(came(&b, "192.0.2.1", 10), "penalty");
	assert_true(fails(&b, "192.0.2.1")); /* another conversation of his, which is open yet */
	assert_false(fails(&b, "192.0.2.2"));
	for (int i = 0; i < 5; i++)
		assert_false(fails(&a, "127.0.0.1"));
	assert_string_equal(came(&a, "127.0.0.1", 10), "");
}

static void wait_for_a_second_to_begin(void)
{
	nsec now = clock_mono() / SEC;

	while (clock_mono() / SEC == now)
		usleep(1000);
}

static void they_may_be_without_limit(void **state)
{
	struct lane alone = { .svc = &svc };

	(void)state;
	admit_tune(&all, &g, 2); /* logins = 0 */
	wait_for_a_second_to_begin();
	for (int i = 0; i < 50; i++)
		assert_false(fails(&a, "192.0.2.1"));
	assert_int_equal(lines, 10); /* a second's */
	assert_int_not_equal(admit_due(&a.lane), 0);
	admit_tell(&a.lane, clock_mono() + 2 * SEC);
	assert_string_equal(logged[10], "warn login-failed-more service=echo count=40");
	assert_false(admit_login_failed(&(struct sess){ .lane = &alone }, span_str("")));
}

/* ---- descriptors ---- */

static void some_are_kept_for_others(void **state)
{
	(void)state;
	admit_tune(&all, &g, 2);
	for (int i = 0; i < 50; i++)
		assert_string_equal(came(&a, "192.0.2.1", 899), ""); /* its own share */
	assert_string_equal(came(&a, "192.0.2.1", 849), "");
	assert_string_equal(came(&a, "192.0.2.1", 850), "reserve"); /* the other one's */
	assert_string_equal(came(&b, "192.0.2.1", 850), "");
	assert_string_equal(came(&b, "192.0.2.1", 899), "");
	assert_false(admit_is_full(&b.lane, 899));
	assert_true(admit_is_full(&b.lane, 900)); /* ours: it is the last one */
	assert_int_equal(counted(&a, STAT_REFUSED_RESERVE), 1);
	assert_int_equal(atomic_load(&b.open), 2);
}

static void with_few_of_them_the_reserves_are_smaller(void **state)
{
	(void)state;
	g.fds = 64;
	admit_tune(&all, &g, 2); /* a quarter of 64 for 100 + 50: 10 and 5 */
	for (int i = 0; i < 5; i++)
		assert_string_equal(came(&a, "192.0.2.1", 53), "");
	assert_string_equal(came(&a, "192.0.2.1", 48), "");
	assert_string_equal(came(&a, "192.0.2.1", 49), "reserve");
	assert_string_equal(came(&b, "192.0.2.1", 53), "");
	assert_true(admit_is_full(&b.lane, 54));
}

static void no_reserve_is_none(void **state)
{
	(void)state;
	g.reserve = g.reserve_service = 0;
	admit_tune(&all, &g, 2);
	assert_string_equal(came(&a, "192.0.2.1", 999), "");
}

/* ---- who is refused holds nothing ---- */

static void a_full_service_gives_the_ticket_back(void **state)
{
	(void)state;
	admit_tune(&all, &g, 2);
	place(&a, (struct service_options){ .per_source = 2, .max = 1 });
	assert_string_equal(came(&a, "192.0.2.1", 10), "");
	for (int i = 0; i < 5; i++)
		assert_string_equal(came(&a, "192.0.2.1", 10), "max");
	assert_int_equal(counted(&a, STAT_REFUSED_MAX), 5);
	assert_int_equal(counted(&a, STAT_REFUSED_SOURCE), 0);
}

/* ---- overload ---- */

static void seven_eighths_are_overload(void **state)
{
	(void)state;
	admit_tune(&all, &g, 2);
	place(&a, (struct service_options){ .max = 16 });
	for (int i = 0; i < 13; i++)
		assert_string_equal(came(&a, "192.0.2.1", 10), "");
	assert_false(lane_is_pressed(&a.lane));
	assert_string_equal(came(&a, "192.0.2.1", 10), "");
	assert_true(lane_is_pressed(&a.lane));
	assert_false(lane_is_pressed(&b.lane)); /* it is not full */
	assert_int_equal(lines, 1);
	assert_string_equal(logged[0], "warn overload service=echo reason=max open=14");
	admit_leave(&a.lane, 0);
	admit_leave(&a.lane, 0);
	assert_true(lane_is_pressed(&a.lane)); /* not at each who comes and goes */
	admit_leave(&a.lane, 0);
	assert_false(lane_is_pressed(&a.lane));
	assert_int_equal(lines, 2);
	assert_string_equal(logged[1], "info overload-ended service=echo reason=max open=11");
	assert_int_equal(counted(&a, STAT_OVERLOADS), 1);
}

static void one_at_a_time_is_none(void **state)
{
	(void)state;
	admit_tune(&all, &g, 2);
	place(&a, (struct service_options){ .max = 1 });
	assert_string_equal(came(&a, "192.0.2.1", 10), "");
	assert_false(lane_is_pressed(&a.lane));
}

static void few_descriptors_are_overload_for_all(void **state)
{
	(void)state;
	admit_tune(&all, &g, 2);
	assert_string_equal(came(&a, "192.0.2.1", 787), "");
	assert_string_equal(came(&b, "192.0.2.1", 10), "");
	assert_string_equal(came(&b, "192.0.2.1", 10), "");
	assert_false(lane_is_pressed(&b.lane));
	assert_string_equal(came(&a, "192.0.2.1", 788), ""); /* 900 but an eighth */
	assert_true(lane_is_pressed(&a.lane));
	assert_true(lane_is_pressed(&b.lane));
	admit_leave(&b.lane, 0); /* it is too early */
	assert_true(lane_is_pressed(&b.lane));
	atomic_store(&all.short_until, clock_mono());
	admit_leave(&b.lane, 0);
	assert_false(lane_is_pressed(&a.lane));
	assert_int_equal(lines, 2);
	assert_non_null(strstr(logged[0], "warn overload reason=out-of-descriptors"));
	assert_non_null(strstr(logged[1], "info overload-ended reason=out-of-descriptors"));
	admit_short(&a.lane, "out-of-memory");
	assert_true(lane_is_pressed(&b.lane));
	assert_non_null(strstr(logged[2], "reason=out-of-memory"));
}

static void it_can_be_turned_off(void **state)
{
	(void)state;
	admit_tune(&all, &g, 2);
	assert_string_equal(came(&a, "192.0.2.1", 10), "");
	admit_short(&a.lane, "out-of-memory");
	g.overload = false;
	admit_tune(&all, &g, 2);
	admit_leave(&a.lane, 0);
	assert_false(lane_is_pressed(&a.lane));
	admit_short(&a.lane, "out-of-memory");
	assert_string_equal(came(&a, "192.0.2.1", 899), "");
	assert_false(lane_is_pressed(&a.lane));
}

/* ---- lines ---- */

/* The sum of all lines that begin so and end in a count. */
static unsigned sum_of(const char *begin)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < lines; i++)
		if (strncmp(logged[i], begin, strlen(begin)) == 0)
			sum += (unsigned)strtoul(strrchr(logged[i], '=') + 1, NULL, 10);
	return sum;
}

static unsigned count_of(const char *begin)
{
	unsigned n = 0;

	for (unsigned i = 0; i < lines; i++)
		n += strncmp(logged[i], begin, strlen(begin)) == 0;
	return n;
}

static void a_flood_has_few_lines(void **state)
{
	struct peer *from = peer("192.0.2.1");
	unsigned told;

	(void)state;
	for (int i = 0; i < 1000; i++)
		admit_log(&a.lane, from, "rate");
	told = count_of("warn refused service=echo peer=192.0.2.1:99 reason=rate");
	assert_in_range(told, 10, 20); /* a second may have ended meanwhile */
	assert_true(admit_due(&a.lane) > 0);
	admit_tell(&a.lane, admit_due(&a.lane) - 1); /* the second is not over */
	admit_tell(&a.lane, admit_due(&a.lane));
	assert_int_equal(admit_due(&a.lane), 0);
	assert_int_equal(told + sum_of("warn refused-more service=echo count="), 1000);
	peer_unref(from);
}

/* Each kind has its own brake, and each service; one look ends them. */
static void ends_are_braked_too(void **state)
{
	struct peer *from = peer("192.0.2.1");
	unsigned told = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		admit_log(&a.lane, from, "rate");
	for (int i = 0; i < 1000; i++)
		told += admit_may_log_end(&a.lane);
	assert_in_range(told, 50, 100);
	assert_true(admit_may_log_end(&b.lane));
	while (admit_due(&a.lane))
		admit_tell(&a.lane, admit_due(&a.lane));
	assert_int_equal(told + sum_of("info closed-more service=echo count="), 1000);
	assert_int_equal(count_of("warn refused ") + sum_of("warn refused-more service=echo count="), 100);
	usleep(1000 * 1000);
	assert_true(admit_may_log_end(&a.lane));
	peer_unref(from);
}

/* ---- a protocol that has a first message and a login, in a server ---- */

/* `hello` is the first message, `login` is one. */
static enum verdict shy_step(void *self, const struct ev *ev, struct io *io)
{
	struct span line;

	(void)self;
	while (ev->kind == EV_DATA && in_line(io, 100, &line) > 0) {
		if (span_is(line, "hello"))
			io_first(io);
		if (span_is(line, "login"))
			io_who(io, &(struct who){ .how = WHO_PASSWORD, .user = "ann" });
		out_str(io, io->who ? io->who->user : "-");
	}
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

static const struct proto shy_proto = {
	.abi = PROTO_ABI,
	.name = "shy",
	.summary = "has a first message and a login",
	.flags = P_STREAM | P_FIRST | P_LOGIN,
	.step = shy_step,
};

/* Waits for the end of the connection. */
static void assert_ends(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
}

static void in_loops(const char *model)
{
	char line[40];
	const char *const words[] = { "hasty",        "protocol=shy", "listen=tcp:0", "first=200ms", line, NULL, "shy",
				      "listen=tcp:0", "first=2s",     "auth=2s",      line,          NULL, NULL };
	struct live w = {};
	int silent, nobody, ann;

	snprintf(line, sizeof(line), "model=%s", model);
	live_proto = &shy_proto;
	assert_int_equal(live_start(&w, words), 0);
	silent = live_dial(&w, "hasty", SOCK_STREAM);
	nobody = live_dial(&w, "shy", SOCK_STREAM);
	ann = live_dial(&w, "shy", SOCK_STREAM);
	assert_true(live_exchange(nobody, "hello\n", "-"));
	assert_true(live_exchange(ann, "hello\nlogin\n", "--"));
	assert_ends(silent);
	assert_ends(nobody);
	usleep(300000); /* longer than both */
	assert_true(live_exchange(ann, "who\n", "ann"));
	close(ann);
	assert_int_equal(live_stop(&w), 0);
}

static void deadlines_in_event_loops(void **state)
{
	(void)state;
	in_loops("event");
}

static void deadlines_in_threads(void **state)
{
	(void)state;
	in_loops("thread");
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(who_crashes_us_is_not_let_in),
		T(our_own_machine_is_not_locked_out),
		T(who_cannot_log_in_is_not_let_in),
		T(they_may_be_without_limit),
		T(some_are_kept_for_others),
		T(with_few_of_them_the_reserves_are_smaller),
		T(no_reserve_is_none),
		T(a_full_service_gives_the_ticket_back),
		T(seven_eighths_are_overload),
		T(one_at_a_time_is_none),
		T(few_descriptors_are_overload_for_all),
		T(it_can_be_turned_off),
		T(a_flood_has_few_lines),
		T(ends_are_braked_too),
		cmocka_unit_test(deadlines_in_event_loops),
		cmocka_unit_test(deadlines_in_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
