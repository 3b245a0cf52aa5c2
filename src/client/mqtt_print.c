/* mqtt_print.c - see mqtt_print.h. */
#include "client/mqtt_print.h"

#include <errno.h>
#include <time.h>

#include "base/str.h"
#include "client/mqtt_json.h"
#include "proto/mqtt/wire_priv.h"

enum { WIDTH_MAX = 1 << 20, STAMP_MAX = 100 };

/* ---- formats ---- */

/* One sequence that begins with %: flags, width, precision, letter. */
struct spec {
	bool left, zero;
	int width, precision; /* precision -1 = none */
	char letter;          /* 0: the format ends before it */
};

static int read_digits(const char **at)
{
	int v = 0;

	for (; str_is_digit(**at); ++*at)
		v = v < WIDTH_MAX ? v * 10 + (**at - '0') : v;
	return v < WIDTH_MAX ? v : WIDTH_MAX;
}

/* *at stands behind the %, and afterwards behind the letter. */
static struct spec read_spec(const char **at)
{
	struct spec s = { .precision = -1 };

	if (**at == '-') {
		s.left = true;
		++*at;
	}
	if (**at == '0') {
		s.zero = true;
		++*at;
	}
	s.width = read_digits(at);
	if (**at == '.') {
		++*at;
		s.precision = read_digits(at);
	}
	s.letter = **at;
	*at += s.letter != '\0';
	return s;
}

static int bad_format(struct buf *why, const char *what, char c)
{
	if (c)
		buf_addf(why, "Error: Invalid %s specifier '%c'.", what, c);
	else
		buf_addf(why, "Error: Incomplete %s specifier.", what);
	return -EINVAL;
}

int mqtt_format_check(const char *format, struct buf *why)
{
	while (*format) {
		char c = *format++;

		if (c == '%') {
			c = read_spec(&format).letter;
			if (!c || !strchr("%ACDEFIJPRSUXjlmpqrtx", c))
				return bad_format(why, "format", c);
		} else if (c == '@' && !*format++) {
			return bad_format(why, "format", '\0');
		} else if (c == '\\') {
			c = *format;
			if (!c || !strchr("\\0aenrtv", c))
				return bad_format(why, "escape", c);
			format++;
		}
	}
	return 0;
}

/* ---- pieces ---- */

struct printing {
	const struct mqtt_style *style;
	const struct mqtt_publish *m;
	uint64_t ns; /* of the second */
	struct tm tm;
	int64_t seconds;
	struct buf *out, *why;
};

static void pad(struct buf *out, char c, int n)
{
	for (; n > 0; n--)
		buf_addc(out, c);
}

static void add_text(struct buf *out, const struct spec *s, struct span text)
{
	size_t n = s->precision >= 0 && text.n > (size_t)s->precision ? (size_t)s->precision : text.n;
	int blanks = s->width > (int)n ? s->width - (int)n : 0;

	if (!s->left)
		pad(out, ' ', blanks);
	buf_add(out, text.p, n);
	if (s->left)
		pad(out, ' ', blanks);
}

static void add_number(struct buf *out, const struct spec *s, uint32_t v)
{
	if (s->left)
		buf_addf(out, "%-*u", s->width, v);
	else if (s->zero)
		buf_addf(out, "%0*u", s->width, v);
	else
		buf_addf(out, "%*u", s->width, v);
}

/* A property that is not there takes its width all the same. */
static void add_number_prop(struct printing *p, const struct spec *s, enum mqtt_prop which, uint32_t v)
{
	if (p->m->props.has & MQTT_HAS(which))
		add_number(p->out, s, v);
	else
		pad(p->out, s->zero ? '0' : ' ', s->width);
}

static void add_hex(struct buf *out, const struct spec *s, struct span bytes)
{
	const char *digits = s->letter == 'x' ? "0123456789abcdef" : "0123456789ABCDEF";

	for (size_t i = 0; i < bytes.n; i++) {
		buf_addc(out, digits[bytes.p[i] >> 4]);
		buf_addc(out, digits[bytes.p[i] & 15]);
	}
}

static void add_payload(struct printing *p, const struct spec *s)
{
	struct span bytes = p->m->payload;
	bool hex = s->letter != 'p';
	int blanks = 0;

	if (s->width > 0) {
		if (bytes.n > (size_t)s->width)
			bytes.n = (size_t)s->width;
		if (hex)
			bytes.n /= 2;
		blanks = s->width - (int)(hex ? bytes.n * 2 : bytes.n);
	}
	if (!s->left)
		pad(p->out, s->zero ? '0' : ' ', blanks);
	if (hex)
		add_hex(p->out, s, bytes);
	else
		buf_add(p->out, bytes.p, bytes.n);
	if (s->left)
		pad(p->out, ' ', blanks);
}

static void add_users(struct printing *p)
{
	struct span at = p->m->props.raw;
	struct mqtt_user u;
	bool some = false;

	while (mqtt_user_next(&at, &u)) {
		if (some)
			buf_addc(p->out, ' ');
		buf_add(p->out, u.name.p, u.name.n);
		buf_addc(p->out, ':');
		buf_add(p->out, u.value.p, u.value.n);
		some = true;
	}
}

/* The first one, when overlapping subscriptions have several. */
static void add_sub_id(struct printing *p, const struct spec *s)
{
	struct span at = p->m->props.raw;
	uint32_t id = p->m->props.sub_id;

	(void)mqtt_sub_id_next(&at, &id);
	add_number_prop(p, s, MQTT_P_SUB_ID, id);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* @x of the command line; strftime() knows no bad ones */
static void add_time(struct printing *p, const struct spec *s, const char *how)
{
	char text[STAMP_MAX];
	size_t n = strftime(text, sizeof(text), how, &p->tm);

	add_text(p->out, s, (struct span){ (const uint8_t *)text, n });
}
#pragma GCC diagnostic pop

/* ---- JSON ---- */

static void write_users(struct mqtt_json *j, struct span raw)
{
	struct mqtt_user u;

	mqtt_json_key(j, span_str("user-properties"));
	mqtt_json_open(j, '{');
	while (mqtt_user_next(&raw, &u)) {
		mqtt_json_key(j, u.name);
		mqtt_json_string(j, u.value);
	}
	mqtt_json_close(j, '}');
}

static void write_prop(struct mqtt_json *j, const struct mqtt_prop_kind *k, struct take *t)
{
	bool text = k->type == MQTT_T_TEXT || k->type == MQTT_T_TOPIC || k->type == MQTT_T_BINARY;

	mqtt_json_key(j, span_str(k->name));
	if (text)
		mqtt_json_string(j, take_binary(t));
	else
		mqtt_json_number(j, take_number(t, k->type));
}

/* In the order of the packet; the user's all at the place of their first. */
static void write_props(struct mqtt_json *j, struct span raw)
{
	struct take t = take_from(raw);
	bool users = false;

	if (raw.n == 0)
		return;
	mqtt_json_key(j, span_str("properties"));
	mqtt_json_open(j, '{');
	while (t.n > 0 && !t.why) {
		unsigned place = prop_place(take_u8(&t));

		if (place >= MQTT_PROPS)
			break;
		if (place != MQTT_P_USER) {
			write_prop(j, &mqtt_prop_kinds[place], &t);
			continue;
		}
		(void)take_binary(&t);
		(void)take_binary(&t);
		if (!users)
			write_users(j, raw);
		users = true;
	}
	mqtt_json_close(j, '}');
}

static void write_stamp(struct mqtt_json *j, const struct printing *p)
{
	char day[STAMP_MAX] = "", zone[16] = "", text[2 * STAMP_MAX];
	struct buf b;

	(void)!strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &p->tm);
	(void)!strftime(zone, sizeof(zone), "%z", &p->tm);
	buf_init_fixed(&b, text, sizeof(text));
	buf_addf(&b, "%s.%06uZ%s", day, (unsigned)(p->ns / 1000), zone);
	mqtt_json_key(j, span_str("tst"));
	mqtt_json_string(j, buf_span(&b));
}

static void write_member(struct mqtt_json *j, const char *name, uint32_t v)
{
	mqtt_json_key(j, span_str(name));
	mqtt_json_number(j, v);
}

/* 0, or -EINVAL: the payload is no JSON. */
static int write_payload(struct mqtt_json *j, struct span payload, bool quoted)
{
	mqtt_json_key(j, span_str("payload"));
	if (payload.n == 0)
		mqtt_json_null(j);
	else if (quoted)
		mqtt_json_string(j, payload);
	else
		return mqtt_json_copy(j, payload);
	return 0;
}

static void add_json(struct printing *p, bool quoted)
{
	struct mqtt_json j = { .b = p->out, .pretty = p->style->pretty };
	const struct mqtt_publish *m = p->m;
	size_t before = p->out->n;

	mqtt_json_open(&j, '{');
	write_stamp(&j, p);
	mqtt_json_key(&j, span_str("topic"));
	mqtt_json_string(&j, m->topic);
	write_member(&j, "qos", m->qos);
	write_member(&j, "retain", m->retain);
	write_member(&j, "payloadlen", (uint32_t)m->payload.n);
	if (m->qos > 0)
		write_member(&j, "mid", m->id);
	write_props(&j, m->props.raw);
	if (write_payload(&j, m->payload, quoted) == 0) {
		mqtt_json_close(&j, '}');
		return;
	}
	buf_cut(p->out, before);
	buf_addf(p->why, "Error: Message payload is not valid JSON on topic %.*s.", (int)m->topic.n,
		 (const char *)m->topic.p);
}

/* ---- a message ---- */

static void add_property(struct printing *p, const struct spec *s)
{
	const struct mqtt_props *props = &p->m->props;
	struct spec plain = { .precision = -1 };

	switch (s->letter) {
	case 'A':
		add_number_prop(p, s, MQTT_P_ALIAS, props->alias);
		break;
	case 'C':
		add_text(p->out, s, props->content_type);
		break;
	case 'D':
		add_text(p->out, &plain, props->correlation);
		break;
	case 'E':
		add_number_prop(p, s, MQTT_P_EXPIRY, props->expiry);
		break;
	case 'F':
		add_number_prop(p, s, MQTT_P_FORMAT, props->format);
		break;
	case 'P':
		add_users(p);
		break;
	case 'R':
		if (props->has & MQTT_HAS(MQTT_P_RESPONSE_TOPIC))
			add_text(p->out, s, props->response_topic);
		break;
	default:
		add_sub_id(p, s);
		break;
	}
}

static void add_spec(struct printing *p, const struct spec *s)
{
	const struct mqtt_publish *m = p->m;

	switch (s->letter) {
	case '%':
		buf_addc(p->out, '%');
		break;
	case 'I':
		add_time(p, s, "%FT%T%z");
		break;
	case 'U':
		buf_addf(p->out, "%lld.%09u", (long long)p->seconds, (unsigned)p->ns);
		break;
	case 'j':
	case 'J':
		add_json(p, s->letter == 'j');
		break;
	case 'l':
		add_number(p->out, s, (uint32_t)m->payload.n);
		break;
	case 'm':
		add_number(p->out, s, m->id);
		break;
	case 'p':
	case 'x':
	case 'X':
		add_payload(p, s);
		break;
	case 'q':
		buf_addc(p->out, (char)('0' + m->qos));
		break;
	case 'r':
		buf_addc(p->out, m->retain ? '1' : '0');
		break;
	case 't':
		add_text(p->out, s, m->topic);
		break;
	default:
		add_property(p, s);
		break;
	}
}

static void add_strftime(struct printing *p, char c)
{
	const char how[] = { '%', c, '\0' };

	if (c == '@')
		buf_addc(p->out, '@');
	else if (c == 'N')
		buf_addf(p->out, "%09u", (unsigned)p->ns);
	else
		add_time(p, &(struct spec){ .precision = -1 }, how);
}

static void add_escape(struct buf *out, char c)
{
	static const char from[] = "\\0aenrtv", to[] = "\\\0\a\033\n\r\t\v";
	const char *at = strchr(from, c);

	if (at)
		buf_addc(out, to[at - from]);
}

static void add_formatted(struct printing *p)
{
	const char *f = p->style->format;

	while (*f) {
		size_t n = strcspn(f, "%@\\");
		struct spec s;

		buf_add(p->out, f, n);
		f += n;
		if (*f == '%') {
			f++;
			s = read_spec(&f);
			add_spec(p, &s);
		} else if (*f && f[1]) {
			if (*f == '@')
				add_strftime(p, f[1]);
			else
				add_escape(p->out, f[1]);
			f += 2;
		} else {
			f += *f != '\0';
		}
	}
	if (!p->style->no_eol)
		buf_addc(p->out, '\n');
}

/* An empty payload is `topic (null)`, and nothing at all without the topic. */
static void add_plain(const struct mqtt_style *s, const struct mqtt_publish *m, struct buf *out)
{
	if (m->payload.n == 0 && (!s->verbose || s->no_eol))
		return;
	if (s->verbose) {
		buf_add(out, m->topic.p, m->topic.n);
		buf_addc(out, ' ');
	}
	if (m->payload.n)
		buf_add(out, m->payload.p, m->payload.n);
	else
		buf_adds(out, "(null)");
	if (!s->no_eol)
		buf_addc(out, '\n');
}

void mqtt_print(const struct mqtt_style *s, const struct mqtt_publish *m, uint64_t wall, struct buf *out,
		struct buf *why)
{
	struct printing p = { .style = s, .m = m, .out = out, .why = why };
	time_t seconds = (time_t)(wall / NSEC_PER_SEC);

	if (!s->format) {
		add_plain(s, m, out);
		return;
	}
	p.seconds = seconds;
	p.ns = wall % NSEC_PER_SEC;
	(void)!localtime_r(&seconds, &p.tm);
	add_formatted(&p);
}
