/*
 * http_head.h - the head of an HTTP/1.1 message: a request or status line, fields, an empty line. Pure: nothing is allocated or
 * copied, what is found are spans into the caller's bytes. Nothing of bodies, but for what the head says of where one ends.
 *
 * As strict as RFC 9112 and 9110 allow: lines end with CR LF only, no NUL, no other control character, no bare CR, no obs-fold,
 * no space before a colon, one space between the words of the first line, names are tokens, one Host. What is refused here cannot be read
 * differently by the next one who reads it (request smuggling). Lenient in three places: one empty line before a
 * request (RFC 9112 2.2), a status line without a space behind its number, and in targets the printable ASCII that
 * browsers send though RFC 3986 would have it escaped (`|`, `[`), but never `#`.
 */
#pragma once
#include <sys/types.h>

#include "base/span.h"

/* ---- reading ---- */

enum {
	HTTP_HEAD_MAX = 16 << 10, /* the usual limits */
	HTTP_FIELDS_MAX = 100,
};

enum http_form {
	HTTP_ORIGIN,    /* /path?query */
	HTTP_ABSOLUTE,  /* scheme://authority/path?query */
	HTTP_AUTHORITY, /* host:port, of CONNECT only */
	HTTP_ASTERISK,  /* *, of OPTIONS only */
};

/*
 * A whole head; spans into `raw` of the call that returned it. `path` is the target's, with its query: it begins with a slash (that of
 * http://host is "/", of http://host?q it is "?q") and is empty in HTTP_AUTHORITY and HTTP_ASTERISK. `authority` is who is asked: of
 * the target where it has one, else of Host (RFC 9112 3.2.2, 3.3); it is well-formed or empty, see http_authority().
 * Percent-encodings are as they came.
 */
struct http_head {
	unsigned minor; /* HTTP/1.minor */
	struct span method, target;
	enum http_form form;
	struct span scheme, authority, path;
	unsigned status; /* of a response: 100 to 999 */
	struct span reason;
	struct span fields; /* http_next() */
	unsigned fields_n;
};

/*
 * How far it has come. The caller sets what is above the line before the first call, and nothing else; for the next message
 * it begins with a fresh one.
 */
struct http_reader {
	bool response;
	size_t max;          /* bytes of a head; 0 = HTTP_HEAD_MAX */
	unsigned max_fields; /* 0 = HTTP_FIELDS_MAX */
	/* ---- */
	const char *why;            /* a literal, after an error: "two Host fields" */
	size_t at;                  /* bytes looked at */
	size_t start, line, fields; /* where the first line, the one that is read, and the first field begin */
	unsigned fields_n;
	int err;
	bool started;
};

/*
 * Looks at what is new in `raw`, which has all of the message's bytes from the first one on, and may lie somewhere else each time.
 * The bytes of the head, its empty line included, and *ret; 0: more is needed; or an error, the same one from then on. A byte is
 * looked at once, and it is the same byte that decides, in whatever pieces they come:
 *	-EBADMSG          400, malformed
 *	-ENAMETOOLONG     414, the limit was passed inside the target
 *	-EMSGSIZE         431, elsewhere; or too many fields
 *	-EPROTONOSUPPORT  505, not HTTP/1.x
 */
[[nodiscard]] ssize_t http_head_read(struct http_reader *r, struct span raw, struct http_head *ret);

/* The status that answers such an error, also those of http_body(); and the words behind a status: "Not Found". */
unsigned http_status(int err);
const char *http_reason(unsigned status); /* "" for one that is not in RFC 9110 or 6585 */

/* ---- fields ---- */

struct http_field {
	struct span name, value; /* no white space around the value */
};

/* The fields in order: *at is zero at first. False at the end. */
bool http_next(const struct http_head *h, size_t *at, struct http_field *ret);

/* How many fields have this name (any case), and the value of the first, which may be NULL. */
unsigned http_find(const struct http_head *h, const char *name, struct span *ret);

/* ---- values (RFC 9110 5.6) ---- */

bool http_is_token(struct span s);               /* one character or more */
bool http_same(struct span s, const char *word); /* ASCII, any case */
struct span http_trim(struct span s);            /* without spaces and tabs around it */

/*
 * Lists: the elements of all fields of a name, as if they were one. Zero but for the first two; empty elements are passed
 * over, commas in quotes do not separate. 1 and *ret; 0 at the end; -EBADMSG: a quote is not closed.
 */
struct http_list {
	const struct http_head *head;
	const char *name;
	size_t at;
	struct span rest;
};
[[nodiscard]] int http_list_next(struct http_list *l, struct span *ret);

/* Is this token (any case) an element of the list? A list that is malformed has nothing. */
bool http_list_has(const struct http_head *h, const char *name, const char *token);

/*
 * An element `word; name=value; name`: http_word() takes what is before the first `;` off *s, http_param() a parameter, once
 * for each. A value is a token, or a quoted string with its quotes; where there is no `=` it is empty. 1, 0 at the end, or -EBADMSG.
 */
struct span http_word(struct span *s);
[[nodiscard]] int http_param(struct span *s, struct span *ret_name, struct span *ret_value);

/* The bytes of a value, without quotes and backslashes, into p (n bytes): how many; -EBADMSG, or -EMSGSIZE: more than n. */
[[nodiscard]] ssize_t http_unquote(struct span s, char *p, size_t n);

/* Host and port of an authority: the host as it came, brackets included; no port: -1. False: it is none, or has a user in it. */
bool http_authority(struct span s, struct span *ret_host, int *ret_port);

/* ---- where the body ends (RFC 9112 6.3) ---- */

enum http_body_kind {
	HTTP_BODY_NONE,
	HTTP_BODY_LENGTH,
	HTTP_BODY_CHUNKED,
	HTTP_BODY_CLOSE, /* of a response: all that comes until the end */
};

struct http_body {
	enum http_body_kind kind;
	uint64_t length;
};

/*
 * What the head says; who asked by HEAD or CONNECT knows better of the answer. 0; -EBADMSG: 400, it can be read in two ways
 * (both Transfer-Encoding and Content-Length, chunked that is not last, lengths that differ or are not digits, Transfer-Encoding in
 * HTTP/1.0); -ENOSYS: 501, an encoding other than chunked.
 */
[[nodiscard]] int http_body(const struct http_head *h, struct http_body *ret);
