/* mqtt_json.c - see mqtt_json.h. */
#include "client/mqtt_json.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { DEPTH_MAX = 1000, NUMBER_MAX = 63 };

/* ---- writing ---- */

static void new_line(struct mqtt_json *j)
{
	if (!j->pretty)
		return;
	buf_addc(j->b, '\n');
	for (unsigned i = 0; i < j->depth; i++)
		buf_addc(j->b, '\t');
}

void mqtt_json_open(struct mqtt_json *j, char bracket)
{
	buf_addc(j->b, bracket);
	j->depth++;
	j->some = false;
}

void mqtt_json_close(struct mqtt_json *j, char bracket)
{
	j->depth--;
	if (bracket == '}')
		new_line(j);
	buf_addc(j->b, bracket);
	j->some = true;
}

void mqtt_json_key(struct mqtt_json *j, struct span name)
{
	if (j->some)
		buf_addc(j->b, ',');
	new_line(j);
	mqtt_json_string(j, name);
	buf_adds(j->b, j->pretty ? ":\t" : ":");
	j->some = true;
}

void mqtt_json_item(struct mqtt_json *j)
{
	if (j->some)
		buf_adds(j->b, j->pretty ? ", " : ",");
	j->some = true;
}

static void add_char(struct buf *b, uint8_t c)
{
	static const char named[] = "\bb\ff\nn\rr\tt\"\"\\\\";
	const char *p = named;

	while (*p && (uint8_t)*p != c)
		p += 2;
	if (*p) {
		buf_addc(b, '\\');
		buf_addc(b, p[1]);
	} else if (c < 32) {
		buf_addf(b, "\\u%04x", c);
	} else {
		buf_addc(b, (char)c);
	}
}

void mqtt_json_string(struct mqtt_json *j, struct span text)
{
	buf_addc(j->b, '"');
	for (size_t i = 0; i < text.n; i++)
		add_char(j->b, text.p[i]);
	buf_addc(j->b, '"');
}

void mqtt_json_number(struct mqtt_json *j, uint32_t value)
{
	buf_addf(j->b, "%u", value);
}

void mqtt_json_null(struct mqtt_json *j)
{
	buf_adds(j->b, "null");
}

/* ---- reading ---- */

struct reader {
	const uint8_t *p, *end;
	struct mqtt_json *to;
};

static int peek(const struct reader *r)
{
	return r->p < r->end ? *r->p : -1;
}

static void skip_space(struct reader *r)
{
	while (r->p < r->end && *r->p <= ' ')
		r->p++;
}

static int expect(struct reader *r, int c)
{
	if (peek(r) != c)
		return -EINVAL;
	r->p++;
	return 0;
}

/* The shortest of 15 and 17 digits that reads back as the same number. */
static void add_double(struct buf *b, double d)
{
	char text[32];
	struct buf t;
	double back, most;

	if (isnan(d) || isinf(d)) {
		buf_adds(b, "null");
		return;
	}
	buf_init_fixed(&t, text, sizeof(text));
	buf_addf(&t, "%1.15g", d);
	back = strtod(text, NULL);
	most = fabs(back) > fabs(d) ? fabs(back) : fabs(d);
	if (fabs(back - d) <= most * DBL_EPSILON)
		buf_adds(b, text);
	else
		buf_addf(b, "%1.17g", d);
}

static int copy_number(struct reader *r)
{
	char text[NUMBER_MAX + 1], *end;
	size_t n = 0;
	double d;

	while (n < NUMBER_MAX && r->p + n < r->end && r->p[n] && strchr("0123456789+-eE.", r->p[n])) {
		text[n] = (char)r->p[n];
		n++;
	}
	text[n] = '\0';
	d = strtod(text, &end);
	if (end == text)
		return -EINVAL;
	r->p += end - text;
	add_double(r->to->b, d);
	return 0;
}

static int copy_word(struct reader *r, const char *word)
{
	if (!span_starts((struct span){ r->p, (size_t)(r->end - r->p) }, word))
		return -EINVAL;
	r->p += strlen(word);
	buf_adds(r->to->b, word);
	return 0;
}

static int read_hex4(struct reader *r, uint32_t *ret)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++) {
		int c = peek(r);

		if (c >= '0' && c <= '9')
			c -= '0';
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			c = (c | 32) - 'a' + 10;
		else
			return -EINVAL;
		v = v << 4 | (uint32_t)c;
		r->p++;
	}
	*ret = v;
	return 0;
}

static void add_code_point(struct buf *b, uint32_t c)
{
	if (c < 0x80) {
		add_char(b, (uint8_t)c);
		return;
	}
	if (c < 0x800) {
		buf_addc(b, (char)(0xc0 | c >> 6));
	} else {
		if (c < 0x10000) {
			buf_addc(b, (char)(0xe0 | c >> 12));
		} else {
			buf_addc(b, (char)(0xf0 | c >> 18));
			buf_addc(b, (char)(0x80 | (c >> 12 & 0x3f)));
		}
		buf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
	}
	buf_addc(b, (char)(0x80 | (c & 0x3f)));
}

static int copy_unicode(struct reader *r)
{
	uint32_t c, low;

	if (read_hex4(r, &c) < 0 || (c >= 0xdc00 && c < 0xe000))
		return -EINVAL;
	if (c >= 0xd800 && c < 0xdc00) {
		if (expect(r, '\\') < 0 || expect(r, 'u') < 0 || read_hex4(r, &low) < 0)
			return -EINVAL;
		if (low < 0xdc00 || low >= 0xe000)
			return -EINVAL;
		c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
	}
	add_code_point(r->to->b, c);
	return 0;
}

static int copy_escape(struct reader *r)
{
	static const char from[] = "bfnrt\"\\/", to[] = "\b\f\n\r\t\"\\/";
	int c = peek(r);
	const char *at;

	if (c <= 0)
		return -EINVAL;
	r->p++;
	if (c == 'u')
		return copy_unicode(r);
	at = strchr(from, c);
	if (!at)
		return -EINVAL;
	add_char(r->to->b, (uint8_t)to[at - from]);
	return 0;
}

static int copy_string(struct reader *r)
{
	int err = expect(r, '"');

	buf_addc(r->to->b, '"');
	while (err == 0 && peek(r) >= 0 && peek(r) != '"') {
		if (*r->p == '\\') {
			r->p++;
			err = copy_escape(r);
		} else {
			add_char(r->to->b, *r->p++);
		}
	}
	buf_addc(r->to->b, '"');
	return err < 0 ? err : expect(r, '"');
}

static int copy_value(struct reader *r);

static int copy_member(struct reader *r)
{
	struct mqtt_json *j = r->to;
	int err;

	if (j->some)
		buf_addc(j->b, ',');
	new_line(j);
	skip_space(r);
	err = copy_string(r);
	skip_space(r);
	if (err == 0)
		err = expect(r, ':');
	buf_adds(j->b, j->pretty ? ":\t" : ":");
	return err < 0 ? err : copy_value(r);
}

static int copy_element(struct reader *r)
{
	mqtt_json_item(r->to);
	return copy_value(r);
}

static int copy_container(struct reader *r, char open, char close, int (*each)(struct reader *r))
{
	int err = 0;

	if (r->to->depth >= DEPTH_MAX)
		return -EINVAL;
	r->p++;
	mqtt_json_open(r->to, open);
	skip_space(r);
	if (peek(r) != close) {
		do {
			err = each(r);
			r->to->some = true;
			skip_space(r);
		} while (err == 0 && peek(r) == ',' && r->p++);
	}
	mqtt_json_close(r->to, close);
	return err < 0 ? err : expect(r, close);
}

/* Containers in each other, DEPTH_MAX of them. */
static int copy_value(struct reader *r)
{
	skip_space(r);
	switch (peek(r)) {
	case '{':
		return copy_container(r, '{', '}', copy_member);
	case '[':
		return copy_container(r, '[', ']', copy_element);
	case '"':
		return copy_string(r);
	case 'n':
		return copy_word(r, "null");
	case 't':
		return copy_word(r, "true");
	case 'f':
		return copy_word(r, "false");
	default:
		return peek(r) == '-' || (peek(r) >= '0' && peek(r) <= '9') ? copy_number(r) : -EINVAL;
	}
}

int mqtt_json_copy(struct mqtt_json *j, struct span text)
{
	struct reader r = { .p = text.p, .end = text.p + text.n, .to = j };
	int err;

	if (span_starts(text, "\xef\xbb\xbf"))
		r.p += 3;
	err = copy_value(&r);
	skip_space(&r);
	return err < 0 || r.p < r.end ? -EINVAL : 0;
}
