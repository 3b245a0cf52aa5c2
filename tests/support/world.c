/* world.c - see world.h. */
#include "support/world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/fault.h"
#include "conf/option.h"

enum { SHOWN = 120 }; /* bytes of a text in a message */

static int set_options(struct world *w, const char *const *v, struct buf *why)
{
	const struct option_table *t = w->proto->options;
	int r = t ? option_values_new(t, &w->options) : 0;

	for (; r == 0 && v && *v; v += 2)
		r = t ? option_set(t, w->options, v[0], v[1], why) : -ENOENT;
	if (r == 0 && t)
		r = option_values_check(t, w->options, why);
	return r;
}

int world_try_open(struct world *w, const struct proto *proto, const struct mem_setup *setup,
		   const char *const *options, struct buf *why)
{
	struct mem_setup s = setup ? *setup : (struct mem_setup){};
	int r;

	*w = (struct world){ .proto = proto };
	r = set_options(w, options, why);
	if (r < 0)
		return r;
	s.proto = proto;
	s.options = w->options;
	return memdrive_new(&s, &w->drive, why);
}

void world_open_with(struct world *w, const struct proto *proto, const struct mem_setup *setup,
		     const char *const *options)
{
	BUF_AUTO struct buf why;
	int r;

	buf_init(&why, 1024);
	r = world_try_open(w, proto, setup, options, &why);
	if (r < 0)
		fail_msg("%s does not open: %s (%s)", proto->name, buf_str(&why), strerror(-r));
}

void world_close(struct world *w)
{
	memdrive_free(&w->drive);
	if (w->options)
		option_values_free(w->proto->options, &w->options);
}

struct memconn *world_client(struct world *w)
{
	struct memconn *c = memconn_open(w->drive, NULL);

	assert_non_null(c);
	return c;
}

/* ---- what came ---- */

static void add_shown(struct buf *b, struct span s)
{
	buf_add_quoted(b, (struct span){ s.p, s.n < SHOWN ? s.n : SHOWN });
	if (s.n > SHOWN)
		buf_addf(b, "... (%zu bytes)", s.n);
}

static void compare(const char *what, struct span got, struct span want)
{
	BUF_AUTO struct buf b;

	buf_init(&b, 4096);
	if (got.n == want.n && (want.n == 0 || memcmp(got.p, want.p, want.n) == 0))
		return;
	buf_addf(&b, "%s was ", what);
	add_shown(&b, got);
	buf_adds(&b, ", not ");
	add_shown(&b, want);
	fail_msg("%s", buf_str(&b));
}

void assert_said_span(struct memconn *c, struct span want)
{
	compare("what came", memconn_out(c), want);
	memconn_take(c, SIZE_MAX);
}

void assert_answered_span(struct memconn *socket, const char *to, struct span want)
{
	const struct mem_dgram *d = memconn_dgram_at(socket, 0);

	if (memconn_dgrams(socket) != 1)
		fail_msg("%zu datagrams came, not 1", memconn_dgrams(socket));
	assert_string_equal(d->to, to);
	compare("the datagram", d->data, want);
	memconn_dgrams_take(socket);
}

void assert_refused_with(const struct proto *proto, const char *why, const char *const *options)
{
	BUF_AUTO struct buf got;
	struct world w;
	int r;

	buf_init(&got, 1024);
	r = world_try_open(&w, proto, NULL, options, &got);
	world_close(&w);
	if (r == 0)
		fail_msg("%s opens, it should say: %s", proto->name, why);
	if (!strstr(buf_str(&got), why))
		fail_msg("%s says: %s; it should say: %s", proto->name, buf_str(&got), why);
}

/* ---- failing allocations ---- */

void fail_each_allocation(void (*scene)(void *arg), void *arg)
{
#ifdef GUICHET_FAULTS
	unsigned long calls, n = 0;

	do {
		fault_arm(FAULT_MEM, ++n, 0, false);
		scene(arg);
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
	} while (calls >= n);
#else
	(void)scene;
	(void)arg;
#endif
}
