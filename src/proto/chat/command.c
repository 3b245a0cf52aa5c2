/*
 * command.c - what a client of a chat with names may ask for, and names themselves. A name is a label, not an identity:
 * two may choose the same one.
 */
#include <stdio.h>

#include "base/mem.h"
#include "proto/chat/chat_priv.h"

enum { WHO_MAX = 16 << 10 }; /* bytes of one loop's answer to /who */

/* ---- names ---- */

static void set_prefix(struct chat *self, const char *name, size_t n)
{
	self->name_n = (uint8_t)n;
	snprintf(self->prefix, sizeof(self->prefix), "%.*s: ", (int)n, name);
}

void chat_set_name(struct chat *self, struct chat_room *room, struct io *io)
{
	const struct port *port = io->svc->port;
	/* each loop has its own numbers */
	unsigned number = room->guests++ * port_loops(port) + port_here(port, io) + 1;
	char name[CHAT_NAME + 1];
	int n = snprintf(name, sizeof(name), "guest%u", number);

	set_prefix(self, name, (size_t)n);
}

/* Letters, digits, - _ and . so that a name cannot be taken for anything else in a line. */
static bool is_name(struct span s)
{
	if (s.n == 0 || s.n > CHAT_NAME)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i], low = c | 0x20;

		if (!(low >= 'a' && low <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
			return false;
	}
	return true;
}

/* ---- commands ---- */

/* Everybody hears who it was, so that nobody can slip into another's name unseen. */
static void announce(struct chat *self, struct io *io, struct span old, struct span new)
{
	const struct span parts[] = { span_str("* "), old, span_str(" is now "), new, span_str("\n") };
	struct blob *text = blob_new(parts, sizeof(parts) / sizeof(parts[0]));

	if (text)
		chat_tell_others(self, io, 1, text);
	blob_unref(text);
}

static enum verdict nick(struct chat *self, struct io *io, struct span arg)
{
	char before[sizeof(self->prefix)];
	struct span old = { (const uint8_t *)before, self->name_n };

	if (!is_name(arg)) {
		out_fmt(io, "* a name has 1 to %d letters, digits, - _ or .\n", CHAT_NAME);
		return V_GO;
	}
	memcpy(before, self->prefix, sizeof(before));
	set_prefix(self, (const char *)arg.p, arg.n);
	out_fmt(io, "* you are %.*s\n", (int)arg.n, (const char *)arg.p);
	announce(self, io, old, arg);
	return V_GO;
}

/* The names of this loop, one a line. Returns how many lines; NULL when nobody is here or memory is out. */
static struct blob *list_names(const struct chat_room *room, uint32_t *ret_lines)
{
	BUF_AUTO struct buf b;
	uint32_t lines = 0, more = 0;

	buf_init(&b, WHO_MAX);
	for (const struct list *l = room->members.next; l != &room->members; l = l->next) {
		const struct chat *c = list_entry(l, struct chat, seat);

		if (b.n + CHAT_NAME + 32 > WHO_MAX) { /* the last line must fit too */
			more++;
			continue;
		}
		buf_addf(&b, "* %.*s\n", c->name_n, c->prefix);
		lines++;
	}
	if (more)
		buf_addf(&b, "* and %u more\n", more);
	if (b.err || b.n == 0)
		return NULL;
	*ret_lines = lines + (more > 0);

	struct span text = buf_span(&b);

	return blob_new(&text, 1);
}

/* The question that goes to the other loops. */
struct question {
	struct mail mail;
	sess_id asker;
};

static void drop_question(struct mail *m)
{
	mem_free(m);
}

static struct mail *new_question(void *asker)
{
	struct question *q = mem_alloc(sizeof(*q));

	if (!q)
		return NULL;
	q->mail.drop = drop_question;
	q->asker = *(sess_id *)asker;
	return &q->mail;
}

void chat_answer_who(const struct chat_room *room, struct io *io, const struct mail *question)
{
	const struct question *q = (const struct question *)question;
	uint32_t lines;
	struct blob *names = list_names(room, &lines);

	if (names)
		io_post(io, q->asker, lines, blob_to_mail(names), 0);
}

static enum verdict who(struct chat *self, struct io *io, struct span arg)
{
	struct blob *names;
	uint32_t lines;

	(void)arg;
	if (out_room(io) == 0) { /* who does not read the answers gets no more of them: a short question, a long list */
		io_count(io, CHAT_DROPPED, 1);
		return V_GO;
	}
	names = list_names(io->shard, &lines);
	if (names)
		out_blob(io, names);
	blob_unref(names);
	chat_post_to_loops(io, CHAT_WHO, new_question, &self->id);
	return V_GO;
}

static enum verdict quit(struct chat *self, struct io *io, struct span arg)
{
	(void)self;
	(void)io;
	(void)arg;
	return V_CLOSE;
}

static const struct command {
	const char *name;
	enum verdict (*run)(struct chat *self, struct io *io, struct span arg);
} commands[] = {
	{ "/nick", nick },
	{ "/quit", quit },
	{ "/who", who },
};

enum verdict chat_command(struct chat *self, struct io *io, struct span line)
{
	const uint8_t *blank = memchr(line.p, ' ', line.n);
	struct span word = { line.p, blank ? (size_t)(blank - line.p) : line.n };
	struct span arg = { line.p + line.n, 0 };

	if (blank)
		arg = (struct span){ blank + 1, line.n - word.n - 1 };
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (span_is(word, commands[i].name))
			return commands[i].run(self, io, arg);
	}
	out_str(io, "* commands are /nick NAME, /who and /quit\n");
	return V_GO;
}
