/*
 * store_json.c - see store_json.h. Numbers that name something (sessions, messages, owners) have 64 bits and are strings: jq and JavaScript
 * round whatever is past 2^53. They are read as numbers too, as they were written once. Times are in milliseconds, and never get there.
 */
#include "main/store_json.h"

#include <errno.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "drive/jtree.h"
#include "proto/mqtt/props.h"

enum { NAME = 1000 };

/* ---- bytes ---- */

static json_t *hex_of(struct span s)
{
	static const char digits[] = "0123456789abcdef";
	char *text = mem_alloc(2 * s.n + 1);
	json_t *j;

	if (!text)
		return NULL;
	for (size_t i = 0; i < s.n; i++) {
		text[2 * i] = digits[s.p[i] >> 4];
		text[2 * i + 1] = digits[s.p[i] & 15];
	}
	j = json_pack("{s:s%}", "hex", text, 2 * s.n);
	mem_free(text);
	return j;
}

static json_t *bytes_of(struct span s)
{
	return utf8_valid(s) ? json_stringn(s.n ? (const char *)s.p : "", s.n) : hex_of(s);
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What was read from one object; the bytes of hex numbers live here. */
struct reading {
	uint8_t *owned[8];
	size_t n;
	bool no_memory;
};

static void reading_done(struct reading *r)
{
	while (r->n)
		mem_free(r->owned[--r->n]);
}

static bool unhex(struct reading *r, const char *text, size_t n, struct span *ret)
{
	uint8_t *p = n % 2 || r->n == 8 ? NULL : mem_alloc(n / 2 + 1);

	if (!p) {
		r->no_memory = n % 2 == 0;
		return false;
	}
	r->owned[r->n++] = p;
	for (size_t i = 0; i < n / 2; i++) {
		int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		p[i] = (uint8_t)(high << 4 | low);
	}
	*ret = (struct span){ p, n / 2 };
	return true;
}

static bool get_bytes(struct reading *r, const json_t *j, const char *key, size_t max, struct span *ret)
{
	const json_t *v = json_object_get(j, key), *hex = json_object_get(v, "hex");

	if (json_is_string(v))
		*ret = (struct span){ (const uint8_t *)json_string_value(v), json_string_length(v) };
	else if (!json_is_string(hex) || !unhex(r, json_string_value(hex), json_string_length(hex), ret))
		return false;
	return ret->n <= max;
}

static bool get_uint(const json_t *j, const char *key, uint64_t max, uint64_t *ret)
{
	const json_t *v = json_object_get(j, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
		return false;
	*ret = (uint64_t)json_integer_value(v);
	return true;
}

/* ---- numbers that name something ---- */

static json_t *name_of(uint64_t v)
{
	return json_sprintf("%llu", (unsigned long long)v);
}

static bool get_name(const json_t *j, const char *key, uint64_t *ret)
{
	const json_t *v = json_object_get(j, key);
	uint64_t n;

	if (!json_is_string(v))
		return get_uint(j, key, INT64_MAX, ret);
	if (strlen(json_string_value(v)) != json_string_length(v) || str_to_u64(json_string_value(v), &n) < 0 ||
	    n > INT64_MAX)
		return false;
	*ret = n;
	return true;
}

/* ---- what may be missing ---- */

/* 0 when it is missing. */
static bool get_uint_or_none(const json_t *j, const char *key, uint64_t max, uint64_t *ret)
{
	*ret = 0;
	return !json_object_get(j, key) || get_uint(j, key, max, ret);
}

static bool get_bool(const json_t *j, const char *key, bool *ret)
{
	const json_t *v = json_object_get(j, key);

	*ret = json_is_true(v);
	return json_is_boolean(v);
}

/* ---- messages ---- */

static json_t *message_to(const struct keep_message *m)
{
	json_t *j = json_pack("{s:o,s:o,s:o,s:i,s:b,s:I}", "topic", bytes_of(m->topic), "payload", bytes_of(m->payload),
			      "properties", bytes_of(m->props), "qos", m->qos, "retain", m->retain, "until",
			      (json_int_t)m->until);

	if (m->from)
		jtree_set(&j, "from", name_of(m->from));
	return j;
}

static bool message_from(struct reading *r, const json_t *j, struct keep_message *m)
{
	uint64_t qos;

	*m = (struct keep_message){};
	if (!get_bytes(r, j, "topic", UINT16_MAX, &m->topic) || !get_bytes(r, j, "payload", 256 << 20, &m->payload) ||
	    !get_bytes(r, j, "properties", 256 << 20, &m->props) || !get_uint(j, "qos", 2, &qos) ||
	    !get_bool(j, "retain", &m->retain) || !get_uint(j, "until", INT64_MAX, &m->until) ||
	    (json_object_get(j, "from") && !get_name(j, "from", &m->from)))
		return false;
	m->qos = (uint8_t)qos;
	return true;
}

static json_t *waiters_to(const struct keep_record *r)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < r->n_waiters; i++) {
		const struct keep_waiter *w = &r->waiters[i];
		json_t *ids = json_array(), *one;

		for (unsigned k = 0; k < w->n_ids; k++)
			jtree_append(&ids, json_integer(w->ids[k]));
		one = json_pack("{s:o,s:i,s:b,s:i,s:b,s:o}", "session", name_of(w->session), "qos", w->qos, "retain",
				w->retain, "packet", w->packet, "received", w->turn == KEEP_RECEIVED, "ids", ids);
		if (w->alone)
			jtree_set(&one, "alone", json_integer(w->alone));
		jtree_append(&all, one);
	}
	return all;
}

/* What is no number, or too large a one, is 0, which no identifier can be. */
static uint32_t id_from(const json_t *v)
{
	return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < UINT32_MAX
		       ? (uint32_t)json_integer_value(v)
		       : 0;
}

/* `ids` has room for all of them, in a row. */
static bool waiter_from(const json_t *j, uint32_t **ids, struct keep_waiter *w)
{
	const json_t *list = json_object_get(j, "ids");
	uint64_t qos, packet, alone;
	bool received;

	if (!get_name(j, "session", &w->session) || !get_uint(j, "qos", 2, &qos) ||
	    !get_uint(j, "packet", UINT16_MAX, &packet) || !get_bool(j, "retain", &w->retain) ||
	    !get_bool(j, "received", &received) || !get_uint_or_none(j, "alone", 31, &alone) || !json_is_array(list) ||
	    json_array_size(list) > UINT16_MAX)
		return false;
	w->alone = (uint8_t)alone;
	w->qos = (uint8_t)qos;
	w->packet = (uint16_t)packet;
	w->turn = received ? KEEP_RECEIVED : KEEP_WAITS;
	w->ids = *ids;
	w->n_ids = (uint16_t)json_array_size(list);
	for (size_t i = 0; i < w->n_ids; i++)
		*(*ids)++ = id_from(json_array_get(list, i));
	return true;
}

static size_t count_ids(const json_t *list)
{
	size_t n = 0, i;
	const json_t *v;

	json_array_foreach((json_t *)list, i, v) n += json_array_size(json_object_get(v, "ids"));
	return n;
}

static int put_message(struct keep_batch *b, uint64_t id, const struct keep_message *m, const struct keep_waiter *w,
		       uint32_t n)
{
	int r = keep_put_message(b, id, m, w, n);

	for (uint32_t i = 0; i < n && r == 0; i++)
		if (w[i].turn == KEEP_RECEIVED)
			r = keep_received(b, id, w[i].session, w[i].packet);
	return r;
}

static int message_of(const json_t *j, uint64_t id, const struct keep_message *m, struct keep_batch *b)
{
	const json_t *list = json_object_get(j, "waiters"), *v;
	size_t n = json_array_size(list), i;
	struct keep_waiter *w = mem_zalloc(n * sizeof(*w) + 1);
	uint32_t *ids = mem_alloc((count_ids(list) + 1) * sizeof(*ids)), *at = ids;
	int r = !w || !ids ? -ENOMEM : n == 0 || n > UINT32_MAX ? -EINVAL : 0;

	json_array_foreach((json_t *)list, i, v) if (r == 0 && !waiter_from(v, &at, &w[i])) r = -EINVAL;
	if (r == 0)
		r = put_message(b, id, m, w, (uint32_t)n);
	mem_free(w);
	mem_free(ids);
	return r;
}

/* ---- records ---- */

static json_t *session_to(const struct keep_session *s)
{
	json_t *j = json_pack("{s:s,s:o,s:o,s:o,s:I,s:I}", "kind", "session", "id", name_of(s->id), "name",
			      bytes_of(s->name), "owner", name_of(s->owner), "expiry", (json_int_t)s->expiry, "until",
			      (json_int_t)s->until);

	if (s->has_will)
		jtree_set(&j, "will",
			  json_pack("{s:I,s:I,s:o}", "delay", (json_int_t)s->will_delay, "at", (json_int_t)s->will_at,
				    "message", message_to(&s->will)));
	return j;
}

static json_t *subscription_to(const struct keep_subscription *s)
{
	json_t *j = json_pack("{s:s,s:o,s:o,s:o,s:I,s:i,s:i,s:b,s:b}", "kind", "subscription", "session",
			      name_of(s->session), "group", bytes_of(s->group), "filter", bytes_of(s->filter), "id",
			      (json_int_t)s->id, "qos", s->qos, "retain_handling", s->retain_handling, "no_local",
			      s->no_local, "as_published", s->as_published);

	if (s->number)
		jtree_set(&j, "number", json_integer(s->number));
	if (s->owed)
		jtree_set(&j, "owed_at", bytes_of(s->owed_at));
	return j;
}

static void add_name(struct buf *b, const struct keep_record *r)
{
	switch (r->kind) {
	case KEEP_SESSION:
		buf_addf(b, "session %llu ", (unsigned long long)r->id);
		buf_add_excerpt(b, r->session.name);
		break;
	case KEEP_SUBSCRIPTION:
		buf_addf(b, "subscription of session %llu to ", (unsigned long long)r->id);
		buf_add_excerpt(b, r->subscription.filter);
		break;
	case KEEP_RETAINED:
		buf_adds(b, "retained ");
		buf_add_excerpt(b, r->message.topic);
		break;
	default:
		buf_addf(b, r->kind == KEEP_AWAITED ? "awaited of session %llu" : "message %llu",
			 (unsigned long long)r->id);
		break;
	}
}

json_t *store_wrong_to_json(const struct keep_record *r)
{
	BUF_AUTO struct buf b = BUF_INIT(NAME);

	add_name(&b, r);
	return json_pack("{s:s%,s:s,s:s}", "record", buf_str(&b), b.n, "field", r->wrong.field, "why", r->wrong.why);
}

json_t *store_to_json(const struct keep_record *r)
{
	switch (r->kind) {
	case KEEP_SESSION:
		return session_to(&r->session);
	case KEEP_SUBSCRIPTION:
		return subscription_to(&r->subscription);
	case KEEP_AWAITED:
		return json_pack("{s:s,s:o,s:i}", "kind", "awaited", "session", name_of(r->id), "packet", r->packet);
	case KEEP_RETAINED:
		return json_pack("{s:s,s:o}", "kind", "retained", "message", message_to(&r->message));
	default:
		return json_pack("{s:s,s:o,s:o,s:o}", "kind", "message", "id", name_of(r->id), "message",
				 message_to(&r->message), "waiters", waiters_to(r));
	}
}

static int session_from(struct reading *r, const json_t *j, struct keep_batch *b)
{
	const json_t *will = json_object_get(j, "will");
	struct keep_session s = { .has_will = will };
	uint64_t expiry, delay = 0;

	if (!get_name(j, "id", &s.id) || !get_bytes(r, j, "name", UINT16_MAX, &s.name) ||
	    !get_name(j, "owner", &s.owner) || !get_uint(j, "expiry", UINT32_MAX, &expiry) ||
	    !get_uint(j, "until", INT64_MAX, &s.until))
		return -EINVAL;
	if (will && (!get_uint(will, "delay", UINT32_MAX, &delay) || !get_uint(will, "at", INT64_MAX, &s.will_at) ||
		     !message_from(r, json_object_get(will, "message"), &s.will)))
		return -EINVAL;
	s.expiry = (uint32_t)expiry;
	s.will_delay = (uint32_t)delay;
	return keep_put_session(b, &s);
}

static int subscription_from(struct reading *r, const json_t *j, struct keep_batch *b)
{
	struct keep_subscription s = { .owed = json_object_get(j, "owed_at") };
	uint64_t id, qos, handling, number;

	if (!get_name(j, "session", &s.session) || !get_bytes(r, j, "group", UINT16_MAX, &s.group) ||
	    !get_bytes(r, j, "filter", UINT16_MAX, &s.filter) || !get_uint(j, "id", UINT32_MAX, &id) ||
	    !get_uint(j, "qos", 2, &qos) || !get_uint(j, "retain_handling", 2, &handling) ||
	    !get_bool(j, "no_local", &s.no_local) || !get_bool(j, "as_published", &s.as_published) ||
	    !get_uint_or_none(j, "number", 30, &number) ||
	    (s.owed && !get_bytes(r, j, "owed_at", UINT16_MAX, &s.owed_at)))
		return -EINVAL;
	s.number = (uint8_t)number;
	s.id = (uint32_t)id;
	s.qos = (uint8_t)qos;
	s.retain_handling = (uint8_t)handling;
	return keep_subscribe(b, &s);
}

static int record_from(struct reading *r, const char *kind, const json_t *j, struct keep_batch *b)
{
	struct keep_message m;
	uint64_t id, packet;

	if (strcmp(kind, "session") == 0)
		return session_from(r, j, b);
	if (strcmp(kind, "subscription") == 0)
		return subscription_from(r, j, b);
	if (strcmp(kind, "awaited") == 0)
		return get_name(j, "session", &id) && get_uint(j, "packet", UINT16_MAX, &packet)
			       ? keep_await(b, id, (uint16_t)packet)
			       : -EINVAL;
	if (!message_from(r, json_object_get(j, "message"), &m))
		return -EINVAL;
	if (strcmp(kind, "retained") == 0)
		return keep_retain(b, &m);
	if (strcmp(kind, "message") != 0 || !get_name(j, "id", &id))
		return -EINVAL;
	return message_of(j, id, &m, b);
}

int store_of_json(const json_t *j, struct keep_batch *b, struct buf *why)
{
	const char *kind = json_string_value(json_object_get(j, "kind"));
	struct reading reading = {};
	struct keep_wrong wrong = {};
	size_t before = b->n;
	int r = record_from(&reading, kind ? kind : "", j, b);

	if (reading.no_memory)
		r = -ENOMEM;
	reading_done(&reading);
	if (r == 0)
		wrong = keep_batch_wrong(b, before, mqtt_props_wrong);
	if (wrong.field)
		buf_addf(why, "this cannot be, %s: %s", wrong.field, wrong.why);
	else if (r == -EINVAL)
		buf_addf(why, "it is no record of `guichet store dump`, or one of its values is missing or wrong");
	return wrong.field ? -EINVAL : r;
}
