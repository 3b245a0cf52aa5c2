/* test_http_head.c - heads of HTTP: what is one, what is none and why, in every chunking; lists, parameters, lengths; limits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/http_head.h"

#define SPAN(text) ((struct span){ (const uint8_t *)(text), sizeof(text) - 1 })
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define N(array) (sizeof(array) / sizeof((array)[0]))

static void assert_span(struct span s, const char *want)
{
	if (!span_is(s, want))
		fail_msg("%.*s is not %s", (int)s.n, s.p, want);
}

/* In pieces of k bytes; each time from a copy of its own, so that a look past the end is seen. */
static ssize_t read_in(struct http_reader *r, struct span s, size_t k, struct http_head *ret)
{
	ssize_t n = 0;

	for (size_t have = 0; n == 0 && have < s.n;) {
		have = s.n - have < k ? s.n : have + k;
		if (have < s.n) {
			uint8_t *copy = malloc(have);
			struct http_head h;

			memcpy(copy, s.p, have);
			n = http_head_read(r, (struct span){ copy, have }, &h);
			free(copy);
			if (n > 0)
				assert_int_equal(http_head_read(&(struct http_reader){ .response = r->response,
										       .max = r->max,
										       .max_fields = r->max_fields },
								s, ret),
						 n);
		} else {
			n = http_head_read(r, s, ret);
		}
	}
	return n;
}

static ssize_t read_all(struct http_reader r, struct span s, struct http_head *ret, const char **ret_why)
{
	ssize_t n = 0;

	for (size_t k = 1; k <= s.n + 1; k = k < 80 ? k + 1 : s.n + 1 > 2 * k ? 2 * k : k < s.n ? s.n : s.n + 2) {
		struct http_reader one = r;
		ssize_t m = read_in(&one, s, k, ret);

		if (k > 1)
			assert_int_equal(m, n);
		if (k > 1 && m < 0)
			assert_string_equal(one.why, *ret_why);
		n = m;
		if (m < 0)
			*ret_why = one.why;
		if (m < 0) {
			assert_int_equal(http_head_read(&one, s, ret), m); /* it stays so */
			assert_string_equal(one.why, *ret_why);
		}
	}
	return n;
}

static struct http_head good(struct span s)
{
	struct http_head h = {};
	const char *why = "more is needed";
	ssize_t n = read_all((struct http_reader){}, s, &h, &why);

	if (n <= 0)
		fail_msg("%.*s: %s", (int)s.n, s.p, why);
	return h;
}

#define GOOD(text) good(SPAN(text))

static void assert_bad(struct span s, int err, const char *want)
{
	struct http_head h = { .minor = 77 };
	const char *why = "";
	ssize_t n = read_all((struct http_reader){}, s, &h, &why);

	if (n != err || strcmp(why, want) != 0)
		fail_msg("%.*s: %zd %s, not %s", (int)s.n, s.p, n, why, want);
	assert_int_equal(h.minor, 77);
}

#define BAD(text, why) assert_bad(SPAN(text), -EBADMSG, why)

/* ---- the first line ---- */

static void a_request(void **state)
{
	struct http_head h = GOOD("GET /a/b?c=d HTTP/1.1\r\nHost: example.org:80\r\nX:\t y \t\r\nEmpty:\r\n\r\n");
	struct http_field f;
	size_t at = 0;

	(void)state;
	assert_int_equal(h.minor, 1);
	assert_span(h.method, "GET");
	assert_span(h.target, "/a/b?c=d");
	assert_span(h.path, "/a/b?c=d");
	assert_span(h.authority, "example.org:80");
	assert_int_equal(h.form, HTTP_ORIGIN);
	assert_int_equal(h.fields_n, 3);
	assert_true(http_next(&h, &at, &f));
	assert_span(f.name, "Host");
	assert_span(f.value, "example.org:80");
	assert_true(http_next(&h, &at, &f));
	assert_span(f.name, "X");
	assert_span(f.value, "y");
	assert_true(http_next(&h, &at, &f));
	assert_span(f.name, "Empty");
	assert_span(f.value, "");
	assert_false(http_next(&h, &at, &f));
	assert_int_equal(GOOD("GET / HTTP/1.0\r\n\r\n").fields_n, 0);
	assert_int_equal(GOOD("\r\n" GET "\r\n").fields_n, 1);
	assert_int_equal(GOOD("GET / HTTP/1.3\r\nHost:\r\n\r\n").minor, 3);
}

static void what_follows_does_not_matter(void **state)
{
	struct http_reader r = {};
	struct http_head h;

	(void)state;
	assert_int_equal(http_head_read(&r, SPAN(GET "\r\n\1\2\0\n\r"), &h), sizeof(GET "\r\n") - 1);
}

static void forms_of_targets(void **state)
{
	struct http_head h = GOOD("GET http://good:81/x?y HTTP/1.1\r\nHost: evil\r\n\r\n");

	(void)state;
	assert_int_equal(h.form, HTTP_ABSOLUTE);
	assert_span(h.scheme, "http");
	assert_span(h.authority, "good:81");
	assert_span(h.path, "/x?y");
	h = GOOD("GET ftp://[::1]?q HTTP/1.1\r\nHost:\r\n\r\n");
	assert_span(h.authority, "[::1]");
	assert_span(h.path, "?q");
	h = GOOD("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_span(h.path, "/");
	h = GOOD("CONNECT a.example:443 HTTP/1.1\r\nHost: b\r\n\r\n");
	assert_int_equal(h.form, HTTP_AUTHORITY);
	assert_span(h.authority, "a.example:443");
	assert_span(h.path, "");
	h = GOOD("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
	assert_int_equal(h.form, HTTP_ASTERISK);
	assert_span(h.authority, "a");
	GOOD("GET /a|b[c]%zz\\^`{}\"<> HTTP/1.1\r\nHost: a\r\n\r\n"); /* browsers do */
	GOOD("OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n");
}

static void bad_first_lines(void **state)
{
	static const char *const targets[] = {
		"GET a HTTP/1.1",
		"GET * HTTP/1.1",
		"GET /x#/admin HTTP/1.1",
		"GET /\xc3\xa9 HTTP/1.1",
		"GET /a\tb HTTP/1.1",
		"GET http:/a HTTP/1.1",
		"GET http:///a HTTP/1.1",
		"GET http://u@a/ HTTP/1.1",
		"GET http://a:b/ HTTP/1.1",
		"GET http://a:65536/ HTTP/1.1",
		"GET 1http://a/ HTTP/1.1",
		"GET ://a/ HTTP/1.1",
		"GET http://[::1/ HTTP/1.1",
		"GET http://[]/ HTTP/1.1",
		"GET http://[::g]/ HTTP/1.1",
		"GET http://[::1]x/ HTTP/1.1",
		"GET http://a%2/ HTTP/1.1",
		"GET http://a\\b/ HTTP/1.1",
		"CONNECT / HTTP/1.1",
		"CONNECT a HTTP/1.1",
		"CONNECT a: HTTP/1.1",
		"CONNECT :1 HTTP/1.1",
		"CONNECT http://a:1/ HTTP/1.1",
	};
	char text[100];

	(void)state;
	for (size_t i = 0; i < N(targets); i++) {
		snprintf(text, sizeof(text), "%s\r\nHost: a\r\n\r\n", targets[i]);
		assert_bad(span_str(text), -EBADMSG, "malformed target");
	}
	BAD("G@T / HTTP/1.1\r\n", "no method");
	BAD(" GET / HTTP/1.1\r\n", "no method");
	BAD("GET\r\n", "no method");
	BAD("GET /\r\n", "no target, or no HTTP version behind it"); /* HTTP/0.9 */
	BAD("GET  / HTTP/1.1\r\n", "no target, or no HTTP version behind it");
	BAD("GET /  HTTP/1.1\r\n", "no HTTP version");
	BAD("GET / HTTP/1.1 \r\n", "no HTTP version");
	BAD("GET / http/1.1\r\n", "no HTTP version");
	BAD("GET / HTTP/1\r\n", "no HTTP version");
	BAD("GET / HTTP/1.10\r\n", "no HTTP version");
	BAD("GET / HTTP/1x1\r\n", "no HTTP version");
	BAD("GET / HTTP/x.1\r\n", "no HTTP version");
	BAD("GET /a \0.php HTTP/1.1\r\n", "a NUL");
	BAD("\x16\x03\x01\x02", "a control character"); /* TLS */
	BAD("GET / HTTP/1.1\n", "LF without CR");
	BAD("GET / HTTP/1.1\rX", "CR without LF");
	BAD("\r\n\r\n", "an empty line where the first one should be");
	BAD("\n", "LF without CR");
	assert_bad(SPAN("PRI * HTTP/2.0\r\n"), -EPROTONOSUPPORT, "a version of HTTP that is not spoken");
	assert_bad(SPAN("GET / HTTP/0.9\r\n"), -EPROTONOSUPPORT, "a version of HTTP that is not spoken");
}

static void responses(void **state)
{
	static const struct http_reader response = { .response = true };
	static const char *const bad[] = {
		"HTTP/1.1 99 x\r\n", "HTTP/1.1 099 x\r\n", "HTTP/1.1 1000 x\r\n", "HTTP/1.1 20x x\r\n",
		"HTTP/1.1  200\r\n", "HTTP/1.1\r\n",       "GET / HTTP/1.1\r\n",  "\r\n",
	};
	struct http_head h;
	const char *why = "";

	(void)state;
	assert_true(read_all(response, SPAN("HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n"), &h, &why) > 0);
	assert_int_equal(h.status, 101);
	assert_span(h.reason, "Switching Protocols");
	assert_true(read_all(response, SPAN("HTTP/1.0 200 \r\n\r\n"), &h, &why) > 0);
	assert_span(h.reason, "");
	assert_true(read_all(response, SPAN("HTTP/1.0 404\r\n\r\n"), &h, &why) > 0);
	assert_int_equal(h.status, 404);
	for (size_t i = 0; i < N(bad); i++)
		assert_int_equal(read_all(response, span_str(bad[i]), &h, &why), -EBADMSG);
	assert_int_equal(read_all(response, SPAN("HTTP/2.0 200\r\n"), &h, &why), -EPROTONOSUPPORT);
}

/* ---- fields ---- */

static void bad_fields(void **state)
{
	(void)state;
	BAD(GET ": x\r\n", "malformed name of a field");
	BAD(GET "X : y\r\n", "malformed name of a field");
	BAD(GET "X\t: y\r\n", "malformed name of a field");
	BAD(GET "X(: y\r\n", "malformed name of a field");
	BAD(GET "\xc3\xa9: y\r\n", "malformed name of a field");
	BAD(GET "X\r\n", "a field without a colon");
	BAD(GET " X: y\r\n", "a folded field");
	BAD(GET "X: y\r\n z\r\n", "a folded field");
	BAD(GET "X: y\r\n\tz\r\n", "a folded field");
	BAD("GET / HTTP/1.1\r\n Host: a\r\n", "a folded field");
	BAD(GET "X: a\0b\r\n", "a NUL");
	BAD(GET "X: a\vb\r\n", "a control character");
	BAD(GET "X: a\x7f"
		"b\r\n",
	    "a control character");
	BAD(GET "X: a\rb\r\n", "CR without LF");
	BAD(GET "X: a\r\r\n", "CR without LF");
	BAD(GET "X: y\nZ: w\r\n", "LF without CR");
	BAD(GET "\n", "LF without CR");
	BAD(GET "\rx", "CR without LF");
	GOOD(GET "X: \xc3\xa9\xff\r\nY:: :\r\n\r\n");
}

static void hosts(void **state)
{
	(void)state;
	BAD("GET / HTTP/1.1\r\n\r\n", "no Host field");
	BAD(GET "Host: a\r\n\r\n", "two Host fields");
	BAD(GET "hOST: b\r\n\r\n", "two Host fields");
	BAD("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "two Host fields");
	BAD("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "malformed Host field");
	BAD("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "malformed Host field");
	BAD("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "malformed Host field");
	BAD("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "malformed Host field");
	BAD("GET / HTTP/1.1\r\nHost: a:1x\r\n\r\n", "malformed Host field");
	BAD("GET http://a/ HTTP/1.1\r\nHost: \xff\r\n\r\n", "malformed Host field");
	assert_span(GOOD("GET / HTTP/1.1\r\nHost:\r\n\r\n").authority, "");
	assert_span(GOOD("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n").authority, "[2001:db8::1]:80");
	assert_span(GOOD("GET / HTTP/1.1\r\nHost: a_b:\r\n\r\n").authority, "a_b:");
}

static void authorities(void **state)
{
	struct span host;
	int port;

	(void)state;
	assert_true(http_authority(SPAN("a.b:65535"), &host, &port));
	assert_span(host, "a.b");
	assert_int_equal(port, 65535);
	assert_true(http_authority(SPAN("[::1]"), &host, &port));
	assert_span(host, "[::1]");
	assert_int_equal(port, -1);
	assert_true(http_authority(SPAN("%41%4f:00080"), &host, &port));
	assert_int_equal(port, 80);
	assert_true(http_authority((struct span){}, &host, &port));
	assert_int_equal(host.n, 0);
	assert_false(http_authority(SPAN("a:99999999999999999999"), &host, &port));
	assert_false(http_authority(SPAN("a:-1"), &host, &port));
	assert_false(http_authority(SPAN("::1"), &host, &port));
	assert_false(http_authority(SPAN("%4"), &host, &port));
	assert_false(http_authority(SPAN("%4g"), &host, &port));
}

static void found_by_name(void **state)
{
	struct http_head h = GOOD(GET "Accept: x\r\naccept: y\r\nAcceptX: z\r\nAccep: w\r\n\r\n");
	struct span s = {};

	(void)state;
	assert_int_equal(http_find(&h, "ACCEPT", &s), 2);
	assert_span(s, "x");
	assert_int_equal(http_find(&h, "ACCEPT", NULL), 2);
	assert_int_equal(http_find(&h, "", &s), 0);
	assert_int_equal(http_find(&h, "Accept-", &s), 0);
	assert_span(s, "x");
}

/* ---- limits ---- */

static ssize_t read_limited(size_t max, unsigned max_fields, const char *text)
{
	struct http_head h;
	const char *why;

	return read_all((struct http_reader){ .max = max, .max_fields = max_fields }, span_str(text), &h, &why);
}

static void limits(void **state)
{
	static const char text[] = GET "X: y\r\n\r\n";
	size_t n = sizeof(text) - 1;

	(void)state;
	assert_int_equal(read_limited(n, 2, text), n);
	assert_int_equal(read_limited(n - 1, 2, text), -EMSGSIZE);
	assert_int_equal(read_limited(n, 1, text), -EMSGSIZE);
	assert_int_equal(read_limited(17, 1, text), -EMSGSIZE);
	assert_int_equal(read_limited(15, 1, text), -ENAMETOOLONG);
	assert_int_equal(read_limited(4, 1, text), -ENAMETOOLONG);
	assert_int_equal(read_limited(3, 1, text), -EBADMSG);
	assert_int_equal(http_status(-ENAMETOOLONG), 414);
	assert_int_equal(http_status(-EMSGSIZE), 431);
	assert_int_equal(http_status(-EBADMSG), 400);
	assert_int_equal(http_status(-EPROTONOSUPPORT), 505);
	assert_int_equal(http_status(-ENOSYS), 501);
	assert_string_equal(http_reason(431), "Request Header Fields Too Large");
	assert_string_equal(http_reason(299), "");
}

static void usual_limits(void **state)
{
	static char text[HTTP_HEAD_MAX + 100];
	struct http_reader r = {};
	struct http_head h;
	size_t n = 0;

	(void)state;
	n += (size_t)snprintf(text, sizeof(text), "%sX: ", GET);
	memset(text + n, 'x', HTTP_HEAD_MAX - n - 4);
	memcpy(text + HTTP_HEAD_MAX - 4, "\r\n\r\n", 4);
	assert_int_equal(http_head_read(&r, (struct span){ (uint8_t *)text, HTTP_HEAD_MAX }, &h), HTTP_HEAD_MAX);
	memcpy(text + HTTP_HEAD_MAX - 4, "x\r\n\r\n", 5);
	r = (struct http_reader){};
	assert_int_equal(http_head_read(&r, (struct span){ (uint8_t *)text, HTTP_HEAD_MAX }, &h), 0);
	assert_int_equal(http_head_read(&r, (struct span){ (uint8_t *)text, HTTP_HEAD_MAX + 1 }, &h), -EMSGSIZE);
	n = (size_t)snprintf(text, sizeof(text), "%s", GET);
	for (int i = 0; i < 99; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "X: y\r\n");
	snprintf(text + n, sizeof(text) - n, "\r\n");
	assert_int_equal(good(span_str(text)).fields_n, 100);
	snprintf(text + n, sizeof(text) - n, "X: y\r\n\r\n");
	assert_bad(span_str(text), -EMSGSIZE, "too many fields");
}

/* ---- values ---- */

static void assert_list(const char *fields, const char *want)
{
	char text[400], got[400] = "";
	struct http_head h;
	struct http_list l = { .head = &h, .name = "X" };
	struct span s;
	int r;

	snprintf(text, sizeof(text), "%s%s\r\n", GET, fields);
	h = good(span_str(text));
	while ((r = http_list_next(&l, &s)) > 0)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "(%.*s)", (int)s.n, s.p);
	if (r < 0)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "!");
	assert_string_equal(got, want);
}

static void lists(void **state)
{
	(void)state;
	assert_list("X: a\r\n", "(a)");
	assert_list("X: a, b ,c\r\nY: d\r\nx: e\r\n", "(a)(b)(c)(e)");
	assert_list("X:\r\nX: ,, \t,\r\nX: a,\r\n", "(a)");
	assert_list("Y: a\r\n", "");
	assert_list("X: \"a, b\", c; d=\"e,\\\"f\", g\r\n", "(\"a, b\")(c; d=\"e,\\\"f\")(g)");
	assert_list("X: a, \"b\r\nX: c\r\n", "(a)!");
	assert_list("X: \"b\\\"\r\n", "!");
	assert_list("X: \"b\\\r\n", "!");
}

static void tokens_in_lists(void **state)
{
	struct http_head h = GOOD(GET
				  "Connection: keep-alive, Upgrade\r\nX: upgradex, \"upgrade\"\r\nY: a, \"\r\n\r\n");

	(void)state;
	assert_true(http_list_has(&h, "connection", "upgrade"));
	assert_true(http_list_has(&h, "connection", "KEEP-ALIVE"));
	assert_false(http_list_has(&h, "connection", "keep"));
	assert_false(http_list_has(&h, "X", "upgrade"));
	assert_false(http_list_has(&h, "Y", "a"));
	assert_true(http_is_token(SPAN("!#$%&'*+-.^_`|~09azAZ")));
	assert_false(http_is_token((struct span){}));
	assert_false(http_is_token(SPAN("a\0")));
	assert_false(http_is_token(SPAN("a/b")));
}

static void assert_params(const char *text, const char *want)
{
	struct span s = span_str(text), name, value;
	char got[200];
	int r;

	name = http_word(&s);
	snprintf(got, sizeof(got), "(%.*s)", (int)name.n, name.p);
	while ((r = http_param(&s, &name, &value)) > 0)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), " %.*s=%.*s", (int)name.n, name.p, (int)value.n,
			 value.p);
	if (r < 0)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "!");
	assert_string_equal(got, want);
}

static void params(void **state)
{
	(void)state;
	assert_params("text/html", "(text/html)");
	assert_params(" text/html ;charset=utf-8 ; q=\"a;\\\"b\"", "(text/html) charset=utf-8 q=\"a;\\\"b\"");
	assert_params("permessage-deflate; client_max_window_bits; a=1",
		      "(permessage-deflate) client_max_window_bits= a=1");
	assert_params("a;; ;b=c;", "(a) b=c");
	assert_params("a; b =c", "(a)!");
	assert_params("a; b= c", "(a)!");
	assert_params("a; b=", "(a)!");
	assert_params("a; =c", "(a)!");
	assert_params("a; b=\"c", "(a)!");
	assert_params("a; b=\"c\"d", "(a)!");
	assert_params("", "()");
}

static void unquoted(void **state)
{
	char b[8];

	(void)state;
	assert_int_equal(http_unquote(SPAN("abc"), b, 3), 3);
	assert_memory_equal(b, "abc", 3);
	assert_int_equal(http_unquote(SPAN("\"a\\\"\\\\b\""), b, 4), 4);
	assert_memory_equal(b, "a\"\\b", 4);
	assert_int_equal(http_unquote(SPAN("\"\""), b, 0), 0);
	assert_int_equal(http_unquote(SPAN("abc"), b, 2), -EMSGSIZE);
	assert_int_equal(http_unquote(SPAN("\"a"), b, 8), -EBADMSG);
	assert_int_equal(http_unquote(SPAN("\"a\"b"), b, 8), -EBADMSG);
	assert_int_equal(http_unquote(SPAN("\""), b, 8), -EBADMSG);
}

/* ---- bodies ---- */

static int body_of(const char *first, const char *fields, struct http_body *ret)
{
	struct http_reader r = { .response = first[0] == 'H' };
	struct http_head h;
	char text[400];

	snprintf(text, sizeof(text), "%s\r\n%s%s\r\n", first, r.response ? "" : "Host: a\r\n", fields);
	assert_true(http_head_read(&r, span_str(text), &h) > 0);
	return http_body(&h, ret);
}

static void bodies(void **state)
{
	static const struct {
		const char *fields;
		int r; /* or the kind of body */
		uint64_t length;
	} rows[] = {
		{ "", HTTP_BODY_NONE, 0 },
		{ "Content-Length: 0\r\n", HTTP_BODY_LENGTH, 0 },
		{ "Content-Length: 6\r\n", HTTP_BODY_LENGTH, 6 },
		{ "Content-Length: 6, 6\r\ncontent-length: 06\r\n", HTTP_BODY_LENGTH, 6 },
		{ "Content-Length: 9223372036854775799\r\n", HTTP_BODY_LENGTH, 9223372036854775799 },
		{ "Content-Length: 9223372036854775808\r\n", -EBADMSG, 0 },
		{ "Content-Length: 18446744073709551622\r\n", -EBADMSG, 0 },
		{ "Content-Length: 6\r\nContent-Length: 5\r\n", -EBADMSG, 0 },
		{ "Content-Length: 6, 7\r\n", -EBADMSG, 0 },
		{ "Content-Length: 6,\r\n", -EBADMSG, 0 },
		{ "Content-Length: +6\r\n", -EBADMSG, 0 },
		{ "Content-Length: -1\r\n", -EBADMSG, 0 },
		{ "Content-Length: 6 6\r\n", -EBADMSG, 0 },
		{ "Content-Length: 0x6\r\n", -EBADMSG, 0 },
		{ "Content-Length:\r\n", -EBADMSG, 0 },
		{ "Transfer-Encoding: chunked\r\n", HTTP_BODY_CHUNKED, 0 },
		{ "Transfer-Encoding: CHUNKED ,\r\n", HTTP_BODY_CHUNKED, 0 },
		{ "Transfer-Encoding: gzip, chunked\r\n", -ENOSYS, 0 },
		{ "Transfer-Encoding: gzip;a=b\r\nTransfer-Encoding: chunked\r\n", -ENOSYS, 0 },
		{ "Transfer-Encoding: chunked, gzip\r\n", -EBADMSG, 0 },
		{ "Transfer-Encoding: chunked, chunked\r\n", -EBADMSG, 0 },
		{ "Transfer-Encoding: chunked;a=b\r\n", -EBADMSG, 0 },
		{ "Transfer-Encoding: xchunked\r\n", -EBADMSG, 0 },
		{ "Transfer-Encoding: \"chunked\"\r\n", -EBADMSG, 0 },
		{ "Transfer-Encoding: \"chunked\r\n", -EBADMSG, 0 },
		{ "Transfer-Encoding:\r\n", -EBADMSG, 0 },
		{ "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", -EBADMSG, 0 },
	};
	struct http_body b;

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		int r = body_of("POST / HTTP/1.1", rows[i].fields, &b);

		if (r != (rows[i].r < 0 ? rows[i].r : 0))
			fail_msg("%s: %d", rows[i].fields, r);
		if (r == 0) {
			assert_int_equal(b.kind, rows[i].r);
			assert_int_equal(b.length, rows[i].length);
		}
	}
	assert_int_equal(body_of("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n", &b), -EBADMSG);
	assert_int_equal(body_of("HTTP/1.1 200 OK", "", &b), 0);
	assert_int_equal(b.kind, HTTP_BODY_CLOSE);
	assert_int_equal(body_of("HTTP/1.1 200 OK", "Content-Length: 7\r\n", &b), 0);
	assert_int_equal(b.length, 7);
	assert_int_equal(body_of("HTTP/1.1 200 OK", "Transfer-Encoding: gzip\r\n", &b), -ENOSYS);
	assert_int_equal(body_of("HTTP/1.1 304 Not Modified", "Content-Length: 7\r\n", &b), 0);
	assert_int_equal(b.kind, HTTP_BODY_NONE);
	assert_int_equal(body_of("HTTP/1.1 304 Not Modified", "Content-Length: x\r\n", &b), -EBADMSG);
}

/* ---- what strangers have sent to others: the heads of the corpus ---- */

static void hostile_heads(void **state)
{
	static const struct {
		const char *name;
		int head, body; /* 0, or an error */
	} rows[] = {
		{ "cl-te", 0, -EBADMSG },
		{ "te-cl", 0, -EBADMSG },
		{ "cl-dup", 0, -EBADMSG },
		{ "cl-plus", 0, -EBADMSG },
		{ "cl-neg", 0, -EBADMSG },
		{ "cl-list", 0, -EBADMSG },
		{ "cl-space", 0, -EBADMSG },
		{ "cl-2p64", 0, -EBADMSG },
		{ "te-xchunked", 0, -EBADMSG },
		{ "te-vt", -EBADMSG, 0 },
		{ "te-fold", -EBADMSG, 0 },
		{ "te-nameLF", -EBADMSG, 0 },
		{ "te-quoted", 0, -EBADMSG },
		{ "te-notlast", 0, -EBADMSG },
		{ "te-http10", 0, -EBADMSG },
		{ "hdr-empty-name", -EBADMSG, 0 },
		{ "uri-hash", -EBADMSG, 0 },
		{ "nul", -EBADMSG, 0 },
		{ "sp-nul-uri", -EBADMSG, 0 },
		{ "two-hosts", -EBADMSG, 0 },
		/* these are right as far as a head goes */
		{ "hdr-name-270", 0, 0 },
		{ "abs-vs-host", 0, 0 },
		{ "chunk-0x", 0, 0 },
		{ "range-overflow", 0, 0 },
		{ "trav-enc", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		static uint8_t text[20000];
		struct http_body body;
		struct http_head h;
		const char *why;
		char path[100];
		ssize_t n;
		FILE *f;

		snprintf(path, sizeof(path), "tests/corpus/http_head/%s", rows[i].name);
		f = fopen(path, "rbe");
		if (!f)
			fail_msg("%s: %s", path, strerror(errno));
		n = (ssize_t)fread(text, 1, sizeof(text), f);
		fclose(f);
		n = read_all((struct http_reader){}, (struct span){ text + 1, (size_t)n - 1 }, &h, &why);
		if (rows[i].head ? n != rows[i].head : n <= 0)
			fail_msg("%s: %zd", rows[i].name, n);
		if (n > 0 && http_body(&h, &body) != rows[i].body)
			fail_msg("%s: its body", rows[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request),
		cmocka_unit_test(what_follows_does_not_matter),
		cmocka_unit_test(forms_of_targets),
		cmocka_unit_test(bad_first_lines),
		cmocka_unit_test(responses),
		cmocka_unit_test(bad_fields),
		cmocka_unit_test(hosts),
		cmocka_unit_test(authorities),
		cmocka_unit_test(found_by_name),
		cmocka_unit_test(limits),
		cmocka_unit_test(usual_limits),
		cmocka_unit_test(lists),
		cmocka_unit_test(tokens_in_lists),
		cmocka_unit_test(params),
		cmocka_unit_test(unquoted),
		cmocka_unit_test(bodies),
		cmocka_unit_test(hostile_heads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
