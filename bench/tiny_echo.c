/* The smallest epoll echo server that is still correct: one loop, one read into 64 KiB, one write.
 *
 * Edge-triggered and registered once for both directions: no epoll_ctl per message. A read that fills less than the
 * buffer has drained the socket, so the loop need not ask again for an EAGAIN; unless the event said that the peer has
 * ended, because the end is behind the bytes and makes no second event. What the peer does not take at once is kept, and
 * nothing more is read from that peer until it is gone: that is all the backpressure there is.
 */
#define _GNU_SOURCE
#include "tiny.h"

#include <sys/epoll.h>

struct client {
	int fd;
	size_t kept; /* bytes that wait for room, at `rest` */
	char *rest;
};

static char buf[READ_SIZE];

static void end(struct client *c)
{
	close(c->fd);
	free(c->rest);
	free(c);
}

/* Returns false when the client is gone. Keeps what the socket does not take. */
static bool give(struct client *c, const char *p, size_t n)
{
	ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL);

	if (w < 0 && errno != EAGAIN)
		return false;
	if (w < 0)
		w = 0;
	c->kept = n - (size_t)w;
	if (c->kept == 0)
		return true;
	if (!c->rest && !(c->rest = malloc(READ_SIZE)))
		fail("malloc");
	memmove(c->rest, p + w, c->kept);
	return true;
}

static void serve(struct client *c, bool ended)
{
	ssize_t n;

	if (c->kept && !give(c, c->rest, c->kept))
		return end(c);
	while (c->kept == 0) {
		n = recv(c->fd, buf, sizeof buf, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0 || !give(c, buf, (size_t)n))
			return end(c);
		if ((size_t)n < sizeof buf && !ended)
			return;
	}
}

static void accept_all(int ep, int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct client *c;

		if (fd < 0)
			return;
		c = calloc(1, sizeof *c);
		if (!c)
			fail("calloc");
		c->fd = fd;
		no_delay(fd);
		struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c };
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	}
}

int main(void)
{
	int listener = open_and_announce("echo", SOCK_STREAM | SOCK_NONBLOCK);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
	struct epoll_event ready[256];

	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(ep, ready, 256, -1);

		for (int i = 0; i < n; i++) {
			if (ready[i].data.ptr)
				serve(ready[i].data.ptr, ready[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
			else
				accept_all(ep, listener);
		}
	}
}
