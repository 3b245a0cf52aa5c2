/* subscribe.c - what a client wants to hear, and what is retained of that. See mqtt_priv.h. */
#include <errno.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"
#include "store/topic.h"

enum {
	CODES = 256, /* answers: nearly always enough */
	BATCH = 32,  /* retained messages that are looked up at once */
};

/* ---- retained messages ---- */

/* Behind those that are not done yet. */
int mqtt_add_replay(struct mqtt *self, const struct wish *w, bool kept)
{
	struct replay *r;

	if (replay_add(&self->session->replays, w->filter, &r) < 0)
		return -ENOMEM;
	r->id = w->id;
	r->qos = w->qos;
	r->kept = kept && self->session->kept_id && w->qos;
	return 0;
}

/* What is retained has a record of its own: another one is made for this delivery. NULL: it is in memory alone. */
static struct message *copy_for_disk(struct mqtt *self, struct io *io, struct replay *r, struct delivery *d)
{
	struct message *m = mqtt_kept_promise(io, d->m) ? message_copy(d->m) : NULL;

	if (m && mqtt_kept_wanted(io, m, self->session, true)) {
		d->m = m;
		d->packet = subscriber_next_id(self->session);
	}
	r->gap |= !m;
	return m;
}

static void give(struct mqtt *self, struct io *io, struct replay *r, struct message *m)
{
	static const struct subscriber_limits lim = { .queue = UINT32_MAX,
						      .queue_bytes = SIZE_MAX }; /* BATCH at most */
	struct delivery d = { .m = m, .id = r->id, .retain = true, .alone = ALONE, .ask = true };
	struct message *copy;
	int err = 0;

	d.qos = m->qos < r->qos ? m->qos : r->qos;
	copy = r->kept && d.qos ? copy_for_disk(self, io, r, &d) : NULL;
	if (subscriber_push(self->session, &d, &lim) < 0) {
		mqtt_dropped(io);
		r->gap = true;
	} else if (d.packet) {
		err = mqtt_kept_add(io, self->session, &d);
	}
	if (d.packet && mqtt_kept_message(io, d.m, err) < 0)
		r->gap = true;
	message_unref(copy);
}

/* What came from the other side of a bridge is not, nor what it may not have: that does not go to the disk first. */
static bool is_for(const struct mqtt *self, const struct message *m)
{
	return !(self->role == MQTT_OUTWARD && m->from == self->session->serial) &&
	       topics_may_have(&self->access, m, true);
}

/* Some more of the first one, into the queue. */
void mqtt_replay(struct mqtt *self, struct io *io)
{
	struct subscriber *s = self->session;
	struct replay *r = s->replays;
	struct message *found[BATCH];
	int n = topics_replay(mqtt_service(io)->topics, &r->cursor, io->now, found, BATCH);
	unsigned given = 0;

	for (int i = 0; i < n; i++) {
		if (is_for(self, found[i])) {
			give(self, io, r, found[i]);
			given++;
		}
		message_unref(found[i]);
	}
	io_count(io, MQTT_RETAINED, given);
	if (r->kept && n >= 0 && !r->gap && (r->cursor.over || given))
		mqtt_kept_replay(io, s, r);
	if (n >= 0 && !r->cursor.over)
		return;
	if (n < 0) /* the rest, however much it is */
		mqtt_dropped(io);
	replay_drop(&s->replays, replay_filter(r));
}

/* ---- SUBSCRIBE ---- */

static uint8_t refusal(int r)
{
	return r == -EACCES ? MQTT_NOT_AUTHORIZED : r == -ENOBUFS ? MQTT_QUOTA : MQTT_UNSPECIFIED;
}

/* The reason code of one filter. */
static uint8_t take(struct mqtt *self, struct io *io, const struct mqtt_sub *sub, uint32_t id)
{
	struct mqtt_shard *shard = io->shard;
	struct wish w = {
		.id = id,
		.qos = sub->qos,
		.retain_handling = sub->retain_handling,
		.as_published = sub->as_published || self->role == MQTT_BRIDGE,
	};
	bool full = self->session->kept_id && mqtt_kept_full(io);
	struct mqtt_mark before;
	int r;

	if (topic_split_share(sub->filter, &w.group, &w.filter) < 0 ||
	    topic_check_filter(w.filter, mqtt_options(io)->levels) < 0)
		return MQTT_BAD_FILTER;
	w.no_local = sub->no_local ||
		     (self->role == MQTT_BRIDGE && !w.group.n); /* a group's turn must not fall to who drops it */
	if (full &&
	    !mqtt_kept_is_so(io, self->session, &w)) /* who comes back for what waits says again what is there */
		return MQTT_QUOTA;
	before = mqtt_kept_mark(io);
	r = mqtt_kept_room(io, self->session, &w);
	if (r == 0)
		r = topics_subscribe(mqtt_service(io)->topics, shard->heard, self->session, &self->access, &w,
				     mqtt_options(io)->subscriptions);
	mqtt_kept_take_back(io, &before);
	if (r == -EACCES)
		mqtt_denied(io, MQTT_L_SUBSCRIBE, subscriber_name(self->session), sub->filter);
	if (r < 0) /* one that was there is as it was */
		return refusal(r);
	/* [MQTT-3.3.1-9] [-10] [-11], and nothing of it for a group [4.8.2] */
	if (!w.group.n && (sub->retain_handling == 0 || (sub->retain_handling == 1 && r == 0)) &&
	    mqtt_add_replay(self, &w, !full) < 0)
		mqtt_dropped(io);
	if (!full && mqtt_kept_sub(io, self->session, w.group, w.filter) < 0)
		return MQTT_UNSPECIFIED;
	if (topic_is_own(w.filter))
		mqtt_events_begin(io);
	return w.qos;
}

static void take_all(struct mqtt *self, struct io *io, const struct mqtt_list *l, uint8_t *codes)
{
	struct span at = l->list;
	const uint32_t most = mqtt_options(io)->subscriptions;
	struct mqtt_sub sub;
	uint32_t id = l->props.has & MQTT_HAS(MQTT_P_SUB_ID) ? l->props.sub_id : 0;
	uint32_t looked_up = 0; /* what stands there twice, too: others wait */

	for (size_t i = 0; mqtt_sub_next(&at, &sub); i++) {
		codes[i] = looked_up < most ? take(self, io, &sub, id) : MQTT_QUOTA;
		mqtt_kept_cut(io);
		looked_up += codes[i] != MQTT_BAD_FILTER;
		if (self->version != MQTT_5 && codes[i] > MQTT_UNSPECIFIED)
			codes[i] = MQTT_UNSPECIFIED;
	}
}

/* ---- UNSUBSCRIBE ---- */

static uint8_t give_up(struct mqtt *self, struct io *io, struct span text)
{
	struct topics *t = mqtt_service(io)->topics;
	struct mqtt_shard *shard = io->shard;
	struct span group, filter;
	struct sub *sub;

	/* `levels` may have been larger when it subscribed */
	if (topic_split_share(text, &group, &filter) < 0 || topic_check_filter(filter, TOPIC_LEVELS_MAX) < 0)
		return MQTT_BAD_FILTER;
	sub = topics_subscription(t, shard->heard, self->session, group, filter);
	if (!sub)
		return MQTT_NO_SUBSCRIPTION;
	if (mqtt_kept_unsub(io, self->session, group, filter) < 0)
		return MQTT_UNSPECIFIED; /* it is as it was */
	topics_unsubscribe(t, shard->heard, sub);
	if (!group.n)
		replay_drop(&self->session->replays, filter); /* [MQTT-3.10.4-3] */
	return MQTT_OK;
}

static void give_up_all(struct mqtt *self, struct io *io, const struct mqtt_list *l, uint8_t *codes)
{
	struct span at = l->list, text;

	for (size_t i = 0; mqtt_unsub_next(&at, &text); i++)
		codes[i] = give_up(self, io, text);
}

/* ---- both ---- */

/* The answers go into an array of the caller, or a larger one that is to be freed. */
static enum verdict answer(struct mqtt *self, struct io *io, const struct mqtt_list *l)
{
	size_t size = l->n + 16;
	uint8_t usual[CODES + 16], *array = size <= sizeof(usual) ? usual : mem_alloc(size);
	struct mqtt_writer w;
	int r;

	if (!array)
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	mqtt_writer_init(&w, self->version, array, size);
	w.max_packet = self->max_packet;
	r = mqtt_put_list(&w, l);
	if (r == 0)
		mqtt_out(self, io, &w);
	if (array != usual)
		mem_free(array);
	return r == 0 ? V_GO : mqtt_bye(self, io, MQTT_TOO_LARGE, "packet-too-large");
}

static uint8_t *codes_for(size_t n, uint8_t *usual)
{
	return n <= CODES ? usual : mem_alloc(n);
}

static void count(struct io *io, const struct subscriber *who, uint32_t before)
{
	struct mqtt_service *service = mqtt_service(io);
	_Atomic uint32_t *heard = &service->heard[port_here(io->svc->port, io)];

	if (!who->kept)
		atomic_fetch_add_explicit(heard, who->n_subs - before, memory_order_relaxed);
}

enum verdict mqtt_subscribe(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	const bool more = f->type == MQTT_SUBSCRIBE;
	const uint32_t before = self->session->n_subs;
	struct mqtt_list l, back = { .type = more ? MQTT_SUBACK : MQTT_UNSUBACK };
	uint8_t usual[CODES], *codes;
	const char *why = NULL;
	enum verdict v;
	int r = mqtt_parse_list(f, &l, &why);

	if (r)
		return mqtt_bye(self, io, (unsigned)r, why);
	if (!more && l.n > (size_t)before + mqtt_options(io)->subscriptions) /* an answer for each, and others wait */
		return mqtt_bye(self, io, MQTT_QUOTA, "filters-many");
	codes = codes_for(l.n, usual);
	if (!codes)
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	(more ? take_all : give_up_all)(self, io, &l, codes);
	count(io, self->session, before);
	back.id = l.id;
	back.n = l.n;
	back.list = (struct span){ codes, l.n };
	mqtt_props_init(&back.props);
	v = answer(self, io, &back);
	if (codes != usual)
		mem_free(codes);
	if (v == V_GO)
		mqtt_pump(self, io); /* what is retained */
	return v;
}
