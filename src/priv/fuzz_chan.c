/*
 * fuzz_chan.c - any datagram with any number of descriptors is a message or refused, and either way no descriptor stays
 * open; any body is read to its end or to an error that sticks; and what the writers wrote the readers read.
 *
 * Input: how many descriptors come with it, whether to make its header right, how many bytes say what to read (a letter
 * each), those bytes, then the datagram.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "priv/chan.h"
#include "priv/chan_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 16, MOST_FDS = 40 };

static struct chan_msg in, copy;

static void require(bool good)
{
	if (!good)
		abort();
}

static void send_raw(int fd, const uint8_t *p, size_t n, size_t n_fds)
{
	union {
		struct cmsghdr align;
		uint8_t b[CMSG_SPACE(MOST_FDS * sizeof(int))];
	} c;
	struct iovec v = { (void *)p, n };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1 };

	memset(&c, 0, sizeof(c));
	if (n_fds > 0) {
		struct cmsghdr *cm = &c.align;

		h.msg_control = &c;
		h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		for (size_t i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(cm) + i * sizeof(int), &fd, sizeof(int));
	}
	require(sendmsg(fd, &h, 0) == (ssize_t)n);
}

/* Reads one value of the kind that the letter names, and writes it to the copy; what was read lies inside the body. */
static void read_one(struct chan_get *g, uint8_t letter)
{
	size_t max = letter / 6;
	struct span s;

	switch (letter % 6) {
	case 0:
		chan_put_u8(&copy, chan_get_u8(g));
		break;
	case 1:
		chan_put_u32(&copy, chan_get_u32(g));
		break;
	case 2:
		chan_put_u32(&copy, chan_get_upto(g, letter));
		break;
	case 3:
		s = chan_get_bytes(g, max);
		require(s.n <= max && (s.n == 0 || (s.p >= in.body && s.p + s.n <= in.body + in.n)));
		chan_put_bytes(&copy, s);
		break;
	case 4: {
		const char *text = chan_get_str(g, max);

		require(strlen(text) <= max);
		chan_put_str(&copy, text);
		break;
	}
	default:
		chan_put_bytes(&copy, chan_get_bytes(g, SIZE_MAX));
		break;
	}
}

static void read_body(const uint8_t *letters, size_t n)
{
	struct chan_get g = chan_get(&in);

	chan_msg_init(&copy, in.type, in.serial);
	for (size_t i = 0; i < n && g.err == 0; i++)
		read_one(&g, letters[i]);
	if (g.err != 0) {
		require(g.left == 0 && chan_get_u32(&g) == 0 && chan_get_bytes(&g, SIZE_MAX).n == 0 &&
			chan_get_str(&g, 9)[0] == '\0' && chan_get_end(&g) != 0);
		return;
	}
	require((chan_get_end(&g) == 0) == (g.left == 0));
	require(copy.err == 0 && copy.n == in.n - g.left && (copy.n == 0 || memcmp(copy.body, in.body, copy.n) == 0));
}

/* One message over a fresh pair. When all ends are closed but ours, nothing else may hold the other one open. */
static void one(const uint8_t *letters, size_t n_letters, const uint8_t *p, size_t n, size_t n_fds)
{
	int ends[2], r, fd;

	require(chan_pair(ends) == 0);
	send_raw(ends[0], p, n, n_fds);
	close(ends[0]);
	r = chan_recv(ends[1], &in);
	require(r == 1 || (r == -EPROTO && in.n == 0 && in.n_fds == 0) || (r == 0 && n == 0 && n_fds == 0));
	if (r == 1) {
		require(in.n + HEAD == n && in.n_fds == n_fds && n_fds <= CHAN_FDS);
		read_body(letters, n_letters);
		if ((fd = chan_take_fd(&in)) >= 0)
			close(fd);
	}
	chan_msg_done(&in);
	require(chan_recv(ends[1], &in) == 0); /* the end: no copy of the other one is left */
	close(ends[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t raw[HEAD + CHAN_BODY + 100];
	size_t n_fds, n_letters, n;

	if (size < 3)
		return 0;
	n_fds = data[0] % MOST_FDS;
	n_letters = data[2] < size - 3 ? data[2] : size - 3;
	n = size - 3 - n_letters < sizeof(raw) ? size - 3 - n_letters : sizeof(raw);
	memcpy(raw, data + 3 + n_letters, n);
	if (data[1] % 2 && n >= HEAD) { /* what stands in the header is mostly wrong, so help it */
		memcpy(raw, "Gch1", 4);
		raw[5] = (uint8_t)(1 + raw[5] % (CHAN_FAMILIES - 1));
		chan_write_int(raw + 6, n_fds, 2);
		chan_write_int(raw + 12, n - HEAD, 4);
	}
	one(data + 3, n_letters, raw, n, n_fds);
	return 0;
}
