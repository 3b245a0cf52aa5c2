/* rights.c - who a client is, and what it may publish and hear. See mqtt_priv.h; people and rules: docs/design/people.md. */
#include <errno.h>

#include "base/mem.h"
#include "proto/common/login.h"
#include "proto/mqtt/mqtt_priv.h"

/* Where there are no people, a name and a password prove nothing and refuse nobody. */
static bool has_people(const struct io *io)
{
	struct people *people;
	bool any;

	if (!io->svc->access)
		return false;
	access_get(io->svc->access, &people, NULL);
	any = people && people_count(people);
	people_unref(people);
	return any;
}

static int outcome(struct mqtt *self, enum login r)
{
	switch (r) {
	case LOGIN_IN:
		self->logged_in = true;
		return 0;
	case LOGIN_WRONG:
	case LOGIN_BARRED:
		return MQTT_BAD_USER;
	default:
		return MQTT_SERVER_UNAVAILABLE;
	}
}

int mqtt_login(struct mqtt *self, struct io *io, const struct mqtt_connect *c)
{
	enum login r;

	if (self->logged_in || !c->has_user || !has_people(io))
		return 0;
	r = login_begin(io, MQTT_JOB_LOGIN, c->user, c->password);
	return r == LOGIN_WAIT ? -EINPROGRESS : outcome(self, r);
}

int mqtt_login_end(struct mqtt *self, struct io *io, const struct ev *ev)
{
	return outcome(self, login_end(io, ev));
}

int mqtt_look(struct mqtt *self, struct io *io, struct span user, struct span client)
{
	rules_view_free(&self->view);
	return login_view(io, user, client, &self->view, &self->access);
}

/*
 * After a reload: what was granted may be no more, so from then on each delivery is asked for. 0, or -errno: it may not stay.
 */
int mqtt_look_again(struct mqtt *self, struct io *io)
{
	struct span as_before = {};

	if (self->access == access_generation(io->svc->access))
		return 0;
	self->ask_all = true;
	mqtt_forget(self);
	return mqtt_look(self, io, as_before, subscriber_name(self->who));
}

bool mqtt_may(const struct mqtt *self, enum rules_verb verb, struct span topic)
{
	return rules_check(self->view, verb, RULES_TOPICS, topic);
}

void mqtt_forget(struct mqtt *self)
{
	if (!self->memo)
		return;
	message_unref(self->memo->last);
	filters_found_done(&self->memo->found);
	mem_free(self->memo);
	self->memo = NULL;
}

bool mqtt_may_publish(struct mqtt *self, struct span topic)
{
	if (self->memo && mqtt_is_last(self->memo, topic)) /* it was published to, so it may */
		return true;
	return mqtt_may(self, RULES_WRITE, topic);
}

bool mqtt_may_have(const struct mqtt *self, const struct delivery *d)
{
	return !(d->ask || self->ask_all) || mqtt_may(self, RULES_READ, message_topic(d->m));
}

enum rules_share mqtt_may_hear(const struct mqtt *self, struct span filter)
{
	return rules_check_filter(self->view, RULES_READ, RULES_TOPICS, filter);
}
