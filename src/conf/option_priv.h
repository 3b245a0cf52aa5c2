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

/* option_part.c: files and parts */
int option_set_file(const struct option *row, void *slot, const char *text, struct buf *why);
void option_format_file(const struct option *row, const void *slot, struct buf *b);
bool option_equal_file(const void *a, const void *b);
int option_copy_file(const void *from, void *to);
void option_done_file(void *slot);
int option_set_parts(const struct option *row, void *slot, const char *text, struct buf *why);
void option_format_parts(const struct option *row, const void *slot, struct buf *b);
bool option_equal_parts(const void *a, const void *b);
int option_copy_parts(const void *from, void *to);
void option_done_parts(void *slot);

/* The index of text in a NULL-ended list, or -1. */
int option_word_index(const char *const *words, const char *text);
