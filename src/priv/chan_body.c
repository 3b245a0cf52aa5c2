/*
 * chan_body.c - bodies of messages, written and read value by value, each checked against what room or bytes there are.
 * No socket here.
 */
#include <errno.h>
#include <string.h>

#include "priv/chan.h"
#include "priv/chan_priv.h"

/* ---- writing ---- */

/* Room for n more bytes, or NULL and the error that sticks. */
static uint8_t *room(struct chan_msg *m, size_t n)
{
	uint8_t *p = m->body + m->n;

	if (m->err == 0 && n > CHAN_BODY - m->n)
		m->err = -EMSGSIZE;
	if (m->err != 0)
		return NULL;
	m->n += (uint32_t)n;
	return p;
}

static void put_int(struct chan_msg *m, uint64_t v, size_t bytes)
{
	uint8_t *p = room(m, bytes);

	if (p)
		chan_write_int(p, v, bytes);
}

void chan_put_u8(struct chan_msg *m, uint8_t v)
{
	put_int(m, v, 1);
}

void chan_put_u32(struct chan_msg *m, uint32_t v)
{
	put_int(m, v, 4);
}

void chan_put_bytes(struct chan_msg *m, struct span s)
{
	uint8_t *p = s.n > CHAN_BODY ? room(m, s.n) : room(m, 4 + s.n); /* the first so that no sum overflows */

	if (!p)
		return;
	chan_write_int(p, s.n, 4);
	if (s.n > 0)
		memcpy(p + 4, s.p, s.n);
}

void chan_put_str(struct chan_msg *m, const char *s)
{
	const char *text = s ? s : "";

	chan_put_bytes(m, (struct span){ (const uint8_t *)text, strlen(text) + 1 });
}

void chan_put_fd(struct chan_msg *m, int fd)
{
	if (m->err == 0 && fd < 0)
		m->err = -EBADF;
	if (m->err == 0 && m->n_fds == CHAN_FDS)
		m->err = -EMSGSIZE;
	if (m->err == 0)
		m->fds[m->n_fds++] = fd;
}

/* ---- reading ---- */

struct chan_get chan_get(const struct chan_msg *m)
{
	return (struct chan_get){ .p = m->body, .left = m->n };
}

static void wrong(struct chan_get *g)
{
	g->err = -EPROTO;
	g->left = 0;
}

/* The next n bytes, or NULL and the error that sticks. */
static const uint8_t *next(struct chan_get *g, size_t n)
{
	const uint8_t *p = g->p;

	if (n > g->left)
		wrong(g);
	if (g->err != 0)
		return NULL;
	g->p += n;
	g->left -= n;
	return p;
}

static uint64_t get_int(struct chan_get *g, size_t bytes)
{
	const uint8_t *p = next(g, bytes);

	return p ? chan_read_int(p, bytes) : 0;
}

uint8_t chan_get_u8(struct chan_get *g)
{
	return (uint8_t)get_int(g, 1);
}

uint32_t chan_get_u32(struct chan_get *g)
{
	return (uint32_t)get_int(g, 4);
}

uint32_t chan_get_upto(struct chan_get *g, uint32_t max)
{
	uint32_t v = chan_get_u32(g);

	if (v <= max)
		return v;
	wrong(g);
	return 0;
}

struct span chan_get_bytes(struct chan_get *g, size_t max)
{
	size_t n = chan_get_u32(g);
	const uint8_t *p;

	if (n > max)
		wrong(g);
	p = next(g, n);
	return p ? (struct span){ p, n } : (struct span){ NULL, 0 };
}

const char *chan_get_str(struct chan_get *g, size_t max)
{
	struct span s = chan_get_bytes(g, max < SIZE_MAX ? max + 1 : max);

	if (s.n > 0 && memchr(s.p, '\0', s.n) == s.p + s.n - 1)
		return (const char *)s.p;
	wrong(g);
	return "";
}

int chan_get_end(const struct chan_get *g)
{
	return g->err == 0 && g->left == 0 ? 0 : -EPROTO;
}
