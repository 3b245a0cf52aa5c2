/* told.c - what some clients are told besides: another server, and where answers to them may go. See mqtt_priv.h. */
#include <errno.h>

#include "base/utf8.h"
#include "proto/mqtt/mqtt_priv.h"
#include "store/topic.h"

int mqtt_options_check(const void *values, struct buf *why)
{
	const struct mqtt_options *o = values;

	if (o->server_reference && (!*o->server_reference || !utf8_is_text(span_str(o->server_reference)))) {
		buf_adds(why, "server_reference: must be the names of servers");
		return -EINVAL;
	}
	if (o->response_information && (!utf8_is_text(span_str(o->response_information)) ||
					topic_check_name(span_str(o->response_information), o->levels) < 0)) {
		buf_adds(why, "response_information: must be the beginning of topics, without wildcards");
		return -EINVAL;
	}
	return 0;
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

void mqtt_tell_response(const struct mqtt *self, const struct io *io, const struct mqtt_connect *c, struct buf *text,
			struct mqtt_props *p)
{
	const char *pattern = mqtt_options(io)->response_information;
	struct span user = self->logged_in ? c->user : (struct span){};

	if (!pattern || !c->props.request_response) /* [MQTT-3.1.2-28] */
		return;
	if (topic_fill(span_str(pattern), user, subscriber_name(self->session), text) == 0)
		mqtt_props_set_span(p, MQTT_P_RESPONSE_INFO, buf_span(text));
}
