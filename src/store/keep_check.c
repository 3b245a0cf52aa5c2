/*
 * keep_check.c - can it be? A row may fit its checksum and yet say what nobody can have said: a filter that is none, a topic with a
 * wildcard. `guichet store load` takes what somebody has written by hand. See keep_priv.h.
 *
 * Only what never can be is wrong: how many levels, bytes or messages the configuration allows has no say here, for it may have allowed
 * more when this was written.
 */
#include <errno.h>

#include "base/utf8.h"
#include "store/keep_priv.h"
#include "store/topic.h"

enum {
	ID_MAX = 268435455,         /* of a subscription identifier */
	PACKET_MAX = 268435455 - 2, /* bytes of topic and payload, beside the topic's length */
};

static void look(struct keep_wrong *w, const char *field, const char *why)
{
	if (why && !w->field)
		*w = (struct keep_wrong){ field, why };
}

static const char *text_wrong(struct span s, int r, const char *what)
{
	if (r == -E2BIG)
		return "too many levels, or too long";
	return r < 0 || !utf8_is_text(s) ? what : NULL;
}

static const char *name_wrong(struct span s)
{
	return text_wrong(s, topic_check_name(s, TOPIC_LEVELS_MAX), "no topic");
}

static const char *filter_wrong(struct span s, bool shared)
{
	struct span group, rest;

	if (!shared && (topic_split_share(s, &group, &rest) < 0 || group.n)) /* it would be in `group` */
		return "no topic filter";
	return text_wrong(s, topic_check_filter(s, TOPIC_LEVELS_MAX), "no topic filter");
}

/* What topic_split_share() gives: one level, and no wildcard. */
static const char *group_wrong(struct span s)
{
	return text_wrong(s, topic_check_name(s, 1) < 0 ? -EINVAL : 0, "no name of a group");
}

static const char *number_wrong(uint64_t v)
{
	return v ? NULL : "0";
}

static const char *id_wrong(uint64_t v)
{
	return v > 0 && v <= ID_MAX ? NULL : "none from 1 to 268435455";
}

static void look_at_message(struct keep_wrong *w, const struct keep_message *m, keep_props *props)
{
	look(w, "message.topic", name_wrong(m->topic));
	look(w, "message.payload", m->topic.n + m->payload.n > PACKET_MAX ? "too long for a packet" : NULL);
	look(w, "message.properties", props && m->props.n ? props(m->props) : NULL);
}

static void look_at_subscription(struct keep_wrong *w, const struct keep_subscription *s)
{
	look(w, "session", number_wrong(s->session));
	look(w, "group", s->group.n ? group_wrong(s->group) : NULL);
	look(w, "filter", filter_wrong(s->filter, s->group.n));
	look(w, "id", s->id ? id_wrong(s->id) : NULL);
	look(w, "owed_at", s->owed_at.n ? name_wrong(s->owed_at) : NULL);
}

static void look_at_waiters(struct keep_wrong *w, struct span at)
{
	struct keep_raw_waiter raw;

	while (!w->field && at.n && keep_row_waiter(&at, &raw)) {
		look(w, "waiters.session", number_wrong(raw.w.session));
		for (unsigned i = 0; i < raw.w.n_ids; i++) {
			uint64_t id = keep_get(raw.ids + 4 * (size_t)i, 4);

			look(w, "waiters.ids", id == KEEP_NO_ID ? NULL : id_wrong(id));
		}
	}
}

struct keep_wrong keep_check(const struct keep_row *row, keep_props *props)
{
	struct keep_wrong w = {};

	switch (row->kind) {
	case KEEP_SESSION:
		look(&w, "id", number_wrong(row->session));
		if (row->of.has_will)
			look_at_message(&w, &row->of.will, props);
		break;
	case KEEP_SUBSCRIPTION:
		look_at_subscription(&w, &row->subscription);
		break;
	case KEEP_AWAITED:
		look(&w, "packet", number_wrong(row->packet));
		break;
	case KEEP_RETAINED:
		look_at_message(&w, &row->message, props);
		break;
	case KEEP_MESSAGE:
		look(&w, "id", number_wrong(row->id));
		look_at_message(&w, &row->message, props);
		look_at_waiters(&w, row->waiters);
		break;
	default:
		break;
	}
	return w;
}

struct keep_wrong keep_batch_wrong(const struct keep_batch *b, size_t from, keep_props *props)
{
	struct keep_row row = {};

	for (size_t at = from ? from : KEEP_FIRST; at < b->n && !row.wrong.field; at += keep_op_at(b, at)->size) {
		const struct keep_op *op = keep_op_at(b, at);
		struct span key = { op->key, op->key_n }, value = { op->value, op->value_n };

		if (op->what == KEEP_OP_PUT)
			(void)keep_row(key, value, props, &row); /* of another form it is not, it was just made */
	}
	return row.wrong;
}
