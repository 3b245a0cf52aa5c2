/*
 * mem.c - the memory driver's world: its set-up, clients, turns and the clock. The order of things is that of loop.c. Sessions are in
 * memsess.c, the bytes of their connections in memconn.c, children in memchild.c, what steps asked for in memfx.c.
 */
#include <errno.h>

#include "base/mem.h"
#include "base/peer.h"
#include "conf/option.h"
#include "drive/mem_priv.h"

enum {
	TURNS_MAX = 1000,
	FIRST_PORT = 40000,
	TRACE_MAX = 1 << 20,
};

/* ---- turns and timers ---- */

static nsec deadline_of(const struct memsess *ms)
{
	if (ms->state != MS_SERVING)
		return ms->until;
	return ms->flush_by ? ms->flush_by : sess_deadline(&ms->s);
}

nsec memdrive_next(const struct memdrive *w)
{
	nsec min = 0;

	for (uint32_t i = 0; i < w->ids.n; i++) {
		const struct memsess *ms = ids_at(&w->ids, i);
		nsec at = ms ? deadline_of(ms) : 0;

		if (at && (!min || at < min))
			min = at;
	}
	return min;
}

static void fire(struct memsess *ms)
{
	switch (ms->state) {
	case MS_SERVING:
		if (ms->flush_by) {
			mem_over(ms, -ETIMEDOUT, MEM_ABORTED);
			break;
		}
		sess_timers(&ms->s);
		sess_mark(&ms->s);
		break;
	case MS_LINGER:
		mem_over(ms, 0, MEM_CLOSED);
		break;
	case MS_CONNECTING:
	case MS_LISTENING:
		mem_child_failed(ms, -ETIMEDOUT);
		break;
	case MS_DEAD:
		break;
	}
}

static void fire_timers(struct memdrive *w)
{
	for (uint32_t i = 0; i < w->ids.n; i++) {
		struct memsess *ms = ids_at(&w->ids, i);
		nsec at = ms ? deadline_of(ms) : 0;

		if (!at || at > w->host.now)
			continue;
		fire(ms);
		mem_effects(w);
	}
}

static void settle_all(struct memdrive *w)
{
	struct list now;

	list_take_all(&now, &w->host.dirty);
	for (struct list *n; (n = list_pop(&now));) {
		mem_settle(memsess_of(list_entry(n, struct sess, dirty)));
		mem_effects(w);
	}
}

void memdrive_turn(struct memdrive *w)
{
	w->host.handshakes = w->handshakes;
	mem_effects(w);
	mem_answer_cancelled(w);
	if (!w->hold_jobs)
		mem_run_jobs(w, w->jobs_n);
	fire_timers(w);
	settle_all(w);
	mem_bury(w);
}

static bool at_rest(const struct memdrive *w)
{
	nsec next = memdrive_next(w);

	if (!list_empty(&w->host.dirty) || w->host.fx_n || w->cancelled || (w->jobs && !w->hold_jobs))
		return false;
	return !next || next > w->host.now;
}

bool memdrive_run(struct memdrive *w)
{
	for (int i = 0; i < TURNS_MAX; i++) {
		if (at_rest(w))
			return true;
		memdrive_turn(w);
	}
	return at_rest(w);
}

void mem_rest(struct memdrive *w)
{
	if (!w->manual)
		memdrive_run(w);
}

void memdrive_auto(struct memdrive *w, bool on)
{
	w->manual = !on;
	mem_rest(w);
}

static void set_time(struct memdrive *w, nsec now)
{
	w->host.now = now;
	w->host.wall = w->wall0 + (int64_t)((now - w->now0) / SEC);
}

void memdrive_advance(struct memdrive *w, nsec ns)
{
	nsec end = w->host.now + ns, at;

	while ((at = memdrive_next(w)) && at <= end) {
		if (at > w->host.now)
			set_time(w, at);
		if (!memdrive_run(w))
			break;
	}
	set_time(w, end);
	mem_rest(w);
}

void memdrive_bar(struct memdrive *w, bool on)
{
	w->barred = on;
}

void memdrive_press(struct memdrive *w, bool on)
{
	atomic_store(&w->pressed, on);
	mem_rest(w);
}

nsec memdrive_now(const struct memdrive *w)
{
	return w->host.now;
}

void memdrive_stop(struct memdrive *w)
{
	for (uint32_t i = 0; i < w->ids.n; i++) {
		struct memsess *ms = ids_at(&w->ids, i);

		if (!ms || sess_owner(&ms->s))
			continue; /* a channel ends with its owner */
		sess_event(&ms->s, &(struct ev){ .kind = EV_STOP });
		sess_mark(&ms->s);
		mem_effects(w);
	}
	mem_rest(w);
}

void memdrive_reload(struct memdrive *w, const void *options)
{
	struct memsess *shard = ids_find(&w->ids, w->lane.shard_id);

	w->svc.options = options;
	if (!shard)
		return;
	sess_event(&shard->s, &(struct ev){ .kind = EV_RELOAD });
	sess_mark(&shard->s);
	mem_effects(w);
	mem_rest(w);
}

void memdrive_access(struct memdrive *w)
{
	for (uint32_t i = 0; i < w->ids.n; i++) {
		struct memsess *ms = ids_at(&w->ids, i);

		if (!ms || !ms->s.proto || !(ms->s.proto->flags & P_ACCESS))
			continue;
		sess_event(&ms->s, &(struct ev){ .kind = EV_ACCESS });
		sess_mark(&ms->s);
		mem_effects(w);
	}
	mem_rest(w);
}

void memdrive_cut(struct memdrive *w)
{
	for (uint32_t i = 0; i < w->ids.n; i++) {
		struct memsess *ms = ids_at(&w->ids, i);

		if (!ms || !ms->c || ms->dgram)
			continue;
		if (ms->state == MS_LINGER)
			mem_over(ms, 0, MEM_CLOSED);
		else
			sess_abort(&ms->s, "stopping", STAT_ERRORS);
	}
	mem_rest(w);
}

/* ---- looking at it ---- */

struct svc *memdrive_svc(struct memdrive *w)
{
	return &w->svc;
}

uint64_t memdrive_stat(const struct memdrive *w, enum counter which)
{
	return w->stats[which];
}

unsigned memdrive_sessions(const struct memdrive *w)
{
	return w->ids.used;
}

struct span memdrive_trace(const struct memdrive *w)
{
	return buf_span(&w->trace);
}

static void trace_note(struct host *h, struct sess *s, enum note_dir dir, const char *text)
{
	struct memdrive *w = (struct memdrive *)h;

	(void)s;
	buf_addf(&w->trace, "+%c %s\n", dir == NOTE_IN ? '<' : '>', text);
}

static void trace_tap(struct host *h, struct sess *s, enum note_dir dir, struct span raw, bool secret)
{
	struct memdrive *w = (struct memdrive *)h;

	(void)s;
	buf_addf(&w->trace, "%c ", dir == NOTE_IN ? '<' : '>');
	if (secret)
		buf_addf(&w->trace, "%zu bytes", raw.n);
	else
		buf_add_quoted(&w->trace, raw);
	buf_addc(&w->trace, '\n');
}

/* ---- clients ---- */

struct memconn *memconn_open(struct memdrive *w, const struct mem_open *how)
{
	struct mem_open o = how ? *how : (struct mem_open){};
	struct memconn *c = memconn_new(w);
	struct sess_birth b = { .proto = o.proto ? o.proto : w->svc.proto, .lane = &w->lane, .who = o.who };
	struct memsess *ms = NULL;

	b.peer = c ? mem_peer(w, o.peer) : NULL;
	b.local = b.peer ? mem_peer(w, o.local ? o.local : "127.0.0.1:7000") : NULL;
	if (b.local)
		ms = mem_session(w, c, &b);
	peer_unref(b.peer);
	peer_unref(b.local);
	if (!ms) {
		if (o.layer && o.layer->drop_arg)
			o.layer->drop_arg(o.layer_arg);
		if (c)
			memconn_free(c);
		return NULL;
	}
	if (o.window)
		c->window = o.window;
	stat_add(&w->lane, STAT_ACCEPTED, 1);
	if (!o.layer || sess_push_layer(&ms->s, o.layer, o.layer_arg) == 0)
		sess_open(&ms->s, o.arg);
	sess_mark(&ms->s);
	mem_effects(w);
	mem_rest(w);
	return c;
}

struct memconn *memdrive_dgram(struct memdrive *w)
{
	struct sess_birth b = { .proto = w->svc.proto, .lane = &w->lane, .dgram = true, .lasting = true };
	struct memconn *c;
	struct memsess *ms = NULL;

	if (w->dgram)
		return w->dgram;
	c = memconn_new(w);
	b.local = c ? mem_peer(w, "127.0.0.1:7000") : NULL;
	if (b.local)
		ms = mem_session(w, c, &b);
	peer_unref(b.local);
	if (!ms) {
		if (c)
			memconn_free(c);
		return NULL;
	}
	w->dgram = c;
	sess_open(&ms->s, NULL);
	sess_mark(&ms->s);
	mem_effects(w);
	mem_rest(w);
	return c;
}

/* ---- the world ---- */

static int add_shard(struct memdrive *w)
{
	struct sess_birth b = { .proto = w->svc.proto, .lane = &w->lane, .shard = true, .lasting = true };
	struct memsess *ms = mem_session(w, NULL, &b);

	if (!ms)
		return -ENOMEM;
	w->lane.shard = ms->s.self;
	w->lane.shard_id = ms->s.id;
	sess_open(&ms->s, NULL);
	sess_mark(&ms->s);
	mem_effects(w);
	return 0;
}

static bool login_failed(struct host *h, struct sess *s, struct span user)
{
	(void)s;
	(void)user;
	return ((struct memdrive *)h)->barred;
}

static void set_up(struct memdrive *w, const struct mem_setup *m)
{
	const void *options = m->options ? m->options : w->own_options;

	w->svc = (struct svc){
		.name = m->name ? m->name : m->proto->name,
		.proto = m->proto,
		.options = options,
		.port = m->proto->shard ? &w->port : NULL,
		.limits = {
			.input = m->input ? m->input : 64 << 10,
			.output = proto_output(m->proto, options, m->output ? m->output : 1 << 20),
			.idle = m->idle,
			.auth = m->auth,
			.min_rate = m->min_rate,
			.rate_time = 60 * SEC,
			.first = m->first,
			.linger = m->linger,
		},
		.trace = m->trace,
		.access = m->access,
		.events = m->events,
	};
	mem_port_init(&w->port, m->loops ? m->loops : 1);
	w->lane = (struct lane){ .svc = &w->svc, .stats = w->stats, .pressed = { &w->pressed } };
	w->handshakes = m->handshakes ? m->handshakes : HOST_HANDSHAKES;
	w->now0 = m->now ? m->now : 1000 * SEC;
	w->wall0 = m->wall ? m->wall : 1000000000;
	w->host.note = trace_note;
	w->host.tap = trace_tap;
	w->host.login_failed = login_failed;
	w->host.handshakes = w->handshakes;
	set_time(w, w->now0);
}

static int open_service(struct memdrive *w, struct buf *why)
{
	struct buf none = BUF_INIT(256);
	int r = 0;

	w->opened = true;
	if (w->svc.proto->svc_open)
		r = w->svc.proto->svc_open(&w->svc, why ? why : &none);
	buf_done(&none);
	if (r < 0) {
		w->opened = false;
		return r;
	}
	return w->svc.proto->shard ? add_shard(w) : 0;
}

int memdrive_new(const struct mem_setup *setup, struct memdrive **ret, struct buf *why)
{
	struct memdrive *w = mem_zalloc(sizeof(*w));
	int r = w ? host_init(&w->host) : -ENOMEM;

	if (r < 0) {
		mem_free(w);
		return r;
	}
	ids_init(&w->ids, 0);
	list_init(&w->conns);
	list_init(&w->children);
	list_init(&w->graveyard);
	buf_init(&w->trace, TRACE_MAX);
	w->jobs_end = &w->jobs;
	w->next_port = FIRST_PORT;
	if (setup->proto->options && !setup->options)
		r = option_values_new(setup->proto->options, &w->own_options);
	set_up(w, setup);
	if (r == 0)
		r = open_service(w, why);
	if (r < 0) {
		memdrive_free(&w);
		return r;
	}
	mem_rest(w);
	*ret = w;
	return 0;
}

static void end_all(struct memdrive *w, bool shards)
{
	for (uint32_t i = 0; i < w->ids.n; i++) {
		struct memsess *ms = ids_at(&w->ids, i);

		if (ms && (ms->c || shards))
			mem_over(ms, -ECANCELED, MEM_ABORTED);
	}
}

void memdrive_free(struct memdrive **wp)
{
	struct memdrive *w = *wp;
	struct mem_away away;

	if (!w)
		return;
	end_all(w, false);
	end_all(w, true); /* sessions talk to their shard at their end */
	mem_effects(w);
	mem_bury(w);
	w->hold_jobs = true;
	mem_drop_jobs(w);
	while (memdrive_away(w, &away))
		mail_drop(away.mail);
	if (w->opened && w->svc.proto->svc_close)
		w->svc.proto->svc_close(&w->svc);
	while (!list_empty(&w->conns))
		memconn_free(list_entry(w->conns.next, struct memconn, node));
	option_values_free(w->svc.proto->options, &w->own_options);
	host_done(&w->host);
	ids_done(&w->ids);
	buf_done(&w->trace);
	mem_free(w->away);
	mem_free(w);
	*wp = NULL;
}
