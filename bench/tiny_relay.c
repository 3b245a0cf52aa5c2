/* The smallest TCP relay: `tiny_relay PORT` sends what clients say to 127.0.0.1:PORT and what comes back to them.
 *
 * Two descriptors per conversation, each an `end` that knows the other. Edge-triggered and registered once; a read that
 * fills less than the buffer has drained its socket, unless its peer has ended (the end makes no second event). What the
 * far side does not take at once is kept at the near end, which is then not read until the far side has room. An end of
 * input is handed on by a half-close; the conversation is over when both sides have ended.
 */
#define _GNU_SOURCE
#include "tiny.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>

struct end {
	int fd;
	bool eof; /* read to its end, and the far side told so */
	struct end *far;
	size_t kept; /* read here, waiting for room at the far side, at `rest` */
	char *rest;
	struct end *next_dead;
};

static char buf[READ_SIZE];
static struct end *dead; /* freed after the turn: the events of a turn may name both ends */

static void finish(struct end *e)
{
	if (e->fd < 0)
		return;
	close(e->fd);
	close(e->far->fd);
	e->fd = e->far->fd = -1;
	e->next_dead = dead;
	dead = e;
}

static void bury(void)
{
	for (struct end *e; (e = dead);) {
		dead = e->next_dead;
		free(e->far->rest);
		free(e->far);
		free(e->rest);
		free(e);
	}
}

/* Returns false when the far side is gone. */
static bool give(struct end *e, const char *p, size_t n)
{
	ssize_t w = send(e->far->fd, p, n, MSG_NOSIGNAL);

	if (w < 0 && errno != EAGAIN)
		return false;
	if (w < 0)
		w = 0;
	e->kept = n - (size_t)w;
	if (e->kept == 0)
		return true;
	if (!e->rest && !(e->rest = malloc(READ_SIZE)))
		fail("malloc");
	memmove(e->rest, p + w, e->kept);
	return true;
}

/* Moves bytes from this end to the far one until one of them has no more to do; `ended`: read until EAGAIN or the end. */
static void move(struct end *e, bool ended)
{
	ssize_t n;

	if (e->fd < 0 || e->eof)
		return;
	if (e->kept && !give(e, e->rest, e->kept))
		return finish(e);
	while (e->kept == 0) {
		n = recv(e->fd, buf, sizeof buf, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 || (n > 0 && !give(e, buf, (size_t)n)))
			return finish(e);
		if (n == 0) {
			e->eof = true;
			shutdown(e->far->fd, SHUT_WR);
			if (e->far->eof)
				finish(e);
			return;
		}
		if ((size_t)n < sizeof buf && !ended)
			return;
	}
}

static struct end *watch(int ep, int fd)
{
	struct end *e = calloc(1, sizeof *e);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = e };

	if (!e)
		fail("calloc");
	e->fd = fd;
	no_delay(fd);
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	return e;
}

/* The connect blocks: to a loopback port it takes microseconds. */
static void accept_all(int ep, int listener, const struct sockaddr_in *to)
{
	for (;;) {
		int near = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		int far;
		struct end *a, *b;

		if (near < 0)
			return;
		far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (far < 0 || connect(far, (const struct sockaddr *)to, sizeof *to) < 0) {
			close(near);
			if (far >= 0)
				close(far);
			continue;
		}
		ioctl(far, FIONBIO, &(int){ 1 });
		a = watch(ep, near);
		b = watch(ep, far);
		a->far = b;
		b->far = a;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
	struct epoll_event ready[256];
	int listener;

	if (argc != 2) {
		fprintf(stderr, "usage: tiny_relay PORT\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
	listener = open_and_announce("relay", SOCK_STREAM | SOCK_NONBLOCK);
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(ep, ready, 256, -1);

		for (int i = 0; i < n; i++) {
			struct end *x = ready[i].data.ptr;

			if (!x) {
				accept_all(ep, listener, &to);
				continue;
			}
			/* Room here is what the far end waits for. */
			if (ready[i].events & EPOLLOUT && x->fd >= 0 && x->far->kept)
				move(x->far, true);
			move(x, ready[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
		}
		bury();
	}
}
