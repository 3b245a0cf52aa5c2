/* option_priv.h - what the files of option.h share: what each type is. */
#pragma once
#include "conf/option.h"

struct option_kind {
	const char *name;
	const char *form; /* of a value, for help; NULL = the words */
	size_t size;      /* of the field */
	int (*set)(const struct option *row, void *slot, const char *text, struct buf *why);
	void (*format)(const struct option *row, const void *slot, struct buf *b);
	bool (*equal)(const void *a, const void *b); /* NULL = compare bytes */
	int (*copy)(const void *from, void *to);     /* into a zeroed slot; NULL = copy bytes */
	void (*done)(void *slot);                    /* NULL = owns nothing */
};

extern const struct option_kind option_kinds[OPTION_TYPES];

/* The index of text in a NULL-ended list, or -1. */
int option_word_index(const char *const *words, const char *text);
