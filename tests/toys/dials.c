/*
 * dials.c - a protocol that does what somebody would who has taken the process over: it connects by itself. A line is a port of this
 * machine; the answer is `ok`, or why it could not.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/proto.h"

enum { LINE = 64 };

static int dial(uint16_t port)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = htons(port),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return errno;
	r = connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0 ? errno : 0;
	close(fd);
	return r;
}

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	struct span line;
	uint16_t port = 0;
	int err;

	(void)self;
	if (ev->kind == EV_EOF)
		return V_CLOSE;
	if (ev->kind != EV_DATA || in_line(io, LINE, &line) <= 0)
		return V_GO;
	for (size_t i = 0; i < line.n; i++)
		port = (uint16_t)(port * 10 + line.p[i] - '0');
	err = dial(port);
	out_fmt(io, "%s\n", err ? strerrorname_np(err) : "ok");
	return V_GO;
}

extern const struct proto dials_proto;
const struct proto dials_proto = {
	.abi = PROTO_ABI,
	.name = "dials",
	.summary = "connects where it is told to",
	.flags = P_STREAM | P_OFF,
	.step = step,
};
