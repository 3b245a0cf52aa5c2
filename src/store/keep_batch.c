/*
 * keep_batch.c - from records to bytes, and their checksums, in the thread that has something to say. See
 * keep_priv.h.
 */
#include <errno.h>
#include <openssl/sha.h>

#include "base/crc.h"
#include "base/mem.h"
#include "store/keep_priv.h"

enum { FIRST = 4096 };

struct keep_op *keep_op_at(const struct keep_batch *b, size_t at)
{
	return (struct keep_op *)(void *)(b->p + at);
}

void keep_drop_blobs(struct keep_batch *b)
{
	for (size_t at = KEEP_FIRST; b->large && at < b->n; at += keep_op_at(b, at)->size)
		blob_unref(keep_op_at(b, at)->large);
	b->large = 0;
}

void keep_batch_done(struct keep_batch *b)
{
	keep_drop_blobs(b);
	mem_free(b->p);
	*b = (struct keep_batch){};
}

void keep_cut(struct keep_batch *b)
{
	b->apart = true;
}

/* ---- an operation ---- */

/* Room for n bytes more; and for what stands before the first. */
static int more(struct keep_batch *b, size_t n)
{
	size_t cap = b->cap ? b->cap : FIRST, used = b->n ? b->n : KEEP_FIRST;
	uint8_t *p;

	while (cap - used < n)
		cap *= 2;
	if (cap != b->cap) {
		p = mem_realloc(b->p, cap);
		if (!p)
			return -ENOMEM;
		b->p = p;
		b->cap = cap;
	}
	b->n = used;
	return 0;
}

/* With room for a value of so many bytes behind its checksum. NULL: -ENOMEM, or it would not fit into a record. */
static struct keep_op *add(struct keep_batch *b, enum keep_what what, size_t body_n)
{
	size_t value_n = what == KEEP_OP_DEL_ALL || what == KEEP_OP_OVER ? 0 : KEEP_SUM + body_n;
	size_t size = (sizeof(struct keep_op) + value_n + 7) & ~(size_t)7;
	struct keep_op *op;

	if (size > UINT32_MAX / 2 || more(b, size) < 0)
		return NULL;
	op = keep_op_at(b, b->n);
	*op = (struct keep_op){
		.size = (uint32_t)size, .value_n = (uint32_t)value_n, .what = (uint8_t)what, .apart = b->apart
	};
	b->apart = false;
	b->n += size;
	b->records++;
	return op;
}

static void put(uint8_t **p, uint64_t v, unsigned bytes)
{
	for (; bytes--; v >>= 8)
		*(*p)++ = (uint8_t)v;
}

static void put_bytes(uint8_t **p, struct span s)
{
	if (s.n)
		memcpy(*p, s.p, s.n);
	*p += s.n;
}

static void seal(struct keep_op *op)
{
	uint32_t sum = keep_sum((struct span){ op->key, op->key_n }, (struct span){ op->value, op->value_n });

	if (op->large)
		sum = crc32c(sum, blob_span(op->large).p, blob_span(op->large).n);
	keep_set(op->value, sum, KEEP_SUM);
}

/* ---- keys ---- */

static void key_kind(struct keep_op *op, uint8_t kind)
{
	op->key[op->key_n++] = kind;
}

static void key_id(struct keep_op *op, uint64_t id)
{
	keep_set_key(op->key + op->key_n, id);
	op->key_n = (uint8_t)(op->key_n + 8);
}

/* Names are longer than keys can be. */
static void key_digest(struct keep_op *op, struct span a, struct span b)
{
	uint8_t sum[SHA256_DIGEST_LENGTH], of_parts[2 * SHA256_DIGEST_LENGTH];

	SHA256(a.p, a.n, of_parts);
	SHA256(b.p, b.n, of_parts + SHA256_DIGEST_LENGTH);
	SHA256(of_parts, sizeof(of_parts), sum);
	memcpy(op->key + op->key_n, sum, KEEP_DIGEST);
	op->key_n = (uint8_t)(op->key_n + KEEP_DIGEST);
}

/* ---- messages, as part of a value ---- */

static struct span payload_of(const struct keep_message *m)
{
	return m->large ? blob_span(m->large) : m->payload;
}

static bool by_reference(const struct keep_message *m)
{
	return m->large && blob_span(m->large).n > KEEP_COPY;
}

static size_t message_bytes(const struct keep_message *m)
{
	return (m->from ? 8u : 0u) + 1 + 8 + 2 + 4 + m->topic.n + m->props.n + (by_reference(m) ? 0 : payload_of(m).n);
}

/* It is the last thing in a value: its payload is the rest. */
static void put_message(struct keep_batch *b, struct keep_op *op, uint8_t **p, const struct keep_message *m)
{
	put(p, m->qos | (m->retain ? KEEP_F_RETAIN : 0) | (m->from ? KEEP_F_FROM : 0), 1);
	put(p, m->until, 8);
	if (m->from)
		put(p, m->from, 8);
	put(p, m->topic.n, 2);
	put(p, m->props.n, 4);
	put_bytes(p, m->topic);
	put_bytes(p, m->props);
	if (!by_reference(m)) {
		put_bytes(p, payload_of(m));
		return;
	}
	op->large = blob_ref(m->large);
	b->large += payload_of(m).n;
}

/* ---- records ---- */

int keep_put_head(struct keep_batch *b)
{
	struct keep_op *op = add(b, KEEP_OP_PUT, 4);
	uint8_t *p;

	if (!op)
		return -ENOMEM;
	key_kind(op, KEEP_ROW_HEAD);
	p = op->value + KEEP_SUM;
	put(&p, KEEP_VERSION, 4);
	seal(op);
	return 0;
}

int keep_delete(struct keep_batch *b, struct span prefix)
{
	struct keep_op *op = add(b, KEEP_OP_DEL_ALL, 0);

	if (!op)
		return -ENOMEM;
	memcpy(op->key, prefix.p, prefix.n);
	op->key_n = (uint8_t)prefix.n;
	return 0;
}

int keep_put_session(struct keep_batch *b, const struct keep_session *s)
{
	size_t n = 1 + 4 + 8 + 8 + 2 + s->name.n + (s->has_will ? 4 + 8 + message_bytes(&s->will) : 0);
	struct keep_op *op = add(b, KEEP_OP_PUT, n);
	uint8_t *p;

	if (!op)
		return -ENOMEM;
	key_kind(op, KEEP_SESSION);
	key_id(op, s->id);
	p = op->value + KEEP_SUM;
	put(&p, s->has_will ? KEEP_F_WILL : 0, 1);
	put(&p, s->expiry, 4);
	put(&p, s->until, 8);
	put(&p, s->owner, 8);
	put(&p, s->name.n, 2);
	put_bytes(&p, s->name);
	if (s->has_will) {
		put(&p, s->will_delay, 4);
		put(&p, s->will_at, 8);
		put_message(b, op, &p, &s->will);
	}
	seal(op);
	return 0;
}

int keep_subscribe(struct keep_batch *b, const struct keep_subscription *s)
{
	size_t owed = s->owed ? 2 + s->owed_at.n : 0;
	struct keep_op *op = add(b, KEEP_OP_PUT, 1 + 1 + 1 + 4 + 2 + s->group.n + owed + s->filter.n);
	uint8_t flags = (uint8_t)((s->number & KEEP_NUMBERS) << KEEP_AT_NUMBER);
	uint8_t *p;

	if (!op)
		return -ENOMEM;
	key_kind(op, KEEP_SUBSCRIPTION);
	key_id(op, s->session);
	key_digest(op, s->group, s->filter);
	p = op->value + KEEP_SUM;
	put(&p, s->qos, 1);
	put(&p, s->retain_handling, 1);
	flags |= (s->no_local ? KEEP_F_LOCAL : 0) | (s->as_published ? KEEP_F_AS_PUBLISHED : 0);
	put(&p, flags | (s->owed ? KEEP_F_OWED : 0), 1);
	put(&p, s->id, 4);
	put(&p, s->group.n, 2);
	put_bytes(&p, s->group);
	if (s->owed) {
		put(&p, s->owed_at.n, 2);
		put_bytes(&p, s->owed_at);
	}
	put_bytes(&p, s->filter);
	seal(op);
	return 0;
}

int keep_unsubscribe(struct keep_batch *b, uint64_t session, struct span group, struct span filter)
{
	struct keep_op *op = add(b, KEEP_OP_DEL_ALL, 0);

	if (!op)
		return -ENOMEM;
	key_kind(op, KEEP_SUBSCRIPTION);
	key_id(op, session);
	key_digest(op, group, filter);
	return 0;
}

int keep_end_session(struct keep_batch *b, uint64_t session)
{
	static const uint8_t kinds[] = { KEEP_SESSION, KEEP_SUBSCRIPTION, KEEP_AWAITED };

	if (more(b, 3 * sizeof(struct keep_op)) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < sizeof(kinds); i++) {
		struct keep_op *op = add(b, KEEP_OP_DEL_ALL, 0); /* there is room */

		key_kind(op, kinds[i]);
		key_id(op, session);
	}
	return 0;
}

static int awaited(struct keep_batch *b, enum keep_what what, uint64_t session, uint16_t packet)
{
	struct keep_op *op = add(b, what, 0);

	if (!op)
		return -ENOMEM;
	key_kind(op, KEEP_AWAITED);
	key_id(op, session);
	op->key[op->key_n++] = (uint8_t)(packet >> 8);
	op->key[op->key_n++] = (uint8_t)packet;
	if (what == KEEP_OP_PUT)
		seal(op);
	return 0;
}

int keep_await(struct keep_batch *b, uint64_t session, uint16_t packet)
{
	return awaited(b, KEEP_OP_PUT, session, packet);
}

int keep_release(struct keep_batch *b, uint64_t session, uint16_t packet)
{
	return awaited(b, KEEP_OP_DEL_ALL, session, packet);
}

int keep_retain(struct keep_batch *b, const struct keep_message *m)
{
	bool gone = !payload_of(m).n;
	struct keep_op *op = add(b, gone ? KEEP_OP_DEL_ALL : KEEP_OP_PUT, message_bytes(m));
	uint8_t *p;

	if (!op)
		return -ENOMEM;
	key_kind(op, KEEP_RETAINED);
	key_digest(op, m->topic, (struct span){});
	if (gone)
		return 0;
	p = op->value + KEEP_SUM;
	put_message(b, op, &p, m);
	seal(op);
	return 0;
}

/* ---- messages that wait ---- */

int keep_put_left(struct keep_batch *b, uint64_t id, uint32_t n)
{
	struct keep_op *op = add(b, KEEP_OP_PUT, 4);
	uint8_t *p;

	if (!op)
		return -ENOMEM;
	key_kind(op, KEEP_MESSAGE);
	key_id(op, id);
	key_id(op, 0);
	p = op->value + KEEP_SUM;
	put(&p, n, 4);
	seal(op);
	return 0;
}

static size_t waiter_bytes(const struct keep_waiter *w)
{
	return KEEP_AT_IDS + 4 * (size_t)w->n_ids;
}

static void put_waiter(uint8_t **p, const struct keep_waiter *w)
{
	put(p, w->session, 8);
	put(p, w->qos | (w->retain ? KEEP_F_RETAIN : 0) | (w->alone & KEEP_NUMBERS) << KEEP_AT_ALONE, 1);
	put(p, w->packet, 2);
	put(p, w->n_ids, 2);
	for (uint16_t i = 0; i < w->n_ids; i++)
		put(p, w->ids[i], 4);
}

int keep_put_message(struct keep_batch *b, uint64_t id, const struct keep_message *m, const struct keep_waiter *w,
		     uint32_t n)
{
	const size_t before = b->n;
	const uint32_t records = b->records;
	size_t bytes = 4 + 4;
	struct keep_op *op;
	uint8_t *p;

	for (uint32_t i = 0; i < n; i++)
		bytes += waiter_bytes(&w[i]);
	if (n > 1 && keep_put_left(b, id, n) < 0)
		return -ENOMEM;
	op = add(b, KEEP_OP_PUT, bytes + message_bytes(m));
	if (!op) {
		b->n = before;
		b->records = records;
		return -ENOMEM;
	}
	key_kind(op, KEEP_MESSAGE);
	key_id(op, id);
	key_id(op, KEEP_SELF);
	p = op->value + KEEP_SUM;
	put(&p, n, 4);
	put(&p, bytes - 8, 4);
	for (uint32_t i = 0; i < n; i++)
		put_waiter(&p, &w[i]);
	put_message(b, op, &p, m);
	seal(op);
	b->owed += keep_owed(op->value_n + (op->large ? blob_span(op->large).n : 0), n, n);
	return 0;
}

/* Of one delivery. */
static struct keep_op *add_turn(struct keep_batch *b, enum keep_what what, size_t body_n, uint64_t id, uint64_t session)
{
	struct keep_op *op = add(b, what, body_n);

	if (!op)
		return NULL;
	key_kind(op, KEEP_MESSAGE);
	key_id(op, id);
	key_id(op, session);
	return op;
}

static int turn(struct keep_batch *b, uint64_t id, uint64_t session, uint8_t how, uint16_t packet)
{
	struct keep_op *op = add_turn(b, KEEP_OP_TURN, 3, id, session);
	uint8_t *p;

	if (!op)
		return -ENOMEM;
	p = op->value + KEEP_SUM;
	put(&p, how, 1);
	put(&p, packet, 2);
	seal(op);
	return 0;
}

int keep_sent(struct keep_batch *b, uint64_t id, uint64_t session, uint16_t packet)
{
	return turn(b, id, session, KEEP_WAITS, packet);
}

int keep_received(struct keep_batch *b, uint64_t id, uint64_t session, uint16_t packet)
{
	return turn(b, id, session, KEEP_RECEIVED, packet);
}

int keep_done(struct keep_batch *b, uint64_t id, uint64_t session)
{
	return add_turn(b, KEEP_OP_OVER, 0, id, session) ? 0 : -ENOMEM;
}

int keep_pass(struct keep_batch *b, uint64_t id, uint64_t from, const struct keep_waiter *to)
{
	struct keep_op *op = add_turn(b, KEEP_OP_PASS, waiter_bytes(to), id, from);
	uint8_t *p;

	if (!op)
		return -ENOMEM;
	p = op->value + KEEP_SUM;
	put_waiter(&p, to);
	return 0;
}
