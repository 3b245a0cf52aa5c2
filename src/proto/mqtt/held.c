/*
 * held.c - who waits for the disk: answers until what they promise is there, and deliveries of QoS 2; and what is over before its message was
 * handed over. See kept.h.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"

static struct mqtt_held *held_of(struct mqtt *self, const struct io *io)
{
	struct mqtt_held *h = self->held;

	if (h)
		return h;
	h = self->held = mem_zalloc(sizeof(*h));
	if (!h)
		return NULL;
	list_init(&h->node);
	buf_init(&h->bytes, io->svc->limits.output);
	return h;
}

/* In the next commit or a later one it looks again. */
static void wait(struct mqtt *self, struct io *io)
{
	struct mqtt_shard *shard = io->shard;
	struct mqtt_held *h = held_of(self, io);

	if (!h)
		self->torn = true; /* nobody would wake it */
	if (!h || list_in(&h->node))
		return;
	list_add(&shard->pen.waiting, &h->node);
	h->id = io->self;
}

bool mqtt_kept_ready(struct mqtt *self, struct io *io, const struct delivery *d)
{
	uint64_t mark;

	if (!d->packet)
		return true;
	if (d->qos == 2 &&
	    subscriber_flight(self->session, d->packet)) /* from 65,535 messages ago; landing looks again */
		return false;
	mark = atomic_load_explicit(&d->m->mark, memory_order_acquire);
	if (!mark) { /* it is handed over at the end of a step, here or in another loop: what it is answered must come behind */
		self->session->woken = io_post(io, io->self, MQTT_WAKE, NULL, 0);
		return false;
	}
	if (d->qos < 2 || keep_reached(mqtt_service(io)->keep, mark))
		return true;
	wait(self, io);
	return false;
}

void mqtt_kept_until(struct mqtt *self, struct io *io, uint64_t mark)
{
	struct mqtt_held *h = self->held;

	if (self->state != MQTT_OPEN || !h || !h->n || h->v[h->n - 1].mark)
		return;
	h->v[h->n - 1].mark = mark;
	wait(self, io);
	if (keep_reached(mqtt_service(io)->keep, mark)) /* already: what is retained below $SYS is not kept */
		io_post(io, io->self, MQTT_WAKE, NULL, 0);
}

static struct mqtt_until *last_of(struct mqtt_held *h)
{
	struct mqtt_until *v;

	if (h->n && !h->v[h->n - 1].mark)
		return &h->v[h->n - 1];
	if (h->n == h->cap) {
		v = mem_realloc(h->v, (h->cap ? 2 * h->cap : 8) * sizeof(*v));
		if (!v)
			return NULL;
		h->v = v;
		h->cap = h->cap ? 2 * h->cap : 8;
	}
	h->v[h->n++] = (struct mqtt_until){};
	return &h->v[h->n - 1];
}

/* Behind what waits already; what waits for nothing itself waits for that. */
bool mqtt_kept_hold(struct mqtt *self, struct io *io, struct span packet)
{
	const struct mqtt_pen *pen = mqtt_pen(io);
	struct mqtt_until *last;
	struct mqtt_held *h;

	if (!pen->wrote && !(self->held && self->held->n))
		return false;
	h = held_of(self, io);
	last = h ? last_of(h) : NULL;
	if (last) {
		buf_add(&h->bytes, packet.p, packet.n);
		last->end = h->bytes.n;
	}
	if (!last || h->bytes.err)
		self->torn = true; /* an answer is lost: the connection must not go on */
	return true;
}

void mqtt_kept_flush(struct mqtt *self, struct io *io)
{
	struct mqtt_held *h = self->held;
	size_t i = 0, end = 0;

	if (!h)
		return;
	while (i < h->n && keep_reached(mqtt_service(io)->keep, h->v[i].mark))
		end = h->v[i++].end;
	if (end) {
		out_mem(io, h->bytes.p, end);
		if (io->traced)
			mqtt_note_out(self, io, (struct span){ (const uint8_t *)h->bytes.p, end });
		memmove(h->bytes.p, h->bytes.p + end, h->bytes.n - end);
		buf_cut(&h->bytes, h->bytes.n - end);
		h->n -= i;
		memmove(h->v, h->v + i, h->n * sizeof(h->v[0]));
		for (size_t k = 0; k < h->n; k++)
			h->v[k].end -= end;
		self->muted = false;
	}
	if (h->n)
		wait(self, io);
	else
		mqtt_kept_forget(self);
}

/* ---- what is over too early ---- */

/* False: it is handed over; or memory is out, and its row may stay until a restart. */
static bool is_early(struct mqtt_pen *pen, struct message *m, uint64_t session)
{
	struct mqtt_early *e;

	if (atomic_load_explicit(&m->mark, memory_order_acquire))
		return false;
	e = mem_alloc(sizeof(*e));
	if (!e)
		return false;
	*e = (struct mqtt_early){ pen->early, message_ref(m), session };
	pen->early = e;
	return true;
}

void mqtt_kept_skip(struct io *io, const struct subscriber *s, const struct delivery *d)
{
	if (d->m && d->packet && mqtt_on_disk(io, s) && !is_early(mqtt_pen(io), d->m, s->kept_id))
		mqtt_kept_done(io, s, d->m->kept);
}

static void free_early(struct mqtt_early **at)
{
	struct mqtt_early *e = *at;

	*at = e->next;
	message_unref(e->m);
	mem_free(e);
}

void mqtt_early_done(struct mqtt_pen *pen)
{
	while (pen->early)
		free_early(&pen->early);
}

static void say_early(struct mqtt_pen *pen)
{
	for (struct mqtt_early **at = &pen->early; *at;) {
		struct mqtt_early *e = *at;

		if (atomic_load_explicit(&e->m->mark, memory_order_acquire) &&
		    keep_done(&pen->batch, e->m->kept, e->session) == 0)
			free_early(at);
		else
			at = &e->next;
	}
}

/* ---- waking ---- */

/* They stay in the list until they wait no more: a letter may be lost when memory is out. */
void mqtt_kept_wake(struct mqtt_shard *shard, struct io *io)
{
	struct mqtt_pen *pen = &shard->pen;

	say_early(pen);
	pen->woken_at = keep_committed(mqtt_service(io)->keep);
	for (const struct list *l = pen->waiting.next; l != &pen->waiting; l = l->next)
		io_post(io, list_entry(l, struct mqtt_held, node)->id, MQTT_WAKE, NULL, 0);
}

void mqtt_kept_look(struct mqtt_shard *shard, struct io *io)
{
	const struct keep *keep = mqtt_service(io)->keep;

	if (keep && (shard->pen.early || keep_committed(keep) != shard->pen.woken_at))
		mqtt_kept_wake(shard, io);
}

void mqtt_kept_forget(struct mqtt *self)
{
	struct mqtt_held *h = self->held;

	if (!h)
		return;
	list_del(&h->node);
	buf_done(&h->bytes);
	mem_free(h->v);
	mem_free(h);
	self->held = NULL;
}
