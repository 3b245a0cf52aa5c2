/* topics_access.c - who may publish and hear what: asked here, so that no door can forget it. See topics.h. */
#include <errno.h>

#include "base/mem.h"
#include "store/topics.h"

static void forget(struct topics_access *a)
{
	message_unref(a->last);
	a->last = NULL;
}

void topics_access_set(struct topics_access *a, struct rules_view *view)
{
	a->changed = a->view != NULL;
	rules_view_free(&a->view);
	a->view = view;
	forget(a);
}

void topics_access_done(struct topics_access *a)
{
	rules_view_free(&a->view);
	forget(a);
}

/* Most publishers have one topic, and were asked for it before. */
int topics_make(struct topics_access *a, const struct message_birth *b, struct message **ret)
{
	bool again = a->last && span_same(message_topic(a->last), b->topic);
	struct message *m;

	if (!again && !rules_check(a->view, RULES_WRITE, RULES_TOPICS, b->topic))
		return -EACCES;
	m = message_new(b);
	if (!m)
		return -ENOMEM;
	if (!again) {
		forget(a);
		a->last = m->large ? NULL : message_ref(m); /* a large one is not kept for the sake of its topic */
	}
	*ret = m;
	return again;
}

int topics_may_hear(const struct topics_access *a, struct span filter, bool *ret_ask)
{
	enum rules_share may = rules_check_filter(a->view, RULES_READ, RULES_TOPICS, filter);

	*ret_ask = may == RULES_PART;
	return may == RULES_NONE ? -EACCES : 0;
}

bool topics_may_have(const struct topics_access *a, const struct message *m, bool ask)
{
	return !(ask || a->changed) || rules_check(a->view, RULES_READ, RULES_TOPICS, message_topic(m));
}
