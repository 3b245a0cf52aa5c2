/* topics_retained.c - the last message of each topic that asked for it. See topics.h. */
#include <errno.h>

#include "base/mem.h"
#include "store/topics_priv.h"

enum { STEP = 256 }; /* names looked at in one hold of the lock */

struct retained {
	struct name name;
	struct message *m;
};

static void forget(struct topics *t, struct retained *r)
{
	names_del(t->retained, &r->name);
	message_unref(r->m);
	mem_free(r);
}

/* On disk it goes with what is retained next; else it would come back at each start, to go again. */
static void expire(struct topics *t, struct retained *r)
{
	if (t->disk.keep)
		(void)keep_retain(&t->retained_batch, &(struct keep_message){ .topic = message_topic(r->m) });
	forget(t, r);
}

static int keep(struct topics *t, struct message *m, size_t max)
{
	struct retained *r;
	int err;

	if (names_count(t->retained) >= max)
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
	return 0;
}

static void replace(struct retained *r, struct message *m)
{
	struct message *old = r->m;

	r->m = message_ref(m);
	names_reborrow(&r->name, message_topic(m).p);
	message_unref(old);
}

int topics_retain(struct topics *t, struct message *m, size_t max)
{
	struct name *found;
	int r = 0;

	pthread_mutex_lock(&t->retained_lock);
	found = names_find(t->retained, message_topic(m));
	if (found && m->payload_n)
		replace(list_entry(found, struct retained, name), m);
	else if (found)
		forget(t, list_entry(found, struct retained, name));
	else if (m->payload_n)
		r = keep(t, m, max);
	if (r == 0 && t->disk.keep && !span_starts(message_topic(m), "$SYS/")) {
		struct keep_message record;

		topics_record(t, m, &record);
		r = keep_retain(&t->retained_batch, &record);
	}
	pthread_mutex_unlock(&t->retained_lock);
	return r;
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
}
