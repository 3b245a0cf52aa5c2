/*
 * log.c - builds log lines in a fixed array: no allocation, so a line can be written when memory is out.
 *
 * Plain bytes are copied in runs; what needs an escape goes through buf_add_quoted() and buf_add_json() a character at
 * a time, so that a cut never falls inside an escape and a JSON line stays JSON whatever its length.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/span.h"

enum {
	LINE_MAX = LOG_LINE - 64, /* what the sink puts around it still fits a pipe's atomic write (PIPE_BUF) */
	VALUE_MAX = 1024,         /* bytes of a value as written: a long one leaves room for the fields after it */
	CHAR_MAX_UTF8 = 4,
	ESCAPED_MAX = 6 * CHAR_MAX_UTF8 + 3,
};

static const char *const levels[] = { "error", "warn", "info", "debug" };
static const char cut_mark[] = "...";

static _Atomic int most_level = LOG_INFO;
static _Atomic bool as_json;
static _Atomic(log_sink *) sink_fn;
static const struct log_tap *_Atomic tap_of;

void log_setup(enum log_level most, bool json, log_sink *sink)
{
	atomic_store(&most_level, (int)most);
	atomic_store(&as_json, json);
	atomic_store(&sink_fn, sink);
}

bool log_on(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&most_level, memory_order_relaxed) && atomic_load(&sink_fn);
}

static bool tapped_for(const char *event)
{
	const struct log_tap *tap = atomic_load_explicit(&tap_of, memory_order_acquire);

	return tap && tap->wants(event);
}

bool log_wanted(enum log_level level, const char *event)
{
	return log_on(level) || tapped_for(event);
}

void log_tap(const struct log_tap *t)
{
	atomic_store(&tap_of, t);
}

/* ---- bytes ---- */

static void add(struct log_text *l, const void *p, size_t n)
{
	memcpy(l->text + l->n, p, n);
	l->n += n;
}

/* May this byte stand as it is? UTF-8 goes the slow way, which checks it. */
static bool is_plain(uint8_t c)
{
	return c >= ' ' && c < 0x7f && c != '"' && c != '\\';
}

static size_t plain_run(struct span s)
{
	size_t n = 0;

	while (n < s.n && is_plain(s.p[n]))
		n++;
	return n;
}

/* How long the character is that seems to start here; only a guess at where not to cut, the escapers look closer. */
static size_t character(struct span s)
{
	uint8_t c = s.p[0];
	size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;

	return n < s.n ? n : s.n;
}

/* The text between the quotes that the escaper puts around the bytes. */
static struct span escape(bool json, struct span s, struct buf *b)
{
	buf_reset(b);
	if (json)
		buf_add_json(b, s);
	else
		buf_add_quoted(b, s);
	return (struct span){ (const uint8_t *)b->p + 1, b->n - 2 };
}

/* Adds s, escaped, in at most `room` bytes; what is too long is cut between two characters and ends in dots. */
static void add_escaped(struct log_text *l, struct span s, size_t room)
{
	char array[ESCAPED_MAX];
	struct buf b;
	size_t end = l->n + room, dots = end - strlen(cut_mark), cut = l->n;

	buf_init_fixed(&b, array, sizeof(array));
	while (s.n > 0) {
		size_t n = plain_run(s);
		struct span piece = { s.p, n };

		if (n == 0) {
			n = character(s);
			piece = escape(l->json, (struct span){ s.p, n }, &b);
		} else if (l->n < dots && n > dots - l->n) {
			piece.n = n = dots - l->n;
		}
		if (piece.n > end - l->n) {
			l->n = cut;
			add(l, cut_mark, strlen(cut_mark));
			return;
		}
		add(l, piece.p, piece.n);
		if (l->n <= dots)
			cut = l->n;
		s.p += n;
		s.n -= n;
	}
}

/* ---- fields ---- */

/* Room for a field of this key with a value of n bytes, quotes and separators included; else it is left out. */
static bool add_key(struct log_text *l, const char *key, size_t n)
{
	size_t k = strlen(key);

	if (l->n + k + n + sizeof(",\"\":\"\"") > LINE_MAX)
		return false;
	if (l->json) {
		add(l, ",\"", 2);
		add(l, key, k);
		add(l, "\":", 2);
	} else {
		add(l, " ", 1);
		add(l, key, k);
		add(l, "=", 1);
	}
	return true;
}

/* Words, numbers, addresses and paths read best without quotes. */
static bool needs_quotes(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '=')
			return true;
	return s.n == 0;
}

/* With room left for `behind` bytes more. */
static void add_value(struct log_text *l, struct span s, size_t behind)
{
	size_t room = LINE_MAX - l->n - 2 - behind;
	bool quotes = l->json || needs_quotes(s);

	if (quotes)
		add(l, "\"", 1);
	add_escaped(l, s, room < VALUE_MAX ? room : VALUE_MAX);
	if (quotes)
		add(l, "\"", 1);
}

static void add_bytes(struct log_text *l, const char *key, struct span value)
{
	if (l->n && add_key(l, key, strlen(cut_mark)))
		add_value(l, value, 0);
}

void log_bytes(struct log_line *l, const char *key, const void *p, size_t n)
{
	add_bytes(&l->log, key, (struct span){ p, n });
	add_bytes(&l->tap, key, (struct span){ p, n });
}

void log_str(struct log_line *l, const char *key, const char *value)
{
	if (value)
		log_bytes(l, key, value, strlen(value));
}

/* The bracket that closes the array is taken back for the next value, so the line is whole at any time. */
static void add_json_item(struct log_text *l, const char *key, struct span value)
{
	bool more = l->list && l->list_end == l->n && strcmp(l->list, key) == 0;
	static const char least[] = ",\"...\"]"; /* of a further value */

	if (more && l->n + sizeof(least) > LINE_MAX)
		return;
	if (more)
		l->text[l->n - 1] = ',';
	else if (add_key(l, key, sizeof(least)))
		add(l, "[", 1);
	else
		return;
	add_value(l, value, 1);
	add(l, "]", 1);
	l->list = key;
	l->list_end = l->n;
}

static void add_item(struct log_text *l, const char *key, struct span value)
{
	if (l->n && l->json)
		add_json_item(l, key, value);
	else
		add_bytes(l, key, value);
}

void log_item(struct log_line *l, const char *key, const char *value)
{
	add_item(&l->log, key, span_str(value));
	add_item(&l->tap, key, span_str(value));
}

static void add_digits(struct log_text *l, const char *key, const char *text, int n)
{
	if (l->n && add_key(l, key, (size_t)n))
		add(l, text, (size_t)n);
}

static void add_number(struct log_line *l, const char *key, const char *text, int n)
{
	add_digits(&l->log, key, text, n);
	add_digits(&l->tap, key, text, n);
}

void log_uint(struct log_line *l, const char *key, uint64_t value)
{
	char text[24];

	add_number(l, key, text, snprintf(text, sizeof(text), "%llu", (unsigned long long)value));
}

void log_hex(struct log_line *l, const char *key, uint64_t value)
{
	char text[20];

	snprintf(text, sizeof(text), "%llx", (unsigned long long)value);
	log_str(l, key, text);
}

void log_seconds(struct log_line *l, const char *key, uint64_t ns)
{
	char text[32];
	unsigned long long ms = ns / 1000000;

	add_number(l, key, text, snprintf(text, sizeof(text), "%llu.%03llu", ms / 1000, ms % 1000));
}

void log_errno(struct log_line *l, int err)
{
	char text[32];
	const char *name;

	if (err == 0)
		return;
	err = err < 0 ? -err : err;
	name = strerrordesc_np(err); /* not strerror(): any thread may log */
	if (!name)
		snprintf(text, sizeof(text), "errno %d", err);
	log_str(l, "error", name ? name : text);
}

/* ---- lines ---- */

static void begin(struct log_text *l, bool json, enum log_level level, const char *event)
{
	static const char start[] = "\"level\":\"", end[] = "\"";

	l->n = 0;
	l->list = NULL;
	l->json = json;
	if (json)
		add(l, start, strlen(start));
	add(l, levels[level], strlen(levels[level]));
	if (json) {
		add(l, end, strlen(end));
		add_bytes(l, "event", span_str(event));
	} else {
		add(l, " ", 1);
		add_escaped(l, span_str(event), VALUE_MAX);
	}
}

bool log_begin(struct log_line *l, enum log_level level, const char *event)
{
	bool on = log_on(level), tapped = tapped_for(event);

	if (!on && !tapped)
		return false;
	l->level = level;
	l->log.n = l->tap.n = 0;
	if (on)
		begin(&l->log, atomic_load_explicit(&as_json, memory_order_relaxed), level, event);
	if (tapped)
		begin(&l->tap, true, level, event);
	return true;
}

void log_end(struct log_line *l)
{
	log_sink *sink = atomic_load(&sink_fn);
	const struct log_tap *tap = atomic_load_explicit(&tap_of, memory_order_acquire);

	if (l->log.n && sink)
		sink(l->level, l->log.json, l->log.text, l->log.n);
	if (l->tap.n && tap)
		tap->take(l->level, true, l->tap.text, l->tap.n);
}

void log_text(enum log_level level, const char *event, const char *fmt, ...)
{
	struct log_line l;
	char text[VALUE_MAX + 1];
	va_list ap;

	if (!log_begin(&l, level, event))
		return;
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) >= 0)
		log_str(&l, "text", text);
	va_end(ap);
	log_end(&l);
}
