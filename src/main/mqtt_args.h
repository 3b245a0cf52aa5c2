/*
 * mqtt_args.h - the command line that `guichet pub` and `guichet sub` share: whom to talk to and as whom. Options are
 * those of mosquitto_pub and mosquitto_sub, letter by letter, and our addresses besides.
 */
#pragma once
#include "client/mqtt_link.h"
#include "main/command.h"

/* Places in both tables; a command's own rows begin at MQ_OWN. */
enum {
	MQ_HOST,
	MQ_PORT,
	MQ_TOPIC,
	MQ_QOS,
	MQ_ID,
	MQ_ID_PREFIX,
	MQ_USER,
	MQ_PASSWORD,
	MQ_URL,
	MQ_UNIX,
	MQ_VERSION,
	MQ_KEEPALIVE,
	MQ_NO_CLEAN,
	MQ_SESSION,
	MQ_PROPERTY,
	MQ_WILL_TOPIC,
	MQ_WILL_PAYLOAD,
	MQ_WILL_QOS,
	MQ_WILL_RETAIN,
	MQ_TLS,
	MQ_CAFILE,
	MQ_CERT,
	MQ_KEY,
	MQ_INSECURE,
	MQ_NAME,
	MQ_OS_CERTS,
	MQ_NO_RECONNECT,
	MQ_NODELAY,
	MQ_DEBUG,
	MQ_QUIET,
	MQ_OWN,
};

#define MQTT_ARGS_ROWS \
	[MQ_CAFILE] = { "cafile", 0, "FILE", "tls: trusts the certificates in this PEM file, not the system's" }, \
	[MQ_CERT] = { "cert", 0, "FILE", "tls: shows this certificate (PEM) to a broker that wants one" }, \
	[MQ_DEBUG] = { "debug", 'd', NULL, "prints each packet on standard output" }, \
	[MQ_HOST] = { "host", 'h', "HOST", \
		      "a name, an IP address, or an address as in guichet help addresses; localhost" }, \
	[MQ_ID] = { "id", 'i', "ID", "the client identifier; when not set the broker gives one" }, \
	[MQ_ID_PREFIX] = { "id-prefix", 'I', "PREFIX", "instead: this and the process id" }, \
	[MQ_INSECURE] = { "insecure", 0, NULL, "tls: takes any certificate: whoever answers may be anybody" }, \
	[MQ_KEEPALIVE] = { "keepalive", 'k', "SECONDS", \
			   "asks the broker for a sign of life after so long a silence (60); 0 never" }, \
	[MQ_KEY] = { "key", 0, "FILE", "tls: the key of --cert (PEM)" }, \
	[MQ_NAME] = { "tls-name", 0, "NAME", "tls: the name that the certificate must have; the host when not set" }, \
	[MQ_NO_CLEAN] = { "disable-clean-session", 'c', NULL, \
			  "keeps the session, and goes on with it if there is one; needs -i" }, \
	[MQ_NO_RECONNECT] = { "no-reconnect", 0, NULL, \
			      "ends when the connection is lost (exit status 7) and does not try again" }, \
	[MQ_NODELAY] = { "nodelay", 0, NULL, "does nothing: small packets are never held back here" }, \
	[MQ_OS_CERTS] = { "tls-use-os-certs", 0, NULL, "as --tls" }, \
	[MQ_PASSWORD] = { "pw", 'P', "PASSWORD", "others on this machine can see it in the list of processes" }, \
	[MQ_PORT] = { "port", 'p', "PORT", "its port; 1883, or 8883 with TLS, when not set, and 8883 means TLS" }, \
	[MQ_PROPERTY] = { "property", 'D', "PACKET NAME VALUE", \
			  "a property of MQTT 5, which is then spoken: -D publish content-type text/plain; " \
			  "user-property takes two values. PACKET: connect publish subscribe unsubscribe disconnect will" }, \
	[MQ_QOS] = { "qos", 'q', "QOS", "at most once (0), at least once (1) or exactly once (2); 0 when not set" }, \
	[MQ_QUIET] = { "quiet", 0, NULL, "no messages about errors while it runs" }, \
	[MQ_SESSION] = { "session-expiry", 'x', "SECONDS", \
			 "with MQTT 5: how long the broker keeps the session; -1 for ever" }, \
	[MQ_TLS] = { "tls", 0, NULL, \
		     "speaks TLS, and trusts the certificates of the system unless --cafile says others" }, \
	[MQ_TOPIC] = { "topic", 't', "TOPIC", MQTT_ARGS_TOPIC }, \
	[MQ_UNIX] = { "unix", 0, "PATH", "a unix socket instead of a host" }, \
	[MQ_URL] = { "url", 'L', "URL", "all at once: mqtt(s)://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC, also ws(s)://" }, \
	[MQ_USER] = { "username", 'u', "USER", "who we are" }, \
	[MQ_VERSION] = { "protocol-version", 'V', "VERSION", \
			 "speaks MQTT 5, 311 or 31; also mqttv5, mqttv311, mqttv31 (311)" }, \
	[MQ_WILL_PAYLOAD] = { "will-payload", 0, "TEXT", "the will's message; empty when not set" }, \
	[MQ_WILL_QOS] = { "will-qos", 0, "QOS", "its QoS (0)" }, \
	[MQ_WILL_RETAIN] = { "will-retain", 0, NULL, "it is to be retained" }, \
	[MQ_WILL_TOPIC] = { "will-topic", 0, "TOPIC", \
			    "a will: what the broker publishes when we are gone without a word" }

enum mqtt_args_packet {
	MQA_CONNECT,
	MQA_PUBLISH,
	MQA_SUBSCRIBE,
	MQA_UNSUBSCRIBE,
	MQA_DISCONNECT,
	MQA_WILL,
	MQA_PACKETS
};

struct mqtt_args {
	const struct command *command;
	struct mqtt_setup setup;
	struct addr_text to;
	struct mqtt_props props[MQA_PACKETS];
	struct buf users[MQA_PACKETS]; /* user properties, encoded */
	struct buf ca, cert, key, id, url;
	const char *cafile, *certfile, *keyfile, *host, *address, *unix_path, *prefix;
	bool tls, expires, web;
	int port; /* -1 = not said */
	uint32_t session_expiry;
	uint8_t qos;
	const char **topics; /* of -t and -L */
	size_t topics_n;
};

void mqtt_args_init(struct mqtt_args *a, const struct command *command);
void mqtt_args_done(struct mqtt_args *a);

/*
 * Reads the command line: what is not in the enum above goes to take(arg, ...). Then checks it and makes a->setup of it;
 * everything that it points to is a's or the command line's. STATUS_OK or STATUS_USAGE, after a sentence.
 */
[[nodiscard]] int mqtt_args_read(struct mqtt_args *a, int argc, char **argv, command_take *take, void *arg);

/* For options of the commands: a number in a range; a filter to subscribe to; one more in a list. STATUS_OK or STATUS_USAGE. */
[[nodiscard]] int mqtt_args_number(const struct command *c, const char *option, const char *value, uint64_t min,
				   uint64_t max, uint64_t *ret);
[[nodiscard]] int mqtt_args_filter(const struct command *c, const char *what, const char *value);
[[nodiscard]] int mqtt_args_add(const char ***list, size_t *n, const char *value);

/* The words behind `Exit status:` in the help of both; MORE: of one alone. */
#define MQTT_ARGS_STATUS(MORE) \
	"0 all went well, 1 it could not connect or something failed, 2 the command line is wrong, or MQTT was violated, 7 " \
	"the connection was lost" MORE \
	"; else the code by which the broker refused: 1 to 5 (MQTT 3), 128 and more (MQTT 5)."
