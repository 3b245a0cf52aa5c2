/*
 * auth.c - enhanced authentication (4.12): SCRAM-SHA-256 between CONNECT and CONNACK, and again while the connection is open. See
 * mqtt_priv.h; the exchange itself: store/people_scram.h.
 *
 * CONNECT is taken and put by, because AUTH comes behind it; when the password was right it is looked at as if it had come just then.
 */
#include <errno.h>

#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"
#include "store/people_scram.h"

enum {
	SAID = 2 * PEOPLE_SCRAM_MESSAGE, /* bytes of a message of ours: it has the client's nonce in it */
	PACKET = SAID + 64,
};

static const char method[] = "SCRAM-SHA-256";

struct mqtt_auth {
	struct people_scram *exchange; /* NULL: its first message is to come */
	struct buf said;               /* the last message of ours */
	uint32_t proof;                /* login_proof(), when it is over and went well */
	size_t n;
	uint8_t connect[]; /* its body; nothing when it is done again */
};

/* ---- life ---- */

static int put_by(struct mqtt *self, struct span connect)
{
	struct mqtt_auth *a = mem_zalloc(sizeof(*a) + connect.n);

	if (!a)
		return -ENOMEM;
	buf_init(&a->said, SAID);
	a->n = connect.n;
	if (connect.n)
		memcpy(a->connect, connect.p, connect.n);
	self->auth = a;
	return 0;
}

void mqtt_auth_done(struct mqtt *self)
{
	struct mqtt_auth *a = self->auth;

	if (!a)
		return;
	self->auth = NULL;
	people_scram_free(&a->exchange);
	buf_done(&a->said);
	explicit_bzero(a->connect, a->n); /* there may be a password too */
	mem_free(a);
}

/* ---- words ---- */

bool mqtt_auth_knows(const struct io *io, struct span name)
{
	return span_is(name, method) && mqtt_has_people(io);
}

struct span mqtt_auth_user(const struct mqtt *self)
{
	return people_scram_user(self->auth->exchange);
}

void mqtt_auth_tell(const struct mqtt *self, struct mqtt_props *p)
{
	mqtt_props_set_span(p, MQTT_P_AUTH_METHOD, span_str(method)); /* [MQTT-4.12.0-5] */
	if (self->auth->said.n)
		mqtt_props_set_span(p, MQTT_P_AUTH_DATA, buf_span(&self->auth->said));
}

static enum verdict fail(struct mqtt *self, struct io *io, int code, const char *why)
{
	return self->state == MQTT_OPEN ? mqtt_bye(self, io, (unsigned)code, why)
					: mqtt_refuse(self, io, (unsigned)code, why);
}

static enum verdict say(struct mqtt *self, struct io *io, unsigned code)
{
	struct mqtt_end end = { .type = MQTT_AUTH, .code = (uint8_t)code };
	uint8_t array[PACKET];
	struct mqtt_writer w;

	mqtt_props_init(&end.props);
	mqtt_auth_tell(self, &end.props);
	mqtt_writer_init(&w, self->version, array, sizeof(array));
	w.max_packet = self->max_packet;
	if (mqtt_put_end(&w, &end) < 0)
		return fail(self, io, MQTT_TOO_LARGE, "packet-too-large");
	mqtt_out(self, io, &w); /* begun again it may be quick, and CONNACK wait for the disk yet */
	return V_GO;
}

/* ---- the exchange ---- */

static int first(struct mqtt_auth *a, const struct io *io, struct span data)
{
	struct access *access = io->svc->access;
	struct people *people;
	int r;

	access_get(access, &people, NULL);
	r = people_scram_first(access_memory(access), people, data, NULL, &a->exchange, &a->said);
	people_unref(people);
	return r;
}

/* 0: it knows the password; MQTT_CONTINUE_AUTH; or with what to refuse it, and why. */
static int exchange(struct mqtt *self, struct io *io, struct span data, const char **ret_why)
{
	struct mqtt_auth *a = self->auth;
	bool begun = a->exchange != NULL;
	const struct person *who;
	int r = begun ? people_scram_final(a->exchange, data, &who, &a->said) : first(a, io, data);

	if (r == 0 && begun)
		a->proof = login_proof(who);
	if (r == 0)
		return begun ? MQTT_OK : MQTT_CONTINUE_AUTH;
	*ret_why = r == -EACCES ? "login" : r == -EINVAL ? "auth-malformed" : "out-of-memory";
	if (r == -EACCES)
		(void)login_refuse(io, mqtt_auth_user(self)); /* the conversation ends in any case */
	return r == -EACCES || r == -EINVAL ? MQTT_NOT_AUTHORIZED : MQTT_SERVER_BUSY;
}

enum verdict mqtt_auth_resume(struct mqtt *self, struct io *io)
{
	const struct mqtt_auth *a = self->auth;
	const struct mqtt_frame f = {
		.form = { MQTT_UNKNOWN, MQTT_FROM_CLIENT },
		.type = MQTT_CONNECT,
		.body = { a->connect, a->n },
	};

	mqtt_enter(self, MQTT_NEW);
	return mqtt_connect(self, io, &f);
}

/* The same one as before: the session is his. He may now what he may by the rules of now. */
static enum verdict proven_again(struct mqtt *self, struct io *io)
{
	struct span user = mqtt_auth_user(self);
	enum verdict v;
	int r;

	io_timer(io, MQTT_TIMER_AUTH, 0);
	if (!io->who || !io->who->user || !span_is(user, io->who->user))
		return mqtt_bye(self, io, MQTT_NOT_AUTHORIZED, "client-of-another");
	login_take(io, user, self->auth->proof); /* perhaps of a new password */
	r = mqtt_look_as(self, io, (struct login_who){ user, self->auth->proof });
	if (r < 0)
		return r == -EACCES ? mqtt_bye(self, io, MQTT_NOT_AUTHORIZED, "login")
				    : mqtt_bye(self, io, MQTT_SERVER_BUSY, "out-of-memory");
	v = say(self, io, MQTT_OK);
	mqtt_auth_done(self);
	io_secret(io, false);
	return v;
}

static enum verdict go_on(struct mqtt *self, struct io *io, struct span data)
{
	const char *why = NULL;
	int r = exchange(self, io, data, &why);

	if (r == MQTT_CONTINUE_AUTH)
		return say(self, io, MQTT_CONTINUE_AUTH); /* [MQTT-4.12.0-2] */
	if (r)
		return fail(self, io, r, why);
	if (self->state == MQTT_OPEN)
		return proven_again(self, io);
	mqtt_shard_of(io)->proof = self->auth->proof;
	login_take(io, mqtt_auth_user(self), self->auth->proof);
	self->logged_in = true;
	return mqtt_auth_resume(self, io);
}

/* ---- packets ---- */

enum verdict mqtt_auth_begin(struct mqtt *self, struct io *io, const struct mqtt_connect *c, const struct mqtt_frame *f)
{
	if (put_by(self, f->body) < 0)
		return mqtt_refuse(self, io, MQTT_SERVER_BUSY, "out-of-memory");
	self->with_method = true;
	mqtt_enter(self, MQTT_ASKED);
	if (!(c->props.has & MQTT_HAS(MQTT_P_AUTH_DATA))) /* it waits to be asked */
		return say(self, io, MQTT_CONTINUE_AUTH);
	return go_on(self, io, c->props.auth_data);
}

void mqtt_auth_timer(struct io *io)
{
	nsec most = io->svc->limits.auth;

	io_timer(io, MQTT_TIMER_AUTH, most ? io->now + most : 0);
}

static enum verdict begin_again(struct mqtt *self, struct io *io, const struct mqtt_end *e)
{
	if (put_by(self, (struct span){}) < 0)
		return mqtt_bye(self, io, MQTT_SERVER_BUSY, "out-of-memory");
	mqtt_auth_timer(io);
	io_secret(io, true); /* until it is over: what is needed to guess the password */
	if (!(e->props.has & MQTT_HAS(MQTT_P_AUTH_DATA)))
		return say(self, io, MQTT_CONTINUE_AUTH);
	return go_on(self, io, e->props.auth_data);
}

enum verdict mqtt_auth(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	const char *why = NULL;
	struct mqtt_end e;
	int r;

	if (f->type == MQTT_DISCONNECT && self->state == MQTT_ASKED)
		return V_CLOSE;
	if (f->type != MQTT_AUTH) /* [MQTT-3.1.2-30] */
		return fail(self, io, MQTT_PROTOCOL_ERROR, "packet-unexpected");
	r = mqtt_parse_end(f, &e, &why);
	if (r)
		return fail(self, io, r, why);
	if (!self->with_method) /* [MQTT-4.12.0-7] */
		return fail(self, io, MQTT_PROTOCOL_ERROR, "auth-unexpected");
	if (!span_is(e.props.auth_method, method)) /* [MQTT-4.12.1-1] */
		return fail(self, io, MQTT_BAD_AUTH_METHOD, "auth-method");
	if (self->state == MQTT_OPEN && e.code == MQTT_REAUTH && !self->auth)
		return begin_again(self, io, &e);
	if (e.code != MQTT_CONTINUE_AUTH || !self->auth)
		return fail(self, io, MQTT_PROTOCOL_ERROR, "auth-unexpected");
	return go_on(self, io, e.props.auth_data);
}
