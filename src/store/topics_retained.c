/* topics_retained.c - the last message of each topic that asked for it. See topics.h. */
#include <errno.h>

#include "base/mem.h"
#include "store/topics_priv.h"

enum { STEP = 256 }; /* names looked at in one hold of the lock */

struct retained {
	struct name name;
	struct message *m;
	struct heap_node ends; /* when it expires */
};

/* Said anew by whoever has said it, so it is not on disk. */
static bool is_state(const struct message *m)
{
	return span_starts(message_topic(m), "$SYS/");
}

/* What the server tells of itself, so it is not limited; there others say something too, and may say much: bridges to us. */
static bool is_own(const struct message *m)
{
	return is_state(m) && !span_starts(message_topic(m), "$SYS/broker/connection/");
}

static void forget(struct topics *t, struct retained *r)
{
	t->retained_own -= is_own(r->m);
	names_del(t->retained, &r->name);
	heap_del(&t->retained_ends, &r->ends);
	t->retained_bytes -= message_size(r->m);
	message_unref(r->m);
	mem_free(r);
}

static int add_new(struct topics *t, struct message *m, const struct topics_room *room, struct retained **ret)
{
	struct retained *r;
	int err;

	if (!is_own(m) && (names_count(t->retained) - t->retained_own >= room->n ||
			   t->retained_bytes + message_size(m) > room->bytes))
		return -ENOBUFS;
	r = mem_zalloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	err = names_add(t->retained, &r->name, message_topic(m));
	if (err < 0) {
		mem_free(r);
		return err;
	}
	r->m = message_ref(m);
	t->retained_bytes += message_size(m);
	t->retained_own += is_own(m);
	*ret = r;
	return 0;
}

static int replace(struct topics *t, struct retained *r, struct message *m, const struct topics_room *room)
{
	struct message *old = r->m;
	size_t bytes = t->retained_bytes - message_size(old) + message_size(m);

	if (bytes > room->bytes && bytes > t->retained_bytes)
		return -ENOBUFS;
	t->retained_bytes = bytes;
	r->m = message_ref(m);
	names_reborrow(&r->name, message_topic(m).p);
	message_unref(old);
	return 0;
}

/* 1: it is the first to expire. When memory is out it goes when somebody asks for it. */
static int set_end(struct topics *t, struct retained *r)
{
	uint64_t first;

	if (!r->m->expires) {
		heap_del(&t->retained_ends, &r->ends);
		return 0;
	}
	return heap_set(&t->retained_ends, &r->ends, r->m->expires) == 0 &&
	       heap_min(&t->retained_ends, &first) == &r->ends;
}

static int take(struct topics *t, struct message *m, const struct topics_room *room)
{
	struct name *name = names_find(t->retained, message_topic(m));
	struct retained *r = name ? list_entry(name, struct retained, name) : NULL;
	int err;

	if (!m->payload_n) {
		if (r)
			forget(t, r);
		return 0;
	}
	err = r ? replace(t, r, m, room) : add_new(t, m, room, &r);
	return err < 0 ? err : set_end(t, r);
}

int topics_retain(struct topics *t, struct message *m, const struct topics_room *room)
{
	int r, err = 0;

	pthread_mutex_lock(&t->retained_lock);
	r = take(t, m, room);
	if (r >= 0 && t->disk.keep && !is_state(m)) {
		struct keep_message record;

		topics_record(t, m, &record);
		record.from = m->from;
		err = keep_retain(&t->retained_batch, &record);
	}
	pthread_mutex_unlock(&t->retained_lock);
	return err < 0 ? err : r;
}

/* On disk too; when memory is out it is found there once more after the next start. */
static void expire(struct topics *t, struct retained *r)
{
	const struct keep_message record = { .topic = name_text(&r->name) };

	if (t->disk.keep)
		(void)keep_retain(&t->retained_batch, &record);
	forget(t, r);
}

uint64_t topics_sweep(struct topics *t, uint64_t now, unsigned *ret_n)
{
	uint64_t at = UINT64_MAX;
	struct heap_node *node;

	*ret_n = 0;
	pthread_mutex_lock(&t->retained_lock);
	while ((node = heap_min(&t->retained_ends, &at)) && at <= now && *ret_n < STEP) {
		expire(t, list_entry(node, struct retained, ends));
		++*ret_n;
	}
	pthread_mutex_unlock(&t->retained_lock);
	return node ? at : UINT64_MAX;
}

uint64_t topics_retained_submit(struct topics *t)
{
	uint64_t position = 0;

	pthread_mutex_lock(&t->retained_lock);
	if (t->retained_batch.n)
		position = keep_submit(t->disk.keep, &t->retained_batch);
	if (position)
		t->retained_position = position;
	position = t->retained_position;
	pthread_mutex_unlock(&t->retained_lock);
	return position;
}

int topics_replay(struct topics *t, struct names_cursor *c, uint64_t now, struct message **ret, uint32_t max)
{
	struct name *found[STEP];
	int n, kept = 0;

	pthread_mutex_lock(&t->retained_lock);
	n = names_step(t->retained, c, found, max < STEP ? max : STEP);
	for (int i = 0; i < n; i++) {
		struct retained *r = list_entry(found[i], struct retained, name);

		if (r->m->expires && r->m->expires <= now)
			expire(t, r);
		else
			ret[kept++] = message_ref(r->m);
	}
	pthread_mutex_unlock(&t->retained_lock);
	return n < 0 ? n : kept;
}

void topics_retained_done(struct topics *t)
{
	struct name *n;

	while ((n = names_any(t->retained)))
		forget(t, list_entry(n, struct retained, name));
	heap_done(&t->retained_ends);
}
