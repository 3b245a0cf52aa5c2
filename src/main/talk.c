/* talk.c - see talk.h. */
#include "main/talk.h"

#include <errno.h>
#include <stdio.h>

#include "drive/sys.h"

enum {
	FILE_MAX = 4096,
	TEXT_MAX = 2048,
	ROOM = CHAN_BODY / 2, /* for problems: one fits in the other half */
};

void talk_put_door(struct chan_msg *m, const struct door *d)
{
	size_t n = d->at.n ? d->at.n : sizeof(d->at.name.family) + strlen(d->at.name.path) + 1;

	chan_put_str(m, d->service);
	chan_put_u32(m, d->number);
	chan_put_u32(m, d->nth);
	chan_put_u8(m, d->tls);
	chan_put_u8(m, d->ws);
	chan_put_u8(m, d->spare);
	chan_put_u32(m, (uint32_t)d->at.n);
	chan_put_u32(m, (uint32_t)d->at.type);
	chan_put_u8(m, d->at.v6only);
	chan_put_str(m, d->at.interface);
	chan_put_bytes(m, (struct span){ (const uint8_t *)&d->at.st, n });
	chan_put_u8(m, d->dir >= 0);
	chan_put_fd(m, d->fd);
	if (d->dir >= 0)
		chan_put_fd(m, d->dir);
}

static void get_text(struct chan_get *g, char *ret, size_t size)
{
	snprintf(ret, size, "%s", chan_get_str(g, size - 1));
}

static bool get_flag(struct chan_get *g)
{
	uint8_t v = chan_get_u8(g);

	if (v > 1)
		g->err = -EPROTO;
	return v;
}

static void get_address(struct chan_get *g, struct netaddr *ret)
{
	struct span bytes;

	ret->n = chan_get_upto(g, sizeof(ret->st));
	ret->type = (int)chan_get_upto(g, NETADDR_QUEUE);
	ret->v6only = get_flag(g);
	get_text(g, ret->interface, sizeof(ret->interface));
	bytes = chan_get_bytes(g, sizeof(ret->name));
	if (bytes.n > 0)
		memcpy(&ret->st, bytes.p, bytes.n);
	if (ret->n ? bytes.n != ret->n : bytes.n <= sizeof(ret->name.family) || bytes.p[bytes.n - 1])
		g->err = -EPROTO;
}

int talk_get_door(struct chan_msg *m, struct door *ret)
{
	struct chan_get g = chan_get(m);
	struct door d = { .fd = -1, .dir = -1 };
	bool has_dir;

	get_text(&g, d.service, sizeof(d.service));
	d.number = chan_get_u32(&g);
	d.nth = chan_get_u32(&g);
	d.tls = get_flag(&g);
	d.ws = get_flag(&g);
	d.spare = get_flag(&g);
	get_address(&g, &d.at);
	has_dir = get_flag(&g);
	if (chan_get_end(&g) < 0)
		return -EPROTO;
	d.fd = chan_take_fd(m);
	if (has_dir)
		d.dir = chan_take_fd(m);
	if (d.fd < 0 || (has_dir && d.dir < 0)) {
		fd_close(&d.fd);
		return -EPROTO;
	}
	*ret = d;
	return 0;
}

/* ---- problems ---- */

void talk_put_problems(struct chan_msg *m, const struct conf_problems *ps)
{
	for (size_t i = 0; i < ps->n && m->n < ROOM; i++) {
		const struct conf_problem *p = &ps->v[i];
		char text[TEXT_MAX];

		if (p->warning)
			continue;
		snprintf(text, sizeof(text), "%s", p->text);
		chan_put_u32(m, p->line);
		chan_put_str(m, strlen(p->file) < FILE_MAX ? p->file : "guichet");
		chan_put_str(m, text);
	}
}

int talk_get_problems(const struct chan_msg *m, struct conf_problems *ps)
{
	struct chan_get g = chan_get(m);

	while (g.left > 0 && !g.err) {
		unsigned line = chan_get_u32(&g);
		const char *file = chan_get_str(&g, FILE_MAX);
		const char *text = chan_get_str(&g, TEXT_MAX);

		if (!g.err)
			conf_problem(ps, file, line, "%s", text);
	}
	return chan_get_end(&g);
}
