/* view.c - what can be seen of a running server: its services, addresses and counters. */
#include <errno.h>
#include <jansson.h>
#include <unistd.h>

#include "drive/clock.h"
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
		if (atomic_load(&p->descriptors) * (t.limit ? t.limit : 1) >= t.descriptors * atomic_load(&p->limit)) {
			t.descriptors = atomic_load(&p->descriptors);
			t.limit = atomic_load(&p->limit);
		}
	}
	return t;
}

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
			json_array_append_new(a, one_json(s, i));
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

static void add_own(json_t *o, const struct proto *proto, const uint64_t *v)
{
	for (unsigned i = 0; i < PROTO_COUNTERS && proto->counters && proto->counters[i]; i++)
		json_object_set_new(o, proto->counters[i], json_integer((json_int_t)v[STAT_OWN + i]));
}

static json_t *addresses_json(const struct server *s, size_t i)
{
	struct service_view view;
	json_t *a = json_array();

	server_service(s, i, &view);
	for (size_t j = 0; j < view.addresses; j++) {
		struct buf b;

		buf_init(&b, 600);
		server_address(s, i, j, &b);
		json_array_append_new(a, json_string(buf_str(&b)));
		buf_done(&b);
	}
	return a;
}

static json_t *service_json(const struct server *s, size_t i)
{
	const struct service *v = nth(s, i);
	struct counts c;
	json_t *o;

	count(v, &c);
	o = json_pack("{s:s, s:s, s:s, s:o, s:i}", "name", v->plan.name, "protocol", v->plan.proto->name, "model",
		      v->model->name, "addresses", addresses_json(s, i), "open", (int)c.open);
	if (!o)
		return NULL;
	if (v->model->workers) {
		json_object_set_new(o, "workers", json_integer(c.workers));
		json_object_set_new(o, "waiting", json_integer(c.waiting));
	}
	for (unsigned k = 0; k < STAT_OWN; k++)
		json_object_set_new(o, stat_name(k), json_integer((json_int_t)c.n[k]));
	add_own(o, v->plan.proto, c.n);
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
		json_array_append_new(services, service_json(s, i));
	o = json_pack("{s:o, s:o, s:o}", "process", process_json(s), "processes", processes_json(s), "services",
		      services);
	if (!o || json_dump_callback(o, add_text, b, JSON_COMPACT) < 0)
		b->err = b->err ? b->err : -ENOMEM;
	json_decref(o);
}

static void text_size(struct buf *b, uint64_t n)
{
	static const char units[] = " KMGT";
	unsigned u = 0;
	double v = (double)n;

	while (v >= 10000 && u < 4) {
		v /= 1024;
		u++;
	}
	buf_addf(b, u ? "%9.0f%c" : "%10.0f", v, units[u]);
}

/* Who is in the queue of a crew. */
static void text_waiting(struct buf *b, const struct counts *c)
{
	if (c->waiting)
		buf_addf(b, "  %-16s %20s %10u  accepted, but all of the %u workers are busy\n", "", "waiting",
			 c->waiting, c->workers);
}

/* Counters that matter only when something went wrong: shown when they are not 0. */
static void text_trouble(struct buf *b, const struct service *v, const uint64_t *n)
{
	static const enum counter usual[] = { STAT_ACCEPTED, STAT_CLOSED,        STAT_BYTES_IN,      STAT_BYTES_OUT,
					      STAT_ERRORS,   STAT_FIRST_REPLIES, STAT_FIRST_REPLY_NS };

	for (unsigned k = 0; k < STAT_OWN; k++) {
		bool seen = false;

		for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
			seen |= usual[i] == k;
		if (!seen && n[k])
			buf_addf(b, "  %-16s %20s %10llu  %s\n", "", stat_name(k), (unsigned long long)n[k],
				 stat_help(k));
	}
	for (unsigned i = 0; i < PROTO_COUNTERS && v->plan.proto->counters && v->plan.proto->counters[i]; i++)
		if (n[STAT_OWN + i])
			buf_addf(b, "  %-16s %20s %10llu\n", "", v->plan.proto->counters[i],
				 (unsigned long long)n[STAT_OWN + i]);
}

static void text_processes(const struct server *s, struct buf *b)
{
	buf_addf(b, "%-18s %-9s %10s %10s %10s %21s\n", "process", "pid", "up", "resident", "heap", "descriptors");
	for (unsigned i = 0; i < SHARED_PROCESSES; i++) {
		const struct shared_process *p = process(s, i);

		if (!p)
			continue;
		buf_addf(b, "%-18s %-9d %8.0f s ", s->shared->names[i], (int)atomic_load(&p->pid),
			 (double)(clock_mono() - atomic_load(&p->started)) / 1e9);
		text_size(b, atomic_load(&p->resident));
		buf_adds(b, " ");
		text_size(b, atomic_load(&p->heap));
		buf_addf(b, " %8llu of %9llu\n", (unsigned long long)atomic_load(&p->descriptors),
			 (unsigned long long)atomic_load(&p->limit));
	}
	buf_adds(b, "\n");
}

static void stats_text(const struct server *s, struct buf *b)
{
	buf_addf(b, "guichet %s, pid %d, up %.0f s, %u loops\n\n", GUICHET_VERSION, (int)getpid(),
		 (double)(clock_mono() - s->started) / 1e9, s->event_loops);
	text_processes(s, b);
	buf_addf(b, "%-18s %-9s %10s %10s %10s %10s %10s %12s\n", "service", "model", "open", "accepted", "in", "out",
		 "errors", "first reply");
	for (size_t i = 0; i < s->n; i++) {
		const struct service *v = nth(s, i);
		const uint64_t *n;
		struct counts c;

		if (v->plan.internal)
			continue;
		count(v, &c);
		n = c.n;
		buf_addf(b, "%-18s %-9s %10u %10llu ", v->plan.name, v->model->name, c.open,
			 (unsigned long long)n[STAT_ACCEPTED]);
		text_size(b, n[STAT_BYTES_IN]);
		buf_adds(b, " ");
		text_size(b, n[STAT_BYTES_OUT]);
		buf_addf(b, " %10llu ", (unsigned long long)n[STAT_ERRORS]);
		if (n[STAT_FIRST_REPLIES])
			buf_addf(b, "%9.3f ms\n", (double)n[STAT_FIRST_REPLY_NS] / (double)n[STAT_FIRST_REPLIES] / 1e6);
		else
			buf_addf(b, "%12s\n", "-");
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
