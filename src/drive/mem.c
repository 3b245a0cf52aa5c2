/*
 * mem.c - the memory driver's world: sessions and their slots, turns, timers, and what steps asked for. The order of
 * things is that of loop.c and conn.c; the descriptors are memconn.c's stores.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "conf/option.h"
#include "drive/mem_priv.h"

enum {
	TURNS_MAX = 1000,

	OPEN_BY = 30, /* seconds, when the protocol named no deadline */
	FIRST_PORT = 40000,
	TRACE_MAX = 1 << 20,
};

static void conn_end(struct memsess *ms, int err, enum mem_end how);

/* ---- addresses ---- */

struct peer *mem_peer(struct memdrive *w, const char *text)
{
	const char *colon = text ? strrchr(text, ':') : NULL;
	char host[64] = "127.0.0.1";
	uint8_t b[16];
	unsigned port;

	if (!text)
		return peer_new(PEER_IP4, (const uint8_t[]){ 127, 0, 0, 1 }, 4, w->next_port++, 0);
	if (*text == '/')
		return peer_new(PEER_UNIX, text, strlen(text), 0, 0);
	if (!colon || sscanf(colon + 1, "%u", &port) != 1 || (size_t)(colon - text) >= sizeof(host))
		return peer_new(PEER_NAME, text, strlen(text), 0, 0);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	if (inet_pton(AF_INET, host, b) == 1)
		return peer_new(PEER_IP4, b, 4, (uint16_t)port, 0);
	if (*host == '[' && strlen(host) > 2) {
		host[strlen(host) - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, b) == 1)
			return peer_new(PEER_IP6, b, 16, (uint16_t)port, 0);
	}
	return peer_new(PEER_NAME, text, strlen(text), 0, 0);
}

/* ---- sessions ---- */

struct memsess *mem_session(struct memdrive *w, struct memconn *c, const struct sess_birth *b)
{
	struct memsess *ms = mem_zalloc(sizeof(*ms));
	struct sess_birth birth = *b;

	if (!ms)
		return NULL;
	if (ids_take(&w->ids, ms, &birth.id) < 0) {
		mem_free(ms);
		return NULL;
	}
	if (sess_init(&ms->s, &w->host, &birth) < 0) {
		ids_free(&w->ids, birth.id);
		mem_free(ms);
		return NULL;
	}
	ms->w = w;
	ms->state = MS_SERVING;
	ms->dgram = b->dgram;
	list_init(&ms->kids);
	list_init(&ms->sib);
	w->lane.open++;
	if (c) {
		ms->c = c;
		c->ms = ms;
		c->id = birth.id;
		c->end = MEM_OPEN;
	}
	return ms;
}

static void end_kids(struct memsess *ms)
{
	while (!list_empty(&ms->kids)) {
		struct memsess *kid = list_entry(ms->kids.next, struct memsess, sib);

		kid->parent = NULL; /* it has nobody to tell */
		conn_end(kid, -ECANCELED, MEM_ABORTED);
	}
}

/* A child's end reaches its parent after its last byte. */
static void tell_parent(struct memsess *ms, int err)
{
	struct memsess *p = ms->parent;
	struct ev ev = { .kind = EV_GONE, .tag = ms->tag, .chan = ms->s.proto ? 0 : ms->tag, .err = err };

	list_del(&ms->sib);
	ms->parent = NULL;
	if (!p)
		return;
	sess_answer(&p->s, &ev, ms->epoch);
	sess_mark(&p->s);
}

static void drop_opening(struct memsess *ms)
{
	if (ms->layer && ms->layer->drop_arg)
		ms->layer->drop_arg(ms->layer_arg);
	ms->layer = NULL;
	blob_unref(ms->arg);
	ms->arg = NULL;
	peer_unref(ms->only);
	ms->only = NULL;
}

static void conn_end(struct memsess *ms, int err, enum mem_end how)
{
	struct memdrive *w = ms->w;

	if (ms->state == MS_DEAD)
		return;
	end_kids(ms);
	ms->state = MS_DEAD;
	if (ms->c) {
		ms->c->end = how;
		snprintf(ms->c->reason, sizeof(ms->c->reason), "%s", ms->s.reason ? ms->s.reason : "");
	}
	sess_done(&ms->s);
	if (ms->c)
		ms->c->ms = NULL;
	tell_parent(ms, err);
	drop_opening(ms);
	ids_free(&w->ids, ms->s.id);
	w->lane.open--;
	list_add(&w->graveyard, &ms->s.dirty); /* effects of this turn still name it */
}

static void bury(struct memdrive *w)
{
	for (struct list *n; (n = list_pop(&w->graveyard));)
		mem_free(memsess_of(list_entry(n, struct sess, dirty)));
}

/* All is sent; the stages of the end. */
static void finish(struct memsess *ms)
{
	nsec linger = ms->w->svc.limits.linger;
	struct memconn *c = ms->c;

	if (!c || !linger || !ms->s.proto || ms->dgram || sess_peer_eof(&ms->s) || c->eof || c->reset) {
		conn_end(ms, 0, MEM_CLOSED);
		return;
	}
	ms->state = MS_LINGER;
	ms->until = ms->w->host.now + linger;
}

static void settle(struct memsess *ms)
{
	struct sess *s = &ms->s;
	struct memconn *c = ms->c;

	if (ms->state == MS_DEAD || ms->state == MS_LISTENING)
		return;
	if (ms->state == MS_LINGER) {
		if (c->eof || c->reset)
			conn_end(ms, 0, MEM_CLOSED);
		return;
	}
	if (ms->state == MS_CONNECTING) {
		if (sess_aborted(s))
			conn_end(ms, -ECANCELED, MEM_ABORTED);
		else if (ms->dialled < 0)
			mem_child_failed(ms, ms->dialled);
		else if (ms->dialled == 0)
			mem_open_child(ms);
		return;
	}
	if (sess_has_mail(s))
		sess_deliver(s);
	sess_pump(s);
	if (c && ms->dgram) {
		memconn_flush_dgrams(c);
	} else if (c) {
		if (memconn_readable(c))
			memconn_read(c);
		memconn_flush(c);
	}
	if (sess_aborted(s))
		conn_end(ms, s->reason ? -ECONNABORTED : -ECONNRESET, MEM_ABORTED);
	else if (sess_finished(s))
		finish(ms);
}

/* ---- children ---- */

void mem_child_failed(struct memsess *ms, int err)
{
	conn_end(ms, err, MEM_ABORTED);
}

void mem_open_child(struct memsess *ms)
{
	const struct layer *layer = ms->layer;
	struct blob *arg = ms->arg;
	int r = 0;

	ms->layer = NULL;
	ms->arg = NULL;
	ms->state = MS_SERVING;
	ms->c->end = MEM_OPEN;
	ms->s.active = ms->w->host.now;
	if (layer)
		r = sess_push_layer(&ms->s, layer, ms->layer_arg);
	if (r < 0)
		mem_child_failed(ms, r);
	else
		sess_open(&ms->s, arg);
	if (r == 0)
		sess_mark(&ms->s);
	blob_unref(arg);
}

static void tell_bound(struct memsess *ms)
{
	struct ev ev = { .kind = EV_BOUND, .tag = ms->tag, .chan = ms->s.proto ? 0 : ms->tag };

	ev.bound.addr = ms->s.local;
	ev.bound.id = ms->s.id;
	sess_answer(&ms->parent->s, &ev, ms->epoch);
	sess_mark(&ms->parent->s);
}

static int set_local(struct memsess *ms)
{
	const struct peer *like = ms->parent->s.local;

	if (!like || (like->kind != PEER_IP4 && like->kind != PEER_IP6))
		return -EAFNOSUPPORT;
	ms->s.local = peer_new((enum peer_kind)like->kind, like->b, like->n, ms->w->next_port++, 0);
	return ms->s.local ? 0 : -ENOMEM;
}

static int start_connect(struct memsess *ms, struct fx_child *f)
{
	struct addr_text addr;
	char text[ADDR_HOST_MAX + 16];
	int r = f->c.address ? addr_parse(f->c.address, &addr, NULL) : -EINVAL;

	if (r < 0)
		return r;
	snprintf(ms->c->address, sizeof(ms->c->address), "%s", f->c.address);
	if (addr.transport == ADDR_TLS && !f->c.layer)
		return -EPROTONOSUPPORT;
	ms->layer = f->c.layer;
	ms->layer_arg = f->c.layer_arg;
	f->c.layer = NULL;
	ms->arg = blob_ref(f->c.arg);
	snprintf(text, sizeof(text), addr_is_ipv6(addr.host) ? "[%s]:%d" : "%s:%d",
		 *addr.host ? addr.host : "127.0.0.1", addr.port);
	ms->s.peer = mem_peer(ms->w, addr_is_net(&addr) ? text : addr.path);
	ms->s.local = mem_peer(ms->w, NULL);
	ms->dialled = ms->w->dials;
	sess_mark(&ms->s);
	return ms->s.peer && ms->s.local ? 0 : -ENOMEM;
}

static int start_child(struct memsess *ms, struct fx_child *f)
{
	int r;

	if (f->c.kind == CHILD_CONNECT)
		return start_connect(ms, f);
	ms->arg = blob_ref(f->c.arg);
	if (f->c.kind == CHILD_STDIO) {
		mem_open_child(ms);
		return 0;
	}
	r = set_local(ms);
	if (r < 0)
		return r;
	ms->only = peer_ref(f->c.only);
	ms->state = f->c.kind == CHILD_LISTEN ? MS_LISTENING : MS_SERVING;
	tell_bound(ms);
	if (f->c.kind == CHILD_DGRAM)
		mem_open_child(ms);
	return 0;
}

static struct memsess *new_child(struct memdrive *w, struct memsess *p, const struct fx *f)
{
	const struct child *want = &f->child->c;
	struct memconn *c = memconn_new(w);
	struct sess_birth b = {
		.proto = want->proto,
		.lane = p->s.lane,
		.parent = p->s.id,
		.owner = want->proto ? NULL : &p->s,
		.tag = f->tag,
		.dgram = want->kind == CHILD_DGRAM,
	};
	struct memsess *ms = c ? mem_session(w, c, &b) : NULL;

	if (!ms) {
		if (c)
			memconn_free(c);
		return NULL;
	}
	c->is_kid = true;
	c->kind = want->kind;
	c->end = MEM_OPENING;
	list_add(&w->children, &c->kid);
	ms->state = MS_CONNECTING;
	ms->parent = p;
	ms->tag = f->tag;
	ms->epoch = f->epoch;
	ms->dialled = MEM_PENDING;
	ms->until = want->deadline ? want->deadline : w->host.now + OPEN_BY * SEC;
	list_add(&p->kids, &ms->sib);
	return ms;
}

static void child_start(struct memdrive *w, struct fx *f)
{
	struct memsess *ms = new_child(w, memsess_of(f->from), f);
	int r = ms ? start_child(ms, f->child) : -ENOMEM;

	if (!ms) {
		struct ev ev = { .kind = EV_GONE, .tag = f->tag, .err = -ENOMEM };

		ev.chan = f->child->c.proto ? 0 : f->tag;
		sess_answer(f->from, &ev, f->epoch);
		sess_mark(f->from);
	} else if (r < 0) {
		mem_child_failed(ms, r);
	}
	fx_child_free(&f->child);
}

void memdrive_dials(struct memdrive *w, int result)
{
	w->dials = result;
}

size_t memdrive_children(const struct memdrive *w)
{
	size_t n = 0;

	for (struct list *l = w->children.next; l != &w->children; l = l->next)
		n++;
	return n;
}

struct memconn *memdrive_child(const struct memdrive *w, size_t i)
{
	for (struct list *l = w->children.next; l != &w->children; l = l->next)
		if (i-- == 0)
			return list_entry(l, struct memconn, kid);
	return NULL;
}

void memconn_dialled(struct memconn *c, int result)
{
	if (!c->ms || c->ms->state != MS_CONNECTING)
		return;
	c->ms->dialled = result;
	sess_mark(&c->ms->s);
	mem_rest(c->w);
}

int memconn_connect(struct memconn *c, const char *from)
{
	struct memsess *ms = c->ms;
	struct peer *peer;

	if (!ms || ms->state != MS_LISTENING)
		return -ENOTCONN;
	peer = mem_peer(c->w, from);
	if (!peer)
		return -ENOMEM;
	if (ms->only && !peer_same_host(peer, ms->only)) {
		peer_unref(peer);
		return -EACCES; /* it goes on waiting for the right one */
	}
	ms->s.peer = peer;
	mem_open_child(ms);
	mem_effects(c->w);
	mem_rest(c->w);
	return 0;
}

/* ---- jobs ---- */

static void job_done(struct memdrive *w, struct job *j, int err)
{
	struct memsess *ms = ids_find(&w->ids, j->owner);
	struct ev ev = { .kind = EV_DONE, .tag = j->tag, .err = err, .job = j };

	j->err = err;
	if (ms) {
		sess_answer(&ms->s, &ev, j->epoch);
		sess_mark(&ms->s);
	}
	mem_effects(w);
	j->drop(j);
}

static struct job *job_pop(struct memdrive *w)
{
	struct job *j = w->jobs;

	if (!j)
		return NULL;
	w->jobs = j->next;
	if (!w->jobs)
		w->jobs_end = &w->jobs;
	w->jobs_n--;
	return j;
}

static void run_jobs(struct memdrive *w, size_t n)
{
	for (struct job *j; n > 0 && (j = job_pop(w)); n--) {
		j->run(j);
		job_done(w, j, j->err);
	}
}

/* Takes a job that waits out of the queue; its answer comes with the next turn. */
static void job_cancel(struct memdrive *w, struct job **at)
{
	struct job *j = *at;

	*at = j->next;
	if (!j->next)
		w->jobs_end = at;
	w->jobs_n--;
	j->next = w->cancelled;
	w->cancelled = j;
}

static void answer_cancelled(struct memdrive *w)
{
	while (w->cancelled) {
		struct job *j = w->cancelled;

		w->cancelled = j->next;
		job_done(w, j, -ECANCELED);
	}
}

void memdrive_hold_jobs(struct memdrive *w, bool on)
{
	w->hold_jobs = on;
	mem_rest(w);
}

size_t memdrive_jobs(const struct memdrive *w)
{
	return w->jobs_n;
}

size_t memdrive_run_jobs(struct memdrive *w, size_t n)
{
	n = n < w->jobs_n ? n : w->jobs_n;
	run_jobs(w, n);
	mem_rest(w);
	return n;
}

/* ---- letters ---- */

static void nobody(struct memdrive *w, sess_id from, uint32_t tag, uint32_t epoch)
{
	struct memsess *ms = ids_find(&w->ids, from);

	if (!ms)
		return;
	sess_answer(&ms->s, &(struct ev){ .kind = EV_GONE, .tag = tag, .err = -ESRCH }, epoch);
	sess_mark(&ms->s);
}

static void letter(struct memdrive *w, sess_id to, const struct letter *l)
{
	struct memsess *ms = ids_find(&w->ids, to);

	int r = ms && ms->state == MS_SERVING ? sess_letter(&ms->s, l) : -ESRCH;

	if (r == 0) {
		sess_mark(&ms->s);
		return;
	}
	mail_drop(l->mail);
	if (r == -ENOMEM)
		sess_abort(&ms->s, "out-of-memory", STAT_MEMORY);
	if (l->reply)
		nobody(w, l->from, l->tag, l->reply - 1);
}

static void post_letter(struct memdrive *w, const struct fx *f)
{
	struct letter l = { .from = f->from->id, .tag = f->tag, .mail = f->post.mail };

	if (f->flags & POST_REPLY)
		l.reply = f->epoch + 1;
	letter(w, f->post.to, &l);
}

void memdrive_post(struct memdrive *w, sess_id from, sess_id to, uint32_t tag, struct mail *mail)
{
	letter(w, to, &(struct letter){ .from = from, .tag = tag, .mail = mail });
	mem_rest(w);
}

void memdrive_shard_post(struct memdrive *w, uint32_t tag, struct mail *mail)
{
	memdrive_post(w, 0, w->lane.shard_id, tag, mail);
}

static void keep_away(struct memdrive *w, unsigned loop, uint32_t tag, struct mail *mail)
{
	if (w->away_n == w->away_cap) {
		size_t cap = 2 * w->away_cap + 16;
		struct mem_away *v = mem_realloc(w->away, cap * sizeof(*v));

		if (!v) {
			mail_drop(mail);
			return;
		}
		w->away = v;
		w->away_cap = cap;
	}
	w->away[w->away_n++] = (struct mem_away){ loop, tag, mail };
}

int memdrive_away(struct memdrive *w, struct mem_away *ret)
{
	if (w->away_n == 0)
		return 0;
	*ret = w->away[0];
	w->away_n--;
	memmove(w->away, w->away + 1, w->away_n * sizeof(w->away[0]));
	return 1;
}

/* May be called inside a step: it only puts the letter into a mailbox. */
static void port_to(struct port *p, unsigned loop, uint32_t tag, struct mail *mail)
{
	struct memdrive *w = list_entry(p, struct memdrive, port);

	if (loop == 0)
		letter(w, w->lane.shard_id, &(struct letter){ .tag = tag, .mail = mail });
	else
		keep_away(w, loop, tag, mail);
}

static unsigned port_at(const struct port *p, const struct io *io)
{
	(void)p;
	return id_loop(io->self);
}

/* ---- effects ---- */

/* What the protocol before this one has left. */
static void end_old(struct memdrive *w, const struct fx *f)
{
	struct memsess *ms = memsess_of(f->from);

	for (struct list *n = ms->kids.next, *next; n != &ms->kids; n = next) {
		struct memsess *kid = list_entry(n, struct memsess, sib);

		next = n->next;
		if (kid->epoch != f->epoch)
			conn_end(kid, -ECANCELED, MEM_ABORTED);
	}
	for (struct job **at = &w->jobs; *at;) {
		if ((*at)->owner == ms->s.id && (*at)->epoch != f->epoch)
			job_cancel(w, at);
		else
			at = &(*at)->next;
	}
}

static void end_tag(struct memdrive *w, struct fx *f)
{
	struct memsess *ms = memsess_of(f->from);

	for (struct list *n = ms->kids.next; n != &ms->kids; n = n->next) {
		struct memsess *kid = list_entry(n, struct memsess, sib);

		if (kid->tag == f->tag) {
			conn_end(kid, -ECANCELED, MEM_ABORTED);
			return;
		}
	}
	for (struct job **at = &w->jobs; *at; at = &(*at)->next) {
		if ((*at)->owner == f->from->id && (*at)->tag == f->tag) {
			job_cancel(w, at);
			return;
		}
	}
}

static void add_job(struct memdrive *w, struct job *j)
{
	j->next = NULL;
	*w->jobs_end = j;
	w->jobs_end = &j->next;
	w->jobs_n++;
}

static void one_effect(struct memdrive *w, struct fx *f)
{
	if (f->kind == FX_POST) {
		post_letter(w, f);
		return;
	}
	if (f->kind == FX_NOBODY) {
		nobody(w, f->post.to, f->tag, f->epoch);
		return;
	}
	if (memsess_of(f->from)->state == MS_DEAD || fx_is_stale(f))
		fx_drop(f);
	else if (f->kind == FX_JOB)
		add_job(w, f->job);
	else if (f->kind == FX_CHILD)
		child_start(w, f);
	else if (f->kind == FX_END_OLD)
		end_old(w, f);
	else
		end_tag(w, f);
}

void mem_effects(struct memdrive *w)
{
	struct host *h = &w->host;

	for (size_t i = 0; i < h->fx_n; i++) {
		struct fx f = h->fx[i]; /* acting on it may append others, and move them */

		one_effect(w, &f);
	}
	h->fx_n = 0;
}

/* ---- turns and timers ---- */

static nsec deadline_of(const struct memsess *ms)
{
	return ms->state == MS_SERVING ? sess_deadline(&ms->s) : ms->until;
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
		sess_timers(&ms->s);
		sess_mark(&ms->s);
		break;
	case MS_LINGER:
		conn_end(ms, 0, MEM_CLOSED);
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
		settle(memsess_of(list_entry(n, struct sess, dirty)));
		mem_effects(w);
	}
}

void memdrive_turn(struct memdrive *w)
{
	w->host.handshakes = w->handshakes;
	mem_effects(w);
	answer_cancelled(w);
	if (!w->hold_jobs)
		run_jobs(w, w->jobs_n);
	fire_timers(w);
	settle_all(w);
	bury(w);
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

void memdrive_cut(struct memdrive *w)
{
	for (uint32_t i = 0; i < w->ids.n; i++) {
		struct memsess *ms = ids_at(&w->ids, i);

		if (!ms || !ms->c || ms->dgram)
			continue;
		if (ms->state == MS_LINGER)
			conn_end(ms, 0, MEM_CLOSED);
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

struct host *memdrive_host(struct memdrive *w)
{
	return &w->host;
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
	if (o.layer && sess_push_layer(&ms->s, o.layer, o.layer_arg) < 0)
		sess_abort(&ms->s, o.layer->name, STAT_ERRORS);
	else
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

static void set_up(struct memdrive *w, const struct mem_setup *m)
{
	w->svc = (struct svc){
		.name = m->name ? m->name : m->proto->name,
		.proto = m->proto,
		.options = m->options ? m->options : w->own_options,
		.port = m->proto->shard ? &w->port : NULL,
		.limits = {
			.input = m->input ? m->input : 64 << 10,
			.output = m->output ? m->output : 1 << 20,
			.idle = m->idle,
			.first = m->first,
			.linger = m->linger,
		},
		.trace = m->trace,
	};
	w->port = (struct port){ .loops = m->loops ? m->loops : 1, .post = port_to, .here = port_at };
	w->lane = (struct lane){ .svc = &w->svc, .stats = w->stats };
	w->handshakes = m->handshakes ? m->handshakes : HOST_HANDSHAKES;
	w->now0 = m->now ? m->now : 1000 * SEC;
	w->wall0 = m->wall ? m->wall : 1000000000;
	w->host.note = trace_note;
	w->host.tap = trace_tap;
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
			conn_end(ms, -ECANCELED, MEM_ABORTED);
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
	bury(w);
	w->hold_jobs = true;
	answer_cancelled(w);
	for (struct job *j; (j = job_pop(w));)
		j->drop(j);
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
