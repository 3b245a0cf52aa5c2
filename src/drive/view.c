/* view.c - what can be seen of a running server: its services, addresses and counters. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "drive/clock.h"
#include "drive/model/crew.h"
#include "drive/sys.h"

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

static void sum(const struct tally *t, uint64_t out[static STAT_N])
{
	for (unsigned i = 0; i < STAT_N; i++) {
		out[i] = 0;
		for (size_t row = 0; row < t->rows; row++)
			out[i] += atomic_load_explicit(&t->v[row * STAT_N + i], memory_order_relaxed);
	}
}

static size_t resident(void)
{
	char text[128], *second;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	fd_close(&fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	second = strchr(text, ' '); /* "total resident shared ...", in pages */
	return second ? strtoul(second, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

static unsigned long fd_limit(void)
{
	struct rlimit lim;

	return getrlimit(RLIMIT_NOFILE, &lim) < 0 ? 0 : lim.rlim_cur;
}

static unsigned long descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned long n = 0;

	if (!d)
		return errno == EMFILE ? fd_limit() : 0; /* not even one is left for this */
	/* cppcheck-suppress readdirCalled ; the stream is this function's own, and readdir_r() is deprecated */
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n - 1; /* without this one */
}

static json_t *process_json(const struct server *s)
{
	struct mallinfo2 heap = mallinfo2();
	json_int_t in_use = (json_int_t)heap.uordblks + (json_int_t)heap.hblkhd;
	struct rusage use;
	uint64_t turns = 0;

	getrusage(RUSAGE_SELF, &use);
	for (unsigned i = 0; i < s->n_loops; i++)
		turns += loop_turns(s->loops[i]);
	return json_pack("{s:i, s:s, s:f, s:I, s:I, s:I, s:I, s:i, s:I, s:f, s:f}", "pid", (int)getpid(), "version",
			 GUICHET_VERSION, "uptime", (double)(clock_mono() - s->started) / 1e9, "heap_bytes", in_use,
			 "resident_bytes", (json_int_t)resident(), "descriptors", (json_int_t)descriptors(),
			 "descriptors_max", (json_int_t)fd_limit(), "loops", (int)s->n_loops - 1, "turns",
			 (json_int_t)turns, "user_seconds",
			 (double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec / 1e6, "system_seconds",
			 (double)use.ru_stime.tv_sec + (double)use.ru_stime.tv_usec / 1e6);
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
	json_t *o = json_pack("{s:s, s:s, s:s, s:o, s:i}", "name", v->plan.name, "protocol", v->plan.proto->name,
			      "model", v->model->name, "addresses", addresses_json(s, i), "open",
			      (int)atomic_load(&v->tally->open));
	uint64_t n[STAT_N];

	if (!o)
		return NULL;
	if (v->crew) {
		unsigned workers, waiting;

		crew_view(v->crew, &workers, &waiting);
		json_object_set_new(o, "workers", json_integer(workers));
		json_object_set_new(o, "waiting", json_integer(waiting));
	}
	sum(v->tally, n);
	for (unsigned k = 0; k < STAT_OWN; k++)
		json_object_set_new(o, stat_name(k), json_integer((json_int_t)n[k]));
	add_own(o, v->plan.proto, n);
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
	o = json_pack("{s:o, s:o}", "process", process_json(s), "services", services);
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
static void text_waiting(struct buf *b, const struct service *v)
{
	unsigned workers, waiting = 0;

	if (v->crew)
		crew_view(v->crew, &workers, &waiting);
	if (waiting)
		buf_addf(b, "  %-16s %20s %10u  accepted, but all of the %u workers are busy\n", "", "waiting", waiting,
			 workers);
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

static void stats_text(const struct server *s, struct buf *b)
{
	struct mallinfo2 heap = mallinfo2();

	buf_addf(b, "guichet %s, pid %d, up %.0f s, %u loops, resident ", GUICHET_VERSION, (int)getpid(),
		 (double)(clock_mono() - s->started) / 1e9, s->n_loops - 1);
	text_size(b, resident());
	buf_adds(b, ", heap ");
	text_size(b, heap.uordblks + heap.hblkhd);
	buf_addf(b, ", %lu of %lu descriptors\n\n", descriptors(), fd_limit());
	buf_addf(b, "%-18s %-9s %10s %10s %10s %10s %10s %12s\n", "service", "model", "open", "accepted", "in", "out",
		 "errors", "first reply");
	for (size_t i = 0; i < s->n; i++) {
		const struct service *v = nth(s, i);
		uint64_t n[STAT_N];

		if (v->plan.internal)
			continue;
		sum(v->tally, n);
		buf_addf(b, "%-18s %-9s %10u %10llu ", v->plan.name, v->model->name, atomic_load(&v->tally->open),
			 (unsigned long long)n[STAT_ACCEPTED]);
		text_size(b, n[STAT_BYTES_IN]);
		buf_adds(b, " ");
		text_size(b, n[STAT_BYTES_OUT]);
		buf_addf(b, " %10llu ", (unsigned long long)n[STAT_ERRORS]);
		if (n[STAT_FIRST_REPLIES])
			buf_addf(b, "%9.3f ms\n", (double)n[STAT_FIRST_REPLY_NS] / (double)n[STAT_FIRST_REPLIES] / 1e6);
		else
			buf_addf(b, "%12s\n", "-");
		text_waiting(b, v);
		text_trouble(b, v, n);
	}
}

void server_stats(const struct server *s, bool json, struct buf *b)
{
	if (json)
		stats_json(s, b);
	else
		stats_text(s, b);
}
