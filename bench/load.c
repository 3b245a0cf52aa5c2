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
		printf("  %-10s %s\n", modes[i].name, modes[i].help);
	printf("\n  --connections N  --flight N  --size BYTES  --seconds S  --count N  --release N\n"
	       "  --one-source     leave from 127.0.0.1 only, not from 127.0.0.x\n"
	       "  --sync           say {\"ready\": true}, wait for a line on stdin, then run\n\n"
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

static void parse_options(int argc, char **argv, struct options *o)
{
	static const struct option table[] = {
		{ "connections", required_argument, NULL, 'c' },
		{ "flight", required_argument, NULL, 'f' },
		{ "size", required_argument, NULL, 's' },
		{ "seconds", required_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'n' },
		{ "release", required_argument, NULL, 'r' },
		{ "sync", no_argument, NULL, 'y' },
		{ "one-source", no_argument, NULL, 'o' },
		{},
	};

	for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
		unsigned n = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;

		switch (c) {
		case 'c':
			o->conns = n;
			break;
		case 'f':
			o->flight = n;
			break;
		case 's':
			o->size = n;
			break;
		case 't':
			o->seconds = strtod(optarg, NULL);
			break;
		case 'n':
			o->count = n;
			break;
		case 'r':
			o->release = n;
			break;
		case 'y':
			o->sync = true;
			break;
		case 'o':
			o->one_source = true;
			break;
		default:
			exit(2);
		}
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
