/*
 * jtree.h - a JSON value put together piece by piece, when memory may be out at any of them. Then the whole becomes NULL and stays it:
 * what it had is freed, and so is what is put into it later. So only the whole has to be looked at.
 */
#pragma once
#include <jansson.h>

#include "base/span.h"

/* Into the object or the array. Both take v, whatever comes of it; NULL, which is how v says that there was no memory, is no value. */
void jtree_set(json_t **object, const char *key, json_t *v);
void jtree_append(json_t **array, json_t *v);

/* A string of any bytes, as a path may be: what is no UTF-8 in it is replaced. NULL: memory is out. */
json_t *jtree_text(struct span s);
