/*
 * memsess.c - sessions of the memory driver: their birth, what is looked at when one is marked, and their end. Like conn.c, with
 * memconn.c's stores for a descriptor.
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/peer.h"
#include "drive/mem_priv.h"

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
		mem_over(kid, -ECANCELED, MEM_ABORTED);
	}
}

/* A child's end reaches its parent after its last byte. */
static void tell_parent(struct memsess *ms, int err, const char *why)
{
	struct memsess *p = ms->parent;
	struct ev ev = { .kind = EV_GONE, .tag = ms->tag, .chan = ms->s.proto ? 0 : ms->tag, .err = err };

	ev.why = *why ? why : NULL;

	list_del(&ms->sib);
	ms->parent = NULL;
	if (!p)
		return;
	if (ms->c && ms->c->kind == CHILD_EXEC && err == 0) {
		ev.err = ms->c->exited ? 0 : -ECANCELED;
		ev.exit.status = ms->c->status;
		ev.exit.signal = ms->c->signal;
	}
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

void mem_over(struct memsess *ms, int err, enum mem_end how)
{
	struct memdrive *w = ms->w;
	char why[SESS_WHY];

	if (ms->state == MS_DEAD)
		return;
	*why = '\0';
	if (err < 0 && ms->s.reason) /* perhaps a layer's own words, and the layer goes before the parent is told */
		snprintf(why, sizeof(why), "%s", ms->s.reason);
	end_kids(ms);
	ms->state = MS_DEAD;
	if (ms->c) {
		ms->c->end = how;
		snprintf(ms->c->reason, sizeof(ms->c->reason), "%s", ms->s.reason ? ms->s.reason : "");
	}
	sess_done(&ms->s);
	if (ms->c)
		ms->c->ms = NULL;
	tell_parent(ms, err, why);
	drop_opening(ms);
	ids_free(&w->ids, ms->s.id);
	w->lane.open--;
	list_add(&w->graveyard, &ms->s.dirty); /* effects of this turn still name it */
}

void mem_bury(struct memdrive *w)
{
	for (struct list *n; (n = list_pop(&w->graveyard));)
		mem_free(memsess_of(list_entry(n, struct sess, dirty)));
}

/* What the session has left in its channels is sent before it is over; true: something is still on its way. */
static bool kids_flushing(struct memsess *ms)
{
	bool some = false;

	for (struct list *n = ms->kids.next; n != &ms->kids; n = n->next) {
		struct memsess *kid = list_entry(n, struct memsess, sib);

		if (kid->state != MS_SERVING || !sess_has_output(&kid->s) || sess_aborted(&kid->s))
			continue;
		some = true;
		if (kid->flush_by)
			continue;
		kid->flush_by = ms->w->host.now + ms->w->svc.limits.linger;
		sess_close(&kid->s);
	}
	return some;
}

/* Its peer has a FIN to send, and ours may be lost if it is closed before. */
static bool may_linger(const struct memsess *ms)
{
	const struct memconn *c = ms->c;

	if (!c || ms->dgram || (c->is_kid && c->kind == CHILD_STDIO))
		return false;
	return !(sess_parted(&ms->s) && memconn_unread(c) == 0) && !sess_peer_eof(&ms->s) && !c->eof && !c->reset;
}

/* The channel of a command ends with that, and not because both of its pipes are closed. */
static bool is_over(const struct memsess *ms)
{
	if (!ms->c || !ms->c->is_kid || ms->c->kind != CHILD_EXEC || ms->s.proto || sess_is_closing(&ms->s))
		return sess_finished(&ms->s);
	return ms->c->exited && sess_eof_told(&ms->s);
}

/* All is sent; the stages of the end. */
static void finish(struct memsess *ms)
{
	nsec linger = ms->w->svc.limits.linger;

	if (kids_flushing(ms))
		return; /* the last of them marks us again */
	if (!linger || !ms->s.proto || !may_linger(ms)) {
		mem_over(ms, sess_end_err(&ms->s), MEM_CLOSED);
		return;
	}
	ms->state = MS_LINGER;
	ms->until = ms->w->host.now + linger;
}

void mem_settle(struct memsess *ms)
{
	struct sess *s = &ms->s;
	struct memconn *c = ms->c;

	if (ms->state == MS_DEAD || ms->state == MS_LISTENING)
		return;
	if (ms->state == MS_LINGER) {
		if (c->eof || c->reset)
			mem_over(ms, 0, MEM_CLOSED);
		return;
	}
	if (ms->state == MS_CONNECTING) {
		if (sess_aborted(s))
			mem_over(ms, -ECANCELED, MEM_ABORTED);
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
		if (memconn_readable(c))
			sess_mark(s); /* the flush made room */
	}
	sess_meter(s);
	if (sess_aborted(s))
		mem_over(ms, sess_end_err(s), MEM_ABORTED);
	else if (is_over(ms))
		finish(ms);
}
