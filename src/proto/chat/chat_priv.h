/*
 * chat_priv.h - what the room (chat.c) and its commands (command.c) share.
 */
#pragma once
#include "base/list.h"
#include "conf/option.h"
#include "core/proto.h"

enum {
	CHAT_LINE = 64 << 10, /* bytes of a line, before its end */
	CHAT_NAME = 24,
};

enum { CHAT_LINES, CHAT_DELIVERIES, CHAT_DROPPED }; /* counters */

/* Tags of letters: the number of lines in a blob, or a question from another loop (command.c). */
enum { CHAT_WHO = 0 };

struct chat_options {
	bool names;
};

/* A client. */
struct chat {
	struct list seat; /* in the room of its loop */
	sess_id id;
	uint32_t missed; /* lines dropped since it was slow */
	uint8_t name_n;
	char prefix[CHAT_NAME + 2 + 1]; /* `NAME: ` */
};

/* The shard: the clients of one loop. */
struct chat_room {
	struct list members;
	unsigned guests; /* names given so far */
};

/* To everybody but self; the caller keeps its reference. */
void chat_tell_others(struct chat *self, struct io *io, uint32_t lines, struct blob *text);

/* Posts what copy(arg) makes to the shard of every other loop; where it makes NULL, memory was out and that loop gets nothing. */
void chat_post_to_loops(struct io *io, uint32_t tag, struct mail *(*copy)(void *), void *arg);

/* Gives a new client a name that no other client of the service was given. */
void chat_set_name(struct chat *self, struct chat_room *room, struct io *io);

/* Acts on a line that begins with a slash. */
enum verdict chat_command(struct chat *self, struct io *io, struct span line);

/* A member of another loop asks who is here. */
void chat_answer_who(const struct chat_room *room, struct io *io, const struct mail *question);
