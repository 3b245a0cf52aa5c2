/*
 * http_head.c - see http_head.h: reading a head. What its values are made of is in http_value.c.
 *
 * Each byte is looked at once, as it comes; each line is judged when its end has come. Nothing is kept of a line but that it was
 * right: whoever wants what it says finds it again in the bytes, which is quick, as nothing can be wrong with it any more.
 */
#include "base/http_head.h"

#include <errno.h>

#include "base/str.h"

static int wrong(struct http_reader *r, int err, const char *why)
{
	r->err = err;
	r->why = why;
	return err;
}

static int bad(struct http_reader *r, const char *why)
{
	return wrong(r, -EBADMSG, why);
}

/* ---- the first line ---- */

/* What is before the next space, which is taken too; false: there is none, or nothing before it. */
static bool next_word(struct span *s, struct span *ret)
{
	const uint8_t *space = s->n ? memchr(s->p, ' ', s->n) : NULL;

	if (!space || space == s->p)
		return false;
	*ret = (struct span){ s->p, (size_t)(space - s->p) };
	s->n -= ret->n + 1;
	s->p = space + 1;
	return true;
}

static int parse_version(struct http_reader *r, struct span s, struct http_head *h)
{
	if (s.n != 8 || !span_starts(s, "HTTP/") || !str_is_digit((char)s.p[5]) || s.p[6] != '.' ||
	    !str_is_digit((char)s.p[7]))
		return bad(r, "no HTTP version");
	if (s.p[5] != '1')
		return wrong(r, -EPROTONOSUPPORT, "a version of HTTP that is not spoken");
	h->minor = (unsigned)(s.p[7] - '0');
	return 0;
}

/* Bytes of a scheme with its "://", or 0. */
static size_t scheme_length(struct span s)
{
	size_t n = 0;

	while (n < s.n && (str_is_alnum((char)s.p[n]) || (n && strchr("+-.", s.p[n]))))
		n++;
	if (n == 0 || str_is_digit((char)s.p[0]) || s.n - n < 3 || memcmp(s.p + n, "://", 3) != 0)
		return 0;
	return n + 3;
}

static bool parse_absolute(struct http_head *h)
{
	struct span rest = h->target, host;
	size_t n = scheme_length(rest);
	int port;

	if (n == 0)
		return false;
	h->scheme = (struct span){ rest.p, n - 3 };
	rest.p += n;
	rest.n -= n;
	for (n = 0; n < rest.n && rest.p[n] != '/' && rest.p[n] != '?'; n++)
		;
	h->authority = (struct span){ rest.p, n };
	h->path = n < rest.n ? (struct span){ rest.p + n, rest.n - n } : span_str("/");
	h->form = HTTP_ABSOLUTE;
	return http_authority(h->authority, &host, &port) && host.n > 0;
}

static bool parse_target(struct http_head *h)
{
	struct span host;
	int port;

	for (size_t i = 0; i < h->target.n; i++)
		if (h->target.p[i] <= ' ' || h->target.p[i] > '~' || h->target.p[i] == '#')
			return false;
	if (span_is(h->method, "CONNECT")) {
		h->form = HTTP_AUTHORITY;
		h->authority = h->target;
		return http_authority(h->target, &host, &port) && host.n > 0 && port >= 0;
	}
	if (h->target.p[0] == '/') {
		h->form = HTTP_ORIGIN;
		h->path = h->target;
		return true;
	}
	h->form = HTTP_ASTERISK;
	return span_is(h->target, "*") ? span_is(h->method, "OPTIONS") : parse_absolute(h);
}

static int parse_request(struct http_reader *r, struct span line, struct http_head *h)
{
	int err;

	if (!next_word(&line, &h->method) || !http_is_token(h->method))
		return bad(r, "no method");
	if (!next_word(&line, &h->target))
		return bad(r, "no target, or no HTTP version behind it");
	err = parse_version(r, line, h);
	if (err)
		return err;
	return parse_target(h) ? 0 : bad(r, "malformed target");
}

static int parse_status(struct http_reader *r, struct span line, struct http_head *h)
{
	struct span version;
	int err = next_word(&line, &version) ? parse_version(r, version, h) : bad(r, "no HTTP version");

	if (err)
		return err;
	for (size_t i = 0; i < 3; i++)
		if (line.n < 3 || !str_is_digit((char)line.p[i]))
			return bad(r, "no status");
	if (line.p[0] == '0' || (line.n > 3 && line.p[3] != ' '))
		return bad(r, "no status");
	h->status = (unsigned)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'));
	h->reason = line.n > 4 ? (struct span){ line.p + 4, line.n - 4 } : (struct span){};
	return 0;
}

static int parse_start(struct http_reader *r, struct span line, struct http_head *h)
{
	return r->response ? parse_status(r, line, h) : parse_request(r, line, h);
}

/* ---- fields ---- */

static int check_field(struct http_reader *r, struct span line)
{
	const uint8_t *colon = memchr(line.p, ':', line.n);

	if (line.p[0] == ' ' || line.p[0] == '\t')
		return bad(r, "a folded field");
	if (!colon)
		return bad(r, "a field without a colon");
	if (!http_is_token((struct span){ line.p, (size_t)(colon - line.p) }))
		return bad(r, "malformed name of a field");
	if (++r->fields_n > (r->max_fields ? r->max_fields : HTTP_FIELDS_MAX))
		return wrong(r, -EMSGSIZE, "too many fields");
	return 0;
}

/* RFC 9112 3.2: one Host in HTTP/1.1, in 1.0 at most one. */
static int check_host(struct http_reader *r, struct http_head *h)
{
	struct span value, host;
	unsigned n = http_find(h, "Host", &value);
	int port;

	if (n > 1)
		return bad(r, "two Host fields");
	if (n == 0)
		return h->minor ? bad(r, "no Host field") : 0;
	if (!http_authority(value, &host, &port))
		return bad(r, "malformed Host field");
	if (h->form == HTTP_ORIGIN || h->form == HTTP_ASTERISK)
		h->authority = value;
	return 0;
}

static int whole_head(struct http_reader *r, struct span raw, struct http_head *ret)
{
	struct http_head h = {};
	struct span line = { raw.p + r->start, r->fields - 2 - r->start };
	int err = parse_start(r, line, &h);

	h.fields = (struct span){ raw.p + r->fields, r->line - r->fields };
	h.fields_n = r->fields_n;
	if (err == 0 && !r->response)
		err = check_host(r, &h);
	if (err == 0)
		*ret = h;
	return err;
}

/* ---- bytes ---- */

/* 1: that was the last one; 0, or an error. */
static int take_line(struct http_reader *r, struct span line)
{
	struct http_head h = {};
	int err;

	if (r->started)
		return line.n ? check_field(r, line) : 1;
	if (line.n == 0) {
		if (r->response || r->start)
			return bad(r, "an empty line where the first one should be");
		r->start = 2;
		return 0;
	}
	err = parse_start(r, line, &h);
	r->started = true;
	r->fields = r->at + 1;
	return err;
}

static int too_long(struct http_reader *r, struct span raw)
{
	if (r->started)
		return wrong(r, -EMSGSIZE, "fields too long");
	if (!r->response && memchr(raw.p + r->start, ' ', r->at - r->start))
		return wrong(r, -ENAMETOOLONG, "target too long");
	return bad(r, "first line too long");
}

static bool is_control(uint8_t c)
{
	return (c < ' ' && c != '\t') || c == 127;
}

static int take_byte(struct http_reader *r, struct span raw, size_t max)
{
	uint8_t c = raw.p[r->at];
	bool cr = r->at > r->line && raw.p[r->at - 1] == '\r';
	int err;

	if (r->at >= max)
		return too_long(r, raw);
	if (cr && c != '\n')
		return bad(r, "CR without LF");
	if (c == '\n') {
		if (!cr)
			return bad(r, "LF without CR");
		err = take_line(r, (struct span){ raw.p + r->line, r->at - 1 - r->line });
		if (err != 0)
			return err;
		r->line = r->at + 1;
	} else if (is_control(c) && c != '\r') {
		return bad(r, c ? "a control character" : "a NUL");
	}
	return 0;
}

ssize_t http_head_read(struct http_reader *r, struct span raw, struct http_head *ret)
{
	size_t max = r->max ? r->max : HTTP_HEAD_MAX;

	for (; r->err == 0 && r->at < raw.n; r->at++) {
		if (take_byte(r, raw, max) == 1)
			return whole_head(r, raw, ret) < 0 ? r->err : (ssize_t)r->at + 1;
	}
	return r->err;
}

bool http_next(const struct http_head *h, size_t *at, struct http_field *ret)
{
	const uint8_t *p = h->fields.p + *at, *end, *colon;

	if (*at >= h->fields.n)
		return false;
	end = memchr(p, '\r', h->fields.n - *at);
	colon = memchr(p, ':', (size_t)(end - p));
	ret->name = (struct span){ p, (size_t)(colon - p) };
	ret->value = http_trim((struct span){ colon + 1, (size_t)(end - colon - 1) });
	*at += (size_t)(end - p) + 2;
	return true;
}

unsigned http_find(const struct http_head *h, const char *name, struct span *ret)
{
	struct http_field f;
	unsigned n = 0;

	for (size_t at = 0; http_next(h, &at, &f);)
		if (http_same(f.name, name) && n++ == 0 && ret)
			*ret = f.value;
	return n;
}
