/*
 * rate.c - how much a client may send: messages and bytes a second. Who sends more is not read from until he may again, and nothing is
 * lost: his system, and then he, has to wait. See mqtt_priv.h.
 *
 * What was sent moves a point in time ahead; once it is past now, he waits for it. It is never further behind than a second: so
 * much may come at once after a rest.
 */
#include "base/mem.h"
#include "proto/mqtt/mqtt_priv.h"

struct mqtt_rate {
	nsec messages, bytes;
};

static void spend(nsec *due, nsec now, uint64_t n, uint64_t rate)
{
	nsec rested = now > SEC ? now - SEC : 0;

	if (rate)
		*due = (*due > rested ? *due : rested) + n * SEC / rate;
}

void mqtt_rate(struct mqtt *self, struct io *io, const struct mqtt_frame *f)
{
	const struct mqtt_options *o = mqtt_options(io);
	struct mqtt_rate *r = self->rate;
	nsec due;

	if ((!o->message_rate && !o->byte_rate) || self->state != MQTT_OPEN)
		return;
	if (!r)
		r = self->rate = mem_zalloc(sizeof(*r));
	if (!r) /* with the next packet */
		return;
	spend(&r->messages, io->now, f->type == MQTT_PUBLISH, o->message_rate);
	spend(&r->bytes, io->now, f->total, o->byte_rate);
	due = r->messages > r->bytes ? r->messages : r->bytes;
	if (due <= io->now)
		return;
	self->paused = true;
	io_hold(io, true);
	io_timer(io, MQTT_TIMER_RATE, due);
	io_count(io, MQTT_PAUSED, 1);
}

void mqtt_rate_over(struct mqtt *self, struct io *io)
{
	self->paused = false;
	io_hold(io, false);
}

void mqtt_rate_done(struct mqtt *self)
{
	mem_free(self->rate);
	self->rate = NULL;
}
