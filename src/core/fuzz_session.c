/*
 * fuzz_session.c - anything, in any order: what clients do and what the protocol asks for come from one tape of bytes, faults too. What
 * must be true is in tests/support/books.h; here besides: memory or an object that nobody owns, a queue past its limit, a world
 * without rest.
 *
 * The first byte: which allocation fails (0: none), the second: layers and limits. Then ops; where a step runs, it draws its actions
 * from the same tape, so a seed is best found by the fuzzer.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/mem.h"
#include "core/sess_priv.h"
#include "drive/mem.h"
#include "support/books.h"
#include "support/toy.h"

enum {
	CONNS = 4,
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

/* ---- the world ---- */

static struct {
	struct memdrive *w;
	struct memconn *conn[CONNS];
	unsigned conns;
	unsigned sessions;
	int jobs, mails, files; /* alive */
	sess_id known[8];
	uint8_t bytes[100000];
} fz;

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
	io_job(io, BOOKS_JOB + draw() % (BOOKS_JOBS - BOOKS_JOB), j);
}

static void send_blob(struct books_side *s, struct io *io)
{
	struct blob *b = blob_new(&(struct span){ fz.bytes, draw_size() }, 1);

	if (b)
		books_blob(s, io, b);
	blob_unref(b);
}

static void send_file(struct books_side *s, struct io *io)
{
	size_t n = draw_size();
	struct file *f = toy_file(n, 5000, ask(8) ? n / 2 : n, &fz.files);

	if (!f)
		return;
	fz.files--;
	books_file(s, io, f, fz.bytes, n);
	file_unref(f);
}

static void ask_child(struct books *b, struct io *io)
{
	static const char *const words[] = { "cat", NULL };
	static const struct exec cat = { .path = "/bin/cat", .argv = words };
	uint32_t tag = 1 + draw() % (BOOKS_KIDS - 1);
	bool *asked = tag < BOOKS_CHANS ? &b->chan[tag].asked : &b->kid[tag];
	struct child c = { .kind = (enum child_kind)(draw() % 5), .address = ask(16) ? "nowhere" : "tcp:192.0.2.1:80" };
	struct route r = { .n = 4 };

	if (tag == BOOKS_CHANS || *asked || fz.sessions > SESSIONS)
		return;
	*asked = true;
	if (tag < BOOKS_CHANS)
		b->chan[tag] = (struct books_side){ .asked = true };
	else
		c.proto = some_proto();
	if (c.kind == CHILD_DGRAM)
		c.route = &r;
	if (c.kind == CHILD_CONNECT && ask(2)) {
		c.address = "tls:192.0.2.1:443"; /* so that check_conn() knows */
		c.layer = draw() % 2 ? &toy_xor_client : &toy_frame;
		c.layer_arg = toy_layer_arg(0, ask(8) ? -EPERM : 0);
	}
	if (c.kind == CHILD_EXEC && !ask(16))
		c.exec = &cat;
	if (c.kind == CHILD_LISTEN && ask(2))
		c.only = io->peer;
	if (ask(4))
		c.deadline = io->now + SEC;
	io_child(io, tag, &c);
}

static void push_layer(struct books_side *s, struct io *io)
{
	static const struct layer *const layers[] = { &toy_frame, &toy_xor, &toy_eat, &toy_xor_client };

	books_layer(s, io);
	io_layer(io, layers[draw() % 4], toy_layer_arg(ask(2) ? SEC : 0, ask(8) ? -EPERM : 0),
		 ask(2) ? LEFT_REJECT : LEFT_FEED);
}

static void act_on(struct books_side *s, struct io *io)
{
	switch (draw() % 13) {
	case 0:
		books_take(s, io, draw_size());
		break;
	case 1:
		books_need(s, io, draw_size());
		break;
	case 2:
		books_hold(s, io, !s->hold);
		break;
	case 3:
		books_mem(s, io, fz.bytes, draw_size());
		break;
	case 4: /* what was read goes out again */
		books_mem(s, io, in_peek(io).p, in_peek(io).n);
		break;
	case 5:
		send_blob(s, io);
		break;
	case 6:
		send_file(s, io);
		break;
	case 7:
		books_eof(s, io);
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
	case 11:
		books_line(s, io, draw_size());
		break;
	default:
		(void)out_room(io);
	}
}

static void post(struct books *b, struct io *io)
{
	bool reply = ask(2);

	b->replies += reply;
	io_post(io, fz.known[draw() % 8], BOOKS_LETTER, make_mail(), reply ? POST_REPLY : 0);
}

static void act(struct books *b, struct io *io)
{
	uint32_t chan = draw() % BOOKS_CHANS;
	struct io *of = chan ? io_chan(io, chan) : io;

	switch (draw() % 10) {
	case 0:
		books_timer(b, io, draw() % PROTO_TIMERS, ask(3) ? 0 : io->now + draw() * MSEC);
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
		post(b, io);
		break;
	case 5:
		io_become(io, some_proto(), NULL, ask(2) ? LEFT_REJECT : LEFT_FEED);
		break;
	case 6:
		fz.known[draw() % 8] = io->self;
		io_reason(io, "fuzzed");
		if (ask(2))
			io_first(io);
		if (ask(2))
			io_who(io, &(struct who){ .how = draw() % 2 ? WHO_PASSWORD : WHO_NOBODY,
						  .user = ask(2) ? "ann" : NULL });
		break;
	default:
		if (of && (!chan || b->chan[chan].asked))
			act_on(books_side(b, chan), of);
	}
}

/* ---- steps ---- */

static enum verdict some_verdict(const struct ev *ev, const struct io *io)
{
	unsigned v = draw();

	if (!io->peer && !io->parent) /* the service's datagram socket: nothing ends it */
		return v > 250 ? V_ABORT : V_GO;
	if (v > 253)
		return V_ABORT;
	if (v == 253)
		return V_DONE;
	return v > 250 || (ev->kind == EV_EOF && !ev->chan && v % 2 == 0) ? V_CLOSE : V_GO;
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct books *b = self;
	enum verdict v;
	unsigned n;

	books_event(b, ev, io);
	n = draw() % 5;
	if (n == 0 && ev->kind == EV_DATA)
		books_take(books_side(b, ev->chan), ev->chan ? io_chan(io, ev->chan) : io, ask(4) ? draw() : SIZE_MAX);
	for (unsigned i = 0; i < n; i++)
		act(b, io);
	if (ev->kind == EV_MSG && ask(3)) {
		mail_drop(ev->mail.v[0].mail);
		ev->mail.v[0].mail = NULL;
	}
	v = some_verdict(ev, io);
	books_verdict(b, ev, io, io->peer || io->parent ? v : V_GO);
	return v;
}

static void fini(void *self, struct io *io)
{
	struct books *b = self;

	CHECK(b->open);
	b->over = b->own.mute = true; /* it cannot write */
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

static const struct proto one = FUZZED("one", 0), two = FUZZED("two", P_READ_WHILE_FULL | P_FIRST | P_LOGIN);

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
	if (how.layer)
		books_layered(fz.conn[fz.conns]);
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

static void send(struct memconn *c, const void *p, size_t n, size_t piece)
{
	books_sent(c, p, n);
	memconn_send(c, p, n, piece);
}

static void send_some(struct memconn *c)
{
	size_t n = draw();

	if (n == 255) { /* much, from elsewhere */
		n = draw_size();
		send(c, fz.bytes, n, 1 + draw_size());
		return;
	}
	n = n < tape_n ? n : tape_n;
	tape += n;
	tape_n -= n;
	send(c, tape - n, n, ask(2) ? 1 + draw() % 8 : 0);
}

static void poke(struct memconn *c)
{
	switch (draw() % 12) {
	case 0:
		books_fin(c);
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
	case 7:
		if (memconn_kind(c) == CHILD_EXEC) {
			books_layered(c); /* not all that is written to it arrives */
			memconn_exits(c, draw(), ask(3) ? 9 : 0);
		}
		break;
	default:
		send_some(c);
	}
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
		memdrive_press(fz.w, ask(2));
	}
}

static void check_conn(struct memconn *c)
{
	const struct sess *s = memconn_sess(c);

	if (strncmp(memconn_address(c), "tls:", 4) == 0)
		books_layered(c);
	books_received(c);
	CHECK(memconn_peak(c) <= OUTPUT + SESS_HIWAT + 20000);
	if (s && !sess_aborted(s))
		CHECK(s->in.len - s->in.off <= s->cap + HOST_RBUF);
}

static void each_conn(void (*fn)(struct memconn *c))
{
	for (unsigned i = 0; i < fz.conns; i++)
		fn(fz.conn[i]);
	for (size_t i = 0, n = memdrive_children(fz.w); i < n; i++)
		fn(memdrive_child(fz.w, i));
}

static void check_world(void)
{
	fz.sessions = memdrive_sessions(fz.w);
	each_conn(check_conn);
}

static void open_window(struct memconn *c)
{
	memconn_reads(c, 0);
	memconn_writes(c, 0);
	memconn_window(c, MEM_NO_LIMIT);
}

static void check_rest(struct memconn *c)
{
	const struct sess *s = memconn_sess(c);

	if (s && s->proto)
		books_rest(c, s->self);
}

/* The tape is over, so nobody asks for anything more; what was asked for comes. */
static void come_to_rest(void)
{
	memdrive_hold_jobs(fz.w, false);
	memdrive_auto(fz.w, true);
	each_conn(open_window);
	CHECK(memdrive_run(fz.w));
	check_world();
	each_conn(check_rest);
}

static void set_up(void)
{
	unsigned fail = draw(), how = draw();
	struct mem_setup m = {
		.proto = &one,
		.output = OUTPUT,
		.input = how & 1 ? 2000 : 0,
		.idle = how & 2 ? 3 * SEC : 0,
		.min_rate = how & 32 ? 100 : 0,
		.first = how & 64 ? 2 * SEC : 0,
		.auth = how & 64 ? 4 * SEC : 0,
		.linger = how & 4 ? SEC : 0,
		.trace = how & 8,
		.loops = 2,
		.handshakes = how & 16 ? 1 : 0,
	};

	toy_reset(NULL);
	toy.quiet = true;
	memset(fz.known, 0, sizeof(fz.known));
	fz.w = NULL;
	fz.conns = fz.sessions = 0;
	fz.jobs = fz.mails = fz.files = 0;
	fault_arm(FAULT_MEM, fail, 0, false);
	if (memdrive_new(&m, &fz.w, NULL) < 0)
		fz.w = NULL;
	books_reset(fz.w);
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
	if (fz.w)
		come_to_rest();
	memdrive_free(&fz.w);
	fault_arm(FAULT_MEM, 0, 0, false);
	CHECK(fz.jobs == 0 && fz.mails == 0 && fz.files == 0 && toy.live_layers == 0);
	books_reset(NULL);
	toy_done();
	return 0;
}
