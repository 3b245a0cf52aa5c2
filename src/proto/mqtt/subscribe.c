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

void mqtt_replays_done(struct mqtt *self)
{
	while (self->replays) {
		struct mqtt_replay *r = self->replays;

		self->replays = r->next;
		names_cursor_close(&r->cursor);
		mem_free(r);
	}
}

/* Of a filter that is given up, or asked for again from its beginning. */
static void drop_replay(struct mqtt *self, struct span filter)
{
	for (struct mqtt_replay **at = &self->replays; *at; at = &(*at)->next) {
		struct mqtt_replay *r = *at;

		if (!span_same((struct span){ r->cursor.bytes, r->cursor.filter_n }, filter))
			continue;
		*at = r->next;
		names_cursor_close(&r->cursor);
		mem_free(r);
		return;
	}
}

/* Behind those that are not done yet. */
int mqtt_add_replay(struct mqtt *self, const struct wish *w)
{
	struct mqtt_replay **end = &self->replays, *r = mem_zalloc(sizeof(*r));

	drop_replay(self, w->filter);
	if (!r || names_cursor_open(&r->cursor, w->filter) < 0) {
		mem_free(r);
		return -ENOMEM;
	}
	r->id = w->id;
	r->qos = w->qos;
	while (*end)
		end = &(*end)->next;
	*end = r;
	return 0;
}

/* Some more of the first one, into the queue. */
void mqtt_replay(struct mqtt *self, struct io *io)
{
	struct mqtt_replay *r = self->replays;
	struct message *found[BATCH];
	static const struct subscriber_limits lim = { .queue = UINT32_MAX,
						      .queue_bytes = SIZE_MAX }; /* BATCH at most */
	int n = topics_replay(mqtt_service(io)->topics, &r->cursor, io->now, found, BATCH);

	for (int i = 0; i < n; i++) {
		struct delivery d = { .m = found[i], .id = r->id, .retain = true, .alone = ALONE, .ask = true };

		d.qos = d.m->qos < r->qos ? d.m->qos : r->qos;
		if (self->role == MQTT_OUTWARD && d.m->from == self->session->serial)
			; /* it came from there */
		else if (subscriber_push(self->session, &d, &lim) < 0)
			mqtt_dropped(io);
		message_unref(found[i]);
	}
	io_count(io, MQTT_RETAINED, n > 0 ? (uint64_t)n : 0);
	if (n >= 0 && !r->cursor.over) {
		if (!self->session->queue_n &&
		    !self->session->woken) { /* nothing of these matched: go on in the next turn */
			self->session->woken = true;
			io_post(io, io->self, MQTT_WAKE, NULL, 0);
		}
		return;
	}
	if (n < 0) /* the rest, however much it is */
		mqtt_dropped(io);
	self->replays = r->next;
	names_cursor_close(&r->cursor);
	mem_free(r);
}

/* ---- SUBSCRIBE ---- */

static void count(struct io *io, const struct subscriber *who, uint32_t before)
{
	struct mqtt_service *service = mqtt_service(io);
	_Atomic uint32_t *heard = &service->heard[port_here(io->svc->port, io)];

	if (!who->kept)
		atomic_fetch_add_explicit(heard, who->n_subs - before, memory_order_relaxed);
}

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
		.no_local = sub->no_local || self->role == MQTT_BRIDGE,
		.as_published = sub->as_published || self->role == MQTT_BRIDGE,
	};
	struct mqtt_mark before;
	int r;

	if (topic_split_share(sub->filter, &w.group, &w.filter) < 0 ||
	    topic_check_filter(w.filter, mqtt_options(io)->levels) < 0)
		return MQTT_BAD_FILTER;
	if (self->session->kept_id && mqtt_kept_full(io))
		return MQTT_QUOTA;
	before = mqtt_kept_mark(io);
	if (mqtt_kept_sub(io, self->session, &w, sub->retain_handling) < 0)
		return MQTT_UNSPECIFIED; /* one that was there is as it was */
	r = topics_subscribe(mqtt_service(io)->topics, shard->heard, self->session, &self->access, &w,
			     mqtt_options(io)->subscriptions);
	if (r < 0) {
		mqtt_kept_take_back(io, &before);
		return refusal(r);
	}
	if (topic_is_own(w.filter))
		mqtt_events_begin(io);
	/* [MQTT-3.3.1-9] [-10] [-11], and nothing of it for a group [4.8.2] */
	if (!w.group.n && (sub->retain_handling == 0 || (sub->retain_handling == 1 && r == 0)) &&
	    mqtt_add_replay(self, &w) < 0)
		mqtt_dropped(io);
	return w.qos;
}

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

static void fill_codes(struct mqtt *self, struct io *io, const struct mqtt_list *l, uint8_t *codes)
{
	struct span at = l->list;
	const uint32_t most = mqtt_options(io)->subscriptions;
	struct mqtt_sub sub;
	uint32_t id = l->props.has & MQTT_HAS(MQTT_P_SUB_ID) ? l->props.sub_id : 0, before = self->session->n_subs;

	for (size_t i = 0; mqtt_sub_next(&at, &sub); i++) {
		if (i >= most && self->session->n_subs >= most) /* not looked up one by one: others wait */
			codes[i] = MQTT_QUOTA;
		else
			codes[i] = take(self, io, &sub, id);
		if (self->version != MQTT_5 && codes[i] > MQTT_UNSPECIFIED)
			codes[i] = MQTT_UNSPECIFIED;
	}
	count(io, self->session, before);
}

enum verdict mqtt_subscribe(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	uint8_t usual[CODES], *codes;
	const char *why = NULL;
	enum verdict v;
	struct mqtt_list l, back = { .type = MQTT_SUBACK };
	int r = mqtt_parse_list(f, &l, &why);

	if (r)
		return mqtt_bye(self, io, (unsigned)r, why);
	codes = codes_for(l.n, usual);
	if (!codes)
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	fill_codes(self, io, &l, codes);
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

/* ---- UNSUBSCRIBE ---- */

static uint8_t give_up(struct mqtt *self, struct io *io, struct span text)
{
	struct mqtt_shard *shard = io->shard;
	struct span group, filter;
	struct mqtt_mark before;

	if (topic_split_share(text, &group, &filter) < 0 || topic_check_filter(filter, mqtt_options(io)->levels) < 0)
		return MQTT_BAD_FILTER;
	before = mqtt_kept_mark(io);
	if (mqtt_kept_unsub(io, self->session, group, filter) < 0)
		return MQTT_UNSPECIFIED; /* it is as it was */
	if (!topics_unsubscribe(mqtt_service(io)->topics, shard->heard, self->session, group, filter)) {
		mqtt_kept_take_back(io, &before);
		return MQTT_NO_SUBSCRIPTION;
	}
	if (!group.n)
		drop_replay(self, filter); /* [MQTT-3.10.4-3] */
	return MQTT_OK;
}

enum verdict mqtt_unsubscribe(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	uint8_t usual[CODES], *codes;
	const char *why = NULL;
	struct mqtt_list l, back = { .type = MQTT_UNSUBACK };
	struct span at, text;
	uint32_t before;
	enum verdict v;
	int r = mqtt_parse_list(f, &l, &why);

	if (r)
		return mqtt_bye(self, io, (unsigned)r, why);
	codes = codes_for(l.n, usual);
	if (!codes)
		return mqtt_bye(self, io, MQTT_QUOTA, "out-of-memory");
	at = l.list;
	before = self->session->n_subs;
	for (size_t i = 0; mqtt_unsub_next(&at, &text); i++)
		codes[i] = give_up(self, io, text);
	count(io, self->session, before);
	back.id = l.id;
	back.n = l.n;
	back.list = self->version == MQTT_5 ? (struct span){ codes, l.n } : (struct span){};
	mqtt_props_init(&back.props);
	v = answer(self, io, &back);
	if (codes != usual)
		mem_free(codes);
	return v;
}
