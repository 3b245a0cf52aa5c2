/* test_wire_any.h - a packet of any type, for those who judge the codec: test_wire.h, fuzz_mqtt.c. */
#pragma once
#include "proto/mqtt/wire.h"

union any {
	struct mqtt_connect connect;
	struct mqtt_connack connack;
	struct mqtt_publish publish;
	struct mqtt_ack ack;
	struct mqtt_list list;
	struct mqtt_end end;
};

static inline int parse_any(const struct mqtt_frame *f, union any *ret, const char **ret_why)
{
	switch (f->type) {
	case MQTT_CONNECT:
		return mqtt_parse_connect(f, &ret->connect, ret_why);
	case MQTT_CONNACK:
		return mqtt_parse_connack(f, &ret->connack, ret_why);
	case MQTT_PUBLISH:
		return mqtt_parse_publish(f, &ret->publish, ret_why);
	case MQTT_SUBSCRIBE:
	case MQTT_SUBACK:
	case MQTT_UNSUBSCRIBE:
	case MQTT_UNSUBACK:
		return mqtt_parse_list(f, &ret->list, ret_why);
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
		return mqtt_parse_ping(f, ret_why);
	case MQTT_DISCONNECT:
	case MQTT_AUTH:
		return mqtt_parse_end(f, &ret->end, ret_why);
	default:
		return mqtt_parse_ack(f, &ret->ack, ret_why);
	}
}
