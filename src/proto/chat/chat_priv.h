/*
 * chat_priv.h - what the room (chat.c), its commands (command.c) and its topic (topic.c) share.
 */
#pragma once
#include "base/list.h"
#include "conf/option.h"
#include "core/proto.h"
#include "proto/mqtt/topic_client.h"

enum {
	CHAT_LINE = 64 << 10, /* bytes of a line, before its end */
	CHAT_NAME = 24,
	CHAT_PARTS = 3 * 32,     /* pieces of a batch: name, text and perhaps a missing LF, 32 times */
	CHAT_PACKET = 256 << 10, /* bytes of the largest packet from the broker; a message may have many lines */
};

enum { /* counters */
       CHAT_LINES,
       CHAT_DELIVERIES,
       CHAT_DROPPED,
       CHAT_TOPIC_SAID,
       CHAT_TOPIC_DROPPED,
       CHAT_TOPIC_REFUSED,
       CHAT_TOPIC_HEARD,
       CHAT_TOPIC_IGNORED,
};

/* Tags of letters: the number of lines in a blob, or a question from another loop (command.c). */
enum { CHAT_WHO = 0 };

struct chat_options {
	struct addr_list broker; /* one, or none */
	struct option_file ca, password;
	bool insecure, names;
	char *topic, *user;
};
extern const struct option_table chat_table;

/* A client. */
struct chat {
	struct list seat; /* in the room of its loop */
	sess_id id;
	uint32_t missed; /* lines dropped since it was slow */
	uint8_t name_n;
	char prefix[CHAT_NAME + 2 + 1]; /* `NAME: ` */
};

/* Lines that go on together, pieces of bytes that will be one blob: who says many in one read costs each member few letters. */
struct chat_batch {
	struct span v[CHAT_PARTS];
	size_t n, bytes;
	uint32_t lines;
};

void chat_batch_init(struct chat_batch *b); /* not `= {}`: its array is large, and most of it stays unused */
void chat_batch_add(struct chat_batch *b, struct span s); /* while it is not full; `lines` is the caller's to count */
bool chat_batch_full(const struct chat_batch *b);         /* it has to go before the next line */
struct blob *chat_batch_take(struct chat_batch *b);       /* it is empty then; NULL: memory is out */

/* The shard: the clients of one loop. */
struct chat_room {
	struct list members;
	unsigned guests;            /* names given so far */
	struct topic_client client; /* in the first loop only */
	void *joined;               /* the options that it is made of; NULL: there is none */
	struct chat_batch heard;    /* from the topic, in this step */
	uint64_t messages;          /* that it is made of */
};

/* To everybody but self, and to the topic; the caller keeps its reference. */
void chat_tell_others(struct chat *self, struct io *io, uint32_t lines, struct blob *text);
/* To everybody, from the topic. */
void chat_tell_all(struct chat_room *room, struct io *io, uint32_t lines, struct blob *text);

size_t chat_line_max(const struct io *io); /* bytes that a line may have, before its end */

/* Posts what copy(arg) makes to the shard of every other loop; where it makes NULL, memory was out and that loop gets nothing. */
void chat_post_to_loops(struct io *io, uint32_t tag, struct mail *(*copy)(void *), void *arg);

/* Gives a new client a name that no other client of the service was given. */
void chat_set_name(struct chat *self, struct chat_room *room, struct io *io);

/* Acts on a line that begins with a slash. */
enum verdict chat_command(struct chat *self, struct io *io, struct span line);

/* A member of another loop asks who is here. */
void chat_answer_who(const struct chat_room *room, struct io *io, const struct mail *question);

/* topic.c: the table's check; an event of the shard; and lines that were said in the room, to be published. */
int chat_topic_check(const void *values, struct buf *why);
void chat_topic_event(struct chat_room *room, const struct ev *ev, struct io *io);
void chat_topic_say(struct chat_room *room, struct io *io, struct span text);
void chat_topic_done(struct chat_room *room);
