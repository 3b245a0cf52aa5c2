/* cmd_sub.c - `guichet sub`: prints what is published, as mosquitto_sub does; client/mqtt_sub.c does the talking. */
#include <stdlib.h>

#include "base/mem.h"
#include "client/mqtt_sub.h"

#define MQTT_ARGS_TOPIC "what to subscribe to, as a/b, a/+ or a/#; may be given several times"
#include "main/mqtt_args.h"

enum {
	OPT_AS_PUBLISHED = MQ_OWN,
	OPT_COUNT,
	OPT_EXIT_AFTER,
	OPT_FILTER_OUT,
	OPT_FORMAT,
	OPT_NO_EOL,
	OPT_NO_RETAINED,
	OPT_PRETTY,
	OPT_RANDOM,
	OPT_REMOVE,
	OPT_RETAINED_ONLY,
	OPT_TIME,
	OPT_UNSUBSCRIBE,
	OPT_VERBOSE,
};

static const struct args_option options[] = {
	MQTT_ARGS_ROWS,
	[OPT_AS_PUBLISHED] = { "retain-as-published", 0, NULL,
			       "with MQTT 5: messages come with the retain flag of their publisher" },
	[OPT_COUNT] = { "count", 'C', "N", "ends after N messages; what is left of a kept session stays there" },
	[OPT_EXIT_AFTER] = { "exit-after-sub", 'E', NULL, "ends when the broker has confirmed the subscriptions" },
	[OPT_FILTER_OUT] = { "filter-out", 'T', "FILTER",
			     "does not print messages of these topics; may be given several times" },
	[OPT_FORMAT] = { "format", 'F', "FORMAT",
			 "prints messages so: %t topic, %p payload, %x %X payload in hex, %l its length, %q QoS, %r retained, %m packet "
			 "identifier; properties: %A alias, %C content type, %D correlation data, %E expiry, %F format, %P user "
			 "properties, %R response topic, %S subscription identifier; %j JSON, %J the same with a payload that is JSON, "
			 "%I ISO time, %U seconds since 1970, %% a percent sign. Behind the % may stand - (left), 0, a width and .N (at "
			 "most). @Y and the like are strftime's %Y, @N nanoseconds, @@ an @. \\n \\t \\r \\0 \\a \\e \\v \\\\ as in C" },
	[OPT_NO_EOL] = { "no-eol", 'N', NULL, "no line end behind a message" },
	[OPT_NO_RETAINED] = { "no-retained", 'R', NULL, "does not print messages that were retained before we came" },
	[OPT_PRETTY] = { "pretty", 0, NULL, "prints %j and %J over several lines" },
	[OPT_RANDOM] = { "random-filter", 0, "PERCENT", "prints only so many of the messages, as 0.1 to 100" },
	[OPT_REMOVE] = { "remove-retained", 0, NULL, "removes from the broker each retained message that comes" },
	[OPT_RETAINED_ONLY] = { "retained-only", 0, NULL,
				"prints retained messages and ends with the first other one" },
	[OPT_TIME] = { "timeout", 'W', "SECONDS", "ends so long after it was connected, with exit status 27" },
	[OPT_UNSUBSCRIBE] = { "unsubscribe", 'U', "FILTER",
			      "unsubscribes from this, in a kept session; may be given several times" },
	[OPT_VERBOSE] = { "verbose", 'v', NULL, "prints the topic, a space, and the payload" },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet sub -v -t 'home/#'", "everything below home, of the broker of this machine" },
	{ "guichet sub -h broker.example.org -t a/b -q 1 -C 1 -W 10",
	  "one message, or exit status 27 after ten seconds" },
	{ "guichet sub -t '#' -F '@Y-@m-@dT@H:@M:@S@z %t %l %p'", "a line in a form of one's own" },
	{ "guichet sub -t 'sensors/+' -V 5 -F %j | jq .payload", "JSON" },
	{ "guichet sub -c -i reader -q 2 -t jobs", "a session that the broker keeps while we are away" },
	{ "guichet sub wss:broker.example.org:443/mqtt -t a", "over WebSocket and TLS" },
	COMMAND_EXAMPLES_END,
};

struct words {
	struct mqtt_args args;
	struct mqtt_sub_setup sub;
	const char **unsubscribe, **filter_out;
};

static int take_list(const char *what, const char *value, const char ***list, size_t *n)
{
	int status = mqtt_args_filter(&sub_command, what, value);

	return status == STATUS_OK ? mqtt_args_add(list, n, value) : status;
}

static int take_chance(struct mqtt_sub_setup *s, const char *value)
{
	char *end;
	double v = strtod(value, &end);

	if (end == value || *end || !(v >= 0.1 && v <= 100))
		return command_misused(&sub_command, "--random-filter chance must be between 0.1-100.0");
	s->chance = (unsigned)(v * 100);
	return STATUS_OK;
}

static int take_format(struct mqtt_sub_setup *s, const char *value)
{
	char text[128];
	struct buf why;

	buf_init_fixed(&why, text, sizeof(text));
	s->style.format = value;
	if (mqtt_format_check(value, &why) == 0)
		return STATUS_OK;
	return command_misused(&sub_command, "-F: %s", text + (strncmp(text, "Error: ", 7) == 0 ? 7 : 0));
}

static void take_flag(struct mqtt_sub_setup *s, int what)
{
	switch (what) {
	case OPT_AS_PUBLISHED:
		s->options |= 0x08;
		break;
	case OPT_EXIT_AFTER:
		s->exit_after = true;
		break;
	case OPT_NO_EOL:
		s->style.no_eol = true;
		break;
	case OPT_NO_RETAINED:
		s->no_retain = true;
		s->options |= 0x20;
		break;
	case OPT_PRETTY:
		s->style.pretty = true;
		break;
	case OPT_REMOVE:
		s->remove_retained = true;
		break;
	case OPT_RETAINED_ONLY:
		s->retained_only = true;
		break;
	default:
		s->style.verbose = true;
		break;
	}
}

static int take(void *arg, int what, const char *value)
{
	struct words *w = arg;
	struct mqtt_sub_setup *s = &w->sub;
	uint64_t seconds = 0;
	int status;

	switch (what) {
	case OPT_COUNT:
		return mqtt_args_number(&sub_command, "message count", value, 1, UINT32_MAX, &s->count);
	case OPT_FILTER_OUT:
		return take_list("filter", value, &w->filter_out, &s->filter_out_n);
	case OPT_FORMAT:
		return take_format(s, value);
	case OPT_RANDOM:
		return take_chance(s, value);
	case OPT_TIME:
		status = mqtt_args_number(&sub_command, "timeout", value, 1, UINT32_MAX, &seconds);
		s->time = seconds * SEC;
		return status;
	case OPT_UNSUBSCRIBE:
		return take_list("unsubscribe", value, &w->unsubscribe, &s->unsubscribe_n);
	default:
		take_flag(s, what);
		return STATUS_OK;
	}
}

static int check(struct words *w)
{
	struct mqtt_sub_setup *s = &w->sub;
	struct mqtt_args *a = &w->args;
	int status = STATUS_OK;

	if (a->topics_n == 0 && s->unsubscribe_n == 0)
		return command_misused(&sub_command, "You must specify a topic to subscribe to (-t)");
	if (s->no_retain && s->retained_only)
		return command_misused(&sub_command, "Combining '-R' and '--retained-only' makes no sense");
	for (size_t i = 0; i < a->topics_n && status == STATUS_OK; i++)
		status = mqtt_args_filter(&sub_command, "subscription", a->topics[i]);
	s->topics = a->topics;
	s->topics_n = a->topics_n;
	s->unsubscribe = w->unsubscribe;
	s->filter_out = w->filter_out;
	s->qos = a->qos;
	s->subscribe_props = a->props[MQA_SUBSCRIBE];
	s->unsubscribe_props = a->props[MQA_UNSUBSCRIBE];
	return status;
}

/* So the broker does not send more than will be printed, where MQTT has a word for that. */
static void limit(struct words *w)
{
	struct mqtt_connect *c = &w->args.setup.connect;

	if (w->sub.count && w->sub.count < 20 && !(c->props.has & MQTT_HAS(MQTT_P_RECEIVE_MAX)))
		mqtt_props_set(&c->props, MQTT_P_RECEIVE_MAX, (uint32_t)w->sub.count);
}

static int run(int argc, char **argv)
{
	struct words w = { .sub = { .chance = 10000 } };
	int status;

	mqtt_args_init(&w.args, &sub_command);
	status = mqtt_args_read(&w.args, argc, argv, take, &w);
	if (status == STATUS_OK)
		status = check(&w);
	limit(&w);
	w.args.setup.stdio = true;
	if (status == STATUS_OK)
		status = mqtt_link_run(&mqtt_sub_proto, &w.args.setup, &w.sub);
	mem_free(w.unsubscribe);
	mem_free(w.filter_out);
	mqtt_args_done(&w.args);
	return status;
}

const struct command sub_command = {
	.name = "sub",
	.summary = "subscribes to topics of an MQTT broker and prints what comes",
	.synopsis = "[OPTION...] [ADDRESS] -t TOPIC...",
	.text = "Prints each message, its payload and a line end unless told otherwise. Options, output and exit statuses are those of "
		"mosquitto_sub, without those for a local address, SRV records, a file of options, "
		"proxies, PSK, and ciphers and versions of TLS; ADDRESS, and what -h takes, "
		"may also be an address of any transport (see `guichet help "
		"addresses`): tcp:HOST:PORT, tls:, unix:PATH, ws:, wss:. A connection that is lost after it was there is made "
		"again, after 1 s, 2 s and so on up to 32 s, and the subscriptions with it; no message of QoS 2 is printed twice.",
	.status = MQTT_ARGS_STATUS(", 27 the time of -W is over"),
	.options = options,
	.examples = examples,
	.run = run,
};
