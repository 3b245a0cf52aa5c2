/* test_mqtt_auth.c - enhanced authentication: a client of SCRAM-SHA-256 that knows the password, or not, or its turn. */
#include "proto/mqtt/test_disk.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/fault.h"
#include "store/people_priv.h"
#include "store/people_scram.h"
#include "store/topics_priv.h"

#define METHOD "SCRAM-SHA-256"
#define FIRST "n=alice,r=abcdef"

static struct access *a;
static char *alice_bob; /* the text of the people */

static void put_in_force(const char *text, const char *rule)
{
	BUF_AUTO struct buf why = BUF_INIT(256);
	struct people *p;
	struct rules *r;

	assert_int_equal(people_parse(span_str(text), &p, NULL, NULL), 0);
	assert_int_equal(rules_new(&r), 0);
	assert_int_equal(rules_add(r, true, rule, &why), 0);
	access_set(a, p, r);
	people_unref(p);
	rules_unref(r);
}

static int up(void **state)
{
	static const uint8_t salt[] = "0123456789abcdef";
	BUF_AUTO struct buf text = BUF_INIT(1024);
	struct people_verifier v;

	(void)state;
	assert_int_equal(people_verifier_make(span_str("secret"), (struct span){ salt, 16 }, 4096, &v), 0);
	buf_adds(&text, "alice scram=");
	people_verifier_format(&v, &text);
	buf_adds(&text, "\nbob scram=");
	people_verifier_format(&v, &text);
	buf_addc(&text, '\n');
	alice_bob = strdup(buf_str(&text));
	return access_new(&a);
}

static int down(void **state)
{
	(void)state;
	access_free(&a);
	free(alice_bob);
	return 0;
}

static void open_world(struct world *w)
{
	const struct mem_setup setup = { .access = a, .first = 10 * SEC, .auth = 60 * SEC };

	put_in_force(alice_bob, "alice * topics:%u/#");
	world_open(w, &mqtt_proto, &setup, "sys_interval", "0");
}

/* ---- packets ---- */

static void send_connect(struct memconn *c, const char *name, const char *method, const char *data)
{
	struct mqtt_connect p = { .version = MQTT_5, .client_id = span_str(name) };
	uint8_t array[TALK_BYTES];
	struct mqtt_writer w;

	mqtt_props_init(&p.props);
	mqtt_props_init(&p.will_props);
	mqtt_props_set(&p.props, MQTT_P_SESSION_EXPIRY, 100);
	mqtt_props_set_span(&p.props, MQTT_P_AUTH_METHOD, span_str(method));
	if (data)
		mqtt_props_set_span(&p.props, MQTT_P_AUTH_DATA, span_str(data));
	mqtt_writer_init(&w, MQTT_5, array, sizeof(array));
	assert_int_equal(mqtt_put_connect(&w, &p), 0);
	send_written(c, &w);
}

static void send_auth(struct memconn *c, unsigned code, const char *method, const char *data)
{
	struct mqtt_end e = { .type = MQTT_AUTH, .code = (uint8_t)code };
	uint8_t array[TALK_BYTES];
	struct mqtt_writer w;

	mqtt_props_init(&e.props);
	if (method)
		mqtt_props_set_span(&e.props, MQTT_P_AUTH_METHOD, span_str(method));
	if (data)
		mqtt_props_set_span(&e.props, MQTT_P_AUTH_DATA, span_str(data));
	mqtt_writer_init(&w, MQTT_5, array, sizeof(array));
	assert_int_equal(mqtt_put_end(&w, &e), 0);
	send_written(c, &w);
}

/* An AUTH came with this code; what it says is copied. */
static void take_auth(struct memconn *c, unsigned code, struct buf *ret)
{
	struct mqtt_frame f = take_packet(c, MQTT_AUTH);
	const char *why = NULL;
	struct mqtt_end e;

	assert_int_equal(mqtt_parse_end(&f, &e, &why), 0);
	assert_int_equal(e.code, code);
	assert_true(span_is(e.props.auth_method, METHOD));
	buf_reset(ret);
	buf_add(ret, e.props.auth_data.p, e.props.auth_data.n);
}

static void take_connack(struct memconn *c, unsigned code, struct buf *ret)
{
	struct mqtt_frame f = take_packet(c, MQTT_CONNACK);
	struct mqtt_connack back;
	const char *why = NULL;

	assert_int_equal(mqtt_parse_connack(&f, &back, &why), 0);
	assert_int_equal(back.code, code);
	if (code == MQTT_OK)
		assert_true(span_is(back.props.auth_method, METHOD));
	buf_reset(ret);
	buf_add(ret, back.props.auth_data.p, back.props.auth_data.n);
}

/* ---- the client's side of SCRAM (RFC 5802, section 3) ---- */

struct client {
	struct buf said, answer; /* what the server said last; what it must say in the end */
};

static void hmac(const uint8_t key[32], const char *text, uint8_t ret[32])
{
	unsigned n = 32;

	assert_non_null(HMAC(EVP_sha256(), key, 32, (const uint8_t *)text, strlen(text), ret, &n));
}

/* What to answer to server-first; x->answer becomes what the server must say then. */
static void compute(struct client *x, const char *first, const char *server_first, const char *password,
		    struct buf *ret)
{
	uint8_t salted[32], key[32], stored[32], signature[32], salt[32];
	const char *s = strstr(server_first, ",s=") + 3, *i = strstr(server_first, ",i=");
	int salt_n = people_base64((struct span){ (const uint8_t *)s, (size_t)(i - s) }, salt, sizeof(salt));
	BUF_AUTO struct buf all = BUF_INIT(4096);
	unsigned n = 32;

	buf_reset(ret);
	buf_addf(ret, "c=biws,%.*s", (int)(s - 3 - server_first), server_first);
	buf_addf(&all, "%s,%s,%s", first, server_first, buf_str(ret));
	assert_int_equal(PKCS5_PBKDF2_HMAC(password, -1, salt, salt_n, 4096, EVP_sha256(), 32, salted), 1);
	hmac(salted, "Client Key", key);
	assert_int_equal(EVP_Digest(key, 32, stored, &n, EVP_sha256(), NULL), 1);
	hmac(stored, buf_str(&all), signature);
	for (int b = 0; b < 32; b++)
		key[b] ^= signature[b];
	buf_adds(ret, ",p=");
	people_add_base64(ret, key, 32);
	hmac(salted, "Server Key", key);
	hmac(key, buf_str(&all), signature);
	buf_reset(&x->answer);
	buf_adds(&x->answer, "v=");
	people_add_base64(&x->answer, signature, 32);
}

#define CLIENT \
	{ \
		.said = BUF_INIT(2048), .answer = BUF_INIT(256) \
	}

static void client_done(struct client *x)
{
	buf_done(&x->said);
	buf_done(&x->answer);
}

/* From server-first on, which has come: sends the proof. */
static void prove(struct memconn *c, struct client *x, const char *first, const char *password)
{
	BUF_AUTO struct buf final = BUF_INIT(2048);

	compute(x, first, buf_str(&x->said), password, &final);
	send_auth(c, MQTT_CONTINUE_AUTH, METHOD, buf_str(&final));
}

/* Comes with CONNECT as far as the proof. */
static struct memconn *come(struct world *w, const char *name, struct client *x, const char *password)
{
	struct memconn *c = world_client(w);

	send_connect(c, name, METHOD, "n,," FIRST);
	take_auth(c, MQTT_CONTINUE_AUTH, &x->said);
	prove(c, x, FIRST, password);
	return c;
}

static struct memconn *enter(struct world *w, const char *name)
{
	struct client x = CLIENT;
	struct memconn *c = come(w, name, &x, "secret");

	take_connack(c, MQTT_OK, &x.said);
	assert_string_equal(buf_str(&x.said), buf_str(&x.answer));
	client_done(&x);
	return c;
}

static void is_over(struct memconn *c, const char *why)
{
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	assert_string_equal(memconn_reason(c), why);
}

/* ---- tests ---- */

/* In, under its rules; the session is its user's. */
static void test_in(void **state)
{
	struct memconn *c;
	struct world w;

	(void)state;
	open_world(&w);
	c = enter(&w, "c");
	talk_subscribe(c, "alice/#", 0);
	talk_publish(c, &(struct say){ .topic = "alice/1", .payload = "x", .qos = 1, .id = 1 });
	assert_int_equal(take_packet(c, MQTT_PUBACK).body.n, 2);
	talk_take(c);
	talk_publish(c, &(struct say){ .topic = "bob/1", .payload = "x", .qos = 1, .id = 1 });
	assert_int_equal(take_packet(c, MQTT_PUBACK).body.p[2], MQTT_NOT_AUTHORIZED);
	talk_bye(c);
	c = world_client(&w); /* nobody in particular does not get it */
	memconn_send(c, "\x10\x0e\0\4MQTT\5\0\0\0\0\0\1c", 16, 0);
	assert_int_equal(take_packet(c, MQTT_CONNACK).body.p[1], MQTT_BAD_CLIENT_ID);
	is_over(c, "client-of-another");
	world_close(&w);
}

/* A client that has the name lets go first, and only then comes the CONNACK. */
static void test_takes_over(void **state)
{
	struct memconn *c, *d;
	struct world w;

	(void)state;
	open_world(&w);
	c = enter(&w, "c");
	d = enter(&w, "c");
	take_packet(c, MQTT_DISCONNECT);
	is_over(c, "taken-over");
	memconn_send(d, "\xc0\0", 2, 0);
	assert_said(d, "\xd0\0");
	world_close(&w);
}

/* What comes behind the proof in one piece is read. */
static void test_in_one_piece(void **state)
{
	struct client x = CLIENT;
	struct memconn *c;
	struct world w;

	(void)state;
	open_world(&w);
	c = world_client(&w);
	send_connect(c, "c", METHOD, NULL);
	take_auth(c, MQTT_CONTINUE_AUTH, &x.said); /* it is asked for its first message */
	assert_int_equal(x.said.n, 0);
	send_auth(c, MQTT_CONTINUE_AUTH, METHOD, "n,," FIRST);
	take_auth(c, MQTT_CONTINUE_AUTH, &x.said);
	memdrive_auto(w.drive, false);
	prove(c, &x, FIRST, "secret");
	memconn_send(c, "\xc0\0", 2, 0);
	memdrive_auto(w.drive, true);
	memdrive_run(w.drive);
	take_connack(c, MQTT_OK, &x.said);
	assert_said(c, "\xd0\0");
	client_done(&x);
	world_close(&w);
}

static void test_wrong(void **state)
{
	struct client x = CLIENT;
	struct memconn *c;
	struct world w;

	(void)state;
	open_world(&w);
	c = come(&w, "c", &x, "wrong");
	take_connack(c, MQTT_NOT_AUTHORIZED, &x.said);
	is_over(c, "login");
	assert_int_equal(memdrive_stat(w.drive, STAT_LOGINS_FAILED), 1);
	c = world_client(&w); /* nobody of this name: the same words */
	send_connect(c, "c", METHOD, "n,,n=mallory,r=abc");
	take_auth(c, MQTT_CONTINUE_AUTH, &x.said);
	prove(c, &x, "n=mallory,r=abc", "secret");
	take_connack(c, MQTT_NOT_AUTHORIZED, &x.said);
	is_over(c, "login");
	assert_int_equal(memdrive_stat(w.drive, STAT_LOGINS_FAILED), 2);
	client_done(&x);
	world_close(&w);
}

/* Between CONNECT and CONNACK. */
static void test_mistakes(void **state)
{
	static const struct {
		const char *method, *first;
		uint8_t code; /* of the AUTH behind it; 0: there is none */
		const char *then, *data;
		unsigned answer;
		const char *why;
	} rows[] = {
		{ "GS2-KRB5", "x", 0, NULL, NULL, MQTT_BAD_AUTH_METHOD, "auth-method" },
		{ METHOD, "p=tls-unique,,n=alice,r=x", 0, NULL, NULL, MQTT_NOT_AUTHORIZED, "auth-malformed" },
		{ METHOD, "", 0, NULL, NULL, MQTT_NOT_AUTHORIZED, "auth-malformed" },
		{ METHOD, "n,," FIRST, MQTT_CONTINUE_AUTH, METHOD, "c=biws,r=other,p=AAAA", MQTT_NOT_AUTHORIZED,
		  "auth-malformed" },
		{ METHOD, "n,," FIRST, MQTT_CONTINUE_AUTH, METHOD, NULL, MQTT_NOT_AUTHORIZED, "auth-malformed" },
		{ METHOD, "n,," FIRST, MQTT_CONTINUE_AUTH, "PLAIN", "x", MQTT_BAD_AUTH_METHOD, "auth-method" },
		{ METHOD, "n,," FIRST, MQTT_CONTINUE_AUTH, NULL, "x", MQTT_PROTOCOL_ERROR, "auth-method-missing" },
		{ METHOD, "n,," FIRST, MQTT_REAUTH, METHOD, "x", MQTT_PROTOCOL_ERROR, "auth-unexpected" },
		{ METHOD, "n,," FIRST, MQTT_OK, METHOD, "x", MQTT_PROTOCOL_ERROR, "reason-unknown" },
	};
	BUF_AUTO struct buf b = BUF_INIT(2048);
	struct world w;

	(void)state;
	open_world(&w);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct memconn *c = world_client(&w);

		send_connect(c, "c", rows[i].method, rows[i].first);
		if (rows[i].then || rows[i].code) {
			take_auth(c, MQTT_CONTINUE_AUTH, &b);
			send_auth(c, rows[i].code, rows[i].then, rows[i].data);
		}
		take_connack(c, rows[i].answer, &b);
		is_over(c, rows[i].why);
	}
	world_close(&w);
}

/* Nothing but AUTH and DISCONNECT may come then; and it may not take for ever. */
static void test_order(void **state)
{
	BUF_AUTO struct buf b = BUF_INIT(2048);
	struct memconn *c;
	struct world w;

	(void)state;
	open_world(&w);
	c = world_client(&w);
	send_connect(c, "c", METHOD, "n,," FIRST);
	take_auth(c, MQTT_CONTINUE_AUTH, &b);
	memconn_send(c, "\xc0\0", 2, 0);
	take_connack(c, MQTT_PROTOCOL_ERROR, &b);
	is_over(c, "packet-unexpected");
	c = world_client(&w);
	send_connect(c, "c", METHOD, "n,," FIRST);
	take_auth(c, MQTT_CONTINUE_AUTH, &b);
	memconn_send(c, "\xe0\0", 2, 0);
	assert_said(c, "");
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	c = world_client(&w);
	send_connect(c, "c", METHOD, "n,," FIRST);
	take_auth(c, MQTT_CONTINUE_AUTH, &b);
	memdrive_advance(w.drive, 10 * SEC - MSEC);
	assert_int_equal(memconn_end(c), MEM_OPEN);
	memdrive_advance(w.drive, MSEC);
	assert_int_not_equal(memconn_end(c), MEM_OPEN);
	assert_string_equal(memconn_reason(c), "first");
	world_close(&w);
}

/* Where there are no people it is a method that nobody can have. */
static void test_without_people(void **state)
{
	BUF_AUTO struct buf b = BUF_INIT(2048);
	struct memconn *c;
	struct world w;

	(void)state;
	world_open(&w, &mqtt_proto, NULL, "sys_interval", "0");
	c = world_client(&w);
	send_connect(c, "c", METHOD, "n,," FIRST);
	take_connack(c, MQTT_BAD_AUTH_METHOD, &b);
	is_over(c, "auth-method");
	world_close(&w);
}

/* ---- again, while it is open ---- */

static void again(struct memconn *c, struct client *x, const char *first, const char *password)
{
	BUF_AUTO struct buf data = BUF_INIT(2048);

	buf_addf(&data, "n,,%s", first);
	send_auth(c, MQTT_REAUTH, METHOD, buf_str(&data));
	take_auth(c, MQTT_CONTINUE_AUTH, &x->said);
	prove(c, x, first, password);
}

static void test_again(void **state)
{
	struct client x = CLIENT;
	struct memconn *c;
	struct world w;

	(void)state;
	open_world(&w);
	c = enter(&w, "c");
	for (int i = 0; i < 3; i++) {
		again(c, &x, FIRST, "secret");
		take_auth(c, MQTT_OK, &x.said);
		assert_string_equal(buf_str(&x.said), buf_str(&x.answer));
	}
	memdrive_advance(w.drive, 3600 * SEC);
	assert_int_equal(memconn_end(c), MEM_OPEN);
	again(c, &x, FIRST, "wrong");
	assert_int_equal(take_packet(c, MQTT_DISCONNECT).body.p[0], MQTT_NOT_AUTHORIZED);
	is_over(c, "login");
	assert_int_equal(memdrive_stat(w.drive, STAT_LOGINS_FAILED), 1);
	c = enter(&w, "c"); /* somebody else is not whose session this is */
	again(c, &x, "n=bob,r=xyz", "secret");
	assert_int_equal(take_packet(c, MQTT_DISCONNECT).body.p[0], MQTT_NOT_AUTHORIZED);
	is_over(c, "client-of-another");
	client_done(&x);
	world_close(&w);
}

/* The conversation goes on meanwhile, but not for ever. */
static void test_again_and_order(void **state)
{
	static const struct {
		uint8_t code;
		const char *method;
		unsigned answer;
	} rows[] = {
		{ MQTT_CONTINUE_AUTH, METHOD, MQTT_PROTOCOL_ERROR },
		{ MQTT_REAUTH, "PLAIN", MQTT_BAD_AUTH_METHOD },
	};
	BUF_AUTO struct buf b = BUF_INIT(2048);
	struct memconn *c;
	struct world w;

	(void)state;
	open_world(&w);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		c = enter(&w, "c");
		send_auth(c, rows[i].code, rows[i].method, "n,," FIRST);
		assert_int_equal(take_packet(c, MQTT_DISCONNECT).body.p[0], rows[i].answer);
	}
	c = talk_enter(&w, "plain"); /* without a method there is none later */
	send_auth(c, MQTT_REAUTH, METHOD, "n,," FIRST);
	assert_int_equal(take_packet(c, MQTT_DISCONNECT).body.p[0], MQTT_PROTOCOL_ERROR);
	is_over(c, "auth-unexpected");
	c = enter(&w, "c");
	for (int i = 0; i < 2; i++) {
		send_auth(c, MQTT_REAUTH, METHOD, NULL);
		if (i == 0)
			take_auth(c, MQTT_CONTINUE_AUTH, &b);
	}
	assert_int_equal(take_packet(c, MQTT_DISCONNECT).body.p[0], MQTT_PROTOCOL_ERROR);
	c = enter(&w, "c");
	send_auth(c, MQTT_REAUTH, METHOD, "n,," FIRST);
	take_auth(c, MQTT_CONTINUE_AUTH, &b);
	memconn_send(c, "\xc0\0", 2, 0);
	assert_said(c, "\xd0\0");
	memdrive_advance(w.drive, 60 * SEC - MSEC);
	assert_said(c, "");
	memdrive_advance(w.drive, MSEC);
	assert_int_equal(take_packet(c, MQTT_DISCONNECT).body.p[0], MQTT_NOT_AUTHORIZED);
	is_over(c, "auth");
	world_close(&w);
}

/* Who is not read from, as he sends too much, is not late because of that. */
static void test_again_and_paused(void **state)
{
	enum { MANY = 90 };
	const struct mem_setup setup = { .access = a, .first = 10 * SEC, .auth = 60 * SEC };
	struct client x = CLIENT;
	struct memconn *c;
	struct world w;

	(void)state;
	put_in_force(alice_bob, "alice * topics:%u/#");
	world_open(&w, &mqtt_proto, &setup, "sys_interval", "0", "message_rate", "1");
	c = enter(&w, "c");
	send_auth(c, MQTT_REAUTH, METHOD, "n,," FIRST);
	take_auth(c, MQTT_CONTINUE_AUTH, &x.said);
	for (int i = 0; i < MANY; i++)
		memconn_send(c, "\x30\5\0\1t\0x", 7, 0);
	prove(c, &x, FIRST, "secret");
	memdrive_advance(w.drive, MANY * SEC);
	take_auth(c, MQTT_OK, &x.said);
	assert_string_equal(buf_str(&x.said), buf_str(&x.answer));
	client_done(&x);
	world_close(&w);
}

/* Begun again in one piece with what gets it in, while its CONNACK waits for the disk: one after the other. */
static void test_again_at_once(void **state)
{
	struct client x = CLIENT;
	struct keeper disk;
	struct memconn *c;
	struct world w;

	(void)state;
	open_world(&w);
	disk_open(&disk, &w);
	c = come(&w, "c", &x, "secret");
	send_auth(c, MQTT_REAUTH, METHOD, NULL);
	disk_flush(&disk, &w);
	take_connack(c, MQTT_OK, &x.said);
	take_auth(c, MQTT_CONTINUE_AUTH, &x.said);
	assert_said(c, "");
	client_done(&x);
	disk_close(&disk, &w);
}

/* A reload that takes its user away is seen at the next step. */
static void test_reload(void **state)
{
	struct memconn *c;
	struct world w;

	(void)state;
	open_world(&w);
	c = enter(&w, "c");
	put_in_force("bob\n", "* * topics:#");
	memconn_send(c, "\xc0\0", 2, 0);
	assert_int_equal(take_packet(c, MQTT_DISCONNECT).body.p[0], MQTT_NOT_AUTHORIZED);
	is_over(c, "login");
	world_close(&w);
}

static void reload(struct world *w, const char *people)
{
	put_in_force(people, "* * topics:#");
	memdrive_access(w->drive);
}

/* Who is nobody any more goes at once, also who is silent; who is there as he was stays. */
static void test_reload_and_silent(void **state)
{
	BUF_AUTO struct buf text = BUF_INIT(1024);
	struct memconn *c, *d;
	struct world w;

	(void)state;
	open_world(&w);
	c = enter(&w, "c");
	d = talk_enter(&w, "d"); /* has not logged in */
	reload(&w, alice_bob);
	assert_said(c, "");
	buf_adds(&text, alice_bob);
	buf_cut(&text, (size_t)(strchr(buf_str(&text), '\n') - buf_str(&text)));
	buf_adds(&text, " disabled\n");
	reload(&w, buf_str(&text));
	assert_int_equal(take_packet(c, MQTT_DISCONNECT).body.p[0], MQTT_NOT_AUTHORIZED);
	is_over(c, "login");
	assert_said(d, "");
	world_close(&w);
}

/* Who has got another password has to log in with it. */
static void test_reload_and_password(void **state)
{
	static const uint8_t salt[] = "fedcba9876543210";
	BUF_AUTO struct buf text = BUF_INIT(1024);
	struct people_verifier v;
	struct memconn *c;
	struct world w;

	(void)state;
	open_world(&w);
	c = enter(&w, "c");
	assert_int_equal(people_verifier_make(span_str("secret"), (struct span){ salt, 16 }, 4096, &v), 0);
	buf_adds(&text, "alice scram=");
	people_verifier_format(&v, &text);
	buf_addc(&text, '\n');
	reload(&w, buf_str(&text));
	assert_int_equal(take_packet(c, MQTT_DISCONNECT).body.p[0], MQTT_NOT_AUTHORIZED);
	is_over(c, "login");
	c = enter(&w, "c");
	reload(&w, buf_str(&text));
	assert_said(c, "");
	world_close(&w);
}

/* Nothing is expected then but that nothing crashes or leaks. */
static void scene(void *arg)
{
	static const char *const options[] = { "sys_interval", "0", NULL, NULL };
	struct client x = CLIENT;
	struct world w;

	(void)arg;
	if (world_try_open(&w, &mqtt_proto, &(struct mem_setup){ .access = a }, options, NULL) == 0) {
		struct memconn *c = memconn_open(w.drive, NULL);

		if (c) {
			send_connect(c, "c", METHOD, "n,," FIRST);
			memconn_take(c, SIZE_MAX);
			send_auth(c, MQTT_CONTINUE_AUTH, METHOD, "c=biws,r=abc,p=xyz");
		}
	}
	world_close(&w);
	client_done(&x);
}

static void test_failing_allocations(void **state)
{
	(void)state;
	put_in_force(alice_bob, "alice * topics:%u/#");
	fail_each_allocation(scene, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_in),
		cmocka_unit_test(test_takes_over),
		cmocka_unit_test(test_in_one_piece),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_without_people),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_again_and_order),
		cmocka_unit_test(test_again_at_once),
		cmocka_unit_test(test_again_and_paused),
		cmocka_unit_test(test_reload),
		cmocka_unit_test(test_reload_and_silent),
		cmocka_unit_test(test_reload_and_password),
		cmocka_unit_test(test_failing_allocations),
	};

	return cmocka_run_group_tests(tests, up, down);
}
