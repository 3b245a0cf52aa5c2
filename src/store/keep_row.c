/*
 * keep_row.c - rows of the file, from bytes. What does not pass its checksum, or has another form, is nothing. See
 * keep_priv.h.
 */
#include <errno.h>

#include "base/crc.h"
#include "store/keep_priv.h"

/* What is left of a value. Past its end there are zeroes, and `bad` says so. */
struct rest {
	struct span s;
	bool bad;
};

static struct span take_bytes(struct rest *r, size_t n)
{
	struct span got = { r->s.p, n };

	if (n > r->s.n) {
		r->bad = true;
		return (struct span){};
	}
	r->s.p += n;
	r->s.n -= n;
	return got;
}

static uint64_t take(struct rest *r, unsigned bytes)
{
	struct span s = take_bytes(r, bytes);

	return s.n ? keep_get(s.p, bytes) : 0;
}

static void take_message(struct rest *r, struct keep_message *m)
{
	uint8_t flags = (uint8_t)take(r, 1);
	size_t topic_n, props_n;

	m->qos = flags & 3;
	m->retain = flags & KEEP_F_RETAIN;
	m->until = take(r, 8);
	m->from = flags & KEEP_F_FROM ? take(r, 8) : 0;
	topic_n = (size_t)take(r, 2);
	props_n = (size_t)take(r, 4);
	m->topic = take_bytes(r, topic_n);
	m->props = take_bytes(r, props_n);
	m->payload = take_bytes(r, r->s.n);
	r->bad |= m->qos > 2;
}

static void take_session(struct rest *r, struct keep_session *s)
{
	uint8_t flags = (uint8_t)take(r, 1);

	s->expiry = (uint32_t)take(r, 4);
	s->until = take(r, 8);
	s->owner = take(r, 8);
	s->name = take_bytes(r, (size_t)take(r, 2));
	s->has_will = flags & KEEP_F_WILL;
	if (!s->has_will)
		return;
	s->will_delay = (uint32_t)take(r, 4);
	s->will_at = take(r, 8);
	take_message(r, &s->will);
}

static void take_subscription(struct rest *r, struct keep_subscription *s)
{
	uint8_t flags;

	s->qos = (uint8_t)take(r, 1);
	s->retain_handling = (uint8_t)take(r, 1);
	flags = (uint8_t)take(r, 1);
	s->no_local = flags & KEEP_F_LOCAL;
	s->as_published = flags & KEEP_F_AS_PUBLISHED;
	s->number = flags >> KEEP_AT_NUMBER & KEEP_NUMBERS;
	s->owed = flags & KEEP_F_OWED;
	s->id = (uint32_t)take(r, 4);
	s->group = take_bytes(r, (size_t)take(r, 2));
	if (s->owed)
		s->owed_at = take_bytes(r, (size_t)take(r, 2));
	s->filter = take_bytes(r, r->s.n);
	r->bad |= s->qos > 2 || s->retain_handling > 2;
}

bool keep_row_waiter(struct span *at, struct keep_raw_waiter *ret)
{
	struct rest r = { .s = *at };
	struct keep_waiter w = { .session = take(&r, 8) };
	uint8_t flags = (uint8_t)take(&r, 1);
	struct span ids;

	if ((flags & KEEP_QOS) == KEEP_GOT)
		w.turn = KEEP_RECEIVED;
	w.qos = w.turn == KEEP_RECEIVED ? 2 : flags & KEEP_QOS;
	w.retain = flags & KEEP_F_RETAIN;
	w.alone = flags >> KEEP_AT_ALONE;
	w.packet = (uint16_t)take(&r, 2);
	w.n_ids = (uint16_t)take(&r, 2);
	ids = take_bytes(&r, 4 * (size_t)w.n_ids);
	if (r.bad)
		return false;
	*at = r.s;
	*ret = (struct keep_raw_waiter){ .w = w, .ids = ids.p };
	return true;
}

/* All of them are read once, so that nobody has to ask again. */
static void take_waiters(struct rest *r, struct keep_row *row)
{
	struct keep_raw_waiter w;
	struct span at;
	uint32_t n = 0;

	row->n_waiters = (uint32_t)take(r, 4);
	row->waiters = take_bytes(r, (size_t)take(r, 4) & ~(size_t)KEEP_PASSED);
	at = row->waiters;
	while (at.n && keep_row_waiter(&at, &w))
		n++;
	r->bad |= at.n || n != row->n_waiters || n == 0;
}

static void take_turn(struct rest *r, struct keep_row *row)
{
	if (row->kind == KEEP_ROW_LEFT) {
		row->left = (uint32_t)take(r, 4);
		return;
	}
	row->turn = (uint8_t)take(r, 1);
	row->packet = (uint16_t)take(r, 2);
	r->bad |= row->turn > KEEP_DONE;
}

static void take_value(struct rest *r, struct keep_row *row)
{
	switch (row->kind) {
	case KEEP_ROW_HEAD:
		row->version = (uint32_t)take(r, 4);
		break;
	case KEEP_SESSION:
		take_session(r, &row->of);
		row->of.id = row->session;
		break;
	case KEEP_SUBSCRIPTION:
		take_subscription(r, &row->subscription);
		row->subscription.session = row->session;
		break;
	case KEEP_RETAINED:
		take_message(r, &row->message);
		break;
	case KEEP_MESSAGE:
		take_waiters(r, row);
		take_message(r, &row->message);
		break;
	case KEEP_ROW_TURN:
	case KEEP_ROW_LEFT:
		take_turn(r, row);
		break;
	default: /* all of it is in the key */
		break;
	}
	r->bad |= r->s.n > 0;
}

static void take_message_key(struct span key, struct keep_row *row)
{
	row->id = keep_get_key(key.p + 1);
	row->session = keep_get_key(key.p + 1 + 8);
	if (row->session != KEEP_SELF)
		row->kind = row->session ? KEEP_ROW_TURN : KEEP_ROW_LEFT;
}

uint32_t keep_sum(struct span key, struct span value)
{
	return crc32c(crc32c(0, key.p, key.n), value.p + KEEP_SUM, value.n - KEEP_SUM);
}

void keep_seal(const uint8_t *key, size_t key_n, uint8_t *value, size_t n)
{
	keep_set(value, keep_sum((struct span){ key, key_n }, (struct span){ value, n }), KEEP_SUM);
}

size_t keep_key_size(uint8_t kind)
{
	static const uint8_t size[] = {
		[KEEP_ROW_HEAD] = 1,
		[KEEP_SESSION] = 1 + 8,
		[KEEP_SUBSCRIPTION] = 1 + 8 + KEEP_DIGEST,
		[KEEP_AWAITED] = 1 + 8 + 2,
		[KEEP_RETAINED] = 1 + KEEP_DIGEST,
		[KEEP_MESSAGE] = 1 + 8 + 8,
	};

	return kind < sizeof(size) ? size[kind] : 0;
}

static bool take_key(struct span key, struct keep_row *row)
{
	if (key.n < 1)
		return false;
	row->kind = key.p[0];
	if (row->kind == KEEP_ROW_GONE) { /* its number must not be used again while this is here */
		row->id = key.n >= 2 + 8 && key.p[1] != KEEP_RETAINED ? keep_get_key(key.p + 2) : 0;
		return key.n > 1;
	}
	if (key.n != keep_key_size(row->kind))
		return false;
	if (row->kind == KEEP_MESSAGE)
		take_message_key(key, row);
	else if (row->kind != KEEP_ROW_HEAD && row->kind != KEEP_RETAINED)
		row->session = keep_get_key(key.p + 1);
	if (row->kind == KEEP_AWAITED)
		row->packet = (uint16_t)(key.p[9] << 8 | key.p[10]);
	return true;
}

int keep_row(struct span key, struct span value, keep_props *props, struct keep_row *ret)
{
	struct rest r = { .s = value };
	uint32_t sum = (uint32_t)take(&r, KEEP_SUM);

	*ret = (struct keep_row){ .value_n = value.n };
	if (r.bad || key.n >= KEEP_KEY || keep_sum(key, value) != sum || !take_key(key, ret))
		return -EBADMSG;
	take_value(&r, ret);
	if (r.bad)
		return -EBADMSG;
	ret->wrong = keep_check(ret, props);
	return ret->wrong.field ? -EINVAL : 0;
}
