/*
 * fuzz_http_head.c - a stranger's bytes as the head of an HTTP message. Input: one byte (bit 0: a response; the others: how many bytes
 * come at once, 0 = all), then the head. However it comes, the same is found in it; and all that may be asked of one that was read is asked.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/http_head.h"

#define MUST(x) ((x) ? (void)0 : abort())

/* It lies in what was read. */
static void check_span(struct span all, struct span s)
{
	MUST(s.n == 0 || (s.p >= all.p && s.p + s.n <= all.p + all.n) || span_is(s, "/"));
}

static void check_params(struct span element)
{
	struct span s = element, name, value;
	char text[64];
	int r;

	(void)http_word(&s);
	while ((r = http_param(&s, &name, &value)) > 0) {
		ssize_t n = http_unquote(value, text, sizeof(text));

		check_span(element, name);
		check_span(element, value);
		MUST(http_is_token(name) && n != -EBADMSG && n <= (ssize_t)value.n);
	}
	MUST(r == 0 || r == -EBADMSG);
}

static void check_list(const struct http_head *h, struct span all, struct http_field f)
{
	char name[40];
	struct http_list l = { .head = h, .name = name };
	struct span s;

	if (f.name.n >= sizeof(name))
		return;
	memcpy(name, f.name.p, f.name.n);
	name[f.name.n] = '\0';
	MUST(http_find(h, name, &s) > 0);
	check_span(all, s);
	while (http_list_next(&l, &s) > 0) {
		check_span(all, s);
		MUST(s.n > 0);
		check_params(s);
	}
}

static void check_head(const struct http_head *h, struct span all, bool response)
{
	struct http_body body;
	struct http_field f;
	struct span host;
	unsigned n = 0;
	int port;

	for (size_t at = 0; http_next(h, &at, &f); n++) {
		check_span(all, f.name);
		check_span(all, f.value);
		MUST(http_is_token(f.name) && (!f.value.n || http_trim(f.value).n == f.value.n));
		if (n < 8)
			check_list(h, all, f);
	}
	MUST(n == h->fields_n);
	check_span(all, response ? h->reason : h->target);
	check_span(all, h->path);
	check_span(all, h->authority);
	MUST(response ? h->status >= 100 && h->status <= 999 : http_is_token(h->method));
	MUST(response || http_authority(h->authority, &host, &port));
	MUST(!h->path.n || h->path.p[0] == '/' || (h->form == HTTP_ABSOLUTE && h->path.p[0] == '?'));
	(void)!http_body(h, &body);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct http_reader at_once = { .max = 4096, .max_fields = 20 }, r;
	struct http_head h, again;
	struct span all = { p + 1, n - 1 };
	ssize_t whole, part = 0;

	if (n == 0)
		return 0;
	at_once.response = p[0] & 1;
	r = at_once;
	whole = http_head_read(&at_once, all, &h);
	for (size_t have = 0, piece = p[0] >> 1; piece && part == 0 && have < all.n;) {
		have = all.n - have < piece ? all.n : have + piece;
		part = http_head_read(&r, (struct span){ all.p, have }, &again);
		MUST(part == 0 || part == whole);
	}
	MUST(!(p[0] >> 1) || (part == whole && r.why == at_once.why));
	MUST(whole <= (ssize_t)all.n && (whole >= 0 || at_once.why));
	if (whole > 0)
		check_head(&h, (struct span){ all.p, (size_t)whole }, at_once.response);
	return 0;
}
