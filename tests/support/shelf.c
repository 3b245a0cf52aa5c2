/* shelf.c - see shelf.h. */
#include "support/shelf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/option.h"
#include "core/proto_file.h"

enum { LINE = 9000, WORDS = 4 };

enum tag { T_OPEN = 1, T_BODY, T_KEEP, T_PEEK, T_OTHER };

struct shelf_options {
	char *root;
};

struct verb;

struct shelf {
	const struct verb *verb;
	struct root *home; /* NULL: the service's */
	struct file *file; /* being written */
	uint64_t off, n;
	char etag[FILE_ETAG];
	char *text; /* SAY */
};

struct words {
	struct span v[WORDS];
	size_t n;
};

struct verb {
	const char *word;
	size_t words; /* with itself, at least */
	enum verdict (*run)(struct shelf *s, struct io *io, const struct words *w);
	enum verdict (*opened)(struct shelf *s, struct io *io, struct file_done *d);
};

static struct root *root_of(const struct shelf *s, const struct io *io)
{
	return s->home ? s->home : io->svc->state;
}

/* ---- answers ---- */

static enum verdict ready(struct shelf *s, struct io *io)
{
	file_drop(s->file);
	s->file = NULL;
	mem_free(s->text);
	s->text = NULL;
	io_hold(io, false);
	return V_GO;
}

static enum verdict put(struct shelf *s, struct io *io, const struct words *w);

static enum verdict failed(struct shelf *s, struct io *io, int err)
{
	const char *name = strerrorname_np(-err);
	bool lost = s->verb->run == put; /* bytes may follow that are no request */

	out_fmt(io, "ERR %s\n", name ? name : "?");
	ready(s, io);
	return lost ? V_CLOSE : V_GO;
}

/* ---- reading ---- */

static enum verdict got_whole(struct shelf *s, struct io *io, struct file_done *d)
{
	char etag[FILE_ETAG];

	file_etag(&d->facts, etag);
	if (*s->etag && !strcmp(s->etag, etag)) {
		out_str(io, "SAME\n");
		return ready(s, io);
	}
	out_fmt(io, "OK %" PRIu64 " %s\n", d->facts.size, etag);
	out_file(io, d->file, 0, d->facts.size);
	return ready(s, io);
}

static enum verdict got_part(struct shelf *s, struct io *io, struct file_done *d)
{
	uint64_t left = s->off < d->facts.size ? d->facts.size - s->off : 0;
	uint64_t n = s->n < left ? s->n : left;

	out_fmt(io, "OK %" PRIu64 "\n", n);
	out_file(io, d->file, (off_t)s->off, n);
	return ready(s, io);
}

static enum verdict got_peek(struct shelf *s, struct io *io, struct file_done *d)
{
	io_read(io, T_PEEK, d->file, s->off, s->n);
	return V_GO;
}

static enum verdict get(struct shelf *s, struct io *io, const struct words *w)
{
	*s->etag = '\0';
	if (w->n > 2)
		snprintf(s->etag, sizeof(s->etag), "\"%.*s\"", (int)w->v[1].n, (const char *)w->v[1].p);
	io_open(io, T_OPEN, root_of(s, io), w->v[w->n - 1], FILE_READ);
	return V_GO;
}

static uint64_t number(struct span word)
{
	char text[32];

	snprintf(text, sizeof(text), "%.*s", (int)word.n, (const char *)word.p);
	return strtoull(text, NULL, 10);
}

static enum verdict get_part(struct shelf *s, struct io *io, const struct words *w)
{
	s->off = number(w->v[1]);
	s->n = number(w->v[2]);
	io_open(io, T_OPEN, root_of(s, io), w->v[3], FILE_READ);
	return V_GO;
}

/* ---- writing ---- */

static enum verdict put(struct shelf *s, struct io *io, const struct words *w)
{
	bool all = w->n == 2;
	enum file_how how = s->verb->word[0] == 'N' ? FILE_NEW : s->verb->word[0] == 'A' ? FILE_APPEND : FILE_REPLACE;

	s->n = all ? FILE_TO_EOF : number(w->v[1]);
	io_open(io, T_OPEN, root_of(s, io), w->v[all ? 1 : 2], how);
	return V_GO;
}

static enum verdict take_body(struct shelf *s, struct io *io, struct file_done *d)
{
	s->file = d->file;
	d->file = NULL;
	in_file(io, T_BODY, s->file, s->n);
	return V_GO;
}

static enum verdict say(struct shelf *s, struct io *io, const struct words *w)
{
	s->text = mem_strndup((const char *)w->v[2].p, w->v[2].n);
	io_open(io, T_OPEN, root_of(s, io), w->v[1], FILE_REPLACE);
	return s->text ? V_GO : V_ABORT;
}

static enum verdict write_text(struct shelf *s, struct io *io, struct file_done *d)
{
	s->file = d->file;
	d->file = NULL;
	io_write(io, T_BODY, s->file, 0, s->text, strlen(s->text));
	return V_GO;
}

/* ---- folders ---- */

static enum verdict list(struct shelf *s, struct io *io, const struct words *w)
{
	io_list(io, T_OTHER, root_of(s, io), w->v[1], w->n > 2 ? number(w->v[2]) : 0, w->n > 3 ? number(w->v[3]) : 0);
	return V_GO;
}

static enum verdict other(struct shelf *s, struct io *io, const struct words *w)
{
	struct root *r = root_of(s, io);

	if (!strcmp(s->verb->word, "STAT"))
		io_stat(io, T_OTHER, r, w->v[1]);
	else if (!strcmp(s->verb->word, "DEL"))
		io_remove(io, T_OTHER, r, w->v[1]);
	else if (!strcmp(s->verb->word, "MKDIR"))
		io_make_folder(io, T_OTHER, r, w->v[1]);
	else if (!strcmp(s->verb->word, "RMDIR"))
		io_remove_folder(io, T_OTHER, r, w->v[1]);
	else if (!strcmp(s->verb->word, "HOME"))
		io_root(io, T_OTHER, r, w->v[1]);
	else
		io_rename(io, T_OTHER, r, w->v[1], w->v[2], !strcmp(s->verb->word, "SWAP"));
	return V_GO;
}

static void tell_list(struct io *io, const struct file_done *d)
{
	for (size_t i = 0; i < d->entries; i++) {
		const struct file_entry *e = &d->entry[i];

		if (e->facts.kind == FILE_PLAIN)
			out_fmt(io, "%s %" PRIu64 "\n", e->name, e->facts.size);
		else
			out_fmt(io, "%s%s\n", e->name, e->facts.kind == FILE_FOLDER ? "/" : "?");
	}
	out_fmt(io, "OK %" PRIu64 "\n", d->next);
}

static enum verdict told(struct shelf *s, struct io *io, struct file_done *d)
{
	static const char *const kinds[] = { "file", "folder", "other" };

	if (!strcmp(s->verb->word, "LIST")) {
		tell_list(io, d);
	} else if (!strcmp(s->verb->word, "STAT")) {
		out_fmt(io, "OK %s %" PRIu64 "\n", kinds[d->facts.kind],
			d->facts.kind == FILE_PLAIN ? d->facts.size : 0);
	} else {
		if (d->root) {
			root_unref(s->home);
			s->home = d->root;
			d->root = NULL;
		}
		out_str(io, "OK\n");
	}
	return ready(s, io);
}

/* ---- the machine ---- */

static const struct verb verbs[] = {
	{ "GET", 2, get, got_whole },      { "GETIF", 3, get, got_whole },  { "PART", 4, get_part, got_part },
	{ "PEEK", 4, get_part, got_peek }, { "PUT", 3, put, take_body },    { "NEW", 3, put, take_body },
	{ "ADD", 3, put, take_body },      { "PUTALL", 2, put, take_body }, { "DROP", 3, put, take_body },
	{ "SAY", 3, say, write_text },     { "STAT", 2, other, NULL },      { "LIST", 2, list, NULL },
	{ "DEL", 2, other, NULL },         { "MKDIR", 2, other, NULL },     { "RMDIR", 2, other, NULL },
	{ "MOVE", 3, other, NULL },        { "SWAP", 3, other, NULL },      { "HOME", 2, other, NULL },
};

/* Words at blanks, or in quotes, in which nothing is special. */
static void split(struct span line, struct words *ret)
{
	ret->n = 0;
	for (size_t i = 0; i < line.n && ret->n < WORDS;) {
		bool quoted = line.p[i] == '"';
		size_t from = i + quoted, to = from;

		while (to < line.n && line.p[to] != (quoted ? '"' : ' '))
			to++;
		ret->v[ret->n++] = (struct span){ line.p + from, to - from };
		for (i = to + quoted; i < line.n && line.p[i] == ' ';)
			i++;
	}
}

static enum verdict command(struct shelf *s, struct io *io, struct span line)
{
	struct words w;

	split(line, &w);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		const struct verb *v = &verbs[i];

		if (!w.n || !span_is(w.v[0], v->word) || w.n < v->words)
			continue;
		s->verb = v;
		io_hold(io, true);
		return v->run(s, io, &w);
	}
	out_str(io, "ERR what?\n");
	return V_GO;
}

static enum verdict data(struct shelf *s, struct io *io)
{
	struct span line;
	int r = in_line(io, LINE, &line);

	if (r < 0)
		return V_ABORT;
	return r ? command(s, io, line) : V_GO; /* the next one when this one is answered */
}

static enum verdict done(struct shelf *s, struct io *io, const struct ev *ev)
{
	struct file_done *d = ev_file(ev);

	if (ev->err)
		return failed(s, io, ev->err);
	switch ((enum tag)ev->tag) {
	case T_OPEN:
		return s->verb->opened(s, io, d);
	case T_BODY:
		s->n = d->n;
		if (!strcmp(s->verb->word, "DROP")) {
			out_str(io, "OK\n");
			return ready(s, io);
		}
		io_keep(io, T_KEEP, s->file);
		return V_GO;
	case T_KEEP:
		out_fmt(io, "OK %" PRIu64 "\n", s->n);
		return ready(s, io);
	case T_PEEK:
		out_fmt(io, "OK %zu\n", d->data.n);
		out_mem(io, d->data.p, d->data.n);
		return ready(s, io);
	case T_OTHER:
		break;
	}
	return told(s, io, d);
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct shelf *s = self;

	switch (ev->kind) {
	case EV_DATA:
		return data(s, io);
	case EV_DONE:
		return done(s, io, ev);
	case EV_EOF:
	case EV_STOP:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

static void fini(void *self, struct io *io)
{
	struct shelf *s = self;

	(void)io;
	file_drop(s->file);
	root_unref(s->home);
	mem_free(s->text);
}

static int open_service(struct svc *svc, struct buf *ret_why)
{
	const struct shelf_options *o = svc->options;
	struct root *r;
	int err = root_open(o->root, &r, ret_why);

	if (!err)
		svc->state = r;
	return err;
}

static void close_service(struct svc *svc)
{
	root_unref(svc->state);
}

static const struct option rows[] = {
	OPT_FOLDER(struct shelf_options, root, ".", "folder that is served"),
};

static const struct option_table options = OPTION_TABLE("shelf", rows, struct shelf_options, NULL);

const struct proto shelf_proto = {
	.abi = PROTO_ABI,
	.name = "shelf",
	.summary = "files, for tests",
	.flags = P_STREAM,
	.port = 7999,
	.self_size = sizeof(struct shelf),
	.options = &options,
	.step = step,
	.fini = fini,
	.svc_open = open_service,
	.svc_close = close_service,
};
