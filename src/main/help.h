/*
 * help.h - what the program says about itself, from the tables that make it work: protocols, options, addresses, commands.
 * Everything goes to a buffer.
 */
#pragma once
#include "core/proto.h"

struct buf;

/* A protocol: what it does, where it is usually served, its options. And one option of it, its own or one of every service. */
void help_proto(const struct proto *p, struct buf *b);
[[nodiscard]] int help_option(const struct proto *p, const char *name,
			      struct buf *b); /* -ENOENT, with a sentence that says so */

/* addresses, models, options, tls, guichet: a page each. */
struct help_topic {
	const char *name, *summary;
	void (*add)(struct buf *b);
	int (*find)(const char *word, struct buf *b); /* one thing of the page; 0, or -ENOENT with a sentence in b */
};
extern const struct help_topic help_topics[]; /* ends with a NULL name */

/* An option of a kind of section that services of this protocol have, as topics of mqtt's bridge; -ENOENT with a sentence. */
int help_part_option(const struct proto *p, const char *part, const char *name, struct buf *b);

/* -ENOENT, and the sentence: no help on "upd" of addresses, did you mean "udp"? */
int help_unknown(const char *word, const char *page, const char *nearest, struct buf *b);

/* help_rules.c: the page on rules, its text for the manual, a word of it (-ENOENT as above). */
void help_rules(struct buf *b);
const char *help_rules_text(void);
int help_rules_word(const char *word, struct buf *b);

void help_services(struct buf *b); /* a line for each protocol */

/* The manual page guichet(1), completion for bash, and all of it as JSON. */
void help_man(struct buf *b);
void help_completion(struct buf *b);
void help_json(struct buf *b);
