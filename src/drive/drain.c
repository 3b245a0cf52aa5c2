/*
 * drain.c - the end of a server: nobody new, EV_STOP to who is there, and when their time is over, or a second signal
 * comes, what is left is cut.
 */
#include <unistd.h>

#include "base/log.h"
#include "drive/clock.h"
#include "drive/jobs.h"
#include "drive/model/brood.h"
#include "drive/model/crew.h"

enum {
	LOOK_MS = 10,
	CUT_FOR = 1, /* seconds that what was cut, and jobs that run, have to end */
};

void server_log_open(enum log_level level, const char *event, unsigned open, const char *reason)
{
	struct log_line line;

	if (!log_begin(&line, level, event))
		return;
	log_uint(&line, "open", open);
	log_str(&line, "reason", reason);
	log_end(&line);
}

unsigned server_open_here(const struct server *s)
{
	unsigned n = atomic_load(&s->live) + brood_busy(s->brood);

	for (unsigned i = 1; i < s->n_loops; i++)
		n += loop_open(s->loops[i]);
	return n;
}

bool server_is_stuck(const struct server *s)
{
	return atomic_load(&s->hands) > 0 || (s->jobs && jobs_running(s->jobs));
}

unsigned server_open(const struct server *s)
{
	unsigned n = 0;

	for (const struct tally *t = NULL; (t = shared_next(s->shared, t));)
		if (!t->internal)
			n += atomic_load(&t->open);
	return n;
}

/* Datagrams have nobody to refuse, and the control socket tells how the end goes. */
static struct listener *next_door(const struct server *s, const struct list **at)
{
	while ((*at = (*at)->next) != &s->listeners) {
		struct listener *ln = list_entry(*at, struct listener, node);

		if (!ln->dgram && !ln->vital)
			return ln;
	}
	return NULL;
}

static void leave_here(struct loop *l, void *arg)
{
	const struct server *s = arg;
	const struct list *at = &s->listeners;

	for (struct listener *ln; (ln = next_door(s, &at));)
		loop_unlisten(l, ln);
}

static void leave_crews(const struct server *s)
{
	const struct list *at = &s->listeners;

	for (struct listener *ln; (ln = next_door(s, &at));)
		crew_unlisten(ln);
}

/* Who waits for a worker is served yet, or cut. */
static void end_crews(const struct server *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->services[i]->crew)
			crew_end(s->services[i]->crew);
		if (s->services[i]->herd)
			herd_end(s->services[i]->herd);
	}
}

static void stop_here(struct loop *l, void *arg)
{
	(void)arg;
	loop_stop(l);
}

/* Who comes now is refused, not left to wait; and a successor may bind. */
void server_close_doors(struct server *s)
{
	const struct list *at = &s->listeners;

	for (struct listener *ln; (ln = next_door(s, &at));)
		listener_close(ln, s->stop_fd);
	brood_settle(s->brood);
}

struct cutting {
	_Atomic unsigned dropped;
};

static void cut_here(struct loop *l, void *arg)
{
	struct cutting *c = arg;

	atomic_fetch_add(&c->dropped, loop_cut(l));
}

static void tell_threads(int fd)
{
	uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one));
}

/* Returns how many had something to say yet; a thread or a child counts as one, and so does who waits for one. */
static unsigned cut(struct server *s)
{
	struct cutting c = {};
	unsigned n = atomic_load(&s->live) + brood_busy(s->brood);

	server_everywhere(s, cut_here, &c);
	tell_threads(s->cut_fd);
	n += atomic_load(&c.dropped);
	if (n)
		server_log_open(LOG_WARN, "cut", n, s->signals > 1 ? "second-signal" : "drain");
	return n;
}

bool server_drain(struct server *s)
{
	nsec until = clock_mono() + s->global->drain, end = 0;
	unsigned open;
	bool clean = true, late = false, quiet = s->setup.role == SERVER_WORKER; /* the monitor tells for all */

	if (!quiet)
		server_log_open(LOG_INFO, "stopping", server_open_here(s), NULL);
	leave_crews(s);
	server_everywhere(s, leave_here, s);
	end_crews(s);
	server_everywhere(s, stop_here, s); /* after who was accepted and handed to another loop has arrived there */
	server_close_doors(s);
	if (s->calls->closed)
		s->calls->closed(s, s->calls->arg);
	tell_threads(s->stop_fd);
	while ((open = server_open_here(s)) || server_is_stuck(s)) {
		nsec now = clock_mono();

		if (open && !late)
			end = 0; /* a worker had just accepted when we looked */
		if (open && !end && (s->signals > 1 || now >= until)) {
			clean = cut(s) == 0;
			late = true;
			end = now + CUT_FOR * SEC;
		}
		if (!end && !open) /* without sessions nobody waits for what a job finds */
			end = now + CUT_FOR * SEC;
		if (end && now >= end)
			break;
		loop_turn(s->loops[0], LOOK_MS * MSEC);
	}
	if (!quiet)
		server_log_open(LOG_INFO, "stopped", server_open_here(s), NULL);
	return clean;
}
