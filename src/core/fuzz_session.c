/*
 * fuzz_session.c - anything, in any order: what clients do and what the protocol asks for come from one tape of bytes. The protocol
 * keeps books, and traps when the core breaks the contract: an event before EV_OPEN or after the end, input under io_hold(), the
 * same bytes twice, an answer that nobody asked for or that never comes, memory or an object that nobody owns, a world without rest.
 *
 * The first byte: which allocation fails (0: none), the second: layers and limits. Then ops; where a step runs, it draws its actions
 * from the same tape, so a seed is best found by the fuzzer.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/mem.h"
#include "core/session.h"
#include "drive/mem.h"
#include "support/toy.h"

enum {
	CONNS = 4,
	CHANS = 4, /* tags 1 to 3 are channels */
	KID = 5,   /* 5 to 7 are children with a protocol of their own */
	KIDS = 8,
	SESSIONS = 40, /* then nobody asks for children any more */
	OUTPUT = 100000,
};

#define CHECK(what) \
	do { \
		if (!(what)) \
			abort(); \
	} while (0)

/* ---- the tape ---- */

static const uint8_t *tape;
static size_t tape_n;

static unsigned draw(void)
{
	if (tape_n == 0)
		return 0;
	tape_n--;
	return *tape++;
}

static size_t draw_size(void)
{
	unsigned b = draw();

	return b < 128 ? b : (size_t)(b - 127) * (b - 127) * 6; /* up to 98304 */
}

static bool ask(unsigned one_in)
{
	return draw() % one_in == 1;
}

/* ---- the books ---- */

struct side {
	bool open, asked, eof, hold, stuck, stuck_eof;
	size_t untaken;
};

struct books {
	bool open, over;
	struct side own, chan[CHANS];
	bool kid[KIDS];
	unsigned jobs;
};

static struct {
	struct memdrive *w;
	struct memconn *conn[CONNS];
	unsigned conns;
	unsigned sessions;
	int jobs, mails, files; /* alive */
	bool failing;           /* an allocation may fail: then promises of answers are off */
	sess_id known[8];
	uint8_t bytes[100000];
} fz;

static struct side *side_of(struct books *b, uint32_t chan)
{
	CHECK(chan < CHANS);
	return chan ? &b->chan[chan] : &b->own;
}

struct fz_mail {
	struct mail mail;
};

static void drop_mail(struct mail *m)
{
	fz.mails--;
	mem_free(m);
}

static struct mail *make_mail(void)
{
	struct fz_mail *m = ask(4) ? NULL : mem_zalloc(sizeof(*m));

	if (!m)
		return NULL;
	m->mail.drop = drop_mail;
	fz.mails++;
	return &m->mail;
}

static void run_job(struct job *j)
{
	j->err = -(int)(j->tag % 3);
}

static void drop_job(struct job *j)
{
	fz.jobs--;
	mem_free(j);
}

/* ---- what a step may do ---- */

static const struct proto *some_proto(void);

static void ask_job(struct books *b, struct io *io)
{
	struct job *j = mem_zalloc(sizeof(*j));

	if (!j)
		return;
	*j = (struct job){ .run = run_job, .drop = drop_job };
	fz.jobs++;
	b->jobs++;
	io_job(io, 9 + draw() % 3, j);
}

static void send_blob(struct io *io)
{
	struct blob *b = blob_new(&(struct span){ fz.bytes, draw_size() }, 1);

	if (b)
		out_blob(io, b);
	blob_unref(b);
}

static void send_file(struct io *io)
{
	size_t n = draw_size();
	struct file *f = toy_file(n, 5000, ask(8) ? n / 2 : n, &fz.files);

	if (!f)
		return;
	fz.files--;
	out_file(io, f, 0, n);
	file_unref(f);
}

static void ask_child(struct books *b, struct io *io)
{
	uint32_t tag = 1 + draw() % (KIDS - 1);
	bool *asked = tag < CHANS ? &b->chan[tag].asked : &b->kid[tag];
	struct child c = { .kind = (enum child_kind)(draw() % 4), .address = ask(16) ? "nowhere" : "tcp:192.0.2.1:80" };
	struct route r = { .n = 4 };

	if (tag == CHANS || *asked || fz.sessions > SESSIONS)
		return;
	*asked = true;
	if (tag < CHANS)
		b->chan[tag] = (struct side){ .asked = true };
	else
		c.proto = some_proto();
	if (c.kind == CHILD_DGRAM)
		c.route = &r;
	if (c.kind == CHILD_CONNECT && ask(2)) {
		c.layer = draw() % 2 ? &toy_xor_client : &toy_frame;
		c.layer_arg = toy_layer_arg(0, ask(8) ? -EPERM : 0);
	}
	if (c.kind == CHILD_LISTEN && ask(2))
		c.only = io->peer;
	if (ask(4))
		c.deadline = io->now + SEC;
	io_child(io, tag, &c);
}

static void push_layer(struct side *s, struct io *io)
{
	static const struct layer *const layers[] = { &toy_frame, &toy_xor, &toy_eat, &toy_xor_client };

	s->stuck = false;
	io_layer(io, layers[draw() % 4], toy_layer_arg(ask(2) ? SEC : 0, ask(8) ? -EPERM : 0),
		 ask(2) ? LEFT_REJECT : LEFT_FEED);
}

static void act_on(struct books *b, struct side *s, struct io *io)
{
	switch (draw() % 12) {
	case 0:
		in_take(io, draw_size());
		s->stuck = false;
		break;
	case 1:
		in_need(io, draw_size());
		break;
	case 2:
		s->hold = !s->hold;
		s->stuck = false;
		io_hold(io, s->hold);
		break;
	case 3:
		out_mem(io, fz.bytes, draw_size());
		break;
	case 4: /* what was read goes out again */
		out_mem(io, in_peek(io).p, in_peek(io).n);
		break;
	case 5:
		send_blob(io);
		break;
	case 6:
		send_file(io);
		break;
	case 7:
		out_eof(io);
		break;
	case 8:
		push_layer(s, io);
		break;
	case 9:
		out_dgram(io, NULL, fz.bytes, draw());
		break;
	case 10:
		in_cap(io, draw_size());
		break;
	default:
		(void)out_room(io);
		(void)b;
	}
}

static void act(struct books *b, struct io *io)
{
	uint32_t chan = draw() % CHANS;
	struct io *of = chan ? io_chan(io, chan) : io;

	switch (draw() % 10) {
	case 0:
		io_timer(io, draw() % PROTO_TIMERS, ask(3) ? 0 : io->now + draw() * MSEC);
		break;
	case 1:
		ask_job(b, io);
		break;
	case 2:
		ask_child(b, io);
		break;
	case 3:
		io_end(io, draw() % 12);
		break;
	case 4:
		io_post(io, fz.known[draw() % 8], 12, make_mail(), ask(2) ? POST_REPLY : 0);
		break;
	case 5:
		io_become(io, some_proto(), NULL, ask(2) ? LEFT_REJECT : LEFT_FEED);
		break;
	case 6:
		fz.known[draw() % 8] = io->self;
		io_reason(io, "fuzzed");
		break;
	default:
		if (of && (!chan || b->chan[chan].asked))
			act_on(b, chan ? &b->chan[chan] : &b->own, of);
	}
}

/* ---- is this event allowed now? ---- */

static void check_data(struct side *s, struct io *of)
{
	size_t n = in_peek(of).n;

	CHECK(n > 0 && !s->hold && !s->eof);
	CHECK(!s->stuck || n > s->untaken || (of->eof && !s->stuck_eof));
}

static void check_gone(struct books *b, const struct ev *ev)
{
	if (ev->tag == 12) {
		CHECK(ev->err == -ESRCH); /* a letter's */
		return;
	}
	CHECK(ev->tag < KIDS && ev->chan == (ev->tag < CHANS ? ev->tag : 0));
	if (ev->tag < CHANS) {
		CHECK(b->chan[ev->tag].asked);
		b->chan[ev->tag] = (struct side){};
	} else {
		CHECK(b->kid[ev->tag]);
		b->kid[ev->tag] = false;
	}
}

static void check(struct books *b, const struct ev *ev, struct io *io)
{
	struct side *s = side_of(b, ev->chan);
	struct io *of = ev->chan ? io_chan(io, ev->chan) : io;

	CHECK(!b->over && io->now == memdrive_now(fz.w));
	CHECK(b->open || (ev->kind == EV_OPEN && !ev->chan));
	b->open = true;
	CHECK(!ev->chan || s->asked);
	switch (ev->kind) {
	case EV_OPEN:
		CHECK(!s->open);
		s->open = true;
		break;
	case EV_DATA:
		CHECK(of);
		check_data(s, of);
		break;
	case EV_EOF:
		CHECK(!s->hold && !s->eof);
		s->eof = true;
		break;
	case EV_ROOM:
		CHECK(of && out_room(of) > 0);
		break;
	case EV_TIMER:
		CHECK(ev->tag < PROTO_TIMERS);
		break;
	case EV_DONE:
		CHECK(b->jobs > 0 && ev->job && ev->tag >= 9 && ev->tag < 12);
		b->jobs--;
		break;
	case EV_GONE:
		check_gone(b, ev);
		break;
	case EV_MSG:
		CHECK(ev->mail.n > 0);
		break;
	default:
		break;
	}
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct books *b = self;
	struct io *of = ev->chan ? io_chan(io, ev->chan) : io;
	struct side *s = side_of(b, ev->chan);
	size_t before;
	unsigned n, v;

	check(b, ev, io);
	before = of ? in_peek(of).n : 0;
	s->stuck = ev->kind == EV_DATA;
	n = draw() % 5;
	if (n == 0 && ev->kind == EV_DATA)
		in_take(of, ask(4) ? draw() : SIZE_MAX);
	for (unsigned i = 0; i < n; i++)
		act(b, io);
	if (ev->kind == EV_MSG && ask(3)) {
		mail_drop(ev->mail.v[0].mail);
		ev->mail.v[0].mail = NULL;
	}
	/* the channel may have been asked to end, but it is there until the step is over */
	s->untaken = of ? in_peek(of).n : 0;
	s->stuck &= s->untaken >= before && !s->hold;
	s->stuck_eof = of && of->eof;
	v = draw();
	if (!io->peer && !io->parent) /* the service's datagram socket: nothing ends it */
		return v > 250 ? V_ABORT : V_GO;
	b->over = v > 250 || (ev->kind == EV_EOF && !ev->chan && v % 2 == 0);
	return b->over ? v > 253 ? V_ABORT : V_CLOSE : V_GO;
}

static void fini(void *self, struct io *io)
{
	struct books *b = self;

	CHECK(b->open);
	b->over = true;
	for (unsigned n = draw() % 3; n > 0; n--)
		act(b, io);
}

static enum verdict shard(void *self, const struct ev *ev, struct io *io)
{
	(void)self;
	(void)ev;
	if (ask(4))
		io_timer(io, draw() % PROTO_TIMERS, io->now + SEC);
	if (ask(4))
		io_post(io, fz.known[draw() % 8], 13, make_mail(), 0);
	if (ask(8))
		port_post(io->svc->port, draw() % 2, 14, make_mail());
	return V_GO;
}

#define FUZZED(NAME, FLAGS) \
	{ \
		.abi = PROTO_ABI, .name = NAME, .flags = P_STREAM | P_DGRAM | P_SHARED | (FLAGS), \
		.self_size = sizeof(struct books), .shard_size = 8, .step = step, .shard = shard, .fini = fini, \
		.needs = "it is fuzzed" \
	}

static const struct proto one = FUZZED("one", 0), two = FUZZED("two", P_READ_WHILE_FULL);

static const struct proto *some_proto(void)
{
	return draw() % 2 ? &two : &one;
}

/* ---- what happens outside ---- */

static void open_conn(void)
{
	static const struct layer *const layers[] = { NULL, NULL, &toy_frame, &toy_xor };
	struct mem_open how = { .layer = layers[draw() % 4], .proto = some_proto() };

	if (fz.conns == CONNS)
		return;
	if (how.layer)
		how.layer_arg = toy_layer_arg(ask(4) ? SEC : 0, 0);
	fz.conn[fz.conns] = memconn_open(fz.w, &how);
	if (!fz.conn[fz.conns])
		return;
	fz.known[draw() % 8] = memconn_id(fz.conn[fz.conns]);
	fz.conns++;
}

static struct memconn *some_conn(void)
{
	unsigned i = draw();
	size_t kids = memdrive_children(fz.w);

	if (i % 2 && kids)
		return memdrive_child(fz.w, (i / 2) % kids);
	if (i == 254)
		return memdrive_dgram(fz.w);
	return fz.conns ? fz.conn[(i / 2) % fz.conns] : NULL;
}

static void send_some(struct memconn *c)
{
	size_t n = draw();

	if (n == 255) { /* much, from elsewhere */
		memconn_send(c, fz.bytes, draw_size(), draw_size());
		return;
	}
	n = n < tape_n ? n : tape_n;
	tape += n;
	tape_n -= n;
	memconn_send(c, tape - n, n, ask(2) ? 1 + draw() % 8 : 0);
}

static void poke(struct memconn *c)
{
	switch (draw() % 12) {
	case 0:
		memconn_eof(c);
		break;
	case 1:
		memconn_reset(c);
		break;
	case 2:
		memconn_window(c, ask(3) ? MEM_NO_LIMIT : draw_size());
		break;
	case 3:
		memconn_dgram(c, ask(2) ? "192.0.2.1:53" : NULL, ask(2), fz.bytes, draw());
		memconn_dgrams_take(c);
		break;
	case 4:
		memconn_dialled(c, ask(3) ? -ECONNREFUSED : 0);
		break;
	case 5:
		(void)memconn_connect(c, ask(3) ? "192.0.2.77:1" : "127.0.0.1:1");
		break;
	case 6:
		memconn_reads(c, draw());
		memconn_writes(c, draw());
		break;
	default:
		send_some(c);
	}
	memconn_take(c, SIZE_MAX);
}

static void world_op(void)
{
	switch (draw() % 8) {
	case 0:
		open_conn();
		break;
	case 1:
		memdrive_advance(fz.w, (nsec)draw() * 50 * MSEC);
		break;
	case 2:
		memdrive_hold_jobs(fz.w, ask(2));
		break;
	case 3:
		memdrive_run_jobs(fz.w, draw() % 4);
		break;
	case 4:
		memdrive_dials(fz.w, draw() % 3 ? (int)(draw() % 2) : -EHOSTUNREACH);
		break;
	case 5:
		memdrive_post(fz.w, 0, fz.known[draw() % 8], 12, make_mail());
		break;
	case 6:
		memdrive_auto(fz.w, ask(2));
		break;
	default:
		if (ask(8))
			memdrive_stop(fz.w);
		if (ask(16))
			memdrive_cut(fz.w);
	}
}

static void check_conn(const struct memconn *c)
{
	const struct sess *s = memconn_sess(c);

	CHECK(memconn_peak(c) <= OUTPUT + SESS_HIWAT + 20000);
	if (s && !sess_aborted(s))
		CHECK(s->in.len - s->in.off <= s->cap + HOST_RBUF);
}

static void check_world(void)
{
	fz.sessions = memdrive_sessions(fz.w);
	for (unsigned i = 0; i < fz.conns; i++)
		check_conn(fz.conn[i]);
	for (size_t i = 0, n = memdrive_children(fz.w); i < n; i++)
		check_conn(memdrive_child(fz.w, i));
}

static void set_up(void)
{
	unsigned fail = draw(), how = draw();
	struct mem_setup m = {
		.proto = &one,
		.output = OUTPUT,
		.input = how & 1 ? 2000 : 0,
		.idle = how & 2 ? 3 * SEC : 0,
		.linger = how & 4 ? SEC : 0,
		.trace = how & 8,
		.loops = 2,
		.handshakes = how & 16 ? 1 : 0,
	};

	toy_reset(NULL);
	memset(fz.known, 0, sizeof(fz.known));
	fz.w = NULL;
	fz.conns = fz.sessions = 0;
	fz.jobs = fz.mails = fz.files = 0;
	fz.failing = fail != 0;
	fault_arm(FAULT_MEM, fail, 0, false);
	if (memdrive_new(&m, &fz.w, NULL) < 0)
		fz.w = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mem_away away;

	tape = data;
	tape_n = size < 4096 ? size : 4096;
	if (!fz.bytes[1])
		for (size_t i = 0; i < sizeof(fz.bytes); i++)
			fz.bytes[i] = toy_byte(i);
	set_up();
	for (int ops = 0; fz.w && tape_n && ops < 500; ops++) {
		struct memconn *c = ask(3) ? NULL : some_conn();

		if (c)
			poke(c);
		else
			world_op();
		check_world();
		while (memdrive_away(fz.w, &away))
			mail_drop(away.mail);
	}
	if (fz.w) {
		CHECK(memdrive_run(fz.w)); /* the tape is over, so nobody asks for anything more */
		check_world();
	}
	memdrive_free(&fz.w);
	fault_arm(FAULT_MEM, 0, 0, false);
	CHECK(fz.jobs == 0 && fz.mails == 0 && fz.files == 0 && toy.live_layers == 0);
	toy_done();
	return 0;
}
