/* told.c - what some clients are told besides: another server, and where answers to them may go. See mqtt_priv.h. */
#include <errno.h>

#include <stdio.h>

#include "base/addr.h"
#include "base/str.h"
#include "base/utf8.h"
#include "proto/mqtt/mqtt_priv.h"
#include "store/topic.h"

/* HOST[:PORT]: a name, or an address; one of IPv6 in brackets. */
static bool is_server(const char *word)
{
	const char *end = *word == '[' ? strchr(word, ']') : word + strcspn(word, ":");
	char text[ADDR_HOST_MAX + 64];
	struct addr_text a;

	if (!end || strlen(word) > ADDR_HOST_MAX)
		return false;
	snprintf(text, sizeof(text), "tcp:%s%s", word, strchr(end, ':') ? "" : ":1883");
	for (const char *p = word; *word != '[' && p < end; p++)
		if (!str_is_alnum(*p) && *p != '-' && *p != '_' && *p != '.')
			return false;
	return addr_parse(text, &a, NULL) == 0 && *a.host && strcmp(a.host, "*") != 0 && a.port > 0;
}

static bool are_servers(const char *text)
{
	struct str_words w = {};
	bool good = str_split_words(text, SIZE_MAX, &w) == 0 && w.n > 0;

	for (size_t i = 0; i < w.n && good; i++)
		good = is_server(w.v[i]);
	str_words_done(&w);
	return good;
}

/* Where nobody may publish, and words of a kind that we do not know, are no place for answers. */
static bool is_place(const char *text, unsigned levels)
{
	for (const char *p = text; (p = strchr(p, '%')); p += 2)
		if (!p[1] || !strchr("uc%", p[1]))
			return false;
	return utf8_is_text(span_str(text)) && topic_check_name(span_str(text), levels) == 0 && *text != '$' &&
	       !topic_is_own(span_str(text));
}

/* All that is wrong, a line each. */
int mqtt_options_check(const void *values, struct buf *why)
{
	const struct mqtt_options *o = values;
	int r = 0;

	if (o->packet > o->disk / 8) {
		buf_adds(why, "packet: must be at most an eighth of disk");
		r = -EINVAL;
	}
	if (o->server_reference && !are_servers(o->server_reference)) {
		buf_adds(why, r < 0 ? "\n" : "");
		buf_adds(why, "server_reference: must be the names of servers, HOST[:PORT] with blanks between them");
		r = -EINVAL;
	}
	if (o->response_information && !is_place(o->response_information, o->levels)) {
		buf_adds(why, r < 0 ? "\n" : "");
		buf_adds(why,
			 "response_information: must be the beginning of topics that clients may publish to, without wildcards; %c and "
			 "%u are filled in, %% is a percent sign");
		r = -EINVAL;
	}
	return r;
}

void mqtt_tell_server(const struct io *io, unsigned code, struct mqtt_props *p)
{
	const char *server = mqtt_options(io)->server_reference;

	if (code == MQTT_USE_ANOTHER && server)
		mqtt_props_set_span(p, MQTT_P_SERVER, span_str(server));
}

unsigned mqtt_stopping(const struct io *io, unsigned without)
{
	return mqtt_options(io)->server_reference ? MQTT_USE_ANOTHER : without;
}

void mqtt_tell_response(const struct io *io, const struct mqtt_connect *c, struct span name, struct buf *text,
			struct mqtt_props *p)
{
	const char *pattern = mqtt_options(io)->response_information;

	if (!pattern || !c->props.request_response) /* [MQTT-3.1.2-28] */
		return;
	if (topic_fill(span_str(pattern), c->user, name, text) == 0)
		mqtt_props_set_span(p, MQTT_P_RESPONSE_INFO, buf_span(text));
}
