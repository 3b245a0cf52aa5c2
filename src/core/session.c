/*
 * session.c - the engine of a session: when a step is due and what becomes of its verdict. Nothing here
 * reads or writes; see session.h for what a driver does around it.
 */
#include "core/session.h"

#include <assert.h>
#include <errno.h>

#include "base/mem.h"
#include "core/sess_priv.h"

enum { PUMP_STEPS = 1000 }; /* then the other sessions have their turn */

static const uint32_t NEED_NOTHING = UINT32_MAX; /* as sess.need: no byte more can come */

/* ---- host ---- */

int host_init(struct host *h)
{
	*h = (struct host){};
	list_init(&h->dirty);
	h->rbuf = mem_alloc(HOST_RBUF);
	return h->rbuf ? 0 : -ENOMEM;
}

void host_done(struct host *h)
{
	assert(list_empty(&h->dirty));
	chunk_pool_done(&h->pool);
	mem_free(h->fx);
	mem_free(h->rbuf);
	*h = (struct host){};
}

/* ---- birth and death ---- */

static struct sess_more *new_more(struct sess *s, bool channel)
{
	s->more = mem_zalloc(sizeof(*s->more) + (channel ? sizeof(s->more->io[0]) : 0));
	if (!s->more) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		return NULL;
	}
	s->more->self = s;
	list_init(&s->more->chans);
	list_init(&s->more->chan);
	return s->more;
}

struct sess_more *sess_more(struct sess *s)
{
	return s->more ? s->more : new_more(s, false);
}

static int init_more(struct sess *s, const struct sess_birth *b)
{
	struct sess_more *m = new_more(s, b->owner);

	if (!m)
		return -ENOMEM;
	m->parent = b->parent;
	m->tag = b->tag;
	m->who = b->who;
	if (!b->owner)
		return 0;

	struct sess_more *om = sess_more(b->owner);

	if (!om) {
		mem_free(m);
		s->more = NULL;
		return -ENOMEM;
	}
	m->owner = b->owner;
	s->epoch = b->owner->epoch;
	list_add(&om->chans, &m->chan);
	return 0;
}

int sess_init(struct sess *s, struct host *h, const struct sess_birth *b)
{
	size_t self = b->proto ? b->shard ? b->proto->shard_size : b->proto->self_size : 0;

	list_init(&s->dirty);
	s->host = h;
	s->lane = b->lane;
	s->proto = b->proto;
	s->id = b->id;
	s->active = s->mark = h->now;
	s->cap = (uint32_t)sess_svc(s)->limits.input;
	s->flags = (b->shard ? S_SHARD : 0) | (b->dgram ? S_DGRAM : 0) | (b->lasting ? S_LASTING : 0);
	if ((b->parent || b->who || b->owner) && init_more(s, b) < 0) {
		list_del(&s->dirty);
		return -ENOMEM;
	}
	s->self = b->self;
	if (self && !b->self) {
		s->self = mem_zalloc(self);
		s->flags |= S_OWN_SELF;
		if (!s->self) {
			if (s->more)
				list_del(&s->more->chan);
			mem_free(s->more);
			return -ENOMEM;
		}
	}
	s->local = peer_ref(b->local);
	s->peer = peer_ref(b->peer);
	return 0;
}

void sess_set_who(struct sess *s, const struct who *who)
{
	struct sess_more *m = sess_more(s);

	if (m)
		m->who = who;
}

static void free_more(struct sess *s)
{
	struct sess_more *m = s->more;

	if (!m)
		return;
	intake_drop(s);
	layers_done(s);
	outq_clear(&m->raw, &s->host->pool);
	sess_refuse_mail(s, m->mail, m->mail_n);
	mem_free(m->mail);
	mem_free(m->login);
	blob_unref(m->arg);
	list_del(&m->chan);
	assert(list_empty(&m->chans)); /* the driver ends the channels first */
	mem_free(m);
	s->more = NULL;
}

static void fini(struct sess *s)
{
	void (*call)(void *, struct io *) = NULL;
	struct io io;

	if (s->proto && s->flags & S_OPENED)
		call = s->flags & S_SHARD ? s->proto->shard_fini : s->proto->fini;
	if (!call)
		return;
	sess_fill_io(s, &io);
	call(s->self, &io);
}

void sess_done(struct sess *s)
{
	s->flags |= S_CLOSING; /* from here on nothing can be written */
	fini(s);
	if (s->host->lent == s)
		s->host->lent = NULL;
	if (s->host->rbuf_user == s)
		s->host->rbuf_user = NULL;
	inbuf_done(&s->in);
	outq_clear(&s->out, &s->host->pool);
	free_more(s);
	if (s->flags & S_OWN_SELF)
		mem_free(s->self);
	peer_unref(s->local);
	peer_unref(s->peer);
	list_del(&s->dirty);
}

/* ---- small questions ---- */

void sess_mark(struct sess *s)
{
	if (!list_in(&s->dirty))
		list_add(&s->host->dirty, &s->dirty);
}

size_t sess_queued(const struct sess *s)
{
	return s->out.n + (s->more ? s->more->raw.n : 0);
}

size_t sess_out_limit(const struct sess *s)
{
	return sess_svc(s)->limits.output;
}

bool sess_aborted(const struct sess *s)
{
	return s->flags & S_ABORT;
}

int sess_end_err(const struct sess *s)
{
	/* a handshake that failed says so to its peer and is then closed in stages */
	if (!(s->flags & S_ABORT) && s->flags & S_OPENED && (s->proto || !s->reason))
		return 0;
	return s->more && s->more->eof_err ? s->more->eof_err : -ECONNABORTED;
}

bool sess_peer_eof(const struct sess *s)
{
	return s->flags & S_EOF;
}

bool sess_parted(const struct sess *s)
{
	return s->flags & S_EOF || (s->flags & S_PARTED && !layers_present(s));
}

bool sess_eof_told(const struct sess *s)
{
	return s->flags & S_EOF_TOLD;
}

bool sess_handshaking(const struct sess *s)
{
	return s->more && s->more->handshake_by;
}

bool sess_has_output(const struct sess *s)
{
	return s->out.head || (s->more && s->more->raw.head);
}

bool sess_finished(const struct sess *s)
{
	if (sess_has_output(s))
		return false;
	if (s->flags & S_CLOSING)
		return true;
	/* a channel has no verdict of its own: it ends when both directions have */
	return !s->proto && (s->flags & S_OUT_DONE) && (s->flags & S_EOF_TOLD);
}

bool sess_wants_write(const struct sess *s)
{
	return (s->out.head && !sess_handshaking(s)) || (s->more && s->more->raw.head);
}

/* True when what came is not shown before some of our output is gone. A channel is read as its owner says. */
static bool output_blocks(const struct sess *s)
{
	const struct proto *p;

	if (sess_queued(s) < sess_hiwat(s))
		return false;
	p = s->proto ? s->proto : s->more->owner->proto;
	return !(p->flags & P_READ_WHILE_FULL) && !(s->flags & S_UNREAD);
}

bool sess_wants_read(const struct sess *s)
{
	if (s->flags & (S_ABORT | S_CLOSING | S_EOF | S_SHARD | S_DEFERRED))
		return false;
	if (s->flags & S_HOLD && !(s->flags & S_INTAKE))
		return false;
	if (s->flags & S_LAYER_WAIT && !sess_handshaking(s))
		return false; /* the marker is not reached: what comes now belongs to the layer */
	if (inbuf_n(&s->in) >= s->cap)
		return false;
	return !output_blocks(s);
}

static sess_id parent_of(const struct sess *s)
{
	return s->more ? s->more->parent : 0;
}

struct span sess_client(const struct sess *s)
{
	bool any = s->proto && s->proto->client && s->flags & S_OPENED && !(s->flags & S_SHARD);

	return any ? s->proto->client(s->self) : (struct span){};
}

const char *sess_user(const struct sess *s)
{
	const struct who *who = s->more ? s->more->who : NULL;

	return who && who->how == WHO_PASSWORD ? who->user : NULL;
}

struct sess *sess_owner(const struct sess *s)
{
	return s->more ? s->more->owner : NULL;
}

struct sess *sess_chan(const struct sess *s, uint32_t tag)
{
	if (!s->more)
		return NULL;
	for (struct list *l = s->more->chans.next; l != &s->more->chans; l = l->next) {
		struct sess_more *m = list_entry(l, struct sess_more, chan);

		if (m->tag == tag && m->self->epoch == s->epoch)
			return m->self;
	}
	return NULL;
}

/* ---- the end ---- */

void sess_count_error(struct sess *s)
{
	if (!(s->flags & S_ERRED))
		stat_add(s->lane, STAT_ERRORS, 1);
	s->flags |= S_ERRED;
}

void sess_abort(struct sess *s, const char *reason, enum counter why)
{
	if (s->flags & S_ABORT)
		return;
	if (s->flags & S_LASTING) {
		stat_add(s->lane, why, 1);
		return;
	}
	if (!s->reason)
		s->reason = reason;
	s->flags |= S_ABORT;
	sess_count_error(s);
	if (why != STAT_ERRORS)
		stat_add(s->lane, why, 1);
	sess_mark(s);
}

void sess_close(struct sess *s)
{
	if (s->flags & (S_CLOSING | S_ABORT | S_LASTING))
		return;
	if (!(s->flags & (S_OUT_EOF | S_DGRAM | S_SHARD)) && outq_eof(&s->out, &s->host->pool) < 0) {
		sess_abort(s, "out-of-memory", STAT_MEMORY);
		return;
	}
	s->flags |= S_CLOSING | S_OUT_EOF;
	s->active = s->host->now; /* from here on `linger` runs */
	sess_mark(s);
}

static const char *reason_of(int err)
{
	switch (-err) {
	case ECONNRESET:
	case EPIPE:
		return "reset-by-peer";
	case ESTALE: /* a file that is shorter than it was when it was promised */
		return "file-changed";
	default:
		return "connection-broken";
	}
}

void sess_broken(struct sess *s, int err)
{
	if (s->flags & S_ABORT)
		return;

	const char *reason = reason_of(err);
	bool told = s->flags & (S_EOF_TOLD | S_CLOSING | S_HOLD | S_INTAKE);

	if (!s->reason)
		s->reason = reason; /* before the step: what it says of the end is only a consequence */
	s->flags |= S_EOF | S_EOF_TOLD;
	if (!told && s->flags & S_OPENED)
		sess_step(s, &(struct ev){ .kind = EV_EOF, .err = err });
	sess_abort(s, reason, STAT_ERRORS);
}

/* ---- steps ---- */

void sess_fill_io(struct sess *s, struct io *io)
{
	const struct host *h = s->host;

	*io = (struct io){
		.now = h->now,
		.wall = h->wall,
		.self = s->id,
		.parent = parent_of(s),
		.local = s->local,
		.peer = s->peer,
		.who = s->more ? s->more->who : NULL,
		.svc = sess_svc(s),
		.shard = s->lane->shard,
		.dgram = s->flags & S_DGRAM,
		.secure = s->flags & S_SECURE,
		.traced = sess_svc(s)->trace,
		.eof = s->flags & S_EOF,
		.sess = s,
	};
}

/* The old protocol is over: nothing of it is left but the bytes, and answers to what it asked for are stale now. */
static void forget(struct sess *s)
{
	s->flags |= S_CLOSING; /* fini() cannot write */
	fini(s);
	if (s->flags & S_OWN_SELF)
		mem_free(s->self);
	s->flags &= ~(uint32_t)(S_CLOSING | S_OPENED | S_OWN_SELF | S_HOLD | S_WANT_ROOM | S_EOF_TOLD | S_BECOME);
	s->self = NULL;
	intake_drop(s);
	s->epoch++;
	s->need = s->scanned = 0;
	s->cap = (uint32_t)sess_svc(s)->limits.input;
	s->timer = 0;
	memset(s->more->timer, 0, sizeof(s->more->timer));
	sess_end_old(s);
}

void sess_opened(struct sess *s, struct blob *arg)
{
	if (s->flags & (S_ABORT | S_CLOSING))
		return; /* nothing was begun, so there is nothing for fini() */
	s->flags |= S_OPENED;
	deadline_begin(s);
	sess_step(s, &(struct ev){ .kind = EV_OPEN, .arg = arg });
}

static void become(struct sess *s)
{
	struct sess_more *m = s->more;
	const struct proto *p = m->next;
	struct blob *arg = m->arg;
	void *self = p->self_size ? mem_zalloc(p->self_size) : NULL;
	bool lost = p->self_size && !self;

	s->flags &= ~(uint32_t)S_BECOME;
	m->arg = NULL;
	if (m->next_left == LEFT_REJECT && inbuf_n(&s->in))
		sess_abort(s, "early-data", STAT_ERRORS);
	else if (lost)
		sess_abort(s, "out-of-memory", STAT_MEMORY);
	if (s->flags & S_ABORT || lost) {
		mem_free(self);
		blob_unref(arg);
		return;
	}
	forget(s);
	s->flags |= self ? S_OWN_SELF : 0;
	s->self = self;
	s->proto = p;
	sess_opened(s, arg);
	blob_unref(arg);
}

/* Bytes left over although the step asked for a layer that must start clean (STARTTLS injection). */
static void check_leftover(struct sess *s)
{
	s->flags &= ~(uint32_t)S_LAYER_LEFT;
	if (inbuf_n(&s->in))
		sess_abort(s, "early-data", STAT_ERRORS);
}

void sess_step(struct sess *s, struct ev *ev)
{
	assert(s->proto || s->more); /* a channel was born with an owner */

	struct sess *o = s->proto ? s : s->more->owner;
	struct host *h = s->host;
	struct io io;

	if (o->flags & (S_ABORT | S_CLOSING) || (o != s && s->epoch != o->epoch))
		return;       /* a channel that the protocol before this one asked for is nobody's */
	assert(!h->stepping); /* a driver's mistake: no protocol can cause it */
	if (o != s)
		ev->chan = s->more->tag;
	sess_fill_io(o, &io);
	h->stepping = o;

	enum verdict v = (o->flags & S_SHARD ? o->proto->shard : o->proto->step)(o->self, ev, &io);

	h->stepping = NULL;
	if (v == V_ABORT)
		sess_abort(o, "aborted", STAT_ERRORS);
	else if (v != V_GO)
		sess_close(o);
	if (v != V_GO && o->reason && ev->kind != EV_STOP && !(o->flags & S_LASTING))
		sess_count_error(o); /* it was answered, and is an error nevertheless */
	if (v == V_DONE)
		o->flags |= S_PARTED;
	if (s->flags & S_LAYER_LEFT)
		check_leftover(s);
	if (o->flags & S_BECOME && !(o->flags & (S_ABORT | S_CLOSING)))
		become(o);
}

void sess_open(struct sess *s, struct blob *arg)
{
	if (sess_handshaking(s)) {
		s->flags |= S_OPEN_WAIT;
		s->more->arg = blob_ref(arg);
		return;
	}
	sess_opened(s, arg);
	sess_pump(s);
}

void sess_event(struct sess *s, const struct ev *ev)
{
	struct ev copy = *ev;

	if (!(s->flags & S_OPENED)) {
		/* nobody is there yet to be told; a draining server does not wait for a handshake */
		if (ev->kind == EV_STOP)
			sess_abort(s, "stopping", STAT_ERRORS);
		return;
	}
	if (!(s->flags & S_INTAKE && ev->kind == EV_DONE && intake_answer(s, ev)))
		sess_step(s, &copy);
	if (ev->kind == EV_STOP && s->flags & (S_ABORT | S_CLOSING) && !s->reason)
		s->reason = "stopping";
	sess_pump(s);
}

void sess_answer(struct sess *s, const struct ev *ev, uint32_t epoch)
{
	if (s->epoch == epoch)
		sess_event(s, ev);
}

void sess_dgram(struct sess *s, struct span data, const struct route *route)
{
	struct ev ev = { .kind = EV_DGRAM };

	ev.dgram.data = data;
	ev.dgram.route = route;
	s->bytes_in += data.n;
	s->active = s->host->now;
	stat_add(s->lane, STAT_DGRAMS_IN, 1);
	stat_add(s->lane, STAT_BYTES_IN, data.n);
	s->host->route = route;
	sess_tap_in(s, data);
	sess_step(s, &ev);
	s->host->route = NULL;
}

/* ---- input ---- */

void sess_reof(struct sess *s, int err)
{
	if (err < 0) {
		sess_broken(s, err);
		return;
	}
	if (layers_present(s)) {
		layers_eof(s);
	} else {
		s->flags |= S_EOF;
	}
	sess_pump(s);
}

/* It is ending, or it is a channel of who is: nobody takes its bytes, and it is not to blame for them. */
static bool no_more_steps(const struct sess *s)
{
	const struct sess *o = s->proto ? s : s->more->owner;

	return (s->flags | o->flags) & (S_ABORT | S_CLOSING);
}

/* One EV_DATA. A step that took nothing is not called again before more has come. */
static void data_step(struct sess *s)
{
	const struct proto *proto = s->proto;
	size_t before = inbuf_n(&s->in);

	s->need = 0;
	sess_step(s, &(struct ev){ .kind = EV_DATA });

	size_t after = inbuf_n(&s->in);

	if (after < before || s->proto != proto || no_more_steps(s) || s->flags & (S_HOLD | S_LAYER_WAIT | S_INTAKE))
		return;
	if (after >= s->cap)
		sess_abort(s, "input-limit", STAT_INPUT);
	else if (s->flags & S_EOF)
		s->need = NEED_NOTHING; /* it knows that this is all there will be */
	else if (s->need <= after)
		s->need = (uint32_t)after + 1;
}

/* FIN: what is there is all there will be, so the step sees it once more with io->eof. True: there is more to do first. */
static bool last_look(struct sess *s)
{
	size_t have = inbuf_n(&s->in);

	if (!have || !s->need || s->need == NEED_NOTHING)
		return false;
	data_step(s);
	return s->need != NEED_NOTHING;
}

/* True when there is a reason to step; then it was done. */
static bool pump_once(struct sess *s)
{
	size_t have = inbuf_n(&s->in);

	if (!have && !(s->flags & (S_EOF | S_INTAKE)))
		return false;
	if (!(s->flags & S_OPENED) || no_more_steps(s))
		return false;
	if (s->flags & S_INTAKE)
		return intake_pump(s);
	if (s->flags & (S_HOLD | S_LAYER_WAIT | S_EOF_TOLD))
		return false;
	if (output_blocks(s))
		return false;
	if (have && have >= s->need) {
		data_step(s);
		return true;
	}
	if (!(s->flags & S_EOF))
		return false;
	if (last_look(s))
		return true;
	s->flags |= S_EOF_TOLD;
	sess_step(s, &(struct ev){ .kind = EV_EOF, .err = s->more ? s->more->eof_err : 0 });
	if (!s->proto)
		sess_mark(s); /* a channel may be over now */
	return true;
}

void sess_room_step(struct sess *s)
{
	if (!(s->flags & S_OPENED) || sess_queued(s) > sess_lowat(s))
		return;
	s->flags &= ~(uint32_t)S_WANT_ROOM;
	if (s->flags & S_OUT_EOF)
		return; /* nothing more may be said */
	sess_step(s, &(struct ev){ .kind = EV_ROOM });
}

/* It waits for a turn in which there are handshakes left. */
static void handshake_again(struct sess *s)
{
	if (s->host->handshakes <= 0) {
		sess_mark(s);
		return;
	}
	s->flags &= ~(uint32_t)S_DEFERRED;
	layers_decode(s);
}

void sess_pump(struct sess *s)
{
	int budget = PUMP_STEPS;

	if (!s->in.p && !(s->flags & (S_EOF | S_INTAKE | S_WANT_ROOM | S_DEFERRED)))
		return;
	sess_give_room(s);
	if (s->flags & S_DEFERRED && !(s->flags & (S_ABORT | S_CLOSING)))
		handshake_again(s);
	while (budget > 0 && pump_once(s))
		budget--;
	if (budget == 0)
		sess_mark(s);
	if (s->in.p && inbuf_n(&s->in) == 0)
		inbuf_trim(&s->in);
}
