/* record.c - see record.h. */
#include "drive/record.h"

#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/mem.h"
#include "drive/loop_priv.h"
#include "drive/sys.h"

/* A record that was larger than the room for it. */
struct rest {
	size_t n, at;
	uint8_t b[];
};

static ssize_t take_rest(struct kin *k, void *p, size_t room)
{
	struct rest *rest = k->rest;
	size_t n = rest->n - rest->at < room ? rest->n - rest->at : room;

	memcpy(p, rest->b + rest->at, n);
	rest->at += n;
	if (rest->at == rest->n) {
		mem_free(rest);
		k->rest = NULL;
	}
	return (ssize_t)n;
}

static ssize_t take_large(struct conn *c, size_t n, void *p, size_t room)
{
	struct kin *k = conn_kin(c);
	struct rest *rest = k ? mem_alloc(sizeof(*rest) + n) : NULL;
	ssize_t got;

	if (!rest) {
		errno = ENOMEM;
		return -1;
	}
	got = sys_recv(c->src.fd, rest->b, n, MSG_DONTWAIT);
	if (got <= 0) {
		mem_free(rest);
		return got;
	}
	rest->n = (size_t)got;
	rest->at = 0;
	k->rest = rest;
	return take_rest(k, p, room);
}

/* Nothing but empty records can come any more. */
static bool is_end(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };
	int left = 0;

	if (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLRDHUP | POLLHUP)))
		return false;
	return ioctl(fd, FIONREAD, &left) == 0 && left == 0; /* of all records that wait */
}

ssize_t record_read(struct conn *c, void *p, size_t room)
{
	uint8_t first;
	ssize_t n;

	if (c->kin && c->kin->rest)
		return take_rest(c->kin, p, room);
	n = sys_recv(c->src.fd, &first, 1, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT); /* how long is it? */
	if (n < 0 || (n == 0 && is_end(c->src.fd)))
		return n;
	if ((size_t)n > room)
		return take_large(c, (size_t)n, p, room);
	n = sys_recv(c->src.fd, p, room, MSG_DONTWAIT);
	if (n != 0)
		return n;
	errno = EINTR; /* an empty one says nothing, and another may follow */
	return -1;
}

void record_free(struct conn *c)
{
	if (c->kin)
		mem_free(c->kin->rest);
	if (c->kin)
		c->kin->rest = NULL;
}
