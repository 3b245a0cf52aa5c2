/*
 * chat.c - one room: what a client says goes to all the others, line by line, exactly as it was said.
 *
 * The clients of one loop are in the list of that loop's shard. The lines of one read become one blob; it is posted to
 * each of them, and once to each other loop, whose shard posts it on. Nobody waits for a slow reader: lines that come
 * while its queue is full are dropped for it, and counted.
 *
 * With `names = yes` a line carries the name of who said it, and a few commands exist (command.c). With a broker the room is a topic
 * too (topic.c): the shard of the first loop has the connection, and hears what is said in all of them anyway.
 */
#include "proto/chat/chat_priv.h"
#include "proto/protos.h"

enum {
	LINE_END = 2,     /* CR LF */
	BATCH = 16 << 10, /* bytes after which a batch goes out */
	COPY = 4 << 10,   /* up to here a copy into the queue is cheaper than a reference */
	TOPIC_MAX = 1024, /* bytes of its name */
	PEM_MAX = 1 << 20,
	PASSWORD_MAX = 65535,
	BEFORE_IT = 128 << 10, /* bytes that may be queued for a member before a message of the topic */
};

static const struct proto_counter counters[] = {
	{ "lines", "lines said" },
	{ "deliveries", "lines that one client got" },
	{ "dropped", "lines that one client was too slow for" },
	{ "topic_said", "lines that the broker has taken" },
	{ "topic_dropped", "lines that the broker did not get: not connected, too slow, or gone before it answered" },
	{ "topic_refused", "lines that the broker has refused" },
	{ "topic_heard", "messages that others published, said in the room" },
	{ "topic_ignored", "messages that are not said: no text, a line too long, retained, or memory was out" },
	{},
};

static const struct option rows[] = {
	{ .name = "broker",
	  .type = OPTION_ADDRS,
	  .offset = OPTION_AT_(struct chat_options, broker, struct addr_list),
	  .max = 1,
	  .speaks = "mqtt",
	  .example = "tcp:broker.example:1883",
	  .help = "connects to this broker of MQTT 5, for the topic" },
	OPT_FILE(struct chat_options, ca, PEM_MAX,
		 "trusts a broker that has a certificate from these authorities (PEM); without it those of the system"),
	OPT_BOOL(struct chat_options, insecure, "no",
		 "takes any certificate of a broker, so that anybody in between can read and change everything"),
	OPT_BOOL(struct chat_options, names, "no",
		 "puts the name of who speaks before each line, and allows /nick, /who and /quit"),
	OPT_SECRET(struct chat_options, password, PASSWORD_MAX, "the file with the password for the broker"),
	OPT_STRING(struct chat_options, topic, NULL, 0, TOPIC_MAX,
		   "publishes there what is said in the room, and says in the room what others publish there"),
	OPT_STRING(struct chat_options, user, NULL, 0, 1024, "logs in at the broker under this name"),
};

const struct option_table chat_table = OPTION_TABLE("chat", rows, struct chat_options, chat_topic_check);

/* ---- delivery ---- */

static void post_to_members(struct chat_room *room, struct io *io, const struct chat *except, uint32_t lines,
			    struct blob *text)
{
	for (struct list *l = room->members.next; l != &room->members; l = l->next) {
		const struct chat *c = list_entry(l, struct chat, seat);

		if (c != except)
			io_post(io, c->id, lines, blob_to_mail(blob_ref(text)), 0);
	}
}

void chat_post_to_loops(struct io *io, uint32_t tag, struct mail *(*copy)(void *), void *arg)
{
	struct port *port = io->svc->port;
	unsigned here = port_here(port, io);

	for (unsigned i = 0; i < port_loops(port); i++) {
		struct mail *m = i == here ? NULL : copy(arg);

		if (m)
			port_post(port, i, tag, m);
	}
}

static struct mail *another_reference(void *blob)
{
	return blob_to_mail(blob_ref(blob));
}

void chat_tell_others(struct chat *self, struct io *io, uint32_t lines, struct blob *text)
{
	post_to_members(io->shard, io, self, lines, text);
	chat_post_to_loops(io, lines, another_reference, text);
	chat_topic_say(io->shard, io, blob_span(text));
}

void chat_tell_all(struct chat_room *room, struct io *io, uint32_t lines, struct blob *text)
{
	post_to_members(room, io, NULL, lines, text);
	chat_post_to_loops(io, lines, another_reference, text);
}

/* What comes from another loop; the first one, which has the topic, gets from others only what was said in the room. */
static void take_letters(struct chat_room *room, const struct ev *ev, struct io *io)
{
	for (size_t i = 0; i < ev->mail.n; i++) {
		const struct letter *l = &ev->mail.v[i];

		if (l->tag == CHAT_WHO) {
			chat_answer_who(room, io, l->mail);
			continue;
		}
		post_to_members(room, io, NULL, l->tag, blob_of_mail(l->mail));
		chat_topic_say(room, io, blob_span(blob_of_mail(l->mail)));
	}
}

static enum verdict shard(void *self, const struct ev *ev, struct io *io)
{
	struct chat_room *room = self;

	if (ev->kind == EV_OPEN)
		list_init(&room->members);
	if (ev->kind == EV_MSG)
		take_letters(room, ev, io);
	else
		chat_topic_event(room, ev, io);
	return V_GO;
}

static void shard_fini(void *self, struct io *io)
{
	(void)io;
	chat_topic_done(self);
}

/* Letters to a member: lines that somebody else said. */
static void hear(struct chat *self, const struct ev *ev, struct io *io)
{
	uint64_t delivered = 0, dropped = 0;

	for (size_t i = 0; i < ev->mail.n; i++) {
		struct blob *text = blob_of_mail(ev->mail.v[i].mail);
		struct span s = blob_span(text);
		uint32_t lines = ev->mail.v[i].tag;

		if (out_room(io) == 0) {
			dropped += lines;
			continue;
		}
		if (s.n <= COPY)
			out_mem(io, s.p, s.n);
		else
			out_blob(io, text);
		delivered += lines;
	}
	self->missed += (uint32_t)dropped;
	io_count(io, CHAT_DELIVERIES, delivered);
	io_count(io, CHAT_DROPPED, dropped);
}

/* ---- batches ---- */

void chat_batch_init(struct chat_batch *b)
{
	b->n = b->bytes = b->lines = 0;
}

/* A piece right behind the last one only makes that longer: without names a batch is one piece. */
void chat_batch_add(struct chat_batch *b, struct span s)
{
	struct span *last = b->n ? &b->v[b->n - 1] : NULL;

	if (last && last->p + last->n == s.p)
		last->n += s.n;
	else
		b->v[b->n++] = s;
	b->bytes += s.n;
}

bool chat_batch_full(const struct chat_batch *b)
{
	return b->n > CHAT_PARTS - 3 || b->bytes >= BATCH;
}

struct blob *chat_batch_take(struct chat_batch *b)
{
	struct blob *text = blob_new(b->v, b->n);

	chat_batch_init(b);
	return text;
}

/* ---- what a client says ---- */

/* Sends the batch on; false: memory is out. */
static bool flush(struct chat *self, struct io *io, struct chat_batch *b)
{
	const uint32_t lines = b->lines;
	struct blob *text;

	if (lines == 0)
		return true;
	text = chat_batch_take(b);
	if (!text)
		return false;
	chat_tell_others(self, io, lines, text);
	blob_unref(text);
	io_count(io, CHAT_LINES, lines);
	return true;
}

/* `raw` is the line with its end, if it has one: before EOF there may be none. */
static void add_line(const struct chat *self, struct chat_batch *b, struct span raw, bool names)
{
	if (names)
		chat_batch_add(b, (struct span){ (const uint8_t *)self->prefix, self->name_n + 2 });
	chat_batch_add(b, raw);
	if (raw.p[raw.n - 1] != '\n')
		chat_batch_add(b, span_str("\n"));
	b->lines++;
}

/* CHAT_LINE, or less when the option `input` says so. */
size_t chat_line_max(const struct io *io)
{
	return io->svc->limits.input < CHAT_LINE ? io->svc->limits.input : CHAT_LINE;
}

static enum verdict too_long(struct io *io)
{
	out_fmt(io, "error: a line may have at most %zu bytes\n", chat_line_max(io));
	io_reason(io, "line-too-long");
	return V_CLOSE;
}

static enum verdict out_of_memory(struct io *io)
{
	io_reason(io, "out-of-memory");
	return V_ABORT;
}

/* One line at a time out of the input; a command waits until what was said before it is on its way. */
static enum verdict talk(struct chat *self, struct io *io)
{
	const struct chat_options *o = io->svc->options;
	size_t most = chat_line_max(io);
	struct chat_batch b;
	struct span line;
	int r;

	chat_batch_init(&b);
	for (;;) {
		struct span raw = in_peek(io);

		r = in_line(io, most + LINE_END, &line);
		if (r <= 0 || line.n > most)
			break;
		raw.n -= in_peek(io).n;
		if (o->names && line.n && line.p[0] == '/') {
			if (!flush(self, io, &b))
				return out_of_memory(io);
			if (chat_command(self, io, line) == V_CLOSE)
				return V_CLOSE;
			continue;
		}
		add_line(self, &b, raw, o->names);
		if (chat_batch_full(&b) && !flush(self, io, &b))
			return out_of_memory(io);
	}
	if (!flush(self, io, &b))
		return out_of_memory(io);
	return r == 0 ? V_GO : too_long(io);
}

/* ---- the protocol ---- */

static enum verdict enter(struct chat *self, struct io *io)
{
	struct chat_room *room = io->shard;

	self->id = io->self;
	chat_set_name(self, room, io);
	list_add(&room->members, &self->seat);
	in_cap(io, chat_line_max(io) + LINE_END);
	return V_GO;
}

/* There is room again for one that was slow. */
static void tell_missed(struct chat *self, struct io *io)
{
	const struct chat_options *o = io->svc->options;

	if (o->names && self->missed)
		out_fmt(io, "* %u line%s missed\n", self->missed, self->missed == 1 ? "" : "s");
	self->missed = 0;
}

static enum verdict handle(struct chat *self, const struct ev *ev, struct io *io)
{
	switch (ev->kind) {
	case EV_OPEN:
		return enter(self, io);
	case EV_DATA:
		return talk(self, io);
	case EV_MSG:
		hear(self, ev, io);
		return V_GO;
	case EV_ROOM:
		tell_missed(self, io);
		return V_GO;
	case EV_EOF:
	case EV_STOP:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

static void leave(void *selfp, struct io *io)
{
	struct chat *self = selfp;

	(void)io;
	list_del(&self->seat); /* harmless when it has left before */
}

/* Whoever has said goodbye is no member any more, although its connection may take a while to close. */
static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	enum verdict v = handle(self, ev, io);

	if (v != V_GO)
		leave(self, io);
	return v;
}

/* The largest message of the topic must pass behind what a slow member has not read yet, or it would end his conversation. */
static size_t output_least(const void *options)
{
	const struct chat_options *o = options;

	return o->broker.n ? CHAT_PACKET + BEFORE_IT : 0;
}

const struct proto chat_proto = {
	.abi = PROTO_ABI,
	.name = "chat",
	.summary = "a room: each line goes to everybody else in it",
	.needs = "what one client says goes to all the others, and only event loops pass on from one client to another",
	/* who does not read what others say may still speak, and is heard to leave */
	.flags = P_STREAM | P_SHARED | P_READ_WHILE_FULL | P_DIALS,
	.self_size = sizeof(struct chat),
	.shard_size = sizeof(struct chat_room),
	.options = &chat_table,
	.output_least = output_least,
	.counters = counters,
	.step = step,
	.shard = shard,
	.shard_fini = shard_fini,
	.fini = leave,
};
