/* login.c - who a client is, and so what it may. See mqtt_priv.h; people and rules: docs/design/people.md. */
#include <errno.h>

#include "proto/mqtt/mqtt_priv.h"

/* Where there are no people, a name and a password prove nothing and refuse nobody. */
bool mqtt_has_people(const struct io *io)
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

	if (self->logged_in || !c->has_user || !mqtt_has_people(io))
		return 0;
	r = login_begin(io, MQTT_JOB_LOGIN, c->user, c->password, &mqtt_shard_of(io)->proof);
	return r == LOGIN_WAIT ? -EINPROGRESS : outcome(self, r);
}

int mqtt_login_end(struct mqtt *self, struct io *io, const struct ev *ev)
{
	return outcome(self, login_end(io, ev, &mqtt_shard_of(io)->proof));
}

int mqtt_look(struct mqtt *self, struct io *io, struct login_who as, struct span client, struct login_view *ret)
{
	int r = login_view(io, as, client, ret);

	self->looked_at = (uint32_t)ret->generation;
	topics_access_set(&self->access, ret->rules);
	return r;
}

/* Whose certificate is not a user's any more is another one than the session's. Who was nobody, and is a user now, has it for himself. */
int mqtt_look_as(struct mqtt *self, struct io *io, struct login_who as)
{
	struct login_view now;
	uint64_t owner;
	int r = mqtt_look(self, io, as, subscriber_name(self->session), &now);

	if (r < 0)
		return r;
	owner = login_owner(now.person);
	people_unref(now.people);
	if (owner == self->session->owner)
		return 0;
	if (self->session->owner)
		return -EACCES;
	topics_own(mqtt_service(io)->topics, self->session, owner);
	return mqtt_kept_session(io, self->session) < 0 ? -ENOMEM : 0;
}

int mqtt_look_again(struct mqtt *self, struct io *io)
{
	if (self->looked_at == (uint32_t)access_generation(io->svc->access))
		return 0;
	return mqtt_look_as(self, io, (struct login_who){});
}
