/* http_value.c - see http_head.h: what the values of fields are made of, and what they say of the body; statuses in words. */
#include <errno.h>

#include "base/http_head.h"
#include "base/str.h"

/* RFC 9110 5.6.2 */
static bool is_tchar(uint8_t c)
{
	return str_is_alnum((char)c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_tchar(s.p[i]))
			return false;
	return s.n > 0;
}

bool http_same(struct span s, const char *word)
{
	size_t i = 0;

	while (i < s.n && word[i] && str_lower((char)s.p[i]) == str_lower(word[i]))
		i++;
	return i == s.n && !word[i];
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static void skip(struct span *s, size_t n)
{
	s->p += n;
	s->n -= n;
}

struct span http_trim(struct span s)
{
	while (s.n && is_blank(s.p[0]))
		skip(&s, 1);
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

/* ---- quotes, lists, parameters ---- */

/* Bytes of the quoted string that begins here, its quotes included; 0: it is not closed. */
static size_t quoted_length(struct span s)
{
	for (size_t i = 1; i < s.n; i++) {
		if (s.p[i] == '"')
			return i + 1;
		if (s.p[i] == '\\')
			i++;
	}
	return 0;
}

/* Bytes before the first `end` outside of quotes, or all; -EBADMSG. */
static ssize_t length_to(struct span s, char end)
{
	size_t i = 0;

	while (i < s.n && s.p[i] != (uint8_t)end) {
		size_t n = s.p[i] == '"' ? quoted_length((struct span){ s.p + i, s.n - i }) : 1;

		if (n == 0)
			return -EBADMSG;
		i += n;
	}
	return (ssize_t)i;
}

/* The next field of the list's name; false: there is none. */
static bool list_field(struct http_list *l)
{
	struct http_field f;

	while (http_next(l->head, &l->at, &f)) {
		if (http_same(f.name, l->name)) {
			l->rest = f.value;
			return true;
		}
	}
	return false;
}

int http_list_next(struct http_list *l, struct span *ret)
{
	for (;;) {
		ssize_t n;

		while (l->rest.n && (is_blank(l->rest.p[0]) || l->rest.p[0] == ','))
			skip(&l->rest, 1);
		if (l->rest.n == 0) {
			if (!list_field(l))
				return 0;
			continue;
		}
		n = length_to(l->rest, ',');
		if (n < 0)
			return (int)n;
		*ret = http_trim((struct span){ l->rest.p, (size_t)n });
		skip(&l->rest, (size_t)n);
		return 1;
	}
}

bool http_list_has(const struct http_head *h, const char *name, const char *token)
{
	struct http_list l = { .head = h, .name = name };
	struct span s;
	bool has = false;
	int r;

	while ((r = http_list_next(&l, &s)) > 0)
		has |= http_same(s, token);
	return r == 0 && has;
}

struct span http_word(struct span *s)
{
	ssize_t n = length_to(*s, ';');
	struct span word = { s->p, n < 0 ? s->n : (size_t)n };

	skip(s, word.n);
	return http_trim(word);
}

int http_param(struct span *s, struct span *ret_name, struct span *ret_value)
{
	struct span one, name, value = {};
	const uint8_t *equals;
	ssize_t n;

	do { /* RFC 9110 5.6.6: there may be none between two `;` */
		while (s->n && (is_blank(s->p[0]) || s->p[0] == ';'))
			skip(s, 1);
		if (s->n == 0)
			return 0;
		n = length_to(*s, ';');
		if (n < 0)
			return (int)n;
		one = http_trim((struct span){ s->p, (size_t)n });
		skip(s, (size_t)n);
	} while (one.n == 0);
	equals = memchr(one.p, '=', one.n);
	name = (struct span){ one.p, equals ? (size_t)(equals - one.p) : one.n };
	if (equals) {
		value = (struct span){ equals + 1, one.n - name.n - 1 };
		if (!http_is_token(value) && !(value.n && value.p[0] == '"' && quoted_length(value) == value.n))
			return -EBADMSG;
	}
	if (!http_is_token(name))
		return -EBADMSG;
	*ret_name = name;
	*ret_value = value;
	return 1;
}

ssize_t http_unquote(struct span s, char *p, size_t n)
{
	bool quoted = s.n && s.p[0] == '"';
	size_t have = 0;

	if (quoted) {
		if (quoted_length(s) != s.n)
			return -EBADMSG;
		s = (struct span){ s.p + 1, s.n - 2 };
	}
	for (size_t i = 0; i < s.n; i++) {
		if (quoted && s.p[i] == '\\')
			i++;
		if (have == n)
			return -EMSGSIZE;
		p[have++] = (char)s.p[i];
	}
	return (ssize_t)have;
}

/* ---- who is asked (RFC 3986 3.2) ---- */

static bool is_hex(uint8_t c)
{
	return str_is_digit((char)c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Bytes of the host at the beginning; 0 when there is none, or none that could be. */
static size_t host_length(struct span s)
{
	size_t i = 0;

	if (s.n && s.p[0] == '[') {
		for (i = 1; i < s.n && (is_hex(s.p[i]) || s.p[i] == ':' || s.p[i] == '.'); i++)
			;
		return i > 2 && i < s.n && s.p[i] == ']' ? i + 1 : 0;
	}
	while (i < s.n && (str_is_alnum((char)s.p[i]) || (s.p[i] && strchr("-._~!$&'()*+,;=", s.p[i])) ||
			   (s.p[i] == '%' && s.n - i > 2 && is_hex(s.p[i + 1]) && is_hex(s.p[i + 2]))))
		i++;
	return i;
}

bool http_authority(struct span s, struct span *ret_host, int *ret_port)
{
	size_t n = host_length(s);
	int port = s.n > n + 1 ? 0 : -1;

	if (n < s.n && s.p[n] != ':')
		return false;
	for (size_t i = n + 1; i < s.n; i++) {
		if (!str_is_digit((char)s.p[i]))
			return false;
		port = port * 10 + (s.p[i] - '0');
		if (port > 65535)
			return false;
	}
	*ret_host = (struct span){ s.p, n };
	*ret_port = port;
	return true;
}

/* ---- where the body ends ---- */

/* Only digits, and not more than 63 bits. */
static bool parse_length(struct span s, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (!str_is_digit((char)s.p[i]) || v > (INT64_MAX - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	*ret = v;
	return s.n > 0;
}

/* One value of Content-Length: a number, or the same one several times (RFC 9110 8.6). *first: none was seen yet. */
static bool take_lengths(struct span s, bool *first, uint64_t *length)
{
	for (;;) {
		const uint8_t *comma = s.n ? memchr(s.p, ',', s.n) : NULL;
		size_t n = comma ? (size_t)(comma - s.p) : s.n;
		uint64_t v;

		if (!parse_length(http_trim((struct span){ s.p, n }), &v) || (!*first && v != *length))
			return false;
		*first = false;
		*length = v;
		if (!comma)
			return true;
		skip(&s, n + 1);
	}
}

static int body_length(const struct http_head *h, struct http_body *ret)
{
	struct http_field f;
	bool first = true;
	uint64_t length = 0;

	for (size_t at = 0; http_next(h, &at, &f);)
		if (http_same(f.name, "Content-Length") && !take_lengths(f.value, &first, &length))
			return -EBADMSG;
	*ret = (struct http_body){ HTTP_BODY_LENGTH, length };
	return 0;
}

static bool is_coding(struct span s)
{
	struct span name, value;
	int r;

	if (!http_is_token(http_word(&s)))
		return false;
	while ((r = http_param(&s, &name, &value)) > 0)
		if (!value.n)
			return false;
	return r == 0;
}

static int body_encoded(const struct http_head *h, struct http_body *ret)
{
	struct http_list l = { .head = h, .name = "Transfer-Encoding" };
	bool chunked = false, other = false;
	struct span s;
	int r;

	while ((r = http_list_next(&l, &s)) > 0) {
		if (chunked || !is_coding(s))
			return -EBADMSG;
		chunked = http_same(s, "chunked");
		other |= !chunked;
	}
	if (r < 0 || (!chunked && !other) || (!chunked && !h->status) || h->minor == 0)
		return -EBADMSG;
	if (other)
		return -ENOSYS;
	*ret = (struct http_body){ .kind = HTTP_BODY_CHUNKED };
	return 0;
}

int http_body(const struct http_head *h, struct http_body *ret)
{
	bool encoded = http_find(h, "Transfer-Encoding", NULL), length = http_find(h, "Content-Length", NULL);
	struct http_body b = { .kind = h->status ? HTTP_BODY_CLOSE : HTTP_BODY_NONE };
	int r = 0;

	if (encoded && length)
		return -EBADMSG;
	if (encoded)
		r = body_encoded(h, &b);
	else if (length)
		r = body_length(h, &b);
	if (h->status && (h->status < 200 || h->status == 204 || h->status == 304))
		b = (struct http_body){};
	if (r == 0)
		*ret = b;
	return r;
}

/* ---- statuses ---- */

unsigned http_status(int err)
{
	switch (err) {
	case -ENAMETOOLONG:
		return 414;
	case -EMSGSIZE:
		return 431;
	case -ENOSYS:
		return 501;
	case -EPROTONOSUPPORT:
		return 505;
	default:
		return 400;
	}
}

const char *http_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *text;
	} rows[] = {
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 203, "Non-Authoritative Information" },
		{ 204, "No Content" },
		{ 205, "Reset Content" },
		{ 206, "Partial Content" },
		{ 300, "Multiple Choices" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 303, "See Other" },
		{ 304, "Not Modified" },
		{ 305, "Use Proxy" },
		{ 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 402, "Payment Required" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 406, "Not Acceptable" },
		{ 407, "Proxy Authentication Required" },
		{ 408, "Request Timeout" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 416, "Range Not Satisfiable" },
		{ 417, "Expectation Failed" },
		{ 421, "Misdirected Request" },
		{ 422, "Unprocessable Content" },
		{ 426, "Upgrade Required" },
		{ 428, "Precondition Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
		{ 511, "Network Authentication Required" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return rows[i].text;
	return "";
}
