/*
 * wire_describe.c - a packet as one line for a person who reads a trace. Whoever wrote the packet may be hostile: texts
 * are quoted and cut by buf_add_excerpt(). What proves an identity is never shown, only how long it is.
 */
#include "proto/mqtt/wire_priv.h"

static void add_text(struct buf *b, const char *name, struct span s)
{
	buf_addf(b, " %s=", name);
	buf_add_excerpt(b, s);
}

static void add_one(struct buf *b, unsigned which, const struct mqtt_props *p)
{
	const struct mqtt_prop_kind *k = &mqtt_prop_kinds[which];

	if (k->type < MQTT_T_TEXT)
		buf_addf(b, " %s=%u", k->word, prop_number(p, k));
	else if (k->type == MQTT_T_BINARY) /* authentication data must not be shown, correlation data is seldom text */
		buf_addf(b, " %s=%zu-bytes", k->word, prop_span(p, k).n);
	else
		add_text(b, k->word, prop_span(p, k));
}

static void add_props(struct buf *b, unsigned where, const struct mqtt_props *p)
{
	struct span users = p->raw, ids = p->raw;
	struct mqtt_user u;
	uint32_t id;

	for (uint32_t has = p->has & ~props_repeated(where); has; has &= has - 1)
		add_one(b, (unsigned)__builtin_ctz(has), p);
	while (where == MQTT_PUBLISH && mqtt_sub_id_next(&ids, &id))
		buf_addf(b, " sub-id=%u", id);
	while (mqtt_user_next(&users, &u)) {
		add_text(b, "user", u.name);
		buf_addc(b, ':');
		buf_add_excerpt(b, u.value);
	}
}

static void add_code(struct buf *b, unsigned code)
{
	buf_addf(b, " 0x%02x (%s)", code, mqtt_reason_name(code));
}

static int describe_connect(const struct mqtt_frame *f, struct buf *b, const char **ret_why)
{
	static const char *const versions[] = { [MQTT_31] = "3.1", [MQTT_311] = "3.1.1", [MQTT_5] = "5.0" };
	struct mqtt_connect c;
	int code = mqtt_parse_connect(f, &c, ret_why);

	if (code)
		return code;
	buf_addf(b, " v%s c%d k%u ", versions[c.version], c.clean, c.keep_alive);
	buf_add_excerpt(b, c.client_id);
	if (c.has_user)
		add_text(b, "user-name", c.user);
	if (c.has_password)
		buf_adds(b, " password=***");
	add_props(b, MQTT_CONNECT, &c.props);
	if (c.will) {
		buf_addf(b, " will q%u r%d ", c.will_qos, c.will_retain);
		buf_add_excerpt(b, c.will_topic);
		buf_addf(b, " %zu bytes", c.will_payload.n);
		add_props(b, MQTT_WILL, &c.will_props);
	}
	return 0;
}

static int describe_connack(const struct mqtt_frame *f, struct buf *b, const char **ret_why)
{
	struct mqtt_connack c;
	int code = mqtt_parse_connack(f, &c, ret_why);

	if (code)
		return code;
	buf_addf(b, " s%d", c.session_present);
	if (f->form.version == MQTT_5)
		add_code(b, c.code);
	else
		buf_addf(b, " %u (%s)", c.code, mqtt_return_name(c.code));
	add_props(b, MQTT_CONNACK, &c.props);
	return 0;
}

static int describe_with(const struct mqtt_frame *f, size_t elsewhere, struct buf *b, const char **ret_why)
{
	struct mqtt_publish p;
	int code = mqtt_parse_publish(f, &p, ret_why);

	if (code)
		return code;
	buf_addf(b, "%s q%u r%d", p.dup ? " dup" : "", p.qos, p.retain);
	if (p.qos)
		buf_addf(b, " m%u", p.id);
	buf_addc(b, ' ');
	buf_add_excerpt(b, p.topic);
	buf_addf(b, " %zu bytes", p.payload.n + elsewhere);
	add_props(b, MQTT_PUBLISH, &p.props);
	return 0;
}

static int describe_publish(const struct mqtt_frame *f, struct buf *b, const char **ret_why)
{
	return describe_with(f, 0, b, ret_why);
}

static int describe_ack(const struct mqtt_frame *f, struct buf *b, const char **ret_why)
{
	struct mqtt_ack a;
	int code = mqtt_parse_ack(f, &a, ret_why);

	if (code)
		return code;
	buf_addf(b, " m%u", a.id);
	if (a.code)
		add_code(b, a.code);
	add_props(b, f->type, &a.props);
	return 0;
}

static void add_sub(struct buf *b, const struct mqtt_sub *s)
{
	buf_addc(b, ' ');
	buf_add_excerpt(b, s->filter);
	buf_addf(b, " q%u", s->qos);
	if (s->no_local)
		buf_adds(b, " no-local");
	if (s->as_published)
		buf_adds(b, " as-published");
	if (s->retain_handling)
		buf_addf(b, " retain-handling=%u", s->retain_handling);
}

static int describe_list(const struct mqtt_frame *f, struct buf *b, const char **ret_why)
{
	struct mqtt_list l;
	struct mqtt_sub sub;
	struct span filter;
	int code = mqtt_parse_list(f, &l, ret_why);

	if (code)
		return code;
	buf_addf(b, " m%u", l.id);
	add_props(b, f->type, &l.props);
	if (f->type == MQTT_SUBSCRIBE) {
		while (mqtt_sub_next(&l.list, &sub))
			add_sub(b, &sub);
	} else if (f->type == MQTT_UNSUBSCRIBE) {
		while (mqtt_unsub_next(&l.list, &filter)) {
			buf_addc(b, ' ');
			buf_add_excerpt(b, filter);
		}
	} else {
		for (size_t i = 0; i < l.n; i++)
			buf_addf(b, f->type == MQTT_SUBACK && l.list.p[i] < 3 ? " q%u" : " 0x%02x", l.list.p[i]);
	}
	return 0;
}

static int describe_end(const struct mqtt_frame *f, struct buf *b, const char **ret_why)
{
	struct mqtt_end e;
	int code = mqtt_parse_end(f, &e, ret_why);

	if (code)
		return code;
	if (f->form.version == MQTT_5)
		add_code(b, e.code);
	add_props(b, f->type, &e.props);
	return 0;
}

static int describe_ping(const struct mqtt_frame *f, struct buf *b, const char **ret_why)
{
	(void)b;
	return mqtt_parse_ping(f, ret_why);
}

static void add_bad(struct buf *b, const char *why, int code, size_t n)
{
	buf_addf(b, " bad: %s 0x%02x, %zu bytes", why, code, n);
}

void mqtt_describe(const struct mqtt_frame *f, struct buf *b)
{
	static int (*const by_type[])(const struct mqtt_frame *, struct buf *, const char **) = {
		[MQTT_CONNECT] = describe_connect, [MQTT_CONNACK] = describe_connack,
		[MQTT_PUBLISH] = describe_publish, [MQTT_PUBACK] = describe_ack,
		[MQTT_PUBREC] = describe_ack,      [MQTT_PUBREL] = describe_ack,
		[MQTT_PUBCOMP] = describe_ack,     [MQTT_SUBSCRIBE] = describe_list,
		[MQTT_SUBACK] = describe_list,     [MQTT_UNSUBSCRIBE] = describe_list,
		[MQTT_UNSUBACK] = describe_list,   [MQTT_PINGREQ] = describe_ping,
		[MQTT_PINGRESP] = describe_ping,   [MQTT_DISCONNECT] = describe_end,
		[MQTT_AUTH] = describe_end,
	};
	const char *why = NULL;
	int code;

	buf_adds(b, mqtt_type_name(f->type));
	if (f->type < MQTT_CONNECT || f->type > MQTT_AUTH)
		return;
	code = by_type[f->type](f, b, &why);
	if (code)
		add_bad(b, why, code, f->body.n);
}

void mqtt_describe_head(struct mqtt_form form, struct span head, size_t payload, struct buf *b)
{
	struct mqtt_frame f = { .form = form, .type = MQTT_PUBLISH, .flags = head.n ? head.p[0] & 0xf : 0 };
	const char *why = NULL;
	size_t at = 1;
	int code;

	while (at < head.n && head.p[at] & 0x80) /* the length counts the payload too */
		at++;
	at = at < head.n ? at + 1 : head.n;
	f.body = (struct span){ head.p + at, head.n - at };
	f.total = head.n + payload;
	buf_adds(b, mqtt_type_name(f.type));
	code = describe_with(&f, payload, b, &why);
	if (code)
		add_bad(b, why, code, f.body.n);
}
