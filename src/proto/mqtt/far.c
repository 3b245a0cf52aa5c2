/* far.c - see far.h. */
#include "proto/mqtt/far.h"

#include <errno.h>
#include <stdio.h>

#include "base/pause.h"
#include "base/utf8.h"

#define LASTED (10 * SEC) /* a connection that did is no failure */

const char *far_fault(const struct addr_text *to)
{
	if (addr_is_net(to) && strcmp(to->host, "*") == 0)
		return "needs one host, * is all of them";
	if (addr_is_net(to) && to->port == 0)
		return "needs a port that is not 0";
	return NULL;
}

const char *far_login_fault(const char *user, const struct option_file *password)
{
	if (password->path && !user)
		return "password: needs a user";
	if (user && !utf8_is_text(span_str(user))) /* [MQTT-3.1.3-12] */
		return "user: is no UTF-8 text";
	return NULL;
}

struct span far_password(const struct option_file *f)
{
	struct span s = f->bytes;

	while (s.n && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
		s.n--;
	return s;
}

uint16_t far_keep_alive(const struct mqtt_props *connack, uint16_t own)
{
	const bool has = connack->has & MQTT_HAS(MQTT_P_KEEP_ALIVE);

	return has && connack->keep_alive && connack->keep_alive < own ? connack->keep_alive : own;
}

int far_dial(struct io *io, uint32_t tag, const struct proto *p, const char *address, struct trust *trust,
	     struct span arg)
{
	struct child c = {
		.proto = p,
		.kind = CHILD_CONNECT,
		.address = address,
		.deadline = io->now + FAR_OPEN_BY,
		.arg = blob_new(&arg, 1),
	};
	int r = c.arg ? 0 : -ENOMEM;

	if (r == 0 && trust)
		r = trust_child(trust, &c);
	if (r == 0)
		io_child(io, tag, &c);
	blob_unref(c.arg);
	return r;
}

bool far_is_news(struct far *f, const char *why)
{
	if (strncmp(f->told, why, sizeof(f->told) - 1) == 0)
		return false;
	snprintf(f->told, sizeof(f->told), "%s", why);
	return true;
}

void far_up(struct far *f, nsec now)
{
	f->since = now;
	*f->told = '\0';
}

void far_down(struct far *f, nsec now)
{
	if (now - f->since >= LASTED)
		f->failures = 0;
}

void far_wait(struct far *f, nsec now, nsec longest)
{
	f->failures++;
	f->due = now + pause_after(f->failures, SEC, longest);
}

const char *far_why(const struct ev *gone, const char *why)
{
	if (gone->why)
		return gone->why;
	if (why)
		return why;
	return gone->err ? strerror(-gone->err) : "connection-closed";
}
