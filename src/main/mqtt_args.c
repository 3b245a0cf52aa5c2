/* mqtt_args.c - see mqtt_args.h. The sentences are mosquitto's where it has one. */
#include "main/mqtt_args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/utf8.h"
#include "drive/client.h"
#include "drive/files.h"
#include "main/text.h"
#include "store/topic.h"

enum { PEM_MAX = 1 << 20, USERS_MAX = 1 << 20, ID_MAX = 65535, PORT_PLAIN = 1883, PORT_TLS = 8883 };

/* ---- what the setup can call ---- */

static void say(const char *text)
{
	fprintf(stderr, "%s\n", text);
}

static uint64_t wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * NSEC_PER_SEC + (uint64_t)t.tv_nsec;
}

static int get_random(void *p, size_t n)
{
	return getrandom(p, n, 0) == (ssize_t)n ? 0 : -EIO;
}

void mqtt_args_init(struct mqtt_args *a, const struct command *command)
{
	*a = (struct mqtt_args){ .command = command, .port = -1 };
	a->setup.say = say;
	a->setup.wall = wall;
	a->setup.random = get_random;
	a->setup.connect.version = MQTT_311;
	a->setup.connect.clean = true;
	a->setup.connect.keep_alive = 60;
	for (int i = 0; i < MQA_PACKETS; i++) {
		mqtt_props_init(&a->props[i]);
		buf_init(&a->users[i], USERS_MAX);
	}
	buf_init(&a->ca, PEM_MAX);
	buf_init(&a->cert, PEM_MAX);
	buf_init(&a->key, PEM_MAX);
	buf_init(&a->id, ID_MAX);
	buf_init(&a->url, ID_MAX);
}

void mqtt_args_done(struct mqtt_args *a)
{
	for (int i = 0; i < MQA_PACKETS; i++)
		buf_done(&a->users[i]);
	buf_done(&a->ca);
	buf_done(&a->cert);
	buf_done(&a->key);
	buf_done(&a->id);
	buf_done(&a->url);
	mem_free(a->topics);
}

/* ---- values ---- */

int mqtt_args_number(const struct command *c, const char *option, const char *value, uint64_t min, uint64_t max,
		     uint64_t *ret)
{
	uint64_t v;

	if (str_to_u64(value, &v) < 0 || v < min || v > max)
		return command_misused(c, "Invalid %s given: %s, it must be between %llu and %llu inclusive", option,
				       value, (unsigned long long)min, (unsigned long long)max);
	*ret = v;
	return STATUS_OK;
}

int mqtt_args_add(const char ***list, size_t *n, const char *value)
{
	const char **grown = mem_realloc(*list, (*n + 1) * sizeof(*grown));

	if (!grown) {
		text_error("%s", strerror(ENOMEM));
		return STATUS_FAILED;
	}
	grown[(*n)++] = value;
	*list = grown;
	return STATUS_OK;
}

int mqtt_args_filter(const struct command *c, const char *what, const char *value)
{
	struct span text = span_str(value), group, filter;

	if (!utf8_is_text(text))
		return command_misused(c, "Malformed UTF-8 in %s topic", what);
	if (topic_split_share(text, &group, &filter) < 0 || topic_check_filter(filter, TOPIC_LEVELS_MAX) < 0)
		return command_misused(c, "Invalid %s topic '%s', are all '+' and '#' wildcards correct?", what, value);
	return STATUS_OK;
}

static int check_name(const struct mqtt_args *a, const char *what, const char *value)
{
	if (!utf8_is_text(span_str(value)))
		return command_misused(a->command, "Malformed UTF-8 in %s topic", what);
	if (topic_check_name(span_str(value), TOPIC_LEVELS_MAX) < 0)
		return command_misused(a->command, "Invalid %s topic '%s', does it contain '+' or '#'?", what, value);
	return STATUS_OK;
}

/* The commands differ in what a topic may be, and how many there are: each looks at a->topics itself. */
static int take_topic(struct mqtt_args *a, const char *value)
{
	return mqtt_args_add(&a->topics, &a->topics_n, value);
}

static int take_version(struct mqtt_args *a, const char *value)
{
	static const struct {
		const char *word;
		uint8_t version;
	} words[] = { { "31", MQTT_31 }, { "311", MQTT_311 }, { "5", MQTT_5 } };
	const char *v = strncmp(value, "mqttv", 5) == 0 ? value + 5 : value;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(v, words[i].word) != 0)
			continue;
		a->setup.connect.version = words[i].version;
		return STATUS_OK;
	}
	return command_misused(a->command, "Invalid protocol version %s, it is 5, 311 or 31", value);
}

static int take_session(struct mqtt_args *a, const char *value)
{
	uint64_t v = UINT32_MAX;
	int status = STATUS_OK;

	if (strcmp(value, "-1") != 0 && strcmp(value, "∞") != 0)
		status = mqtt_args_number(a->command, "session expiry interval", value, 0, UINT32_MAX, &v);
	a->session_expiry = (uint32_t)v;
	a->expires = true;
	return status;
}

/* ---- properties ---- */

static const struct {
	const char *word;
	unsigned where;
} packets[MQA_PACKETS] = {
	[MQA_CONNECT] = { "connect", MQTT_CONNECT },          [MQA_PUBLISH] = { "publish", MQTT_PUBLISH },
	[MQA_SUBSCRIBE] = { "subscribe", MQTT_SUBSCRIBE },    [MQA_UNSUBSCRIBE] = { "unsubscribe", MQTT_UNSUBSCRIBE },
	[MQA_DISCONNECT] = { "disconnect", MQTT_DISCONNECT }, [MQA_WILL] = { "will", MQTT_WILL },
};

static bool same_word(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if (str_lower(*a) != str_lower(*b))
			return false;
	return *a == *b;
}

static uint32_t most_of(const struct mqtt_prop_kind *k)
{
	switch (k->type) {
	case MQTT_T_BOOL:
		return 1;
	case MQTT_T_U16:
		return UINT16_MAX;
	case MQTT_T_VARINT:
		return 268435455;
	default:
		return UINT32_MAX;
	}
}

static int set_property(struct mqtt_args *a, enum mqtt_args_packet packet, const struct mqtt_prop_kind *k,
			const char *value)
{
	enum mqtt_prop which = (enum mqtt_prop)(k - mqtt_prop_kinds);
	bool text = k->type == MQTT_T_TEXT || k->type == MQTT_T_TOPIC || k->type == MQTT_T_BINARY;
	uint64_t v;

	if (a->props[packet].has & MQTT_HAS(which))
		return command_misused(a->command, "Duplicate property %s for %s", k->name, packets[packet].word);
	if (text) {
		if (strlen(value) > UINT16_MAX || (k->type != MQTT_T_BINARY && !utf8_is_text(span_str(value))))
			return command_misused(a->command, "Malformed UTF-8 in property %s", k->name);
		if (k->type == MQTT_T_TOPIC && topic_check_name(span_str(value), TOPIC_LEVELS_MAX) < 0)
			return check_name(a, k->name, value);
		mqtt_props_set_span(&a->props[packet], which, span_str(value));
		return STATUS_OK;
	}
	if (str_to_u64(value, &v) < 0 || v > most_of(k) || (v == 0 && k->zero))
		return command_misused(a->command, "Property value (%s) out of range for property %s", value, k->name);
	mqtt_props_set(&a->props[packet], which, (uint32_t)v);
	return STATUS_OK;
}

static int add_user(struct mqtt_args *a, enum mqtt_args_packet packet, const char *name, const char *value)
{
	struct mqtt_user u = { span_str(name), span_str(value) };
	size_t room = u.name.n + u.value.n + 8;
	uint8_t *p;
	struct mqtt_writer w;

	if (!utf8_is_text(u.name) || !utf8_is_text(u.value) || u.name.n > UINT16_MAX || u.value.n > UINT16_MAX)
		return command_misused(a->command, "Malformed UTF-8 in property user-property");
	p = mem_alloc(room);
	if (p) {
		mqtt_writer_init(&w, MQTT_5, p, room);
		(void)mqtt_put_user(&w, &u);
		buf_add(&a->users[packet], p, w.n);
	}
	if (!p || a->users[packet].err) {
		mem_free(p);
		text_error("%s", strerror(ENOMEM));
		return STATUS_FAILED;
	}
	mem_free(p);
	return STATUS_OK;
}

static const char *next_word(struct args *args)
{
	return args->at < args->argc ? args->argv[args->at++] : NULL;
}

/* `word` is the packet; the name and the value follow. */
static int take_property(struct mqtt_args *a, const char *word, struct args *args)
{
	const char *name = next_word(args), *value = next_word(args), *second;
	const struct mqtt_prop_kind *k = name ? mqtt_prop_named(name) : NULL;
	unsigned packet = 0;

	a->setup.connect.version = MQTT_5;
	while (packet < MQA_PACKETS && !same_word(packets[packet].word, word))
		packet++;
	if (packet == MQA_PACKETS)
		return command_misused(a->command, "Invalid packet %s given in --property", word);
	if (!value)
		return command_misused(a->command, "--property argument given but not enough arguments specified");
	if (!k)
		return command_misused(a->command, "Invalid property name %s given in --property", name);
	if (!(k->where & 1u << packets[packet].where))
		return command_misused(a->command, "%s property not allowed for %s in --property", name, word);
	if (k->type != MQTT_T_PAIR)
		return set_property(a, packet, k, value);
	second = next_word(args);
	if (!second)
		return command_misused(a->command, "--property argument given but not enough arguments specified");
	return add_user(a, packet, value, second);
}

/* ---- where to ---- */

static bool is_address(const char *text)
{
	size_t n = strcspn(text, ":");

	for (size_t i = 0; text[n] && i < ADDR_TRANSPORTS; i++)
		if (strlen(addr_kinds[i].name) == n && strncmp(addr_kinds[i].name, text, n) == 0)
			return true;
	return false;
}

static int take_url(struct mqtt_args *a, const char *url)
{
	static const struct {
		const char *start;
		bool tls, web;
	} schemes[] = { { "mqtt://", false, false },
			{ "mqtts://", true, false },
			{ "ws://", false, true },
			{ "wss://", true, true } };
	size_t i = 0;
	char *at, *topic, *host;

	while (i < 4 && strncasecmp(url, schemes[i].start, strlen(schemes[i].start)) != 0)
		i++;
	if (i == 4)
		return command_misused(a->command, "unsupported URL scheme, it is mqtt, mqtts, ws or wss");
	buf_reset(&a->url);
	buf_adds(&a->url, url + strlen(schemes[i].start));
	if (a->url.err || !strchr(buf_str(&a->url), '/'))
		return command_misused(a->command, "Invalid URL for -L argument specified - topic missing");
	at = a->url.p;
	topic = strchr(at, '/');
	*topic++ = '\0';
	host = strrchr(at, '@');
	if (host) {
		*host++ = '\0';
		a->setup.connect.user = span_str(at);
		a->setup.connect.has_user = true;
		at = strchr(at, ':');
		if (at) {
			*at++ = '\0';
			a->setup.connect.user = span_str(a->url.p);
			a->setup.connect.password = span_str(at);
			a->setup.connect.has_password = true;
		}
	} else {
		host = at;
	}
	a->tls = schemes[i].tls;
	a->web = schemes[i].web;
	a->port = schemes[i].tls ? PORT_TLS : PORT_PLAIN;
	at = strrchr(host, ':');
	if (at && !strchr(at, ']')) {
		uint64_t port;

		*at++ = '\0';
		if (str_to_u64(at, &port) < 0 || port < 1 || port > 65535)
			return command_misused(a->command, "Invalid port given: %s", at);
		a->port = (int)port;
	}
	a->host = host;
	return take_topic(a, topic);
}

/* Host, port and what is said of TLS, as the text of one of our addresses. */
static void add_address(const struct mqtt_args *a, struct buf *b)
{
	const char *host = a->host ? a->host : "localhost";
	bool tls = a->tls || a->cafile || a->port == PORT_TLS;
	bool v6 = addr_is_ipv6(host);
	int port = a->port >= 0 ? a->port : tls ? PORT_TLS : PORT_PLAIN;

	if (a->unix_path)
		buf_addf(b, "unix:%s", a->unix_path);
	else if (a->address)
		buf_adds(b, a->address);
	else
		buf_addf(b, "%s:%s%s%s:%d",
			 a->web ? tls ? "wss" : "ws"
			 : tls  ? "tls"
				: "tcp",
			 v6 ? "[" : "", host, v6 ? "]" : "", port);
}

static int find_address(struct mqtt_args *a)
{
	char text[ADDR_TEXT_MAX];
	BUF_AUTO struct buf why;
	struct buf b;

	buf_init(&why, 4096);
	buf_init_fixed(&b, text, sizeof(text));
	add_address(a, &b);
	if (b.err || addr_parse(text, &a->to, &why) < 0)
		return command_misused(a->command, "%s: %s", text, buf_str(&why));
	if (addr_is_dgram(&a->to) || !client_has_transport(a->to.transport))
		return command_misused(a->command, "%s: MQTT is not spoken over %s", text,
				       addr_kinds[a->to.transport].name);
	if (addr_is_net(&a->to) && (strcmp(a->to.host, "*") == 0 || a->to.port == 0))
		return command_misused(a->command, "%s is no place to connect to", text);
	if (addr_flags(&a->to) & ADDR_F_WEB && !*a->to.path)
		memcpy(a->to.path, "/mqtt", sizeof("/mqtt"));
	return STATUS_OK;
}

static int take_host(struct mqtt_args *a, const char *value)
{
	if (is_address(value))
		a->address = value;
	else
		a->host = value;
	return STATUS_OK;
}

static int take_word(struct mqtt_args *a, const char *word)
{
	if (is_address(word) && (a->address || a->host))
		return command_misused(a->command, "%s: the address is given already, by %s", word,
				       a->address ? a->address : a->host);
	if (!is_address(word))
		return command_misused(a->command, "%s is no option, and no address (tcp:HOST:PORT)", word);
	a->address = word;
	return STATUS_OK;
}

/* ---- options ---- */

static int take_text(struct mqtt_args *a, const char *what, const char *value, struct span *to)
{
	if (strlen(value) > UINT16_MAX || !utf8_is_text(span_str(value)))
		return command_misused(a->command, "Malformed UTF-8 in %s", what);
	*to = span_str(value);
	return STATUS_OK;
}

static int take_qos(struct mqtt_args *a, const char *what, const char *value, uint8_t *to)
{
	uint64_t v = 0;
	int status = mqtt_args_number(a->command, what, value, 0, 2, &v);

	*to = (uint8_t)v;
	return status;
}

static int take_keep_alive(struct mqtt_args *a, const char *value)
{
	uint64_t v = 0;
	int status = mqtt_args_number(a->command, "keepalive", value, 0, UINT16_MAX, &v);

	if (status == STATUS_OK && v > 0 && v < 5)
		return command_misused(a->command,
				       "Invalid keepalive given, it must be between 5 and 65535 inclusive, or 0");
	a->setup.connect.keep_alive = (uint16_t)v;
	return status;
}

static int take_port(struct mqtt_args *a, const char *value)
{
	uint64_t v = 0;
	int status = mqtt_args_number(a->command, "port", value, 1, 65535, &v);

	a->port = (int)v;
	return status;
}

static int take_will(struct mqtt_args *a, int what, const char *value)
{
	struct mqtt_connect *c = &a->setup.connect;

	switch (what) {
	case MQ_WILL_PAYLOAD:
		if (strlen(value) > UINT16_MAX)
			return command_misused(a->command, "the will's payload is larger than 65535 bytes");
		c->will_payload = span_str(value);
		return STATUS_OK;
	case MQ_WILL_QOS:
		return take_qos(a, "will QoS", value, &c->will_qos);
	case MQ_WILL_RETAIN:
		c->will_retain = true;
		return STATUS_OK;
	default:
		c->will = true;
		c->will_topic = span_str(value);
		return check_name(a, "will", value);
	}
}

static int take_login(struct mqtt_args *a, int what, const char *value)
{
	struct mqtt_connect *c = &a->setup.connect;

	switch (what) {
	case MQ_ID:
		return take_text(a, "the client id", value, &c->client_id);
	case MQ_ID_PREFIX:
		a->prefix = value;
		return STATUS_OK;
	case MQ_PASSWORD:
		c->has_password = true;
		c->password = span_str(value);
		return STATUS_OK;
	case MQ_USER:
		c->has_user = true;
		return take_text(a, "the user name", value, &c->user);
	case MQ_KEEPALIVE:
		return take_keep_alive(a, value);
	case MQ_SESSION:
		return take_session(a, value);
	case MQ_VERSION:
		return take_version(a, value);
	default:
		c->clean = false;
		return STATUS_OK;
	}
}

static int take_flag(struct mqtt_args *a, int what)
{
	switch (what) {
	case MQ_DEBUG:
		a->setup.debug = true;
		break;
	case MQ_INSECURE:
		a->setup.dial.insecure = true;
		break;
	case MQ_NO_RECONNECT:
		a->setup.once = true;
		break;
	case MQ_QUIET:
		a->setup.quiet = true;
		break;
	case MQ_OS_CERTS:
	case MQ_TLS:
		a->tls = true;
		break;
	default:
		break;
	}
	return STATUS_OK;
}

static int take_option(struct mqtt_args *a, int what, const char *value)
{
	switch (what) {
	case ARGS_WORD:
		return take_word(a, value);
	case MQ_CAFILE:
		a->cafile = value;
		return STATUS_OK;
	case MQ_CERT:
		a->certfile = value;
		return STATUS_OK;
	case MQ_KEY:
		a->keyfile = value;
		return STATUS_OK;
	case MQ_NAME:
		a->setup.dial.name = value;
		return STATUS_OK;
	case MQ_UNIX:
		a->unix_path = value;
		return STATUS_OK;
	case MQ_HOST:
		return take_host(a, value);
	case MQ_PORT:
		return take_port(a, value);
	case MQ_QOS:
		return take_qos(a, "QoS", value, &a->qos);
	case MQ_TOPIC:
		return take_topic(a, value);
	case MQ_URL:
		return take_url(a, value);
	case MQ_WILL_PAYLOAD:
	case MQ_WILL_QOS:
	case MQ_WILL_RETAIN:
	case MQ_WILL_TOPIC:
		return take_will(a, what, value);
	default:
		return value || what == MQ_NO_CLEAN ? take_login(a, what, value) : take_flag(a, what);
	}
}

/* ---- the whole ---- */

static int read_pem(const char *option, const char *path, struct buf *b)
{
	BUF_AUTO struct buf why;

	buf_init(&why, 4096);
	if (!path || files_read(path, b, &why) == 0)
		return STATUS_OK;
	text_error("--%s: %s", option, buf_str(&why));
	return STATUS_FAILED;
}

static int read_files(struct mqtt_args *a)
{
	struct dial_setup *d = &a->setup.dial;
	int status;

	if (!a->certfile != !a->keyfile)
		return command_misused(a->command, "Both --cert and --key must be provided if one of them is set");
	status = read_pem("cafile", a->cafile, &a->ca);
	if (status == STATUS_OK)
		status = read_pem("cert", a->certfile, &a->cert);
	if (status == STATUS_OK)
		status = read_pem("key", a->keyfile, &a->key);
	d->ca = buf_span(&a->ca);
	d->id = (struct tls_identity){
		.certificate = buf_span(&a->cert), .key = buf_span(&a->key), .from = a->certfile, .key_from = a->keyfile
	};
	return status;
}

static int check_session(struct mqtt_args *a)
{
	struct mqtt_connect *c = &a->setup.connect;
	bool nobody = c->client_id.n == 0 || a->prefix;

	if (c->version != MQTT_5)
		return c->clean || !nobody
			       ? STATUS_OK
			       : command_misused(a->command,
						 "You must provide a client id if you are using the -c option");
	if (!c->clean && !a->expires)
		a->session_expiry = UINT32_MAX;
	if (a->session_expiry == UINT32_MAX && nobody)
		return command_misused(a->command, "You must provide a client id if you are using an infinite session "
						   "expiry interval");
	if (a->session_expiry)
		mqtt_props_set(&a->props[MQA_CONNECT], MQTT_P_SESSION_EXPIRY, a->session_expiry);
	return STATUS_OK;
}

static int check_login(struct mqtt_args *a)
{
	struct mqtt_connect *c = &a->setup.connect;

	if (a->prefix && c->client_id.n)
		return command_misused(a->command, "-i and -I argument cannot be used together");
	if (c->has_password && !c->has_user && c->version != MQTT_5)
		return command_misused(a->command, "-P without -u: before MQTT 5 a password needs a user name");
	if (!c->will && c->will_payload.n)
		return command_misused(a->command, "Will payload given, but no will topic given");
	if (!c->will && (c->will_retain || c->will_qos))
		return command_misused(a->command, "Will options given, but no will topic given");
	if (a->prefix) {
		buf_addf(&a->id, "%s%d", a->prefix, (int)getpid());
		return take_text(a, "the client id", buf_str(&a->id), &c->client_id);
	}
	return STATUS_OK;
}

static int finish(struct mqtt_args *a)
{
	struct mqtt_setup *s = &a->setup;
	int status = check_login(a);

	if (status == STATUS_OK)
		status = check_session(a);
	if (status == STATUS_OK)
		status = find_address(a);
	if (status == STATUS_OK)
		status = read_files(a);
	for (int i = 0; i < MQA_PACKETS; i++)
		a->props[i].raw = buf_span(&a->users[i]);
	s->dial.to = &a->to;
	s->dial.subprotocol = s->connect.version == MQTT_31 ? "mqttv3.1" : "mqtt";
	s->connect.props = a->props[MQA_CONNECT];
	s->connect.will_props = a->props[MQA_WILL];
	s->disconnect = a->props[MQA_DISCONNECT];
	return status;
}

/* What the command line gives, while it is read: some of it to whose command it is. */
struct reading {
	struct mqtt_args *a;
	struct args args;
	command_take *take;
	void *arg;
};

static int take_any(void *arg, int what, const char *value)
{
	struct reading *r = arg;

	if (what == MQ_PROPERTY)
		return take_property(r->a, value, &r->args);
	return what < MQ_OWN ? take_option(r->a, what, value) : r->take(r->arg, what, value);
}

/* Options of mosquitto_pub and mosquitto_sub that are not here: the sentence is about that, and not about the nearest word. */
static void say_missing(void *arg, struct buf *why)
{
	const struct reading *r = arg;
	const char *word = r->args.argv[r->args.at - 1];
	static const char *const missing[] = { "-A",           "-S",           "-o",
					       "--capath",     "--ciphers",    "--keyform",
					       "--proxy",      "--psk",        "--psk-identity",
					       "--tls-alpn",   "--tls-engine", "--tls-engine-kpass-sha1",
					       "--tls-version" };

	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
		size_t n = strlen(missing[i]);

		if (strncmp(missing[i], word, n) != 0 || (n > 2 && word[n] && word[n] != '='))
			continue;
		buf_reset(why);
		buf_addf(why, "mosquitto has the option %s, guichet %s has not", missing[i], r->a->command->name);
		return;
	}
}

int mqtt_args_read(struct mqtt_args *a, int argc, char **argv, command_take *take, void *arg)
{
	struct reading r = { a, args_start(argc, argv, a->command->options), take, arg };
	int status = command_each_of(a->command, &r.args, take_any, say_missing, &r);

	return status == STATUS_OK ? finish(a) : status;
}
