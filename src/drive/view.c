/* view.c - what can be seen of a running server: its services, addresses and counters. */
#include <errno.h>
#include <unistd.h>

#include "base/wrap.h"
#include "drive/clock.h"
#include "drive/jtree.h"
#include "drive/server_priv.h"

/* The i-th service: internal ones come last. */
static const struct service *nth(const struct server *s, size_t i)
{
	for (int pass = 0; pass < 2; pass++) {
		for (size_t k = 0; k < s->n; k++) {
			if (s->services[k]->plan.internal != (pass == 1))
				continue;
			if (i-- == 0)
				return s->services[k];
		}
	}
	return NULL;
}

size_t server_services(const struct server *s)
{
	return s->n;
}

void server_service(const struct server *s, size_t i, struct service_view *ret)
{
	const struct service *v = nth(s, i);

	*ret = (struct service_view){
		.name = v->plan.name,
		.proto = v->plan.proto,
		.model = v->model->name,
		.common = v->plan.common,
		.options = v->plan.options,
		.internal = v->plan.internal,
	};
	for (size_t k = 0; k < v->n; k++)
		ret->addresses += entry_shown(&v->entries[k]);
}

void server_address(const struct server *s, size_t i, size_t j, struct buf *b)
{
	const struct service *v = nth(s, i);

	for (size_t k = 0; k < v->n; k++) {
		struct addr_text text;

		if (!entry_shown(&v->entries[k]) || j-- > 0)
			continue;
		entry_address(v, &v->entries[k], &text);
		addr_format(&text, b);
		return;
	}
}

/* ---- counters ---- */

/* Of this section in every process that serves it, or has. */
struct counts {
	unsigned open, workers, waiting;
	uint64_t n[STAT_N];
};

static void add_tally(const struct tally *t, unsigned rows, struct counts *c)
{
	c->open += atomic_load(&t->open);
	c->workers += atomic_load(&t->workers);
	c->waiting += atomic_load(&t->waiting);
	for (size_t i = 0; i < (size_t)rows * STAT_N; i++)
		c->n[i % STAT_N] += atomic_load_explicit(&t->v[i], memory_order_relaxed);
}

static void count(const struct service *v, struct counts *ret)
{
	*ret = (struct counts){};
	for (const struct tally *t = NULL; (t = shared_next(v->server->shared, t));)
		if (t->proto == v->plan.proto && strncmp(t->name, v->plan.name, sizeof(t->name)) == 0)
			add_tally(t, v->server->shared->rows, ret);
}

/* ---- processes ---- */

static const struct shared_process *process(const struct server *s, unsigned i)
{
	const struct shared_process *p = &s->shared->process[i];

	return atomic_load(&p->pid) ? p : NULL;
}

/* Of all of them; descriptors are those of the one that has the fewest left. */
struct totals {
	uint64_t heap, resident, descriptors, limit, turns, user, system;
};

static struct totals total(const struct server *s)
{
	struct totals t = {};

	for (unsigned i = 0; i < SHARED_PROCESSES; i++) {
		const struct shared_process *p = process(s, i);

		if (!p)
			continue;
		t.heap += atomic_load(&p->heap);
		t.resident += atomic_load(&p->resident);
		t.turns += atomic_load(&p->turns);
		t.user += atomic_load(&p->user);
		t.system += atomic_load(&p->system);
		/* the larger part of its limit, n/limit >= n/limit without a division; of the first any part is */
		if (atomic_load(&p->descriptors) * (t.limit ? t.limit : 1) >= t.descriptors * atomic_load(&p->limit)) {
			t.descriptors = atomic_load(&p->descriptors);
			t.limit = atomic_load(&p->limit);
		}
	}
	return t;
}

/* ---- as JSON ---- */

static json_t *one_json(const struct server *s, unsigned i)
{
	const struct shared_process *p = process(s, i);

	return json_pack("{s:s, s:i, s:f, s:I, s:I, s:I, s:I, s:f, s:f}", "name", s->shared->names[i], "pid",
			 (int)atomic_load(&p->pid), "uptime", (double)(clock_mono() - atomic_load(&p->started)) / 1e9,
			 "heap_bytes", (json_int_t)atomic_load(&p->heap), "resident_bytes",
			 (json_int_t)atomic_load(&p->resident), "descriptors", (json_int_t)atomic_load(&p->descriptors),
			 "descriptors_max", (json_int_t)atomic_load(&p->limit), "user_seconds",
			 (double)atomic_load(&p->user) / 1e9, "system_seconds", (double)atomic_load(&p->system) / 1e9);
}

static json_t *processes_json(const struct server *s)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < SHARED_PROCESSES; i++)
		if (process(s, i))
			jtree_append(&a, one_json(s, i));
	return a;
}

static json_t *process_json(const struct server *s)
{
	struct totals t = total(s);

	return json_pack("{s:i, s:s, s:f, s:I, s:I, s:I, s:I, s:i, s:I, s:f, s:f}", "pid", (int)getpid(), "version",
			 GUICHET_VERSION, "uptime", (double)(clock_mono() - s->started) / 1e9, "heap_bytes",
			 (json_int_t)t.heap, "resident_bytes", (json_int_t)t.resident, "descriptors",
			 (json_int_t)t.descriptors, "descriptors_max", (json_int_t)t.limit, "loops",
			 (int)s->event_loops, "turns", (json_int_t)t.turns, "user_seconds", (double)t.user / 1e9,
			 "system_seconds", (double)t.system / 1e9);
}

/* The i-th counter of the protocol's own; NULL: it has no more. */
static const struct proto_counter *own_counter(const struct service *v, unsigned i)
{
	const struct proto_counter *c = v->plan.proto->counters;

	return c && i < PROTO_COUNTERS && c[i].name ? &c[i] : NULL;
}

static json_t *address_json(const struct server *s, size_t i, size_t j)
{
	BUF_AUTO struct buf b = BUF_INIT(600);

	server_address(s, i, j, &b);
	return b.err ? NULL : jtree_text(buf_span(&b));
}

static json_t *addresses_json(const struct server *s, size_t i)
{
	struct service_view view;
	json_t *a = json_array();

	server_service(s, i, &view);
	for (size_t j = 0; j < view.addresses; j++)
		jtree_append(&a, address_json(s, i, j));
	return a;
}

static json_t *service_json(const struct server *s, size_t i)
{
	const struct service *v = nth(s, i);
	const struct proto_counter *own;
	struct counts c;
	json_t *o;

	count(v, &c);
	o = json_pack("{s:s, s:s, s:s, s:o, s:i}", "name", v->plan.name, "protocol", v->plan.proto->name, "model",
		      v->model->name, "addresses", addresses_json(s, i), "open", (int)c.open);
	if (v->model->workers) {
		jtree_set(&o, "workers", json_integer(c.workers));
		jtree_set(&o, "waiting", json_integer(c.waiting));
	}
	for (unsigned k = 0; k < STAT_OWN; k++)
		jtree_set(&o, stat_name(k), json_integer((json_int_t)c.n[k]));
	for (unsigned k = 0; (own = own_counter(v, k)); k++)
		jtree_set(&o, own->name, json_integer((json_int_t)c.n[STAT_OWN + k]));
	return o;
}

static int add_text(const char *text, size_t n, void *arg)
{
	struct buf *b = arg;

	buf_add(b, text, n);
	return b->err ? -1 : 0;
}

static void stats_json(const struct server *s, struct buf *b)
{
	json_t *services = json_array();
	json_t *o;

	for (size_t i = 0; i < s->n; i++)
		jtree_append(&services, service_json(s, i));
	o = json_pack("{s:o, s:o, s:o}", "process", process_json(s), "processes", processes_json(s), "services",
		      services);
	if (!o || json_dump_callback(o, add_text, b, JSON_COMPACT) < 0)
		b->err = b->err ? b->err : -ENOMEM;
	json_decref(o);
}

/* ---- for people: 80 columns ---- */

enum { HELP_COLUMN = 32, HELP_MAX = 1000 };

static void text_size(struct buf *b, uint64_t n)
{
	static const char units[] = " KMGT";
	unsigned u = 0;
	double v = (double)n;

	while (v >= 10000 && u < 4) {
		v /= 1024;
		u++;
	}
	buf_addf(b, u ? "%7.0f%c" : "%8.0f", v, units[u]);
}

static void text_counter(struct buf *b, const char *name, uint64_t n, const char *help)
{
	size_t start = b->n;

	buf_addf(b, "  %18s %9llu  ", name, (unsigned long long)n);
	wrap_add(b, help, HELP_COLUMN, b->n - start);
	buf_addc(b, '\n');
}

/* Who is in the queue of a crew. */
static void text_waiting(struct buf *b, const struct counts *c)
{
	BUF_AUTO struct buf help = BUF_INIT(HELP_MAX);

	if (!c->waiting)
		return;
	buf_addf(
		&help,
		"of those open: in the queue until one of the workers (%u) has time, and not counted as accepted before",
		c->workers);
	text_counter(b, "waiting", c->waiting, buf_str(&help));
}

/* Counters that matter only when something went wrong: shown when they are not 0. */
static void text_trouble(struct buf *b, const struct service *v, const uint64_t *n)
{
	static const enum counter usual[] = { STAT_ACCEPTED, STAT_CLOSED,        STAT_BYTES_IN,      STAT_BYTES_OUT,
					      STAT_ERRORS,   STAT_FIRST_REPLIES, STAT_FIRST_REPLY_NS };
	const struct proto_counter *own;

	for (unsigned k = 0; k < STAT_OWN; k++) {
		bool seen = false;

		for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
			seen |= usual[i] == k;
		if (!seen && n[k])
			text_counter(b, stat_name(k), n[k], stat_help(k));
	}
	for (unsigned i = 0; (own = own_counter(v, i)); i++)
		if (n[STAT_OWN + i])
			text_counter(b, own->name, n[STAT_OWN + i], own->help);
}

static void text_processes(const struct server *s, struct buf *b)
{
	buf_addf(b, "%-18s %-9s %10s %9s %9s %19s\n", "process", "pid", "up", "resident", "heap", "descriptors");
	for (unsigned i = 0; i < SHARED_PROCESSES; i++) {
		const struct shared_process *p = process(s, i);

		if (!p)
			continue;
		buf_addf(b, "%-18s %-9d %8.0f s  ", s->shared->names[i], (int)atomic_load(&p->pid),
			 (double)(clock_mono() - atomic_load(&p->started)) / 1e9);
		text_size(b, atomic_load(&p->resident));
		buf_adds(b, "  ");
		text_size(b, atomic_load(&p->heap));
		buf_addf(b, " %8llu of %7llu\n", (unsigned long long)atomic_load(&p->descriptors),
			 (unsigned long long)atomic_load(&p->limit));
	}
	buf_adds(b, "\n");
}

static void stats_text(const struct server *s, struct buf *b)
{
	buf_addf(b, "guichet %s, pid %d, up %.0f s, %u loops\n\n", GUICHET_VERSION, (int)getpid(),
		 (double)(clock_mono() - s->started) / 1e9, s->event_loops);
	text_processes(s, b);
	buf_addf(b, "%-14s %-9s %6s %9s %8s %9s %7s %11s\n", "service", "model", "open", "accepted", "bytes in",
		 "bytes out", "errors", "first reply");
	for (size_t i = 0; i < s->n; i++) {
		const struct service *v = nth(s, i);
		const uint64_t *n;
		struct counts c;

		if (v->plan.internal)
			continue;
		count(v, &c);
		n = c.n;
		buf_addf(b, "%-14s %-9s %6u %9llu ", v->plan.name, v->model->name, c.open,
			 (unsigned long long)n[STAT_ACCEPTED]);
		text_size(b, n[STAT_BYTES_IN]);
		buf_adds(b, "  ");
		text_size(b, n[STAT_BYTES_OUT]);
		buf_addf(b, " %7llu ", (unsigned long long)n[STAT_ERRORS]);
		if (n[STAT_FIRST_REPLIES])
			buf_addf(b, "%8.3f ms\n", (double)n[STAT_FIRST_REPLY_NS] / (double)n[STAT_FIRST_REPLIES] / 1e6);
		else
			buf_addf(b, "%11s\n", "-");
		text_waiting(b, &c);
		text_trouble(b, v, n);
	}
}

void server_stats(const struct server *s, bool json, struct buf *b)
{
	server_tell(s);
	if (json)
		stats_json(s, b);
	else
		stats_text(s, b);
}
