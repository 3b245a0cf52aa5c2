/* wire_names.c - what types and codes are called, which code goes with which packet (2.4), and with 3.x. */
#include "proto/mqtt/wire_priv.h"

const char *mqtt_type_name(unsigned type)
{
	static const char *const names[] = {
		"packet",    "CONNECT", "CONNACK",     "PUBLISH",  "PUBACK",  "PUBREC",   "PUBREL",     "PUBCOMP",
		"SUBSCRIBE", "SUBACK",  "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	};

	return names[type < sizeof(names) / sizeof(names[0]) ? type : 0];
}

#define CLIENT(TYPE) (UINT32_C(1) << (TYPE))
#define SERVER(TYPE) (UINT32_C(1) << ((TYPE) + 16))
#define BOTH(TYPE) (CLIENT(TYPE) | SERVER(TYPE))

#define CONNACK SERVER(MQTT_CONNACK)
#define TAKEN (BOTH(MQTT_PUBACK) | BOTH(MQTT_PUBREC)) /* the receiver's word on a message */
#define REL (BOTH(MQTT_PUBREL) | BOTH(MQTT_PUBCOMP))
#define SUBACK SERVER(MQTT_SUBACK)
#define UNSUBACK SERVER(MQTT_UNSUBACK)
#define BYE BOTH(MQTT_DISCONNECT)
#define BYE_S SERVER(MQTT_DISCONNECT)

/* Tables 2-6, 3-1, 3-4 to 3-9, 3-10, 3-11 of the standard in one: who may send it in what. */
static const struct reason {
	const char *name;
	uint32_t where;
} reasons[] = {
	[MQTT_OK] = { "Success", CONNACK | TAKEN | REL | SUBACK | UNSUBACK | BYE | SERVER(MQTT_AUTH) },
	[MQTT_GRANTED_1] = { "Granted QoS 1", SUBACK },
	[MQTT_GRANTED_2] = { "Granted QoS 2", SUBACK },
	[MQTT_WITH_WILL] = { "Disconnect with Will Message", CLIENT(MQTT_DISCONNECT) },
	[MQTT_NO_SUBSCRIBERS] = { "No matching subscribers", TAKEN },
	[MQTT_NO_SUBSCRIPTION] = { "No subscription existed", UNSUBACK },
	[MQTT_CONTINUE_AUTH] = { "Continue authentication", BOTH(MQTT_AUTH) },
	[MQTT_REAUTH] = { "Re-authenticate", CLIENT(MQTT_AUTH) },
	[MQTT_UNSPECIFIED] = { "Unspecified error", CONNACK | TAKEN | SUBACK | UNSUBACK | BYE },
	[MQTT_MALFORMED] = { "Malformed Packet", CONNACK | BYE },
	[MQTT_PROTOCOL_ERROR] = { "Protocol Error", CONNACK | BYE },
	[MQTT_IMPLEMENTATION] = { "Implementation specific error", CONNACK | TAKEN | SUBACK | UNSUBACK | BYE },
	[MQTT_BAD_VERSION] = { "Unsupported Protocol Version", CONNACK },
	[MQTT_BAD_CLIENT_ID] = { "Client Identifier not valid", CONNACK },
	[MQTT_BAD_USER] = { "Bad User Name or Password", CONNACK },
	[MQTT_NOT_AUTHORIZED] = { "Not authorized", CONNACK | TAKEN | SUBACK | UNSUBACK | BYE_S },
	[MQTT_SERVER_UNAVAILABLE] = { "Server unavailable", CONNACK },
	[MQTT_SERVER_BUSY] = { "Server busy", CONNACK | BYE_S },
	[MQTT_BANNED] = { "Banned", CONNACK },
	[MQTT_SHUTTING_DOWN] = { "Server shutting down", BYE_S },
	[MQTT_BAD_AUTH_METHOD] = { "Bad authentication method", CONNACK | BYE_S },
	[MQTT_KEEP_ALIVE_TIMEOUT] = { "Keep Alive timeout", BYE_S },
	[MQTT_TAKEN_OVER] = { "Session taken over", BYE_S },
	[MQTT_BAD_FILTER] = { "Topic Filter invalid", SUBACK | UNSUBACK | BYE_S },
	[MQTT_BAD_TOPIC] = { "Topic Name invalid", CONNACK | TAKEN | BYE },
	[MQTT_ID_IN_USE] = { "Packet Identifier in use", TAKEN | SUBACK | UNSUBACK },
	[MQTT_ID_UNKNOWN] = { "Packet Identifier not found", REL },
	[MQTT_RECEIVE_MAX] = { "Receive Maximum exceeded", BYE },
	[MQTT_BAD_ALIAS] = { "Topic Alias invalid", BYE },
	[MQTT_TOO_LARGE] = { "Packet too large", CONNACK | BYE },
	[MQTT_RATE] = { "Message rate too high", BYE },
	[MQTT_QUOTA] = { "Quota exceeded", CONNACK | TAKEN | SUBACK | BYE },
	[MQTT_ADMINISTRATIVE] = { "Administrative action", BYE },
	[MQTT_BAD_FORMAT] = { "Payload format invalid", CONNACK | TAKEN | BYE },
	[MQTT_NO_RETAIN] = { "Retain not supported", CONNACK | BYE_S },
	[MQTT_NO_QOS] = { "QoS not supported", CONNACK | BYE_S },
	[MQTT_USE_ANOTHER] = { "Use another server", CONNACK | BYE_S },
	[MQTT_MOVED] = { "Server moved", CONNACK | BYE_S },
	[MQTT_NO_SHARED] = { "Shared Subscriptions not supported", SUBACK | BYE_S },
	[MQTT_CONNECTION_RATE] = { "Connection rate exceeded", CONNACK | BYE_S },
	[MQTT_CONNECT_TIME] = { "Maximum connect time", BYE_S },
	[MQTT_NO_SUB_IDS] = { "Subscription Identifiers not supported", SUBACK | BYE_S },
	[MQTT_NO_WILDCARDS] = { "Wildcard Subscriptions not supported", SUBACK | BYE_S },
};

#define REASONS (sizeof(reasons) / sizeof(reasons[0]))

const char *mqtt_reason_name(unsigned code)
{
	return code < REASONS && reasons[code].name ? reasons[code].name : "unknown";
}

bool mqtt_reason_valid(unsigned type, enum mqtt_from from, uint8_t code)
{
	return code < REASONS && reasons[code].where & (from == MQTT_FROM_CLIENT ? CLIENT(type) : SERVER(type));
}

const char *mqtt_return_name(unsigned code)
{
	static const char *const names[] = {
		"accepted",           "unacceptable protocol version", "identifier rejected",
		"server unavailable", "bad user name or password",     "not authorized",
	};

	return code < sizeof(names) / sizeof(names[0]) ? names[code] : "unknown";
}

int mqtt_return_code(uint8_t code)
{
	switch (code) {
	case MQTT_OK:
		return 0;
	case MQTT_BAD_VERSION:
		return 1;
	case MQTT_BAD_CLIENT_ID:
		return 2;
	case MQTT_SERVER_UNAVAILABLE:
	case MQTT_SERVER_BUSY:
	case MQTT_QUOTA:
	case MQTT_USE_ANOTHER:
	case MQTT_MOVED:
	case MQTT_CONNECTION_RATE:
		return 3;
	case MQTT_BAD_USER:
		return 4;
	case MQTT_NOT_AUTHORIZED:
	case MQTT_BANNED:
	case MQTT_BAD_AUTH_METHOD:
		return 5;
	default:
		return -1;
	}
}
