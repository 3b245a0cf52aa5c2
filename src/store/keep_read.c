/*
 * keep_read.c - what the owner is given at the start: rows put together to records, and a note of what nobody needs
 * any more. The file was checked; what is damaged all the same is passed over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/keep_priv.h"

static int room_for(void **p, size_t *cap, size_t n, size_t size)
{
	size_t more = *cap ? *cap : 16;
	void *v;

	if (n <= *cap)
		return 0;
	while (more < n)
		more *= 2;
	v = mem_realloc(*p, more * size);
	if (!v)
		return -ENOMEM;
	*p = v;
	*cap = more;
	return 0;
}

/* The first row says of which version all others are, at most: an older guichet must not read what we write. */
static int read_head(struct keep *k)
{
	struct span key, value;
	struct keep_row row = {};
	int r;

	walk_rows(&k->walk);
	r = walk_next(&k->walk, &key, &value);
	if (r < 0)
		return r;
	if (r == 1 && keep_row(key, value, NULL, &row) == 0 && row.kind == KEEP_ROW_HEAD) {
		k->found.records++;
		if (row.version < KEEP_VERSION)
			return keep_put_head(&k->mend);
		return row.version > KEEP_VERSION ? -EPROTONOSUPPORT : 0;
	}
	walk_fault(&k->walk, "its head is missing", 0);
	k->walk.before_n = 0;
	memset(k->walk.seen, 0, k->walk.last / 8 + 1); /* from the start: it may have been something else */
	walk_rows(&k->walk);
	return 0;
}

int keep_read_open(struct keep *k)
{
	int r = walk_open(k->fd, &k->walk);

	(void)!posix_fadvise(k->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	k->reading = r == 0;
	return r == -EBADMSG ? 0 : r < 0 ? r : read_head(k);
}

void keep_read_done(struct keep *k)
{
	walk_done(&k->walk);
	keep_parts_done(&k->parts);
	mem_free(k->turns);
	mem_free(k->sessions);
	mem_free(k->waiters);
	mem_free(k->ids);
	k->turns = NULL;
	k->sessions = NULL;
	k->waiters = NULL;
	k->ids = NULL;
	k->reading = false;
}

/* ---- sessions ---- */

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool is_there(const struct keep *k, uint64_t session)
{
	return k->sessions_n && bsearch(&session, k->sessions, k->sessions_n, sizeof(session), by_number);
}

static void id_is_used(struct keep *k, uint64_t id)
{
	if (id >= k->next_id && id != UINT64_MAX)
		k->next_id = id + 1;
}

static int add_session(struct keep *k, uint64_t id)
{
	int r = room_for((void **)&k->sessions, &k->sessions_cap, k->sessions_n + 1, sizeof(id));

	if (r == 0)
		k->sessions[k->sessions_n++] = id;
	return r;
}

/* ---- messages ---- */

static int add_turn(struct keep *k, const struct keep_row *row)
{
	int r;

	if (k->turns_of != row->id) {
		k->turns_of = row->id;
		k->turns_n = 0;
		k->left = 0;
	}
	if (row->kind == KEEP_ROW_LEFT) {
		k->left = row->left;
		return 0;
	}
	r = room_for((void **)&k->turns, &k->turns_cap, k->turns_n + 1, sizeof(*row));
	if (r == 0)
		k->turns[k->turns_n++] = *row;
	return r;
}

static int by_session(const void *a, const void *b)
{
	return by_number(&((const struct keep_row *)a)->session, &((const struct keep_row *)b)->session);
}

static bool is_over(const struct keep *k, struct keep_waiter *w)
{
	struct keep_row wanted = { .session = w->session };
	const struct keep_row *row = k->turns_n ? bsearch(&wanted, k->turns, k->turns_n, sizeof(wanted), by_session)
						: NULL;

	if (!row)
		return false;
	w->turn = row->turn;
	w->packet = row->packet;
	return row->turn == KEEP_DONE;
}

/* Returns where others have room. */
static uint32_t *take_ids(struct keep_raw_waiter *raw, uint32_t *ids)
{
	uint16_t n = 0;

	raw->w.ids = ids;
	for (unsigned i = 0; i < raw->w.n_ids; i++) {
		ids[n] = (uint32_t)keep_get(raw->ids + 4 * (size_t)i, 4);
		n = (uint16_t)(n + (ids[n] != KEEP_NO_ID));
	}
	raw->w.n_ids = n;
	return ids + n;
}

/* Of the waiters those that still wait, and are there. Their number, or -ENOMEM. */
static int gather(struct keep *k, const struct keep_row *row)
{
	struct span at = row->waiters;
	struct keep_raw_waiter raw;
	uint32_t *ids;
	int n = 0;

	if (room_for((void **)&k->waiters, &k->waiters_cap, row->n_waiters, sizeof(k->waiters[0])) < 0 ||
	    room_for((void **)&k->ids, &k->ids_cap, row->waiters.n / 4 + 1, sizeof(k->ids[0])) < 0)
		return -ENOMEM;
	ids = k->ids;
	while (at.n && keep_row_waiter(&at, &raw)) {
		id_is_used(k, raw.w.session);
		if (is_over(k, &raw.w) || !is_there(k, raw.w.session))
			continue;
		ids = take_ids(&raw, ids);
		k->waiters[n++] = raw.w;
	}
	return n;
}

/* 1; 0: nobody waits for it, which the writer will hear. So it will when their number is not what was written. */
static int take_message(struct keep *k, const struct keep_row *row, struct span key, struct keep_record *ret)
{
	int n, r = 0;

	if (k->turns_of != row->id) {
		k->turns_n = 0;
		k->left = 0;
	}
	n = gather(k, row);
	if (n < 0)
		return n;
	if (n == 0)
		return keep_delete(&k->mend, (struct span){ key.p, 1 + 8 });
	if (row->n_waiters > 1 && k->left != (uint32_t)n)
		r = keep_put_left(&k->mend, row->id, (uint32_t)n);
	k->owed += keep_owed(row->value_n, (uint32_t)n, row->n_waiters);
	ret->waiters = k->waiters;
	ret->n_waiters = (uint32_t)n;
	return r < 0 ? r : 1;
}

/* ---- the next one ---- */

/* Without those that a message waits for. */
static struct keep_record record_of(const struct keep_row *row)
{
	return (struct keep_record){
		.kind = row->kind,
		.id = row->kind == KEEP_MESSAGE ? row->id : row->session,
		.packet = row->packet,
		.session = row->of,
		.subscription = row->subscription,
		.message = row->message,
		.wrong = row->wrong,
	};
}

/* 1: it is a record; 0: it is none, or belongs to nobody. */
static int take(struct keep *k, const struct keep_row *row, struct span key, struct keep_record *ret)
{
	*ret = record_of(row);
	if (row->kind < KEEP_MESSAGE)
		id_is_used(k, row->session);
	else
		id_is_used(k, row->id);
	switch (row->kind) {
	case KEEP_SESSION:
		return add_session(k, row->session) < 0 ? -ENOMEM : 1;
	case KEEP_SUBSCRIPTION:
	case KEEP_AWAITED:
		return is_there(k, row->session) ? 1 : keep_delete(&k->mend, key);
	case KEEP_RETAINED:
		id_is_used(k, row->message.from);
		if (!is_there(k, row->message.from))
			ret->message.from = 0;
		return 1;
	case KEEP_MESSAGE:
		return take_message(k, row, key, ret);
	case KEEP_ROW_TURN:
	case KEEP_ROW_LEFT:
		return add_turn(k, row);
	case KEEP_ROW_GONE:
		k->sweeps = true;
		return 0;
	default:
		return 0;
	}
}

/* The same. */
static int pass_over(struct keep *k, const struct keep_row *row, struct keep_record *ret)
{
	char what[sizeof(k->walk.what)] = "a record that does not fit its checksum";

	if (row->wrong.field)
		snprintf(what, sizeof(what), "a record that cannot be, %s: %s", row->wrong.field, row->wrong.why);
	k->found.dropped++;
	walk_fault(&k->walk, what, k->parts.page);
	*ret = record_of(row);
	return row->wrong.field && k->looks;
}

int keep_next(struct keep *k, struct keep_record *ret)
{
	struct span key, value;
	struct keep_row row;
	int r = 0;

	while (r == 0 && k->reading && (r = keep_parts_next(&k->parts, &k->walk, &key, &value)) == 1) {
		if (keep_row(key, value, k->setup.props, &row) == 0) {
			k->found.records++;
			r = take(k, &row, key, ret);
		} else {
			r = pass_over(k, &row, ret);
		}
	}
	return r;
}

/* How many rows there were beside those that are parts of others, if the file can be believed in this. */
static uint64_t expected(const struct walk *w, uint64_t parts)
{
	return w->rows.entries <= w->size / 8 && w->rows.entries > parts ? w->rows.entries - parts : 0;
}

int keep_judge(struct keep *k, struct keep_found *ret)
{
	struct keep_found *f = &k->found;
	struct keep_record record;
	int r;

	do
		r = keep_next(k, &record);
	while (r == 1);
	if (r < 0)
		return r;
	if (k->reading) {
		k->reading = false;
		walk_rows_whole(&k->walk);
		walk_free_pages(&k->walk);
	}
	f->damaged = k->walk.faults > 0;
	snprintf(f->what, sizeof(f->what), "%s", k->walk.what);
	if (expected(&k->walk, k->parts.parts) > f->records + f->dropped)
		f->dropped = expected(&k->walk, k->parts.parts) - f->records;
	*ret = *f;
	return k->walk.err;
}
