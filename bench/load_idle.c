/* idle: connections that are opened in bursts, say one thing, and stay. tls: the same over TLS, one after the other.
 *
 * A burst tests the listener's backlog and how fast the server accepts: if the backlog overflows the kernel drops the
 * SYN, and the client tries again a second later. So a connect that takes 900 ms or more is one that was dropped, and
 * the kernel's own count of retransmissions says the same. The mode prints what it saw, then holds everything open until
 * a line on stdin (or its end) tells it to leave: that is when the caller looks at the server's memory.
 */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BURST = 200 };
static const uint64_t DROPPED_NS = 900 * 1000000ull;

struct seen {
	unsigned open, slow, retransmitted;
	uint64_t slowest;
};

static bool was_retransmitted(int fd)
{
	struct tcp_info info = {};
	socklen_t n = sizeof info;

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 && info.tcpi_total_retrans > 0;
}

static void note(struct seen *s, int fd, uint64_t took)
{
	finish_dial(fd);
	s->open++;
	s->slow += took >= DROPPED_NS;
	s->retransmitted += was_retransmitted(fd);
	if (took > s->slowest)
		s->slowest = took;
}

/* Starts `n` connections at once and waits for all of them. */
static void burst(const struct options *o, int *fds, unsigned n, struct seen *s)
{
	struct pollfd p[BURST];
	uint64_t began[BURST];
	unsigned waiting = n;

	for (unsigned i = 0; i < n; i++) {
		began[i] = now_ns();
		fds[i] = dial(o, s->open + i);
		p[i] = (struct pollfd){ .fd = fds[i], .events = POLLOUT };
	}
	while (waiting) {
		if (poll(p, n, 20000) <= 0)
			die("%u connections of a burst were not accepted within 20 s", waiting);
		for (unsigned i = 0; i < n; i++) {
			if (p[i].fd < 0 || !p[i].revents)
				continue;
			note(s, fds[i], now_ns() - began[i]);
			p[i].fd = -1;
			waiting--;
		}
	}
	for (unsigned i = 0; i < n; i++)
		echo_once(fds[i], i, o->size);
}

void load_idle(const struct options *o)
{
	int *fds = calloc(o->conns, sizeof *fds);
	struct seen s = {};

	if (!fds)
		die("out of memory");
	load_ready(o);
	while (s.open < o->conns) {
		unsigned left = o->conns - s.open;

		burst(o, fds + s.open, left < BURST ? left : BURST, &s);
	}
	printf("{\"connections\": %u, \"slowest_ms\": %.2f, \"over_900_ms\": %u, \"retransmitted\": %u}\n", s.open,
	       (double)s.slowest / 1e6, s.slow, s.retransmitted);
	fflush(stdout);
	load_wait(o);
}

static _Noreturn void die_tls(const char *what)
{
	char text[160];

	ERR_error_string_n(ERR_get_error(), text, sizeof text);
	die("%s: %s", what, text);
}

static void tls_echo_once(SSL *ssl, size_t n)
{
	char buf[16384];

	if (n > sizeof buf || SSL_write(ssl, pattern(0), (int)n) != (int)n)
		die_tls("TLS write");
	for (size_t got = 0; got < n;) {
		int r = SSL_read(ssl, buf, (int)(n - got));

		if (r <= 0)
			die_tls("TLS read");
		if (memcmp(buf, pattern(got), (size_t)r) != 0)
			die("wrong bytes over TLS");
		got += (size_t)r;
	}
}

/* One at a time and blocking, with a time limit: here only what stays behind at the server counts. */
static SSL *tls_dial(const struct options *o, SSL_CTX *ctx)
{
	struct timeval limit = { .tv_sec = 5 };
	SSL *ssl = SSL_new(ctx);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!ssl || fd < 0)
		die("out of memory or descriptors");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (connect(fd, (const struct sockaddr *)&o->to, sizeof o->to) < 0)
		die_errno("connect");
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) != 1)
		die_tls("TLS handshake");
	return ssl;
}

void load_tls(const struct options *o)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	uint64_t begin;

	if (!ctx)
		die("out of memory");
	/* The certificate is the server's own `auto` one. Whether it is trusted is a matter for the tests. */
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	load_ready(o);
	begin = now_ns();
	for (unsigned i = 0; i < o->conns; i++)
		tls_echo_once(tls_dial(o, ctx), o->size);
	printf("{\"connections\": %u, \"seconds\": %.3f}\n", o->conns, (double)(now_ns() - begin) / 1e9);
	fflush(stdout);
	load_wait(o);
}
