/* toy.c - the protocols of toy.h. */
#include "support/toy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

struct toy toy;

void toy_reset(toy_fn *fn)
{
	toy_done();
	toy = (struct toy){ .fn = fn ? fn : toy_take, .fn2 = toy_take, .shard = toy_take };
	buf_init(&toy.log, 1 << 20);
}

void toy_done(void)
{
	buf_done(&toy.log);
}

struct io *toy_io(const struct ev *ev, struct io *io)
{
	return ev->chan ? io_chan(io, ev->chan) : io;
}

enum verdict toy_take(const struct ev *ev, struct io *io)
{
	struct io *of = toy_io(ev, io);

	if (ev->kind == EV_DATA && of)
		in_take(of, SIZE_MAX);
	return ev->kind == EV_EOF && !ev->chan ? V_CLOSE : V_GO;
}

enum verdict toy_echo(const struct ev *ev, struct io *io)
{
	struct span in = in_peek(io);
	size_t room = out_room(io), n = in.n < room ? in.n : room;

	if (ev->kind == EV_DGRAM) {
		out_dgram(io, ev->dgram.route, ev->dgram.data.p, ev->dgram.data.n);
	} else if (ev->kind == EV_DATA || ev->kind == EV_ROOM) {
		out_mem(io, in.p, n);
		in_take(io, n);
	}
	return ev->kind == EV_EOF ? V_CLOSE : V_GO;
}

/* ---- the log ---- */

static void word(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void word(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_addv(&toy.log, fmt, ap);
	va_end(ap);
}

static void log_numbers(const struct ev *ev, struct io *io)
{
	struct io *of = toy_io(ev, io);

	switch (ev->kind) {
	case EV_DATA:
		word(":%zu%s", of ? in_peek(of).n : 0, of && of->eof ? "!" : "");
		break;
	case EV_DGRAM:
		word(":%zu", ev->dgram.data.n);
		break;
	case EV_EOF:
		if (ev->err)
			word(":%d", ev->err);
		break;
	case EV_TIMER:
		word(":%u", ev->tag);
		break;
	case EV_DONE:
	case EV_GONE:
		word(":%u:%d", ev->tag, ev->err);
		if (toy.exits && ev->kind == EV_GONE && ev->err == 0)
			word(ev->exit.signal ? "/signal %d" : "/%d",
			     ev->exit.signal ? ev->exit.signal : ev->exit.status);
		break;
	case EV_BOUND:
		word(":%u", ev->tag);
		break;
	case EV_MSG:
		word(":%zu", ev->mail.n);
		break;
	default:
		break;
	}
}

static void log_event(const char *who, const struct ev *ev, struct io *io)
{
	static const char *const names[] = {
		[EV_OPEN] = "open",     [EV_DATA] = "data",   [EV_DGRAM] = "dgram", [EV_EOF] = "eof",
		[EV_ROOM] = "room",     [EV_TIMER] = "timer", [EV_DONE] = "done",   [EV_BOUND] = "bound",
		[EV_GONE] = "gone",     [EV_MSG] = "msg",     [EV_LAYER] = "layer", [EV_STOP] = "stop",
		[EV_RELOAD] = "reload",
	};

	if (toy.quiet)
		return;
	word("%s%s", toy.log.n ? " " : "", who);
	if (ev->chan)
		word("c%u.", ev->chan);
	word("%s", names[ev->kind]);
	log_numbers(ev, io);
}

void assert_log_is(const char *want, const char *file, int line)
{
	if (strcmp(buf_str(&toy.log), want) != 0) {
		print_error("the steps saw: %s\n     expected: %s\n", buf_str(&toy.log), want);
		_fail(file, line);
	}
	buf_reset(&toy.log);
}

/* ---- steps ---- */

static enum verdict run(const char *who, toy_fn *fn, void *self, const struct ev *ev, struct io *io)
{
	struct toy_self *s = self;

	s->steps++;
	toy.self = s;
	log_event(who, ev, io);
	return fn(ev, io);
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	return run("", toy.fn, self, ev, io);
}

static enum verdict step2(void *self, const struct ev *ev, struct io *io)
{
	return run("2.", toy.fn2, self, ev, io);
}

static enum verdict shard(void *self, const struct ev *ev, struct io *io)
{
	return run("s.", toy.shard, self, ev, io);
}

static void fini_as(const char *who, struct io *io)
{
	if (!toy.quiet)
		word("%s%sfini", toy.log.n ? " " : "", who);
	if (toy.fini)
		toy.fini(NULL, io);
}

static void fini(void *self, struct io *io)
{
	toy.self = self;
	fini_as("", io);
}

static void fini2(void *self, struct io *io)
{
	toy.self = self;
	fini_as("2.", io);
}

#define TOY(NAME, FLAGS, STEP, FINI, ...) \
	{ \
		.abi = PROTO_ABI, .name = NAME, .summary = "a toy", .doc = "none", \
		.flags = P_STREAM | P_DGRAM | (FLAGS), .self_size = sizeof(struct toy_self), .step = STEP, \
		.fini = FINI, __VA_ARGS__ \
	}

const struct proto toy_proto = TOY("toy", 0, step, fini);
const struct proto toy2_proto = TOY("toy2", 0, step2, fini2);
const struct proto toy_full_proto = TOY("toyfull", P_READ_WHILE_FULL, step, fini);
const struct proto toy_shard_proto = TOY("toyshard", P_SHARED, step, fini, .shard = shard,
					 .shard_size = sizeof(struct toy_self), .needs = "it is a toy");

/* ---- jobs, mail, files ---- */

static void job_run(struct job *j)
{
	struct toy_job *t = (struct toy_job *)j;

	if (t->runs)
		++*t->runs;
	j->err = t->err;
}

static void job_drop(struct job *j)
{
	struct toy_job *t = (struct toy_job *)j;

	if (t->drops)
		++*t->drops;
	mem_free(t);
}

struct job *toy_job(int err, int *runs, int *drops)
{
	struct toy_job *t = mem_zalloc(sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct toy_job){ .job = { .run = job_run, .drop = job_drop }, .err = err, .runs = runs, .drops = drops };
	return &t->job;
}

struct mail *toy_mail(const char *text)
{
	struct span s = span_str(text);
	struct blob *b = blob_new(&s, 1);

	return b ? blob_to_mail(b) : NULL;
}

struct fake_file {
	struct file file;
	size_t most, end;
	int *closes;
};

uint8_t toy_byte(size_t i)
{
	return (uint8_t)(i * 7 + (i >> 8) * 13 + (i >> 16));
}

static ssize_t fake_pread(struct file *f, void *p, size_t n, off_t off)
{
	struct fake_file *k = (struct fake_file *)f;
	size_t at = (size_t)off, left = at < k->end ? k->end - at : 0;
	uint8_t *d = p;

	n = n < left ? n : left;
	n = n < k->most ? n : k->most;
	for (size_t i = 0; i < n; i++)
		d[i] = toy_byte(at + i);
	return (ssize_t)n;
}

static void fake_close(struct file *f)
{
	struct fake_file *k = (struct fake_file *)f;

	if (k->closes)
		++*k->closes;
	mem_free(k);
}

struct file *toy_file(size_t n, size_t most, size_t end, int *closes)
{
	struct fake_file *k = mem_zalloc(sizeof(*k));

	if (!k)
		return NULL;
	k->file = (struct file){ .fd = -1, .facts = { .size = n }, .pread = fake_pread, .close = fake_close };
	atomic_init(&k->file.refs, 1);
	k->most = most;
	k->end = end;
	k->closes = closes;
	return &k->file;
}
