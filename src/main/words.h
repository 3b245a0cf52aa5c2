/*
 * words.h - a service in one word of the command line: SERVICE@ADDRESS[,OPTION=VALUE]...
 *
 *	echo@tcp:7007    echo@unix:/run/echo.sock,upper=yes,banner=Hello, you    shout@udp:8765,protocol=echo
 *
 * An option begins at a comma with NAME= behind it, so values and paths may hold other commas.
 */
#pragma once
#include <stdbool.h>

#include "base/buf.h"

struct word_option {
	char *name, *value; /* into the word's copy */
};

struct word {
	const char *text; /* as it was typed: borrowed */
	char *service, *address;
	struct word_option *options;
	size_t n;
	char *copy;
};

/* Is it meant as a service? True for what has an @ and no / before it; a file of such a name is written ./a@b. */
bool word_is_service(const char *text);

/* Takes it apart; says nothing about whether the service, the address and the options are right. 0, -EINVAL with `why`, -ENOMEM. */
[[nodiscard]] int word_parse(const char *text, struct word *ret, struct buf *why);
void word_done(struct word *w);
