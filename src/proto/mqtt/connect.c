/* connect.c - how a client comes, under a name that nobody else has, and how it goes. See mqtt_priv.h. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"
#include "store/topic.h"

enum {
	NAME = 32,
	RESPONSE = 1024, /* bytes of response information; a longer one is not told */
	ANSWER = 512 + RESPONSE,
};

struct subscriber_limits mqtt_limits(const struct io *io)
{
	const struct mqtt_options *o = mqtt_options(io);

	return (struct subscriber_limits){
		.queue = o->queue,
		.queue_bytes = o->queue_bytes,
		.awaiting = (uint16_t)o->receive_max,
		.refuse = o->queue_full == MQTT_REFUSE,
	};
}

/* ---- what was agreed ---- */

static uint32_t seconds(nsec t)
{
	return (uint32_t)(t / SEC);
}

static void agree(struct mqtt *self, const struct io *io, const struct mqtt_connect *c)
{
	const struct mqtt_options *o = mqtt_options(io);
	uint32_t most = seconds(o->session_expiry_max);
	uint32_t asked = c->version == MQTT_5 ? c->props.session_expiry : c->clean ? 0 : UINT32_MAX;
	unsigned window = c->version == MQTT_5 ? c->props.receive_max : UINT16_MAX;

	self->role = c->from_bridge ? MQTT_BRIDGE : MQTT_CLIENT;
	self->session_expiry = asked < most ? asked : most;
	self->keep_alive = c->keep_alive;
	if (c->version == MQTT_5 && o->keepalive_max && (!c->keep_alive || c->keep_alive > o->keepalive_max))
		self->keep_alive = (uint16_t)o->keepalive_max;
	self->window = (uint16_t)(window < o->inflight ? window : o->inflight);
	self->aliases_out_max = (uint16_t)(c->props.alias_max < o->aliases ? c->props.alias_max : o->aliases);
}

/* As topics_make(). */
static int take_will(struct mqtt *self, const struct mqtt_connect *c, struct will *ret)
{
	const struct mqtt_props *p = &c->will_props;
	struct message_birth b = {
		.topic = c->will_topic, .payload = c->will_payload, .qos = c->will_qos, .retain = c->will_retain
	};
	uint8_t *props = p->raw.n ? mem_alloc(p->raw.n) : NULL;
	int r;

	if (p->raw.n && !props)
		return -ENOMEM;
	b.props = (struct span){ props, props ? mqtt_props_kept(p, props) : 0 };
	if (p->has & MQTT_HAS(MQTT_P_EXPIRY)) /* from when it is published: mqtt_publish_will() */
		b.expires = p->expiry ? p->expiry * SEC : 1;
	r = topics_make(&self->access, &b, &ret->m);
	ret->delay = p->will_delay * SEC;
	mem_free(props);
	return r;
}

/* ---- CONNACK ---- */

enum verdict mqtt_refuse(struct mqtt *self, struct io *io, unsigned code, const char *why)
{
	struct mqtt_connack back = { .code = (uint8_t)code };
	uint8_t array[ANSWER];
	struct mqtt_writer w;
	int old = mqtt_return_code((uint8_t)code);

	io_reason(io, why);
	mqtt_enter(self, MQTT_OVER);
	if (!self->version || (self->version != MQTT_5 && old < 0))
		return V_CLOSE;
	if (self->version != MQTT_5)
		back.code = (uint8_t)old;
	mqtt_props_init(&back.props);
	mqtt_tell_server(io, code, &back.props);
	mqtt_writer_init(&w, self->version, array, sizeof(array));
	w.max_packet = self->max_packet;
	if (mqtt_put_connack(&w, &back) == 0)
		mqtt_out_now(self, io, &w);
	return V_CLOSE;
}

static void tell_limits(const struct mqtt *self, const struct io *io, const struct mqtt_connect *c,
			struct mqtt_props *p)
{
	const struct mqtt_options *o = mqtt_options(io);

	if (self->session_expiry != c->props.session_expiry)
		mqtt_props_set(p, MQTT_P_SESSION_EXPIRY, self->session_expiry);
	mqtt_props_set(p, MQTT_P_RECEIVE_MAX, o->receive_max);
	mqtt_props_set(p, MQTT_P_MAX_PACKET, (uint32_t)o->packet);
	if (o->aliases)
		mqtt_props_set(p, MQTT_P_ALIAS_MAX, o->aliases);
	if (!o->retain)
		mqtt_props_set(p, MQTT_P_RETAIN_OK, 0);
	if (self->keep_alive != c->keep_alive)
		mqtt_props_set(p, MQTT_P_KEEP_ALIVE, self->keep_alive);
}

/* 0, or -EMSGSIZE: what the client must know is more than it takes. */
static int put_answer(const struct mqtt *self, const struct io *io, const struct mqtt_connect *c, struct span name,
		      bool present, struct mqtt_writer *w)
{
	struct mqtt_connack back = { .session_present = present && c->version != MQTT_31 };
	BUF_AUTO struct buf response = BUF_INIT(RESPONSE);

	mqtt_props_init(&back.props);
	if (c->version == MQTT_5)
		tell_limits(self, io, c, &back.props);
	if (c->version == MQTT_5 && !c->client_id.n)
		mqtt_props_set_span(&back.props, MQTT_P_CLIENT_ID, name);
	if (c->version == MQTT_5)
		mqtt_tell_response(io, c, name, &response, &back.props);
	if (self->auth)
		mqtt_auth_tell(self, &back.props);
	return mqtt_put_connack(w, &back);
}

/* Before anybody has to go for who asks. */
static bool answer_fits(const struct mqtt *self, const struct io *io, const struct mqtt_connect *c, struct span name)
{
	uint8_t array[ANSWER];
	struct mqtt_writer w;

	if (!self->max_packet || self->max_packet >= ANSWER)
		return true;
	mqtt_writer_init(&w, self->version, array, sizeof(array));
	w.max_packet = self->max_packet;
	return put_answer(self, io, c, name, false, &w) == 0;
}

/* ---- names ---- */

struct span mqtt_client(const void *selfp)
{
	const struct mqtt *self = selfp;

	if (self->session)
		return subscriber_name(self->session);
	if (self->had)
		return subscriber_name(self->past);
	return self->claimed ? span_str(self->claimed) : (struct span){};
}

/* As it says, for lines about who does not get in. Without memory they do not have it. */
static void claim_name(struct mqtt *self, struct span name)
{
	mem_free(self->claimed); /* of the same CONNECT, which had to wait */
	self->claimed = name.n ? mem_alloc(name.n + 1) : NULL;
	if (!self->claimed)
		return;
	memcpy(self->claimed, name.p, name.n); /* a text of MQTT has no NUL in it */
	self->claimed[name.n] = '\0';
}

/* It has a session, which has the name; of what it publishes nothing is known yet. */
static void drop_claim(struct mqtt *self)
{
	mem_free(self->claimed);
	self->memo = NULL;
}

/* One that nobody can guess: who knows it could take the session over. */
static struct span assign_name(const struct io *io, char array[NAME])
{
	struct mqtt_service *service = mqtt_service(io);
	uint64_t n = atomic_fetch_add(&service->named, 1);
	uint64_t secret = topic_hash(&service->key, (struct span){ (const uint8_t *)&n, sizeof(n) });

	snprintf(array, NAME, "auto-%016llx", (unsigned long long)secret);
	return span_str(array);
}

/* The one that has the name is asked to let go; until then nothing more is read, and this CONNECT stays where it is. */
static void wait_for(struct mqtt *self, struct io *io, sess_id where)
{
	mqtt_enter(self, MQTT_WAITING);
	io_hold(io, true);
	io_post(io, where, MQTT_TAKE_OVER, NULL, POST_REPLY);
}

/* What was left under this name, and is not wanted any more. */
static void end_old(struct io *io, struct subscriber *old)
{
	struct message *will = old->will.m;

	mqtt_alarm_off(io, old);
	old->will.m = NULL;
	mqtt_publish_will(io, will);
	mqtt_end_session(io, old);
	subscriber_unref(old);
}

static size_t will_size(const struct will *w)
{
	return w->m ? message_size(w->m) : 0;
}

/* All that is its own; or nothing, when its record cannot be written. 0 or -ENOMEM. */
static int take_session(const struct mqtt *self, struct io *io, bool fresh, uint64_t owner, const struct will *will)
{
	struct topics *t = mqtt_service(io)->topics;
	struct subscriber *s = self->session;
	const struct will old_will = s->will;
	const bool old_apart = s->will_apart;
	const uint64_t old_owner = s->owner;
	const uint32_t old_expiry = s->expiry;

	s->will = *will;
	s->will_apart = !fresh && (old_apart || will_size(will) > will_size(&old_will));
	s->expiry = self->session_expiry;
	topics_own(t, s, owner); /* of nobody in particular it was anybody's */
	if (mqtt_kept_session(io, s) == 0) {
		message_unref(old_will.m); /* its client is back in time [MQTT-3.1.3-9] */
		return 0;
	}
	s->will = old_will;
	s->will_apart = old_apart;
	s->expiry = old_expiry;
	topics_own(t, s, old_owner);
	return -ENOMEM;
}

/* Its will, and its record on disk, if it is to have one. 0, or a reason code. */
static int settle(const struct mqtt *self, struct io *io, bool present, uint64_t owner, const struct will *will,
		  const char **ret_why)
{
	struct subscriber *s = self->session;
	bool fresh = !present && self->session_expiry;

	if (fresh && (will->m ? !mqtt_kept_promise(io, will->m) : mqtt_kept_full(io))) {
		*ret_why = "store-full";
		return MQTT_QUOTA;
	}
	if (fresh && topics_stay(mqtt_service(io)->topics, s, mqtt_options(io)->sessions) < 0) {
		io_count(io, MQTT_SESSIONS_REFUSED, 1);
		mqtt_limit(io, MQTT_L_SESSIONS,
			   &(struct mqtt_whose){ .client = subscriber_name(s), .session = io->self });
		*ret_why = "sessions";
		return MQTT_QUOTA;
	}
	if (take_session(self, io, fresh, owner, will) == 0)
		return 0;
	*ret_why = "out-of-memory";
	return MQTT_SERVER_BUSY;
}

/* What was agreed. Apart, because a line is two pages of stack. */
[[gnu::noinline]] static void tell_connected(const struct mqtt *self, const struct io *io, const struct mqtt_connect *c,
					     bool present)
{
	static const char *const versions[] = { [MQTT_31] = "3.1", [MQTT_311] = "3.1.1", [MQTT_5] = "5.0" };
	struct span name = subscriber_name(self->session);
	char text[PEER_TEXT];
	struct log_line line;

	if (!log_begin(&line, LOG_DEBUG, "connected"))
		return;
	log_hex(&line, "session", io->self);
	log_str(&line, "service", io->svc->name);
	if (io->peer)
		log_str(&line, "peer", peer_text(io->peer, text));
	log_bytes(&line, "client", name.p, name.n);
	if (c->user.n)
		log_bytes(&line, "user", c->user.p, c->user.n);
	log_str(&line, "version", versions[self->version]);
	log_uint(&line, "keep_alive", self->keep_alive);
	log_str(&line, "clean", c->clean ? "yes" : "no");
	log_uint(&line, "expiry", self->session_expiry);
	log_str(&line, "resumed", present ? "yes" : "no");
	log_str(&line, "will", c->will ? "yes" : "no");
	log_end(&line);
}

/* It has its name. Takes the will. */
static enum verdict let_in(struct mqtt *self, struct io *io, const struct mqtt_connect *c, bool present, uint64_t owner,
			   const struct will *will)
{
	const char *why = "packet-too-large";
	uint8_t array[ANSWER];
	struct mqtt_writer w;
	int r;

	mqtt_enter(self, MQTT_OPEN);
	mqtt_count(io, MQTT_T_CONNECTIONS, 1);
	mqtt_count(io, MQTT_T_CLIENTS, 1);
	in_cap(io, mqtt_options(io)->packet);
	mqtt_writer_init(&w, self->version, array, sizeof(array));
	w.max_packet = self->max_packet;
	r = put_answer(self, io, c, subscriber_name(self->session), present, &w) < 0
		    ? MQTT_TOO_LARGE
		    : settle(self, io, present, owner, will, &why);
	if (r) { /* as if it had never come */
		message_unref(will->m);
		self->session_expiry = 0;
		self->refused = present;
		return mqtt_refuse(self, io, (unsigned)r, why);
	}
	mqtt_out(self, io, &w);
	self->muted = self->held != NULL;
	if (log_wanted(LOG_DEBUG, "connected"))
		tell_connected(self, io, c, present);
	mqtt_auth_done(self); /* in which `c` is */
	io_secret(io, false); /* what its CONNACK has of the password, too */
	if (!present)
		return V_GO;
	io_count(io, MQTT_RESUMED, 1);
	self->access.changed = true; /* it subscribed, and what waits was let in, under other rules */
	self->behind = true;
	mqtt_pump(self, io);
	return V_GO;
}

/* Who has the name, or had it, goes. Takes the will. */
static enum verdict enter(struct mqtt *self, struct io *io, const struct mqtt_connect *c, const struct claim *claim,
			  const struct will *will)
{
	struct subscriber *old = NULL;
	uint64_t where = 0;
	bool present = false;
	bool may_stay = self->session_expiry || !c->clean; /* what is there, when this is refused in the end */
	int r = may_stay && !self->alarm ? mqtt_alarm_new(io->shard, &self->alarm) : 0;

	if (r == 0)
		r = topics_claim(mqtt_service(io)->topics, claim, &self->session, &present, &where, &old);

	if (r < 0)
		message_unref(will->m);
	else
		drop_claim(self);
	if (r == -EBUSY) {
		wait_for(self, io, where);
		return V_GO;
	}
	if (present)
		mqtt_alarm_off(io, self->session);
	if (old)
		end_old(io, old);
	if (r == -EACCES)
		return mqtt_refuse(self, io, MQTT_BAD_CLIENT_ID, "client-of-another");
	if (r < 0)
		return mqtt_refuse(self, io, MQTT_SERVER_BUSY, "out-of-memory");
	return let_in(self, io, c, present, claim->owner, will);
}

/* What a CONNECT may not ask for here, although it is well-formed; 0: it may. */
static int fault_of(const struct io *io, const struct mqtt_connect *c, const char **ret_why)
{
	const struct mqtt_options *o = mqtt_options(io);

	if (c->props.has & MQTT_HAS(MQTT_P_AUTH_METHOD) && !mqtt_auth_knows(io, c->props.auth_method)) {
		*ret_why = "auth-method";
		return MQTT_BAD_AUTH_METHOD;
	}
	if (mqtt_bridge_owns(c->client_id)) {
		*ret_why = "client-of-another";
		return MQTT_BAD_CLIENT_ID;
	}
	if (mqtt_bridge_is_ours(io, c)) {
		*ret_why = "bridge-to-itself";
		return MQTT_BAD_CLIENT_ID;
	}
	if (!c->will)
		return 0;
	*ret_why = "will-topic-invalid";
	if (mqtt_is_state(c->will_topic))
		; /* of a bridge to us */
	else if (topic_check_name(c->will_topic, o->levels) < 0 || span_starts(c->will_topic, "$SYS") ||
		 topic_is_own(c->will_topic) ||
		 span_starts(c->will_topic, "$CONTROL/")) /* where others have commands */
		return MQTT_BAD_TOPIC;
	*ret_why = "retain-off";
	return c->will_retain && !o->retain ? MQTT_NO_RETAIN : 0;
}

/*
 * Who is it? 0 with a reference of people, a reason code, or -EINPROGRESS: a job finds out, and this CONNECT waits where it is. From now
 * on c->user is who it is: also by a certificate; empty when it is nobody, whatever it says.
 */
static int admit(struct mqtt *self, struct io *io, struct mqtt_connect *c, struct login_view *ret, const char **ret_why)
{
	const struct mqtt_shard *shard = io->shard;
	struct login_who as = {};
	int r = mqtt_login(self, io, c);

	*ret_why = r == MQTT_BAD_USER ? "login" : "out-of-memory";
	if (r == -EINPROGRESS) {
		mqtt_enter(self, MQTT_PROVING);
		io_hold(io, true);
	}
	if (r)
		return r;
	if (self->logged_in && !(io->who && io->who->how == WHO_PASSWORD)) /* in this very step */
		as = (struct login_who){ c->user, shard->proof };
	r = mqtt_look(self, io, as, c->client_id, ret);
	if (r < 0) {
		*ret_why = r == -EACCES ? "login" : "out-of-memory";
		return r == -EACCES ? MQTT_NOT_AUTHORIZED : MQTT_SERVER_BUSY;
	}
	c->user = ret->person ? span_str(ret->person->name) : (struct span){};
	return 0;
}

static enum verdict admitted(struct mqtt *self, struct io *io, const struct mqtt_connect *c, uint64_t owner)
{
	char array[NAME];
	const struct claim claim = {
		.name = c->client_id.n ? c->client_id : assign_name(io, array),
		.where = io->self,
		.home = port_here(io->svc->port, io),
		.owner = owner,
		.clean = c->clean,
	};
	struct will will = {};
	int r;

	agree(self, io, c);
	if (!answer_fits(self, io, c, claim.name))
		return mqtt_refuse(self, io, MQTT_TOO_LARGE, "packet-too-large");
	r = c->will ? take_will(self, c, &will) : 0;
	if (r == -EACCES) {
		mqtt_denied(io, MQTT_L_WILL, c->client_id, c->will_topic);
		return mqtt_refuse(self, io, MQTT_NOT_AUTHORIZED, "will-denied");
	}
	if (r < 0)
		return mqtt_refuse(self, io, MQTT_SERVER_BUSY, "out-of-memory");
	return enter(self, io, c, &claim, &will);
}

enum verdict mqtt_connect(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	struct login_view who;
	struct mqtt_connect c;
	const char *why = NULL;
	enum verdict v;
	int r = mqtt_parse_connect(f, &c, &why);

	self->version = c.version;
	if (r)
		return mqtt_refuse(self, io, (unsigned)r, why);
	self->max_packet = c.props.max_packet;
	claim_name(self, c.client_id);
	if (self->leaving)
		return mqtt_refuse(self, io, MQTT_USE_ANOTHER, "stopping");
	r = fault_of(io, &c, &why);
	if (r)
		return mqtt_refuse(self, io, (unsigned)r, why);
	if (c.props.has & MQTT_HAS(MQTT_P_AUTH_METHOD) && !self->auth)
		return mqtt_auth_begin(self, io, &c, f);
	if (self->auth)
		c.user = mqtt_auth_user(self); /* and no other */
	io_first(io);
	r = admit(self, io, &c, &who, &why);
	if (r == -EINPROGRESS)
		return V_GO;
	if (r)
		return mqtt_refuse(self, io, (unsigned)r, why);
	v = admitted(self, io, &c, login_owner(who.person));
	people_unref(who.people);
	return v;
}

/* ---- the end ---- */

static void end_now(struct mqtt *self, struct io *io)
{
	struct mqtt_service *service = mqtt_service(io);
	struct mqtt_shard *shard = io->shard;

	if (!self->session->kept)
		atomic_fetch_sub_explicit(&service->heard[port_here(io->svc->port, io)], self->session->n_subs,
					  memory_order_relaxed);
	topics_end(service->topics, shard->heard, self->session);
	mqtt_end_session(io, self->session);
}

/* From now on; or for as long as it would have if nobody had come. */
static void stay(struct mqtt *self, struct io *io)
{
	nsec expires = self->session->expires, will_at = self->session->will_at;
	uint32_t epoch;

	if (!self->refused) {
		expires = io->now + self->session_expiry * SEC;
		will_at = self->session->will.m ? io->now + self->session->will.delay : UINT64_MAX;
		self->session->expiry = self->session_expiry;
		(void)mqtt_kept_left(io, self->session, expires, will_at);
	}
	epoch = topics_leave(mqtt_service(io)->topics, self->session, expires, will_at);
	mqtt_alarm_set(io, &self->alarm, self->session, epoch, will_at < expires ? will_at : expires);
}

/* Its will: now, later (stay()), or never. One that was refused has none: it is whose session that is. */
static void end_will(struct mqtt *self, struct io *io)
{
	struct will *will = &self->session->will;
	struct message *m = will->m;
	bool later = m && !self->goodbye && will->delay && self->session_expiry;

	if (later || self->refused)
		return;
	will->m = NULL;
	if (self->goodbye)
		message_unref(m);
	else
		mqtt_publish_will(io, m);
}

/* Its will, and what becomes of its state. Once; the name is free afterwards. */
void mqtt_leave(struct mqtt *self, struct io *io)
{
	mqtt_enter(self, MQTT_OVER);
	if (self->session) {
		end_will(self, io);
		mqtt_count(io, MQTT_T_CLIENTS, (uint64_t)-1);
		if (self->session_expiry || self->refused)
			stay(self, io);
		else
			end_now(self, io);
		if (self->memo)
			filters_found_done(&self->memo->found);
		mem_free(self->memo);
		self->past = self->session;
		self->had = true;
		self->session = NULL;
	}
	mqtt_alarm_free(io->shard, &self->alarm);
}
