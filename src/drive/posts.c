/*
 * posts.c - what loops say to each other: letters to sessions elsewhere, collected in a turn and sent with its end; what came
 * from elsewhere, taken a slice at a time; and who must wait when letters come faster than they are read. See
 * docs/design/posts.md.
 */
#include <errno.h>

#include "base/mem.h"
#include "drive/loop_priv.h"

enum {
	SLICE = 64,            /* letters from other loops in a turn: each may become one to every session here */
	LETTERS_MAX = 1 << 16, /* to sessions of this loop in a turn */
};

static struct outbox *outbox_for(struct loop *l, unsigned index)
{
	for (unsigned i = 0; i < l->out_n; i++)
		if (l->out[i].index == index)
			return &l->out[i];
	if (l->out_n == l->out_cap) {
		unsigned cap = l->out_cap + 8;
		struct outbox *v = mem_realloc(l->out, cap * sizeof(*v));

		if (!v)
			return NULL;
		l->out = v;
		l->out_cap = cap;
	}
	l->out[l->out_n] = (struct outbox){ .index = index };
	return &l->out[l->out_n++];
}

bool loop_send(struct loop *l, const struct letter_to *to)
{
	struct outbox *o = outbox_for(l, id_loop(to->to));
	struct post *p = o ? o->batch : NULL;

	if (o && (!p || p->letters.n == p->letters.cap)) {
		uint32_t cap = p ? 2 * p->letters.cap : 16;
		struct post *q = mem_realloc(p, sizeof(*q) + cap * sizeof(q->v[0]));

		if (q && !p)
			*q = (struct post){ .kind = POST_LETTERS };
		if (q) {
			q->letters.cap = cap;
			o->batch = q;
		}
		p = q;
	}
	if (!p)
		return false;
	p->v[p->letters.n++] = *to;
	return true;
}

void posts_flush(struct loop *l)
{
	for (unsigned i = 0; i < l->out_n; i++) {
		struct inbox *b;

		if (!l->out[i].batch)
			continue;
		b = inbox_find(l->out[i].index);
		if (b)
			inbox_push(b, l->out[i].batch);
		else
			post_refuse(l->out[i].batch);
		l->out[i].batch = NULL;
		inbox_unref(b);
	}
	l->out_n = 0;
}

/* Both return how many letters it brought. */
static uint32_t take_letters(struct loop *l, struct post *p)
{
	uint32_t n = p->letters.n, refused = 0;

	for (uint32_t i = 0; i < n; i++)
		if (!loop_letter(l, &p->v[i]))
			p->v[refused++] = p->v[i];
	inbox_taken(l->inbox, n);
	p->letters.n = refused;
	post_refuse(p);
	return n;
}

static uint32_t take_post(struct loop *l, struct post *p)
{
	bool lent = p->lent; /* whoever lent it may use it again as soon as the call has run */

	if (p->kind == POST_LETTERS)
		return take_letters(l, p);
	if (p->kind == POST_TASK)
		loop_task_done(l, p->task);
	else
		p->call.fn(l, p->call.arg);
	if (!lent)
		mem_free(p);
	return 0;
}

void loop_ran(struct loop *l, struct task *t)
{
	t->next = NULL;
	*l->done_end = t;
	l->done_end = &t->next;
}

/* Those that their answers lead to come in the next turn. */
static void take_done(struct loop *l)
{
	struct task *t = l->done;

	l->done = NULL;
	l->done_end = &l->done;
	for (struct task *next; t; t = next) {
		next = t->next;
		loop_task_done(l, t);
	}
}

void posts_take(struct loop *l)
{
	struct post *p = l->inbox ? inbox_take(l->inbox) : NULL;

	*l->posts_end = p;
	for (; p; p = p->next)
		l->posts_end = &p->next;
	for (uint32_t n = 0; n < SLICE && (p = l->posts);) {
		l->posts = p->next;
		if (!l->posts)
			l->posts_end = &l->posts;
		n += take_post(l, p);
	}
	take_done(l);
}

/* ---- letters faster than they are read ---- */

bool loop_must_wait(struct loop *l, const struct conn *c)
{
	if (!c->s.proto || !c->s.proto->shard || !l->inbox || (l->letters < LETTERS_MAX && !inbox_crowded()))
		return false;
	l->waiting = true;
	return true;
}

/* No edge will tell again what those who had to wait have to say. */
void posts_go_on(struct loop *l)
{
	if (!l->waiting || inbox_crowded())
		return;
	l->waiting = false;
	for (uint32_t i = 0; i < l->ids.n; i++) {
		struct source *src = ids_at(&l->ids, i);
		struct conn *c = src && src->kind == SRC_CONN ? loop_find_conn(l, src->id) : NULL;

		if (c && c->state == CONN_SERVING && c->src.ready & READY_IN)
			sess_mark(&c->s);
	}
}

int loop_post_call(struct loop *l, loop_call *fn, void *arg)
{
	struct post *p = mem_zalloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->kind = POST_CALL;
	p->call.fn = fn;
	p->call.arg = arg;
	inbox_push(l->inbox, p);
	return 0;
}

void loop_order(struct loop *l, loop_call *fn, void *arg)
{
	l->order = (struct post){ .kind = POST_CALL, .lent = true, .call = { fn, arg } };
	inbox_push(l->inbox, &l->order);
}
