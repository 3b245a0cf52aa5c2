/* The smallest chat room: one loop; every line that a client sends is written to all the others, socket by socket.
 *
 * `tiny_chat` writes each line by itself, as such programs do. `tiny_chat --whole` writes all the complete lines of one
 * read at once to each socket, which costs a sixteenth of the calls when lines come in sixteens: the harder limit, and
 * the one to look at when the first is beaten easily. A client that has no room is dropped: this is a limit, not a server.
 */
#define _GNU_SOURCE
#include "tiny.h"

#include <sys/epoll.h>

enum { ROOM = 4096 };

struct client {
	int fd;
	size_t seat; /* index in room[] */
	size_t held; /* bytes of an unfinished line, in `tail` */
	char tail[1024];
};

static struct client *room[ROOM];
static size_t seats;
static bool whole;

/* The last one takes the empty seat. */
static void leave(struct client *c)
{
	room[c->seat] = room[--seats];
	room[c->seat]->seat = c->seat;
	close(c->fd);
	free(c);
}

static void tell_others(const struct client *from, const char *p, size_t n)
{
	for (size_t i = 0; i < seats; i++) {
		/* A short write cuts a line in two: shut down, and the loop will see the end of that client. */
		if (room[i] != from && send(room[i]->fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
			shutdown(room[i]->fd, SHUT_RDWR);
	}
}

static void serve(struct client *c)
{
	static char buf[READ_SIZE];
	char *p = buf, *nl, *stop;
	ssize_t n;

	memcpy(buf, c->tail, c->held);
	n = recv(c->fd, buf + c->held, sizeof buf - c->held, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0)
		return leave(c);
	stop = buf + c->held + n;
	while ((nl = whole ? memrchr(p, '\n', (size_t)(stop - p)) : memchr(p, '\n', (size_t)(stop - p)))) {
		tell_others(c, p, (size_t)(nl + 1 - p));
		p = nl + 1;
	}
	c->held = (size_t)(stop - p);
	if (c->held > sizeof c->tail)
		return leave(c);
	memcpy(c->tail, p, c->held);
}

static void accept_all(int ep, int listener)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct client *c = NULL;

		if (fd < 0)
			return;
		if (seats == ROOM || !(c = calloc(1, sizeof *c))) {
			close(fd);
			continue;
		}
		c->fd = fd;
		c->seat = seats;
		room[seats++] = c;
		no_delay(fd);
		struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = c };
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
	}
}

int main(int argc, char **argv)
{
	int listener = open_and_announce("chat", SOCK_STREAM | SOCK_NONBLOCK);
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
	struct epoll_event ready[256];

	whole = argc > 1 && strcmp(argv[1], "--whole") == 0;
	epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(ep, ready, 256, -1);

		for (int i = 0; i < n; i++) {
			if (ready[i].data.ptr)
				serve(ready[i].data.ptr);
			else
				accept_all(ep, listener);
		}
	}
}
