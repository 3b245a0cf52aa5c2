/*
 * drain.c - the end of a server: nobody new, EV_STOP to who is there, and when their time is over, or a second signal
 * comes, what is left is cut.
 */
#include <unistd.h>

#include "base/log.h"
#include "drive/clock.h"
#include "drive/jobs.h"
#include "drive/server_priv.h"

enum {
	LOOK_MS = 10,
	CUT_FOR = 1, /* seconds that what was cut, and jobs that run, have to end */
};

static void log_open(enum log_level level, const char *event, unsigned open, const char *reason)
{
	struct log_line line;

	if (!log_begin(&line, level, event))
		return;
	log_uint(&line, "open", open);
	log_str(&line, "reason", reason);
	log_end(&line);
}

static unsigned open_now(const struct server *s)
{
	unsigned n = atomic_load(&s->live);

	for (unsigned i = 1; i < s->n_loops; i++)
		n += loop_open(s->loops[i]);
	return n;
}

bool server_is_stuck(const struct server *s)
{
	return atomic_load(&s->live) > 0 || (s->jobs && jobs_running(s->jobs));
}

static bool is_door(const struct service *v, size_t i)
{
	return !v->listeners[i]->dgram && !v->plan.internal;
}

static void stop_here(struct loop *l, void *arg)
{
	struct server *s = arg;

	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; k < s->services[i]->n; k++)
			if (is_door(s->services[i], k))
				loop_unlisten(l, s->services[i]->listeners[k]);
	loop_stop(l);
}

/* Who comes now is refused, not left to wait; and a successor may bind. */
static void close_doors(struct server *s)
{
	for (size_t i = 0; i < s->n; i++)
		for (size_t k = 0; k < s->services[i]->n; k++)
			if (is_door(s->services[i], k))
				listener_close(s->services[i]->listeners[k]);
}

static void cut_here(struct loop *l, void *arg)
{
	(void)arg;
	loop_cut(l);
}

static void tell_threads(int fd)
{
	uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one));
}

static void cut(struct server *s, unsigned open)
{
	log_open(LOG_WARN, "cut", open, s->signals > 1 ? "second-signal" : "drain");
	server_everywhere(s, cut_here, s);
	tell_threads(s->cut_fd);
}

bool server_drain(struct server *s)
{
	nsec until = clock_mono() + s->global->drain, end = 0;
	unsigned open;
	bool clean = true;

	log_open(LOG_INFO, "stopping", open_now(s), NULL);
	server_everywhere(s, stop_here, s);
	close_doors(s);
	tell_threads(s->stop_fd);
	while ((open = open_now(s)) || server_is_stuck(s)) {
		nsec now = clock_mono();

		if (open && !end && (s->signals > 1 || now >= until)) {
			clean = false;
			cut(s, open);
		}
		if (!end && (!clean || !open)) /* without sessions nobody waits for what a job finds */
			end = now + CUT_FOR * SEC;
		if (end && now >= end)
			break;
		loop_turn(s->loops[0], LOOK_MS * MSEC);
	}
	log_open(LOG_INFO, "stopped", open_now(s), NULL);
	return clean;
}
