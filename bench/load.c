/* The load generator's command line and what its modes share. See load.h. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const struct mode {
	const char *name, *help;
	void (*run)(const struct options *);
	struct options defaults;
} modes[] = {
	{ "pipeline",
	  "messages in a closed loop over many connections",
	  load_pipeline,
	  { .conns = 64, .flight = 16, .size = 64 } },
	{ "bulk",
	  "big writes and their echo on one connection",
	  load_pipeline,
	  { .conns = 1, .flight = 2, .size = 1 << 20 } },
	{ "pingpong",
	  "one message at a time on one connection",
	  load_pingpong,
	  { .conns = 1, .size = 64, .count = 100000 } },
	{ "connect", "connect, one echo, close", load_connect, { .conns = 16, .size = 64 } },
	{ "idle",
	  "connections in bursts of 200, one echo each, then silence",
	  load_idle,
	  { .conns = 10000, .size = 64 } },
	{ "crowd",
	  "more clients than the server has descriptors",
	  load_crowd,
	  { .conns = 200, .size = 64, .count = 2000, .release = 10 } },
	{ "tls", "TLS connections, one echo each, then silence", load_tls, { .conns = 500, .size = 64 } },
	{ "chat",
	  "one sender, many receivers, nothing may be lost",
	  load_chat,
	  { .conns = 500, .flight = 16, .size = 64 } },
	{ "udp", "datagrams under way at once", load_udp, { .conns = 1, .flight = 64, .size = 64 } },
	{ "mqtt",
	  "publishers and subscribers of a broker, nothing may be lost",
	  load_mqtt,
	  { .conns = 1, .pubs = 1, .subs = 1, .topics = 1, .flight = 500, .size = 16 } },
	{ "mqtt-pingpong",
	  "one message at a time, there and back, beside such a stream",
	  load_mqtt_pingpong,
	  { .conns = 1, .pubs = 1, .subs = 1, .topics = 1, .flight = 500, .size = 16, .count = 100000 } },
	{ "mqtt-connect", "CONNECT, CONNACK, DISCONNECT in bursts", load_mqtt_connect, { .conns = 200, .size = 16 } },
	{ "mqtt-idle",
	  "a subscription for each, in bursts, then silence",
	  load_mqtt_idle,
	  { .conns = 10000, .flight = 200, .size = 16 } },
	{ "mqtt-reconnect",
	  "kept sessions that lose their connections and all come back at once",
	  load_mqtt_reconnect,
	  { .conns = 10000, .flight = 200, .size = 16 } },
};

static char bytes[PATTERN_PERIOD + PATTERN_ROOM];

void die(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	printf("{\"error\": \"%s\"}\n", text);
	exit(1);
}

void die_errno(const char *what)
{
	die("%s: %s", what, strerror(errno));
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void load_wait(const struct options *o)
{
	if (!o->sync)
		return;
	for (int c = getchar(); c != EOF && c != '\n';)
		c = getchar();
}

void load_ready(const struct options *o)
{
	if (o->sync) {
		printf("{\"ready\": true}\n");
		fflush(stdout);
	}
	load_wait(o);
}

/* A bind that leaves the choice of the port to connect, which knows the other end and so has more ports to choose from. */
static void bind_source(int fd, const struct options *o, unsigned n)
{
	static unsigned start;
	struct sockaddr_in from = { .sin_family = AF_INET };

	if (o->one_source)
		return;
	/* Where this run starts differs from the last run's, whose closed connections still hold their ports. */
	if (!start)
		start = 1 + (unsigned)getpid() % 200;
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (start + n / 16384) % 250);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){ 1 }, sizeof(int));
	if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
		die_errno("bind");
}

int dial(const struct options *o, unsigned n)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die_errno("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	bind_source(fd, o, n);
	if (connect(fd, (const struct sockaddr *)&o->to, sizeof o->to) < 0 && errno != EINPROGRESS)
		die_errno("connect");
	return fd;
}

static void wait_for(int fd, short what)
{
	struct pollfd p = { .fd = fd, .events = what };

	if (poll(&p, 1, 5000) != 1)
		die("no %s within five seconds", what == POLLIN ? "answer" : "room to write");
}

void finish_dial(int fd)
{
	int error = 0;
	socklen_t n = sizeof error;

	wait_for(fd, POLLOUT);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 || error)
		die("connect: %s", strerror(error));
}

int dial_wait(const struct options *o, unsigned n)
{
	int fd = dial(o, n);

	finish_dial(fd);
	return fd;
}

const char *pattern(uint64_t at)
{
	return bytes + at % PATTERN_PERIOD;
}

/* xorshift: any bytes will do as long as they are the same each time and not alike. */
static void make_pattern(void)
{
	uint32_t x = 2463534242;

	for (size_t i = 0; i < sizeof bytes; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		bytes[i] = i < PATTERN_PERIOD ? (char)x : bytes[i - PATTERN_PERIOD];
	}
}

void echo_once(int fd, uint64_t at, size_t n)
{
	char buf[16384];

	wait_for(fd, POLLOUT);
	if (n > sizeof buf || send(fd, pattern(at), n, MSG_NOSIGNAL) != (ssize_t)n)
		die_errno("first message");
	for (size_t got = 0; got < n;) {
		ssize_t r;

		wait_for(fd, POLLIN);
		r = recv(fd, buf, n - got, 0);
		if (r <= 0)
			die("the server closed at the first message");
		if (memcmp(buf, pattern(at + got), (size_t)r) != 0)
			die("wrong bytes in the first echo");
		got += (size_t)r;
	}
}

static void usage(void)
{
	printf("usage: load MODE HOST:PORT [options]\n\n");
	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
		printf("  %-14s %s\n", modes[i].name, modes[i].help);
	printf("\n  --connections N  --flight N  --size BYTES  --seconds S  --count N  --release N\n"
	       "  --one-source     leave from 127.0.0.1 only, not from 127.0.0.x\n"
	       "  --sync           say {\"ready\": true}, wait for a line on stdin, then run\n"
	       "mqtt:\n"
	       "  --publishers N  --subscribers N  --topics N (of each publisher)  --qos 0|1|2\n"
	       "  --window N       messages published and not yet with all who hear them, in all; as --flight\n"
	       "  --pairs          the n-th subscriber hears the n-th publisher alone\n"
	       "  --turns          publishers take turns: one publishes all that the window allows, then the next\n"
	       "  --kept           subscribers do not ask for a clean session\n"
	       "  --lossy          count what is lost, doubled or out of order: else it is an error\n"
	       "  --v5             MQTT 5.0, not 3.1.1\n"
	       "  --user NAME  --password TEXT  --users N (NAME0, NAME1, ...)\n\n"
	       "One line of JSON is the result. HOST is an IPv4 address.\n");
}

static void parse_address(const char *text, struct sockaddr_in *ret)
{
	char host[64];
	const char *colon = strrchr(text, ':');

	if (!colon || (size_t)(colon - text) >= sizeof host)
		die("not HOST:PORT: %s", text);
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	*ret = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10)) };
	if (inet_pton(AF_INET, host, &ret->sin_addr) != 1)
		die("not an IPv4 address: %s", host);
}

/* What an option's text becomes, and where. */
static const struct setting {
	const char *name;
	enum { NUMBER, BYTES, SECONDS, TEXT, FLAG } kind;
	size_t at;
} settings[] = {
	{ "connections", NUMBER, offsetof(struct options, conns) },
	{ "flight", NUMBER, offsetof(struct options, flight) },
	{ "window", NUMBER, offsetof(struct options, flight) },
	{ "size", BYTES, offsetof(struct options, size) },
	{ "seconds", SECONDS, offsetof(struct options, seconds) },
	{ "count", NUMBER, offsetof(struct options, count) },
	{ "release", NUMBER, offsetof(struct options, release) },
	{ "publishers", NUMBER, offsetof(struct options, pubs) },
	{ "subscribers", NUMBER, offsetof(struct options, subs) },
	{ "topics", NUMBER, offsetof(struct options, topics) },
	{ "qos", NUMBER, offsetof(struct options, qos) },
	{ "user", TEXT, offsetof(struct options, user) },
	{ "password", TEXT, offsetof(struct options, password) },
	{ "users", NUMBER, offsetof(struct options, users) },
	{ "pairs", FLAG, offsetof(struct options, pairs) },
	{ "turns", FLAG, offsetof(struct options, turns) },
	{ "kept", FLAG, offsetof(struct options, kept) },
	{ "lossy", FLAG, offsetof(struct options, lossy) },
	{ "v5", FLAG, offsetof(struct options, v5) },
	{ "sync", FLAG, offsetof(struct options, sync) },
	{ "one-source", FLAG, offsetof(struct options, one_source) },
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static void set(struct options *o, const struct setting *s, const char *text)
{
	void *to = (char *)o + s->at;

	switch (s->kind) {
	case NUMBER:
		*(unsigned *)to = (unsigned)strtoul(text, NULL, 10);
		break;
	case BYTES:
		*(size_t *)to = strtoul(text, NULL, 10);
		break;
	case SECONDS:
		*(double *)to = strtod(text, NULL);
		break;
	case TEXT:
		*(const char **)to = text;
		break;
	case FLAG:
		*(bool *)to = true;
		break;
	}
}

static void parse_options(int argc, char **argv, struct options *o)
{
	struct option table[SETTINGS + 1] = {};
	int which;

	for (int i = 0; i < SETTINGS; i++)
		table[i] = (struct option){ .name = settings[i].name,
					    .has_arg = settings[i].kind == FLAG ? no_argument : required_argument };
	while ((which = -1, getopt_long(argc, argv, "", table, &which)) != -1) {
		if (which < 0)
			exit(2);
		set(o, &settings[which], optarg);
	}
	if (o->conns == 0 || o->size == 0 || o->size > PATTERN_ROOM)
		die("connections or size out of range");
}

int main(int argc, char **argv)
{
	struct rlimit l;

	if (argc < 3) {
		usage();
		return 2;
	}
	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	make_pattern();
	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		if (strcmp(argv[1], modes[i].name) == 0) {
			struct options o = modes[i].defaults;

			o.seconds = 2;
			parse_address(argv[2], &o.to);
			parse_options(argc - 2, argv + 2, &o);
			modes[i].run(&o);
			return 0;
		}
	}
	usage();
	return 2;
}
