/*
 * chan.c - the socket under our messages, and what of a received one is checked before anybody sees it. The bodies are
 * in chan_body.c.
 */
#include "priv/chan.h"

#include <limits.h>
#include <string.h>
#include <sys/uio.h>

#include "priv/chan_priv.h"
#include "priv/sys.h"

enum { HEAD = 16 };
static const uint32_t magic = 0x31686347; /* "Gch1"; the 1 is to grow when the header changes */

union control {
	struct cmsghdr align;
	uint8_t b[CMSG_SPACE(CHAN_FDS * sizeof(int))];
};

int chan_pair(int ret[2])
{
	int fds[2];

	if (sys_socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) != 0)
		return -errno;
	ret[0] = fds[0];
	ret[1] = fds[1];
	return 0;
}

void chan_msg_init(struct chan_msg *m, unsigned type, uint32_t serial)
{
	m->type = (uint16_t)type;
	m->serial = serial;
	m->err = 0;
	m->owner = false;
	m->n_fds = m->taken = 0;
	m->n = 0;
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

int chan_take_fd(struct chan_msg *m)
{
	return m->owner && m->taken < m->n_fds ? m->fds[m->taken++] : -1;
}

void chan_msg_done(struct chan_msg *m)
{
	if (m->owner)
		close_all(m->fds + m->taken, m->n_fds - m->taken);
	chan_msg_init(m, m->type, m->serial);
}

/* ---- sending ---- */

static void write_head(const struct chan_msg *m, uint8_t head[HEAD])
{
	chan_write_int(head, magic, 4);
	chan_write_int(head + 4, m->type, 2);
	chan_write_int(head + 6, m->n_fds, 2);
	chan_write_int(head + 8, m->serial, 4);
	chan_write_int(head + 12, m->n, 4);
}

static void attach(struct msghdr *h, union control *c, const struct chan_msg *m)
{
	struct cmsghdr *cm;

	if (m->n_fds == 0)
		return;
	memset(c, 0, sizeof(*c));
	h->msg_control = c;
	h->msg_controllen = CMSG_SPACE(m->n_fds * sizeof(int));
	cm = CMSG_FIRSTHDR(h);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(m->n_fds * sizeof(int));
	memcpy(CMSG_DATA(cm), m->fds, m->n_fds * sizeof(int));
}

int chan_send(int fd, const struct chan_msg *m)
{
	uint8_t head[HEAD];
	struct iovec v[2] = { { head, HEAD }, { (void *)m->body, m->n } };
	struct msghdr h = { .msg_iov = v, .msg_iovlen = 2 };
	union control c;

	if (m->err)
		return m->err;
	write_head(m, head);
	attach(&h, &c, m);
	for (;;) {
		if (sys_sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0; /* a datagram goes as a whole or not at all */
		if (errno == ECONNRESET)
			return -EPIPE;
		if (errno != EINTR)
			return -errno;
	}
}

/* ---- receiving ---- */

static bool known(unsigned type)
{
	return type >> 8 >= CHAN_WORKER && type >> 8 < CHAN_FAMILIES;
}

/* The fixed header of a datagram of n bytes; 0 or -EPROTO. Says how many descriptors it is to have. */
static int read_head(const uint8_t *p, size_t n, struct chan_msg *m, size_t *ret_fds)
{
	if (n < HEAD || chan_read_int(p, 4) != magic)
		return -EPROTO;
	chan_msg_init(m, (unsigned)chan_read_int(p + 4, 2), (uint32_t)chan_read_int(p + 8, 4));
	*ret_fds = (size_t)chan_read_int(p + 6, 2);
	if (!known(m->type) || *ret_fds > CHAN_FDS || n - HEAD > CHAN_BODY || chan_read_int(p + 12, 4) != n - HEAD)
		return -EPROTO;
	m->n = (uint32_t)(n - HEAD);
	return 0;
}

static void adopt(struct chan_msg *m, const int *fds, size_t n)
{
	m->owner = true;
	m->n_fds = (uint8_t)n;
	if (n > 0)
		memcpy(m->fds, fds, n * sizeof(int));
}

/* Copies out the descriptors that came; false when there was anything else beside the bytes. */
static bool detach(struct msghdr *h, int fds[CHAN_FDS], size_t *ret_n)
{
	bool good = true;

	*ret_n = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || n > CHAN_FDS - *ret_n) {
			good = false;
			continue;
		}
		memcpy(fds + *ret_n, CMSG_DATA(c), n * sizeof(int));
		*ret_n += n;
	}
	return good;
}

/* What came, once the kernel has given all of it; 1, -EPROTO or -EMFILE. */
static int judge(const uint8_t *head, size_t n, struct msghdr *h, struct chan_msg *m)
{
	int fds[CHAN_FDS], r;
	size_t n_fds, want = 0;
	bool good = detach(h, fds, &n_fds) && !(h->msg_flags & MSG_TRUNC);

	r = good ? read_head(head, n, m, &want) : -EPROTO;
	/* The kernel cuts descriptors off when there are too many for us, or when we cannot have any more. */
	if (r == 0 && want != n_fds)
		r = h->msg_flags & MSG_CTRUNC && n_fds < want ? -EMFILE : -EPROTO;
	else if (r == 0 && h->msg_flags & MSG_CTRUNC)
		r = -EPROTO;
	if (r == 0) {
		adopt(m, fds, n_fds);
		return 1;
	}
	close_all(fds, n_fds);
	chan_msg_init(m, m->type, m->serial);
	return r;
}

int chan_recv(int fd, struct chan_msg *ret)
{
	uint8_t head[HEAD];
	union control c;
	struct iovec v[2] = { { head, HEAD }, { ret->body, CHAN_BODY } };
	struct msghdr h = { .msg_iov = v, .msg_iovlen = 2 };
	ssize_t n;

	chan_msg_init(ret, 0, 0);
	do {
		h.msg_control = &c;
		h.msg_controllen = sizeof(c);
		n = sys_recvmsg(fd, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		/* ECONNRESET: it went without reading all of ours. Said once, and then what it sent can be read. */
	} while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	if (n == 0 && h.msg_controllen == 0)
		return 0;
	return judge(head, (size_t)n, &h, ret);
}

/* ---- waiting ---- */

/* Until the descriptor is ready (or broken), or `until` is reached (-1 = never); 0, -ETIMEDOUT or -errno. */
static int wait_for(int fd, short events, int64_t until)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = events };
		int64_t left = until < 0 ? -1 : until - now_ms();
		int n;

		if (until >= 0 && left < 0)
			left = 0;
		n = sys_poll(&p, 1, left > INT_MAX ? INT_MAX : (int)left);
		if (n > 0)
			return p.revents & POLLNVAL ? -EBADF : 0;
		if (n == 0 && left <= INT_MAX)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int64_t deadline(int ms)
{
	return ms < 0 ? -1 : now_ms() + ms;
}

int chan_send_wait(int fd, const struct chan_msg *m, int ms)
{
	int64_t until = deadline(ms);
	int r;

	while ((r = chan_send(fd, m)) == -EAGAIN) {
		r = wait_for(fd, POLLOUT, until);
		if (r != 0)
			return r;
	}
	return r;
}

int chan_recv_wait(int fd, struct chan_msg *ret, int ms)
{
	int64_t until = deadline(ms);
	int r;

	while ((r = chan_recv(fd, ret)) == -EAGAIN) {
		r = wait_for(fd, POLLIN, until);
		if (r != 0)
			return r;
	}
	return r;
}
