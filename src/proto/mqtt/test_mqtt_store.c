/*
 * test_mqtt_store.c - the broker over a durable store that the test holds: letters that are lost, what a record names, and retained
 * messages of which a new subscription has been sent a part when the process ends.
 */
#include "proto/mqtt/test_talk.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/keep_priv.h"
#include "store/topics_priv.h"
#include "support/keeper.h"

struct box {
	struct keeper keeper;
	struct world w;
};

/* The service has no folder: the store is put under it before anybody comes. Nobody tells it of commits. */
static void start(struct box *b)
{
	struct topics_disk disk = { .now = 1000 * SEC, .wall = 1000000000000 };
	struct mqtt_service *service;

	keeper_open(&b->keeper);
	world_open(&b->w, &mqtt_proto, NULL, "sys_interval", "0", "inflight", "100");
	service = talk_service(&b->w);
	disk.keep = b->keeper.k;
	assert_int_equal(topics_load(service->topics, &disk), 0);
	keeper_start(&b->keeper);
	service->keep = b->keeper.k;
	service->lazy = b->keeper.setup.lazy;
}

static void begin(struct box *b, bool lazy)
{
	*b = (struct box){};
	keeper_init_fast(&b->keeper);
	b->keeper.setup.lazy = lazy;
	start(b);
}

/* As a kill does it: what was handed over is written, and nothing else. */
static void crash(struct box *b)
{
	struct mqtt_service *service = talk_service(&b->w);

	service->keep = service->topics->disk.keep = NULL;
	keeper_close(&b->keeper);
	world_close(&b->w);
}

static void end(struct box *b)
{
	crash(b);
	keeper_done(&b->keeper);
}

static void wait_for_disk(const struct box *b, uint64_t position)
{
	for (unsigned i = 0; keep_committed(b->keeper.k) < position; i++) {
		assert_true(i < 20000);
		usleep(1000);
	}
}

/* ---- a letter that says how far the disk has come is lost ---- */

static void test_lost_letter(void **state)
{
	static const uint8_t hello[] =
		"\x10\x12\0\4MQTT\5\0\0\0\5\x11\0\0\0\x3c\0\0"; /* of no name, kept for a minute */
	struct memconn *c;
	struct box b;

	(void)state;
	begin(&b, false);
	c = world_client(&b.w);
	memconn_send(c, hello, sizeof(hello) - 1, 0);
	wait_for_disk(&b, 1);
	if (memconn_out(c).n == 0) /* else the disk was quicker than the step */
		memdrive_advance(b.w.drive, 10 * SEC);
	(void)take_packet(c, MQTT_CONNACK);
	end(&b);
}

/* ---- who comes and is refused changes nothing ---- */

static char *text_of(struct box *b)
{
	char *text;

	crash(b);
	keeper_open(&b->keeper);
	text = keeper_text(&b->keeper);
	keeper_close(&b->keeper);
	return text;
}

static void set_full(const struct box *b, bool full)
{
	static const uint64_t much = KEEP_WAITING_MAX + 1;

	atomic_fetch_add(&b->keeper.k->waiting_bytes, full ? much : -much); /* it says so */
}

static void refused(struct memconn *c, const struct hello *hello, const char *why)
{
	talk_greet(c, hello);
	assert_string_equal(memconn_reason(c), why);
}

static void test_refused(void **state)
{
	const struct hello hello = { .name = "b", .expiry = 600, .will = "w", .will_delay = 60 },
			   small = { .name = "b", .expiry = 60, .max_packet = 8 },
			   fresh = { .name = "c", .expiry = 600 };
	char *before, *after;
	struct box b;

	(void)state;
	begin(&b, true);
	memconn_reset(talk_hello(&b.w, &hello, false));
	before = text_of(&b);
	start(&b);
	memdrive_advance(b.w.drive, SEC);
	refused(world_client(&b.w), &small, "packet-too-large");
	set_full(&b, true);
	refused(world_client(&b.w), &fresh, "store-full");
	set_full(&b, false);
	after = text_of(&b);
	assert_non_null(strstr(before, "will 60"));
	assert_string_equal(before, after);
	mem_free(before);
	mem_free(after);
	keeper_done(&b.keeper);
}

static void expect_will(struct box *b, const char *will)
{
	char *text = text_of(b);

	if (will)
		assert_non_null(strstr(text, will));
	else
		assert_null(strstr(text, " will "));
	mem_free(text);
	start(b);
}

/* Who comes back to a full store makes room, so he is let in; a larger will than he had is on disk when there is room for it and he leaves. */
static void test_comes_back(void **state)
{
	const struct hello hello = { .name = "b", .expiry = 600, .will = "w", .will_delay = 60 },
			   more = { .name = "b", .expiry = 600, .will = "w/more", .will_delay = 60 };
	struct memconn *c;
	struct box b;

	(void)state;
	begin(&b, true);
	memconn_reset(talk_hello(&b.w, &hello, false));
	set_full(&b, true);
	memconn_reset(talk_hello(&b.w, &hello, true));
	set_full(&b, false);
	expect_will(&b, "topic=w ");
	set_full(&b, true);
	c = talk_hello(&b.w, &more, true);
	set_full(&b, false);
	expect_will(&b, NULL);
	set_full(&b, true);
	c = talk_hello(&b.w, &more, true);
	set_full(&b, false);
	memconn_reset(c);
	expect_will(&b, "topic=w/more ");
	end(&b);
}

/* ---- what a record names ---- */

static void says(struct memconn *c, const char *topic, const char *payload, bool retain)
{
	talk_publish(c, &(struct say){ .topic = topic, .payload = payload, .qos = 2, .id = 9, .retain = retain });
	take_packet(c, MQTT_PUBREC);
	talk_id(c, MQTT_PUBREL, 9);
	take_packet(c, MQTT_PUBCOMP);
}

static struct memconn *comes(struct box *b, const char *name, uint16_t window, bool present)
{
	return talk_hello(&b->w, &(struct hello){ .name = name, .receive_max = window, .expiry = 600 }, present);
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	while ((text = strstr(text, what)))
		n++, text++;
	return n;
}

/*
 * Many who wait, of whom some are a group's: two of a session's ways are one all the same, and each session is named once. More than are
 * looked through one by one.
 */
static void test_waiters(void **state)
{
	enum { N = 100 };
	struct memconn *a, *c;
	char name[8], *text;
	struct box b;

	(void)state;
	begin(&b, true);
	a = talk_enter(&b.w, "a");
	c = comes(&b, "h", 100, false);
	talk_subscribe(c, "$share/h/t/1", 1); /* the first of all */
	talk_bye(c);
	for (unsigned i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		c = comes(&b, name, 100, false);
		talk_subscribe_id(c, "t/1", 1, 1);
		if (i % 2)
			talk_subscribe(c, "$share/g/t/+", 2);
		talk_subscribe_id(c, "t/#", 2, 2);
		talk_bye(c);
	}
	says(a, "t/1", "x", false);
	crash(&b);
	keeper_open(&b.keeper);
	text = keeper_text(&b.keeper);
	assert_int_equal(count(text, "message "), 1);
	assert_int_equal(count(text, " q2 r0 p"), N);
	assert_int_equal(count(text, " q1 r0 p"), 1);
	assert_true(count(text, "#1 #2]") + count(text, "#2 #1]") >= N - 1); /* but for the group's, if it came first */
	mem_free(text);
	keeper_close(&b.keeper);
	keeper_done(&b.keeper);
}

/* ---- what is retained, for a new subscription ---- */

enum { TOPICS = 150 };

/* What a client remembers over its connections. */
struct ear {
	unsigned times[TOPICS]; /* it has taken each of them */
	bool held[UINT16_MAX + 1];
};

static unsigned number_of(struct span topic)
{
	assert_int_equal(topic.n, 5);
	return (topic.p[2] - '0') * 100u + (topic.p[3] - '0') * 10u + (topic.p[4] - '0');
}

static void hear(struct ear *e, struct memconn *c, unsigned qos)
{
	struct mqtt_publish p = talk_take(c);

	assert_int_equal(p.qos, qos);
	assert_true(p.retain);
	if (qos == 1 || !e->held[p.id])
		e->times[number_of(p.topic)]++;
	e->held[p.id] = qos == 2;
	talk_id(c, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p.id);
}

/* At most so many, and what belongs to them; those behind are lost with the connection. */
static void listen_to(struct ear *e, struct memconn *c, unsigned qos, unsigned most)
{
	while (most && memconn_out(c).n) {
		const unsigned type = memconn_out(c).p[0] >> 4;
		struct mqtt_frame f;

		if (type == MQTT_PUBLISH) {
			hear(e, c, qos);
			most--;
			continue;
		}
		f = take_packet(c, MQTT_PUBREL);
		e->held[f.body.p[0] << 8 | f.body.p[1]] = false;
		talk_id(c, MQTT_PUBCOMP, (uint16_t)(f.body.p[0] << 8 | f.body.p[1]));
	}
}

static void check(const struct ear *e, unsigned qos, unsigned again)
{
	unsigned twice = 0;

	for (unsigned i = 0; i < TOPICS; i++) {
		if (!e->times[i] || (qos == 2 && e->times[i] > 1))
			fail_msg("r/%03u came %u times", i, e->times[i]);
		twice += e->times[i] > 1;
	}
	assert_true(twice <= again);
}

static void retain_all(struct box *b)
{
	struct memconn *a = talk_enter(&b->w, "a");
	char topic[8];

	for (unsigned i = 0; i < TOPICS; i++) {
		snprintf(topic, sizeof(topic), "r/%03u", i);
		says(a, topic, "x", true);
	}
	talk_bye(a);
}

/* With a window of 10, killed three times on the way; or only disconnected. */
static void replay(unsigned qos, bool kill)
{
	struct ear *e = calloc(1, sizeof(*e));
	struct memconn *c;
	struct box b;

	begin(&b, true);
	retain_all(&b);
	c = comes(&b, "ear", 10, false);
	talk_subscribe(c, "r/#", qos);
	for (unsigned i = 0; i < 3; i++) {
		listen_to(e, c, qos, 37);
		if (kill) {
			crash(&b);
			start(&b);
		} else {
			memconn_reset(c);
		}
		c = comes(&b, "ear", 10, true);
	}
	listen_to(e, c, qos, UINT32_MAX);
	check(e, qos, 3 * 10);
	talk_bye(c);
	crash(&b);
	start(&b); /* it was all */
	c = comes(&b, "ear", 10, true);
	assert_said(c, "");
	end(&b);
	free(e);
}

static void test_replay_1(void **state)
{
	(void)state;
	replay(1, true);
}

static void test_replay_2(void **state)
{
	(void)state;
	replay(2, true);
}

static void test_replay_again(void **state)
{
	(void)state;
	replay(1, false);
	replay(2, false);
}

/* Given up on the way: nothing more comes, after a restart neither. */
static void test_given_up(void **state)
{
	struct ear *e = calloc(1, sizeof(*e));
	static const uint8_t unsubscribe[] = "\xa2\x08\0\5\0\0\3r/#";
	struct memconn *c;
	struct box b;

	(void)state;
	begin(&b, true);
	retain_all(&b);
	c = comes(&b, "ear", 10, false);
	talk_subscribe(c, "r/#", 1);
	memconn_send(c, unsubscribe, sizeof(unsubscribe) - 1, 0);
	memconn_reset(c);
	crash(&b);
	start(&b);
	c = comes(&b, "ear", 100, true);
	listen_to(e, c, 1, UINT32_MAX);
	assert_true(e->times[0] && !e->times[TOPICS - 1]);
	end(&b);
	free(e);
}

/* The disk is full from some of them on, of which the last are sent and not acknowledged when the process ends. */
static void test_gap(void **state)
{
	struct ear *e = calloc(1, sizeof(*e));
	struct memconn *c;
	struct box b;

	(void)state;
	begin(&b, true);
	retain_all(&b);
	c = comes(&b, "ear", 10, false);
	talk_subscribe(c, "r/#", 1);
	listen_to(e, c, 1, 20);
	set_full(&b, true);
	listen_to(e, c, 1, TOPICS - 20 - 5);
	crash(&b);
	for (unsigned i = 0; i < 2; i++) { /* then there is room for all, and it ends */
		start(&b);
		c = comes(&b, "ear", 10, true);
		assert_int_equal(memconn_out(c).n > 0, i == 0);
		listen_to(e, c, 1, UINT32_MAX);
		talk_bye(c);
		crash(&b);
	}
	check(e, 1, TOPICS);
	keeper_done(&b.keeper);
	free(e);
}

/* ---- a member of a group ends, and the store has no room to write anew what others get of it ---- */

enum { FOUR = 4 };

static void takes(struct memconn *c, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		struct mqtt_publish p = talk_take(c);
		char want[] = { (char)('0' + i), '\0' };

		assert_true(span_is(p.payload, want));
		talk_id(c, MQTT_PUBACK, p.id);
	}
}

/* And says of the first `received` that they are there. */
static void takes_of_qos_2(struct memconn *c, uint16_t *id, unsigned n, unsigned received)
{
	for (unsigned i = 0; i < n; i++) {
		struct mqtt_publish p = talk_take(c);

		assert_int_equal(p.qos, 2);
		id[i] = p.id;
	}
	for (unsigned i = 0; i < received; i++) {
		talk_id(c, MQTT_PUBREC, id[i]);
		take_packet(c, MQTT_PUBREL);
	}
}

static void complete(struct memconn *c, const uint16_t id[FOUR])
{
	for (unsigned i = 0; i < FOUR; i++)
		talk_id(c, MQTT_PUBCOMP, id[i]);
}

/* Four messages of the one that has ended are for the other, who is away. `own`: who has heard them by itself, too. */
static void leave_to_other(struct box *b, uint8_t qos, bool own)
{
	const struct hello first = { .name = "first", .expiry = 60 };
	struct memconn *c;

	begin(b, true);
	c = talk_hello(&b->w, &first, false);
	talk_subscribe(c, "$share/g/t", qos);
	talk_subscribe(c, "mine", 1);
	memconn_reset(c);
	c = comes(b, "other", 10, false);
	if (own)
		talk_subscribe(c, "t", 1);
	for (unsigned i = 0; i < FOUR + 1; i++) {
		const char payload[] = { (char)('0' + i), '\0' };

		talk_publish(c, &(struct say){ .topic = i < FOUR ? "t" : "mine",
					       .payload = payload,
					       .qos = qos,
					       .id = (uint16_t)(i + 1) });
		take_packet(c, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC);
		if (own && i < FOUR)
			(void)talk_take(c);
	}
	talk_subscribe(c, "$share/g/t", qos);
	memconn_reset(c);
	set_full(b, true);
	memdrive_advance(b->w.drive, 61 * SEC);
	set_full(b, false);
}

/* On disk, all of them for whom they name; then it begins anew. */
static void expect_counts(struct box *b, unsigned messages, unsigned sessions)
{
	char *text = text_of(b);

	assert_int_equal(count(text, "message "), messages);
	assert_int_equal(count(text, "session "), sessions);
	mem_free(text);
	start(b);
}

static void test_ended_when_full(void **state)
{
	struct box b;

	(void)state;
	leave_to_other(&b, 1, false);
	memconn_reset(comes(&b, "first", 10, false)); /* somebody else of that name */
	expect_counts(&b, FOUR, 2);
	takes(comes(&b, "other", 10, true), 0, FOUR);
	expect_counts(&b, 0, 2);
	end(&b);

	leave_to_other(&b, 1, false);
	takes(comes(&b, "other", 10, true), 0, FOUR - 1);
	expect_counts(&b, 1, 1);
	end(&b);
}

static void test_ended_when_full_qos_2(void **state)
{
	uint16_t id[FOUR], again[2];
	struct memconn *c;
	struct box b;

	(void)state;
	leave_to_other(&b, 2, false);
	c = comes(&b, "other", 10, true);
	takes_of_qos_2(c, id, FOUR, FOUR);
	complete(c, id);
	expect_counts(&b, 0, 1);
	end(&b);

	leave_to_other(&b, 2, false); /* as far as it had come, under the number that it had */
	takes_of_qos_2(comes(&b, "other", 10, true), id, FOUR, 2);
	expect_counts(&b, FOUR, 1);
	c = comes(&b, "other", 10, true);
	for (unsigned i = 0; i < 2; i++) {
		struct span rel = take_packet(c, MQTT_PUBREL).body;

		assert_int_equal(rel.p[0] << 8 | rel.p[1], id[i]);
	}
	takes_of_qos_2(c, again, 2, 2);
	assert_memory_equal(again, id + 2, sizeof(again));
	complete(c, id);
	expect_counts(&b, 0, 1);
	end(&b);
}

/* It waits there already: it has one place, for both. */
static void test_ended_when_full_and_heard(void **state)
{
	struct memconn *c;
	struct box b;

	(void)state;
	leave_to_other(&b, 1, true);
	expect_counts(&b, FOUR, 1);
	takes(comes(&b, "other", 10, true), 0, FOUR);
	expect_counts(&b, 0, 1);
	end(&b);

	leave_to_other(&b, 1, true);
	c = comes(&b, "other", 10, true);
	takes(c, 0, FOUR);
	takes(c, 0, FOUR);
	expect_counts(&b, 0, 1);
	end(&b);
}

static void join(struct box *b, const char *name, uint32_t expiry, const char *filter)
{
	const struct hello hello = { .name = name, .expiry = expiry };
	struct memconn *c = world_client(&b->w);

	talk_greet(c, &hello);
	take_packet(c, MQTT_CONNACK);
	memconn_take(c, memconn_out(c).n); /* what waited */
	talk_subscribe(c, filter, 1);
	memconn_reset(c);
}

/* The second one ends, too. What it has heard by itself as well (`own`) takes nothing away that is the third one's. */
static void end_one_after_the_other(bool own)
{
	const struct hello mouth = { .name = "mouth" };
	struct memconn *c;
	struct box b;

	begin(&b, true);
	join(&b, "first", 60, "$share/g/t");
	if (own)
		join(&b, "second", 120, "t");
	c = talk_hello(&b.w, &mouth, false);
	for (unsigned i = 0; i < FOUR; i++) {
		const char payload[] = { (char)('0' + i), '\0' };

		talk_publish(c, &(struct say){ .topic = "t", .payload = payload, .qos = 1, .id = 1 });
		take_packet(c, MQTT_PUBACK);
	}
	memconn_reset(c);
	join(&b, "second", 120, "$share/g/t");
	set_full(&b, true);
	memdrive_advance(b.w.drive, 61 * SEC);
	set_full(&b, false);
	join(&b, "third", 600, "$share/g/t");
	set_full(&b, true);
	memdrive_advance(b.w.drive, 60 * SEC);
	set_full(&b, false);
	expect_counts(&b, FOUR, 1);
	takes(comes(&b, "third", 10, true), 0, FOUR);
	expect_counts(&b, 0, 1);
	end(&b);
}

static void test_ended_one_after_the_other(void **state)
{
	(void)state;
	end_one_after_the_other(false);
	end_one_after_the_other(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_letter),
		cmocka_unit_test(test_waiters),
		cmocka_unit_test(test_replay_1),
		cmocka_unit_test(test_replay_2),
		cmocka_unit_test(test_replay_again),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_gap),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_comes_back),
		cmocka_unit_test(test_ended_when_full),
		cmocka_unit_test(test_ended_when_full_qos_2),
		cmocka_unit_test(test_ended_one_after_the_other),
		cmocka_unit_test(test_ended_when_full_and_heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
