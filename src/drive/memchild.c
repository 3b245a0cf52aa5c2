/*
 * memchild.c - children and channels of the memory driver: asked for, opened or failed, and what a test does at their other end.
 * Nobody is dialled; the test says what becomes of it.
 */
#include <errno.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/peer.h"
#include "drive/mem_priv.h"

enum { OPEN_BY = 30 /* seconds, when the protocol named no deadline */ };

void mem_child_failed(struct memsess *ms, int err)
{
	mem_over(ms, err, MEM_ABORTED);
}

static void tell_bound(struct memsess *ms)
{
	struct ev ev = { .kind = EV_BOUND, .tag = ms->tag, .chan = ms->s.proto ? 0 : ms->tag };

	ev.bound.addr = ms->s.local;
	ev.bound.id = ms->s.id;
	sess_answer(&ms->parent->s, &ev, ms->epoch);
	sess_mark(&ms->parent->s);
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
	if (ms->c->kind == CHILD_EXEC)
		tell_bound(ms);
	ms->s.active = ms->w->host.now;
	if (layer)
		r = sess_push_layer(&ms->s, layer, ms->layer_arg);
	sess_open_by(&ms->s, ms->until);
	if (r < 0)
		mem_child_failed(ms, r);
	else
		sess_open(&ms->s, arg);
	if (r == 0)
		sess_mark(&ms->s);
	blob_unref(arg);
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
	if (addr_is_secure(&addr) && !f->c.layer)
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

/* Like dialling: it waits for memconn_dialled() when the test wants that. */
static int start_exec(struct memsess *ms, const struct exec *e)
{
	struct memconn *c = ms->c;
	size_t n;

	if (!e || !e->path || !e->argv[0])
		return -EINVAL;
	n = (size_t)snprintf(c->address, sizeof(c->address), "%s", e->path);
	for (size_t i = 1; e->argv[i] && n < sizeof(c->address); i++)
		n += (size_t)snprintf(c->address + n, sizeof(c->address) - n, " %s", e->argv[i]);
	ms->dialled = ms->w->dials;
	sess_mark(&ms->s);
	return 0;
}

static int start_child(struct memsess *ms, struct fx_child *f)
{
	int r;

	if (f->c.kind == CHILD_CONNECT)
		return start_connect(ms, f);
	ms->arg = blob_ref(f->c.arg);
	if (f->c.kind == CHILD_EXEC)
		return start_exec(ms, f->c.exec);
	if (f->c.kind == CHILD_STDIO) {
		mem_open_child(ms);
		return 0;
	}
	r = f->c.kind == CHILD_DGRAM && !f->c.route ? -EDESTADDRREQ : set_local(ms);
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
		.dgram = fx_child_dgram(f->child),
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

void mem_child_start(struct memdrive *w, struct fx *f)
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
