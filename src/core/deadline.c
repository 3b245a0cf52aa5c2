/*
 * deadline.c - the time limits of a session, its timers, and when to look at them again. docs/design/limits.md has all limits.
 *
 * Under overload a quarter of each limit must do, also for who is here already. Nobody walks over all sessions for that: each is
 * looked at when a quarter of a limit has passed, whether there is overload or not.
 */
#include <errno.h>

#include "base/mem.h"
#include "core/sess_priv.h"

enum { PRESSED = 4 }; /* what is left of a limit under overload: one part of so many */

struct login {
	struct who who;
	char user[];
};

/* ---- what is waited for ---- */

/* Somebody came to us; what we have dialled ourselves has its own deadline. */
static bool is_guest(const struct sess *s)
{
	return s->proto && !(s->flags & (S_SHARD | S_DGRAM)) && !(s->more && s->more->parent);
}

void deadline_begin(struct sess *s)
{
	s->flags &= ~(uint32_t)(S_NO_FIRST | S_NO_LOGIN);
	if (!is_guest(s))
		return;
	s->since = (uint32_t)(s->host->now / MSEC);
	if (s->proto->flags & P_FIRST)
		s->flags |= S_NO_FIRST;
	if (s->proto->flags & P_LOGIN)
		s->flags |= S_NO_LOGIN;
}

void io_first(struct io *io)
{
	io->sess->flags &= ~(uint32_t)S_NO_FIRST;
}

void io_who(struct io *io, const struct who *who)
{
	struct sess *s = sess_stepper(io->sess);
	size_t n = who && who->user ? strlen(who->user) + 1 : 0;
	struct sess_more *m = sess_more(s);
	struct login *login;

	if (!m)
		return;
	if (m->login && io->who == &m->login->who)
		io->who = NULL; /* until the next step */
	mem_free(m->login);
	m->login = NULL;
	m->who = NULL;
	if (!who || who->how == WHO_NOBODY)
		return;
	login = mem_alloc(sizeof(*login) + n);
	if (!login) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		return;
	}
	login->who = *who;
	if (n)
		login->who.user = memcpy(login->user, who->user, n);
	m->login = login;
	m->who = &login->who;
	s->flags &= ~(uint32_t)S_NO_LOGIN;
	if (s->host->logged_in)
		s->host->logged_in(s->host, s, m->who);
}

bool io_login_failed(struct io *io, struct span user)
{
	struct sess *s = sess_stepper(io->sess);

	stat_add(s->lane, STAT_LOGINS_FAILED, 1);
	return s->host->login_failed && s->host->login_failed(s->host, s, user);
}

/* ---- a span of time that began at `from` ---- */

/* It wraps after 49 days, and no limit is that long. */
static nsec opened(const struct sess *s)
{
	uint64_t now = s->host->now / MSEC;

	return (now - (uint32_t)((uint32_t)now - s->since)) * MSEC;
}

static nsec gone_since(const struct sess *s, nsec from)
{
	return s->host->now > from ? s->host->now - from : 0;
}

static nsec part(nsec span)
{
	return span / PRESSED ? span / PRESSED : span;
}

static bool is_pressed(const struct sess *s)
{
	return is_guest(s) && lane_is_pressed(s->lane);
}

static bool is_over(const struct sess *s, nsec from, nsec span)
{
	return span && gone_since(s, from) >= (is_pressed(s) ? part(span) : span);
}

/* When to look whether it is over: at its end, and before that after each part of it. 0: never. */
static nsec next_look(const struct sess *s, nsec from, nsec span)
{
	nsec step = part(span), parts;

	if (!span)
		return 0;
	if (gone_since(s, from) < step || is_pressed(s))
		return from + step;
	parts = gone_since(s, from) / step + 1;
	return parts < PRESSED ? from + parts * step : from + span;
}

/* ---- the meter: does the peer send what it has begun, and read what waits? ---- */

/* An unread reply first: while it waits, what comes may not be looked at. */
static uint32_t owes(const struct sess *s)
{
	if (s->flags & S_ABORT)
		return 0;
	if (sess_wants_write(s))
		return S_READS;
	if (!inbuf_n(&s->in) && !(s->flags & S_INTAKE) && !layers_partial(s))
		return 0;
	return s->flags & S_OPENED && sess_wants_read(s) ? S_SENDS : 0;
}

void sess_meter(struct sess *s)
{
	uint32_t now;

	if (!sess_svc(s)->limits.min_rate || !is_guest(s))
		return;
	now = owes(s);
	if (now == (s->flags & (S_SENDS | S_READS)))
		return;
	s->flags = (s->flags & ~(uint32_t)(S_SENDS | S_READS | S_METERED)) | now;
	if (sess_more(s))
		s->more->meter = now ? s->host->now : 0;
}

/* Bytes that came so far; or that the peer's system has, since ours may have taken megabytes at once. */
static uint64_t progress(struct sess *s)
{
	size_t left = s->flags & S_READS && s->host->unsent ? s->host->unsent(s->host, s) : 0;

	return s->flags & S_READS ? s->bytes_out - left : s->bytes_in;
}

static bool is_due(const struct sess *s, nsec meter)
{
	nsec window = sess_svc(s)->limits.rate_time;

	return s->flags & S_METERED ? is_over(s, meter, window) : gone_since(s, meter) >= part(window);
}

/* Asking what the other system has costs a call: it is made only for those who still owe when a part of the time is over. */
static bool too_slow(struct sess *s)
{
	struct sess_more *m = s->more;
	uint64_t now, least;
	bool slow;

	if (!m || !m->meter || !is_due(s, m->meter))
		return false;
	now = progress(s);
	least = gone_since(s, m->meter) / MSEC * sess_svc(s)->limits.min_rate / 1000;
	slow = s->flags & S_METERED && (int64_t)(now - m->metered) < (int64_t)least;
	s->flags |= S_METERED;
	m->metered = now;
	m->meter = s->host->now;
	return slow;
}

/* ---- limits ---- */

static void sooner(nsec *min, nsec at)
{
	if (at && (!*min || at < *min))
		*min = at;
}

static nsec idle_of(const struct sess *s)
{
	bool never = !s->proto || s->proto->flags & P_ALIVE || s->flags & (S_SHARD | S_DGRAM);

	return never ? 0 : sess_svc(s)->limits.idle;
}

static nsec first_of(const struct sess *s)
{
	return s->flags & S_NO_FIRST ? sess_svc(s)->limits.first : 0;
}

static nsec auth_of(const struct sess *s)
{
	return s->flags & S_NO_LOGIN ? sess_svc(s)->limits.auth : 0;
}

static nsec meter_look(const struct sess *s)
{
	nsec meter = s->more->meter, window = sess_svc(s)->limits.rate_time;

	if (!meter)
		return 0;
	return s->flags & S_METERED ? next_look(s, meter, window) : meter + part(window);
}

/* Closing, and bytes are left that the peer does not take: each that it takes gives it `linger` more. */
static nsec last_bytes_by(const struct sess *s)
{
	nsec linger = sess_svc(s)->limits.linger;

	return s->flags & S_CLOSING && linger && sess_has_output(s) && s->proto ? s->active + linger : 0;
}

/* A handshake began `first` before its end, or its parent gave it less. */
static nsec handshake_look(const struct sess *s)
{
	nsec by = s->more->handshake_by, first = sess_svc(s)->limits.first;

	if (!by || !first || !is_guest(s) || by < first)
		return by;
	return next_look(s, by - first, first);
}

static bool handshake_late(const struct sess *s)
{
	nsec by = s->more ? s->more->handshake_by : 0, first = sess_svc(s)->limits.first;

	if (!by)
		return false;
	return by <= s->host->now || (first && by >= first && is_over(s, by - first, first));
}

nsec sess_deadline(const struct sess *s)
{
	nsec min = 0;

	if (s->flags & S_ABORT)
		return 0;
	sooner(&min, next_look(s, s->active, idle_of(s)));
	sooner(&min, last_bytes_by(s));
	if (s->more) {
		sooner(&min, handshake_look(s));
		sooner(&min, meter_look(s));
	}
	if (s->flags & S_CLOSING)
		return min; /* no more steps: only the limits are left */
	if (s->flags & (S_NO_FIRST | S_NO_LOGIN)) {
		sooner(&min, next_look(s, opened(s), first_of(s)));
		sooner(&min, next_look(s, opened(s), auth_of(s)));
	}
	sooner(&min, s->timer);
	if (!s->more)
		return min;
	for (unsigned i = 0; i < PROTO_TIMERS - 1; i++)
		sooner(&min, s->more->timer[i]);
	if (layers_present(s))
		sooner(&min, layers_due(s));
	return min;
}

/* Closed with what was said; dropped when the peer does not read that either. */
static void end_late(struct sess *s, const char *reason, enum counter why)
{
	if (sess_has_output(s) || s->flags & S_CLOSING) {
		sess_abort(s, reason, why);
		return;
	}
	s->reason = s->reason ? s->reason : reason;
	stat_add(s->lane, why, 1);
	sess_close(s);
}

/* Some part of a conversation stood still for too long; true: the session is over. */
static bool limits_passed(struct sess *s)
{
	nsec last = last_bytes_by(s);

	if (last && last <= s->host->now)
		sess_abort(s, "not-read", STAT_IDLE);
	else if (handshake_late(s))
		layers_late(s);
	else if (!(s->flags & S_CLOSING) && is_over(s, opened(s), first_of(s)))
		end_late(s, "first", STAT_FIRST);
	else if (!(s->flags & S_CLOSING) && is_over(s, opened(s), auth_of(s)))
		end_late(s, "auth", STAT_AUTH);
	else if (too_slow(s))
		end_late(s, "too-slow", STAT_SLOW);
	else if (is_over(s, s->active, idle_of(s)))
		end_late(s, "idle", STAT_IDLE);
	else
		return false;
	return true;
}

void sess_timers(struct sess *s)
{
	nsec now = s->host->now;

	if (s->flags & S_ABORT || limits_passed(s) || s->flags & S_CLOSING)
		return;
	if (s->timer && s->timer <= now) {
		s->timer = 0;
		sess_step(s, &(struct ev){ .kind = EV_TIMER });
	}
	for (uint32_t i = 1; i < PROTO_TIMERS && s->more; i++) {
		nsec *t = &s->more->timer[i - 1];

		if (*t && *t <= now) {
			*t = 0;
			sess_step(s, &(struct ev){ .kind = EV_TIMER, .tag = i });
		}
	}
	if (s->more && layers_due(s) && layers_due(s) <= now)
		layers_tick(s);
	sess_pump(s);
}
