/* admit.c - see admit.h. */
#include "drive/admit.h"

#include <limits.h>
#include <string.h>
#include <sys/resource.h>

#include "base/crc.h"
#include "base/log.h"
#include "base/peer.h"
#include "drive/clock.h"

enum {
	REFUSED = 10,   /* lines a second */
	CLOSED = 50,    /* more of these: each had its place, so they are fewer, and a jail wants them */
	LINE_BITS = 16, /* of admit_brake.lines */
	MOST_OF = 4,    /* the reserves may have this part of all descriptors */
	BUSY_OF = 8,    /* all but this part is in use: overload */
	CALM_OF = 4,    /* all but this part: it is over */
};

static const nsec short_for = 10 * SEC; /* since the last time that something was short */

static const struct admit *admit_of(const struct lane *lane)
{
	return lane->admit;
}

/* ---- options ---- */

static unsigned long fd_limit(const struct guichet_options *g)
{
	struct rlimit lim;
	unsigned long n = getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur > INT_MAX ? INT_MAX : lim.rlim_cur;

	return g->fds && g->fds < n ? g->fds : n; /* during a reload there may be more for a while */
}

void admit_tune(struct admit_all *all, const struct guichet_options *g, unsigned services)
{
	unsigned long fds = fd_limit(g), others = services ? services - 1 : 0;
	unsigned long reserve = g->reserve, share = g->reserve_service;
	unsigned long wanted = reserve + share * others, may = fds / MOST_OF;

	if (wanted > may) {
		reserve = reserve * may / wanted;
		share = share * may / wanted;
	}
	atomic_store(&all->fds_most, (int)(fds - reserve));
	atomic_store(&all->fds_share, (int)share);
	atomic_store(&all->fds_busy, (int)(fds - reserve - (fds - reserve) / BUSY_OF));
	atomic_store(&all->others, (int)others);
	atomic_store(&all->loopback, g->limit_loopback);
	atomic_store(&all->overload, g->overload);
	atomic_store(&all->logins, g->logins);
	atomic_store(&all->penalty, g->penalty);
}

void admit_init(struct admit *a, struct admit_all *all, struct admit_state *state, const char *name,
		const struct service_options *c)
{
	unsigned per_source = c->per_source < LIMITS_HELD ? c->per_source : LIMITS_HELD;

	*a = (struct admit){
		.all = all,
		.state = state,
		.proxied = c->proxy,
		/* by name, so that it is the same in all processes and after a reload */
		.rule = { .service = crc32c(0, name, strlen(name)) | 1, .per_source = per_source, .rate = c->rate },
	};
}

void admit_lane(const struct admit *a, struct lane *lane)
{
	lane->admit = a;
	lane->pressed[0] = &a->state->pressed;
	lane->pressed[1] = &a->all->pressed;
}

/* ---- lines of one kind ---- */

/* One more in this second; false: there are enough of them, and it is counted. Some threads are late: theirs is this second too. */
static bool may_log(struct admit_brake *b, unsigned most, nsec now)
{
	uint64_t old = atomic_load(&b->lines), second = now / SEC, next;

	do {
		if (old >> LINE_BITS < second) {
			next = second << LINE_BITS | 1;
		} else if (old % (1 << LINE_BITS) < most) {
			next = old + 1;
		} else {
			atomic_fetch_add(&b->silent, 1);
			return false;
		}
	} while (!atomic_compare_exchange_weak(&b->lines, &old, next));
	return true;
}

/* ---- penalties ---- */

static void log_penalty(const struct peer *peer, const char *why, nsec penalty)
{
	char text[PEER_TEXT];
	struct log_line line;

	if (!log_begin(&line, LOG_WARN, "penalty"))
		return;
	if (peer)
		log_str(&line, "peer", peer_host(peer, text));
	log_str(&line, "reason", why);
	log_seconds(&line, "seconds", penalty);
	log_end(&line);
}

void admit_crashed(struct limits *t, const struct guichet_options *g, const uint8_t *b, unsigned n, nsec now)
{
	struct limits_source src = limits_of_bytes(b, n);
	struct peer *peer;

	if (!src.family || (src.loopback && !g->limit_loopback))
		return;
	if (!limits_strike(t, LIMITS_CRASH, &src, now, g->crashes, g->penalty, g->penalty))
		return;
	peer = peer_new(n == 4 ? PEER_IP4 : PEER_IP6, b, n, 0, 0);
	log_penalty(peer, "crash", g->penalty);
	peer_unref(peer);
}

/* ---- overload ---- */

static void log_overload(const struct lane *lane, bool on, const char *reason, unsigned open)
{
	struct log_line line;

	if (!log_begin(&line, on ? LOG_WARN : LOG_INFO, on ? "overload" : "overload-ended"))
		return;
	if (strcmp(reason, "max") == 0)
		log_str(&line, "service", lane->svc->name);
	log_str(&line, "reason", reason);
	log_uint(&line, "open", open);
	log_end(&line);
}

static unsigned open_now(const struct lane *lane)
{
	return lane->open_all ? atomic_load_explicit(lane->open_all, memory_order_relaxed) : 0;
}

/* Changes a state, and tells of it, once. */
static void set_pressed(const struct lane *lane, _Atomic bool *state, bool on, const char *reason)
{
	if (atomic_load_explicit(state, memory_order_relaxed) == on || atomic_exchange(state, on) == on)
		return;
	if (on)
		stat_add(lane, STAT_OVERLOADS, 1);
	log_overload(lane, on, reason, open_now(lane));
}

void admit_short(const struct lane *lane, const char *reason)
{
	struct admit_all *all = lane->admit ? lane->admit->all : NULL;

	if (!all || !atomic_load_explicit(&all->overload, memory_order_relaxed))
		return;
	atomic_store_explicit(&all->short_of, reason, memory_order_relaxed);
	atomic_store_explicit(&all->short_until, clock_mono() + short_for, memory_order_relaxed);
	set_pressed(lane, &all->pressed, true, reason);
}

/* Few places are no overload: a service with max = 1 is always full. */
static bool is_crowded(const struct lane *lane, unsigned part)
{
	return lane->max >= BUSY_OF && open_now(lane) >= lane->max - lane->max / part;
}

static void look_busy(const struct lane *lane, int fd)
{
	const struct admit *a = admit_of(lane);

	if (!atomic_load_explicit(&a->all->overload, memory_order_relaxed))
		return;
	if (fd >= atomic_load_explicit(&a->all->fds_busy, memory_order_relaxed))
		admit_short(lane, "out-of-descriptors");
	if (is_crowded(lane, BUSY_OF))
		set_pressed(lane, &a->state->pressed, true, "max");
}

static void look_calm(const struct lane *lane, nsec now)
{
	const struct admit *a = admit_of(lane);
	bool off = !atomic_load_explicit(&a->all->overload, memory_order_relaxed);

	if (atomic_load_explicit(&a->state->pressed, memory_order_relaxed) && (off || !is_crowded(lane, CALM_OF)))
		set_pressed(lane, &a->state->pressed, false, "max");
	if (!atomic_load_explicit(&a->all->pressed, memory_order_relaxed))
		return;
	if (off || now >= atomic_load_explicit(&a->all->short_until, memory_order_relaxed))
		set_pressed(lane, &a->all->pressed, false, atomic_load(&a->all->short_of));
}

/* ---- places ---- */

/* Before the connection is on its loop, or has its thread: a whole burst may be on its way there. */
static bool take_place(const struct lane *lane)
{
	unsigned n;

	if (!lane->open_all)
		return true;
	n = atomic_load_explicit(lane->open_all, memory_order_relaxed);
	do {
		if (lane->max && n >= lane->max)
			return false;
	} while (!atomic_compare_exchange_weak(lane->open_all, &n, n + 1));
	return true;
}

/*
 * A new descriptor has the lowest number that is free. So when nobody but those who have less than their share gets a number from
 * some line on, all numbers behind it are theirs, whatever the others do. Nothing has to be counted.
 */
static bool is_reserved(const struct lane *lane, int fd)
{
	const struct admit_all *all = admit_of(lane)->all;
	int most = atomic_load_explicit(&all->fds_most, memory_order_relaxed);
	int share = atomic_load_explicit(&all->fds_share, memory_order_relaxed);
	int others = atomic_load_explicit(&all->others, memory_order_relaxed);

	if (!most || !share || !others || (unsigned)share > open_now(lane))
		return false; /* not tuned yet, for nobody, or it has less than its share */
	return fd >= most - share * others;
}

bool admit_is_full(const struct lane *lane, int fd)
{
	const struct admit *a = admit_of(lane);
	int most = a ? atomic_load_explicit(&a->all->fds_most, memory_order_relaxed) : 0;

	return most && fd >= most;
}

/* ---- sources ---- */

static const char *reason_of(enum limits_verdict v)
{
	return v == LIMITS_PER_SOURCE ? "per-source" : v == LIMITS_RATE ? "rate" : NULL;
}

static enum counter counter_of(enum limits_verdict v)
{
	return v == LIMITS_PER_SOURCE ? STAT_REFUSED_SOURCE : v == LIMITS_RATE ? STAT_REFUSED_RATE : STAT_UNCOUNTED;
}

/* Our own machine is free: a proxy without PROXY headers, and a test, are one source. */
static bool is_free(const struct admit_all *all, const struct limits_source *src)
{
	return !src->family || (src->loopback && !atomic_load_explicit(&all->loopback, memory_order_relaxed));
}

/* What is noted is held for certain: of who is killed between two lines here at worst one place stays taken. */
static void note_ticket(const struct lane *lane, uint32_t ticket)
{
	if (lane->note)
		atomic_store(&lane->note->ticket, ticket);
}

static void note_place(const struct lane *lane, bool on)
{
	if (lane->note)
		atomic_store(&lane->note->place, on);
}

const char *admit_source(const struct lane *lane, const struct peer *peer, uint32_t *ret_ticket)
{
	const struct admit *a = admit_of(lane);
	struct limits_source src = limits_of_peer(peer);
	enum limits_verdict v;
	nsec now;

	*ret_ticket = 0;
	if (!a || !a->all->limits || is_free(a->all, &src))
		return NULL;
	now = clock_mono();
	if (limits_is_penalised(a->all->limits, &src, now)) {
		stat_add(lane, STAT_REFUSED_PENALTY, 1);
		return "penalty";
	}
	v = limits_enter(a->all->limits, a->all->owner, &a->rule, &src, now, ret_ticket);
	note_ticket(lane, *ret_ticket);
	if (v != LIMITS_OK)
		stat_add(lane, counter_of(v), 1);
	return reason_of(v);
}

bool admit_is_penalised(const struct lane *lane, const struct route *from, nsec now)
{
	const struct admit *a = admit_of(lane);
	struct limits_source src;

	if (!a || !a->all->limits || atomic_load_explicit(&a->all->limits->latest, memory_order_relaxed) <= now)
		return false;
	src = limits_of_route(from);
	if (is_free(a->all, &src) || !limits_is_penalised(a->all->limits, &src, now))
		return false;
	stat_add(lane, STAT_DROP_PENALTY, 1);
	return true;
}

/* ---- logins ---- */

static void log_login(const struct sess *s, struct span user, nsec now)
{
	const struct admit *a = admit_of(s->lane);
	struct span name = sess_client(s);
	char text[PEER_TEXT];
	struct log_line line;

	admit_tell(s->lane, now);
	if (!may_log(&a->state->failed, REFUSED, now) || !log_begin(&line, LOG_WARN, "login-failed"))
		return;
	log_str(&line, "service", s->lane->svc->name);
	if (s->peer)
		log_str(&line, "peer", peer_text(s->peer, text));
	if (user.n)
		log_bytes(&line, "user", user.p, user.n);
	log_hex(&line, "session", s->id);
	if (name.n)
		log_bytes(&line, "client", name.p, name.n);
	log_end(&line);
}

bool admit_login_failed(const struct sess *s, struct span user)
{
	const struct admit *a = admit_of(s->lane);
	struct limits_source src = limits_of_peer(s->peer);
	nsec now = clock_mono(), penalty;
	unsigned most;

	if (!a)
		return false;
	log_login(s, user, now);
	most = atomic_load_explicit(&a->all->logins, memory_order_relaxed);
	penalty = atomic_load_explicit(&a->all->penalty, memory_order_relaxed);
	if (!most || !a->all->limits || is_free(a->all, &src))
		return false;
	if (limits_is_penalised(a->all->limits, &src, now))
		return true;
	if (!limits_strike(a->all->limits, LIMITS_LOGIN, &src, now, most, penalty, penalty))
		return false;
	log_penalty(s->peer, "logins", penalty);
	return true;
}

/* ---- in and out ---- */

static const char *take_all(const struct lane *lane, int fd, uint32_t ticket)
{
	const struct admit *a = admit_of(lane);
	const char *reason = NULL;

	if (a && is_reserved(lane, fd)) {
		stat_add(lane, STAT_REFUSED_RESERVE, 1);
		reason = "reserve";
	} else if (!take_place(lane)) {
		stat_add(lane, STAT_REFUSED_MAX, 1);
		reason = "max";
	}
	note_place(lane, !reason);
	if (!reason || !ticket)
		return reason;
	note_ticket(lane, 0);
	limits_leave(a->all->limits, a->all->owner, ticket);
	return reason;
}

const char *admit_enter(const struct lane *lane, int fd, const struct peer *peer, uint32_t *ret_ticket)
{
	const struct admit *a = admit_of(lane);
	const char *reason = NULL;
	uint32_t ticket = 0;

	if (a && !a->proxied)
		reason = admit_source(lane, peer, &ticket);
	if (!reason)
		reason = take_all(lane, fd, ticket);
	if (a) {
		look_busy(lane, fd);
		if (admit_due(lane))
			admit_tell(lane, clock_mono());
	}
	if (!reason)
		*ret_ticket = ticket;
	return reason;
}

static void give_back(const struct lane *lane, uint32_t ticket, bool place)
{
	const struct admit *a = admit_of(lane);

	if (ticket)
		limits_leave(a->all->limits, a->all->owner, ticket);
	if (place && lane->open_all)
		atomic_fetch_sub_explicit(lane->open_all, 1, memory_order_acq_rel);
	if (a) {
		nsec now = clock_mono();

		look_calm(lane, now);
		admit_tell(lane, now);
	}
}

void admit_leave(const struct lane *lane, uint32_t ticket)
{
	note_ticket(lane, 0);
	note_place(lane, false);
	give_back(lane, ticket, true);
}

bool admit_clear(const struct lane *lane, struct admit_note *note)
{
	uint32_t ticket = atomic_exchange(&note->ticket, 0);
	bool place = atomic_exchange(&note->place, false);

	give_back(lane, ticket, place);
	return place;
}

/* ---- lines of the log ---- */

static nsec brake_due(const struct admit_brake *b)
{
	if (!atomic_load_explicit(&b->silent, memory_order_relaxed))
		return 0;
	return ((atomic_load_explicit(&b->lines, memory_order_relaxed) >> LINE_BITS) + 1) * SEC;
}

static nsec sooner(nsec a, nsec b)
{
	return !a || (b && b < a) ? b : a;
}

nsec admit_due(const struct lane *lane)
{
	const struct admit *a = admit_of(lane);
	nsec refused = a ? brake_due(&a->state->refused) : 0;
	nsec closed = a ? brake_due(&a->state->closed) : 0;
	nsec failed = a ? brake_due(&a->state->failed) : 0;

	return sooner(sooner(refused, closed), failed);
}

/* The line is two pages of stack, which a child of model fork would touch for nothing. */
[[gnu::noinline]] static void log_more(const struct lane *lane, uint32_t n, enum log_level level, const char *event)
{
	struct log_line line;

	if (!log_begin(&line, level, event))
		return;
	log_str(&line, "service", lane->svc->name);
	log_uint(&line, "count", n);
	log_end(&line);
}

static void tell_more(const struct lane *lane, struct admit_brake *b, enum log_level level, const char *event, nsec now)
{
	nsec due = brake_due(b);
	uint32_t n = due && due <= now ? atomic_exchange(&b->silent, 0) : 0;

	if (n)
		log_more(lane, n, level, event);
}

void admit_tell(const struct lane *lane, nsec now)
{
	const struct admit *a = admit_of(lane);

	if (!a)
		return;
	tell_more(lane, &a->state->refused, LOG_WARN, "refused-more", now);
	tell_more(lane, &a->state->closed, LOG_INFO, "closed-more", now);
	tell_more(lane, &a->state->failed, LOG_WARN, "login-failed-more", now);
}

bool admit_may_log_end(const struct lane *lane)
{
	const struct admit *a = admit_of(lane);
	nsec now = clock_mono();

	admit_tell(lane, now);
	return !a || may_log(&a->state->closed, CLOSED, now);
}

void admit_log(const struct lane *lane, const struct peer *peer, const char *reason)
{
	const struct admit *a = admit_of(lane);
	char text[PEER_TEXT];
	struct log_line line;
	nsec now = clock_mono();

	admit_tell(lane, now);
	if (a && !may_log(&a->state->refused, REFUSED, now))
		return;
	if (!log_begin(&line, LOG_WARN, "refused"))
		return;
	log_str(&line, "service", lane->svc->name);
	if (peer)
		log_str(&line, "peer", peer_text(peer, text));
	log_str(&line, "reason", reason);
	log_end(&line);
}
