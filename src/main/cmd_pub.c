/* cmd_pub.c - `guichet pub`: publishes messages, as mosquitto_pub does; client/mqtt_pub.c does the talking. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "base/utf8.h"
#include "client/mqtt_pub.h"
#include "drive/files.h"
#include "main/text.h"
#include "store/topic.h"

#define MQTT_ARGS_TOPIC "where to publish"
#include "main/mqtt_args.h"

enum {
	PAYLOAD_MAX = 268435455,
	WINDOW = 100,
	WINDOW_2 = 20, /* mosquitto loses messages of QoS 2 beyond its own limit, which it can tell in 5.0 only */
};

enum {
	OPT_FILE = MQ_OWN,
	OPT_MESSAGE,
	OPT_NULL,
	OPT_REPEAT,
	OPT_REPEAT_DELAY,
	OPT_RETAIN,
	OPT_STDIN_FILE,
	OPT_STDIN_LINE,
	OPT_WINDOW,
};

static const struct args_option options[] = {
	MQTT_ARGS_ROWS,
	[OPT_FILE] = { "file", 'f', "FILE", "publishes what is in this file" },
	[OPT_MESSAGE] = { "message", 'm', "TEXT", "publishes this" },
	[OPT_NULL] = { "null-message", 'n', NULL, "publishes an empty message; with -r it removes the retained one" },
	[OPT_REPEAT] = { "repeat", 0, "N", "publishes it N times" },
	[OPT_REPEAT_DELAY] = { "repeat-delay", 0, "SECONDS", "with --repeat: waits so long between two, as 0.5" },
	[OPT_RETAIN] = { "retain", 'r', NULL, "the broker keeps the message, for who subscribes later" },
	[OPT_STDIN_FILE] = { "stdin-file", 's', NULL, "publishes all of standard input as one message" },
	[OPT_STDIN_LINE] = { "stdin-line", 'l', NULL, "publishes each line of standard input as it comes" },
	[OPT_WINDOW] = { "max-inflight", 'M', "N",
			 "of QoS 1 and 2 so many messages wait for their confirmation at most (100, QoS 2: 20)" },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet pub -t home/kitchen/lamp -m on", "to the broker of this machine, port 1883" },
	{ "guichet pub -h broker.example.org -t a/b -q 1 -r -m 21.5", "confirmed, and kept for later" },
	{ "tail -f /var/log/syslog | guichet pub -l -q 1 -t logs/here", "a stream of lines" },
	{ "guichet pub tls:broker.example:8883 --cafile ca.pem -u ann -P x -t a -f a.jpg",
	  "an address of ours, TLS, a file" },
	{ "guichet pub -h ws:9001 -t a -m x -D publish user-property from here", "over WebSocket, MQTT 5" },
	COMMAND_EXAMPLES_END,
};

struct words {
	struct mqtt_args args;
	struct mqtt_pub pub;
	const char *message, *file;
	bool null, all;
};

static int take_delay(struct mqtt_pub *p, const char *value)
{
	char *end;
	double v = strtod(value, &end);

	if (end == value || *end || !(v >= 0) || v > 1e6)
		return command_misused(&pub_command, "--repeat-delay %s is no number of seconds", value);
	p->delay = (nsec)(v * 1e9);
	return STATUS_OK;
}

static int take(void *arg, int what, const char *value)
{
	struct words *w = arg;
	uint64_t window = 0;
	int status;

	switch (what) {
	case OPT_FILE:
		w->file = value;
		return STATUS_OK;
	case OPT_MESSAGE:
		w->message = value;
		return STATUS_OK;
	case OPT_NULL:
		w->null = true;
		return STATUS_OK;
	case OPT_REPEAT:
		return mqtt_args_number(&pub_command, "repeat", value, 1, UINT32_MAX, &w->pub.repeat);
	case OPT_REPEAT_DELAY:
		return take_delay(&w->pub, value);
	case OPT_RETAIN:
		w->pub.message.retain = true;
		return STATUS_OK;
	case OPT_STDIN_FILE:
		w->all = true;
		return STATUS_OK;
	case OPT_STDIN_LINE:
		w->pub.lines = true;
		return STATUS_OK;
	default:
		status = mqtt_args_number(&pub_command, "maximum of inflight messages", value, 1, UINT16_MAX, &window);
		w->pub.window = (unsigned)window;
		return status;
	}
}

/* ---- the message ---- */

static int read_all(struct buf *b)
{
	char piece[65536];
	ssize_t n;

	while ((n = read(STDIN_FILENO, piece, sizeof(piece))) != 0) {
		if (n < 0 && errno != EINTR) {
			text_error("cannot read standard input: %s", strerror(errno));
			return STATUS_FAILED;
		}
		if (n > 0)
			buf_add(b, piece, (size_t)n);
	}
	return STATUS_OK;
}

static int read_file(const char *path, struct buf *b)
{
	BUF_AUTO struct buf why;

	buf_init(&why, 4096);
	if (files_read(path, b, &why) == 0)
		return STATUS_OK;
	text_error("%s", buf_str(&why));
	return STATUS_FAILED;
}

static int load(struct words *w)
{
	BUF_AUTO struct buf b;
	struct span bytes;
	int status = STATUS_OK;

	buf_init(&b, PAYLOAD_MAX);
	if (w->all)
		status = read_all(&b);
	else if (w->file)
		status = read_file(w->file, &b);
	else if (w->message)
		buf_adds(&b, w->message);
	if (status != STATUS_OK || (!b.n && !b.err))
		return status;
	bytes = buf_span(&b);
	w->pub.payload = b.err ? NULL : blob_new(&bytes, 1);
	if (!w->pub.payload)
		text_error("%s", b.err == -EMSGSIZE ? "a message has at most 268435455 bytes" : strerror(ENOMEM));
	return w->pub.payload ? STATUS_OK : STATUS_FAILED;
}

static int check(struct words *w)
{
	int kinds = !!w->message + !!w->file + w->null + w->all + w->pub.lines;
	const struct mqtt_args *a = &w->args;
	struct span topic;

	if (kinds > 1)
		return command_misused(&pub_command,
				       "Only one type of message can be sent at once: -m, -f, -n, -s or -l");
	if (kinds == 0 || a->topics_n == 0)
		return command_misused(&pub_command, "Both topic and message must be supplied");
	topic = span_str(a->topics[a->topics_n - 1]);
	if (!utf8_is_text(topic) || topic_check_name(topic, TOPIC_LEVELS_MAX) < 0)
		return command_misused(&pub_command, "Invalid publish topic '%s', does it contain '+' or '#'?",
				       a->topics[a->topics_n - 1]);
	w->pub.message.topic = topic;
	w->pub.message.qos = a->qos;
	if (!w->pub.window)
		w->pub.window = a->qos == 2 ? WINDOW_2 : WINDOW;
	w->pub.message.props = a->props[MQA_PUBLISH];
	return STATUS_OK;
}

static int run(int argc, char **argv)
{
	struct words w = { .pub = { .repeat = 1 } };
	int status;

	mqtt_args_init(&w.args, &pub_command);
	status = mqtt_args_read(&w.args, argc, argv, take, &w);
	if (status == STATUS_OK)
		status = check(&w);
	if (status == STATUS_OK)
		status = load(&w);
	w.args.setup.stdio = w.pub.lines;
	if (status == STATUS_OK)
		status = mqtt_link_run(&mqtt_pub_proto, &w.args.setup, &w.pub);
	blob_unref(w.pub.payload);
	mqtt_args_done(&w.args);
	return status;
}

const struct command pub_command = {
	.name = "pub",
	.summary = "publishes messages to an MQTT broker",
	.synopsis = "[OPTION...] [ADDRESS] -t TOPIC {-m TEXT|-f FILE|-n|-s|-l}",
	.text = "Publishes one message, or one for each line of standard input, and ends when the broker has confirmed everything. "
		"Options and exit statuses are those of mosquitto_pub, without those for a local address, SRV records, a file of options, "
		"proxies, PSK, and ciphers and versions of TLS; ADDRESS, and what -h takes, "
		"may also be an address of any "
		"transport (see `guichet help addresses`): tcp:HOST:PORT, tls:, unix:PATH, ws:, wss:. A connection that is lost "
		"after it was there is made again, after 1 s, 2 s and so on up to 32 s, and what was not confirmed is sent again.",
	.status = MQTT_ARGS_STATUS(""),
	.options = options,
	.examples = examples,
	.run = run,
};
