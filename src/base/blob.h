/*
 * blob.h - immutable bytes with a reference count; may cross threads and be queued to any number of
 * sessions without being copied. Born once, never changed.
 */
#pragma once
#include "base/mail.h"
#include "base/span.h"

struct blob;

/* The spans one after the other in a new blob with one reference; NULL when memory is out. */
[[nodiscard]] struct blob *blob_new(const struct span *parts, size_t n);

struct blob *blob_ref(struct blob *b); /* returns b; NULL is fine */
void blob_unref(struct blob *b);       /* the last one frees; NULL is fine */
struct span blob_span(const struct blob *b);

/* A blob as a letter's content (mail.h): the caller's reference goes with it, and comes out again. */
struct mail *blob_to_mail(struct blob *b);
struct blob *blob_of_mail(struct mail *m);
