/* test_chan.c - messages between our processes: whole ones, every wrong one, and no descriptor left behind by either. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "priv/chan.h"
#include "priv/chan_priv.h"
#include "support/folder.h"

enum { TYPE = CHAN_TYPE(CHAN_SPAWN, 3), HEAD = 16 };

static struct chan_msg out, in;
static int ends[2];
static size_t before;

static int set_up(void **state)
{
	(void)state;
	before = folder_fds();
	return chan_pair(ends);
}

/* Each test ends with as many descriptors as it began with. */
static int tear_down(void **state)
{
	(void)state;
	chan_msg_done(&in);
	if (ends[0] >= 0)
		close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
	if (folder_fds() == before)
		return 0;
	fprintf(stderr, "%zu descriptors before, %zu after\n", before, folder_fds());
	return -1;
}

static void the_pair_is_ours_alone(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_true(fcntl(ends[i], F_GETFD) & FD_CLOEXEC);
		assert_true(fcntl(ends[i], F_GETFL) & O_NONBLOCK);
	}
}

static void values_arrive_as_they_were_put(void **state)
{
	struct chan_get g;
	struct span s;

	(void)state;
	chan_msg_init(&out, TYPE, 0xfffefdfc);
	chan_put_u8(&out, 0xff);
	chan_put_u32(&out, 0xfffefdfc);
	chan_put_bytes(&out, (struct span){ (const uint8_t *)"a\0b", 3 });
	chan_put_bytes(&out, (struct span){});
	chan_put_str(&out, "text");
	chan_put_str(&out, NULL);
	chan_put_u32(&out, 7);
	assert_int_equal(chan_send(ends[0], &out), 0);
	assert_int_equal(chan_recv(ends[1], &in), 1);
	assert_int_equal(in.type, TYPE);
	assert_true(in.serial == 0xfffefdfc);
	g = chan_get(&in);
	assert_int_equal(chan_get_u8(&g), 0xff);
	assert_true(chan_get_u32(&g) == 0xfffefdfc);
	s = chan_get_bytes(&g, 3);
	assert_int_equal(s.n, 3);
	assert_memory_equal(s.p, "a\0b", 3);
	assert_int_equal(chan_get_bytes(&g, 0).n, 0);
	assert_string_equal(chan_get_str(&g, 4), "text");
	assert_string_equal(chan_get_str(&g, 0), "");
	assert_int_equal(chan_get_end(&g), -EPROTO); /* something is left */
	assert_int_equal(chan_get_upto(&g, 7), 7);
	assert_int_equal(chan_get_end(&g), 0);
}

static void in_order_and_apart(void **state)
{
	(void)state;
	assert_int_equal(chan_recv(ends[1], &in), -EAGAIN);
	for (uint32_t i = 0; i < 5; i++) {
		chan_msg_init(&out, TYPE, i);
		chan_put_u32(&out, i);
		assert_int_equal(chan_send(ends[0], &out), 0);
	}
	for (uint32_t i = 0; i < 5; i++) {
		struct chan_get g;

		assert_int_equal(chan_recv(ends[1], &in), 1);
		assert_int_equal(in.serial, i);
		g = chan_get(&in);
		assert_int_equal(chan_get_u32(&g), i);
		assert_int_equal(chan_get_end(&g), 0);
	}
	assert_int_equal(chan_recv(ends[1], &in), -EAGAIN);
}

static void the_largest_fits_and_one_more_does_not(void **state)
{
	(void)state;
	chan_msg_init(&out, TYPE, 0);
	for (int i = 0; i < CHAN_BODY; i++)
		chan_put_u8(&out, (uint8_t)i);
	assert_int_equal(chan_send(ends[0], &out), 0);
	assert_int_equal(chan_recv(ends[1], &in), 1);
	assert_int_equal(in.n, CHAN_BODY);
	assert_memory_equal(in.body, out.body, CHAN_BODY);
	chan_put_u8(&out, 0);
	assert_int_equal(chan_send(ends[0], &out), -EMSGSIZE);

	chan_msg_init(&out, TYPE, 0);
	chan_put_bytes(&out, (struct span){ in.body, CHAN_BODY - 4 });
	assert_int_equal(out.err, 0);
	chan_put_str(&out, "");
	assert_int_equal(out.err, -EMSGSIZE);
	assert_int_equal(out.n, CHAN_BODY);
	chan_msg_init(&out, TYPE, 0);
	chan_put_bytes(&out, (struct span){ in.body, SIZE_MAX });
	chan_put_u8(&out, 1); /* errors stick */
	assert_int_equal(out.err, -EMSGSIZE);
	assert_int_equal(out.n, 0);
}

/* ---- the readers ---- */

static struct chan_get over(const char *bytes, size_t n)
{
	return (struct chan_get){ .p = (const uint8_t *)bytes, .left = n };
}

static void a_reader_believes_no_length(void **state)
{
	struct chan_get g = over("\x05\0\0\0abcd", 8);

	(void)state;
	assert_int_equal(chan_get_bytes(&g, 100).n, 0); /* five of four */
	assert_int_equal(g.err, -EPROTO);
	assert_int_equal(chan_get_u8(&g), 0); /* sticks, though bytes were there */
	assert_int_equal(chan_get_end(&g), -EPROTO);
	g = over("\x04\0\0\0abcd", 8);
	assert_int_equal(chan_get_bytes(&g, 3).n, 0); /* more than its reader wants */
	assert_int_equal(chan_get_end(&g), -EPROTO);
	g = over("\xff\xff\xff\xff", 4);
	assert_int_equal(chan_get_bytes(&g, SIZE_MAX).n, 0);
	assert_int_equal(chan_get_end(&g), -EPROTO);
	g = over("\x05\0\0", 3);
	assert_int_equal(chan_get_u32(&g), 0);
	assert_int_equal(chan_get_end(&g), -EPROTO);
	g = over("\x05\0\0\0", 4);
	assert_int_equal(chan_get_upto(&g, 4), 0);
	assert_int_equal(chan_get_end(&g), -EPROTO);
}

static void a_text_is_a_text(void **state)
{
	struct chan_get g = over("\x04\0\0\0a\0b", 8);

	(void)state;
	assert_string_equal(chan_get_str(&g, 100), ""); /* a NUL inside */
	assert_int_equal(chan_get_end(&g), -EPROTO);
	g = over("\x04\0\0\0abcd", 8);
	assert_string_equal(chan_get_str(&g, 100), ""); /* no NUL */
	assert_int_equal(chan_get_end(&g), -EPROTO);
	g = over("\0\0\0\0", 4);
	assert_string_equal(chan_get_str(&g, 100), ""); /* not even that */
	assert_int_equal(chan_get_end(&g), -EPROTO);
	g = over("\x04\0\0\0abc", 8);
	assert_string_equal(chan_get_str(&g, 2), ""); /* longer than wanted */
	assert_int_equal(chan_get_end(&g), -EPROTO);
	g = over("\x04\0\0\0abc", 8);
	assert_string_equal(chan_get_str(&g, SIZE_MAX), "abc");
	assert_int_equal(chan_get_end(&g), 0);
}

/* ---- wrong messages ---- */

/* Sends `n` raw bytes with `n_fds` descriptors. */
static void send_raw(const void *p, size_t n, size_t n_fds)
{
	union {
		struct cmsghdr align;
		uint8_t b[CMSG_SPACE(64 * sizeof(int))];
	} c = {};
	struct iovec v = { (void *)p, n };
	struct msghdr h = { .msg_iov = &v, .msg_iovlen = 1 };
	struct cmsghdr *cm;

	if (n_fds > 0) {
		h.msg_control = &c;
		h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cm = CMSG_FIRSTHDR(&h);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		for (size_t i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(cm) + i * sizeof(int), &ends[0], sizeof(int));
	}
	assert_int_equal(sendmsg(ends[0], &h, 0), n);
}

static void head_of(uint8_t *p, uint32_t magic, unsigned type, unsigned fds, uint32_t n)
{
	chan_write_int(p, magic, 4);
	chan_write_int(p + 4, type, 2);
	chan_write_int(p + 6, fds, 2);
	chan_write_int(p + 8, 99, 4);
	chan_write_int(p + 12, n, 4);
}

static void what_is_not_ours(void **state)
{
	static const struct {
		const char *what;
		uint32_t magic;
		unsigned type, fds;
		uint32_t n;  /* that the header says */
		size_t sent; /* bytes of body */
		size_t sent_fds;
		int want;
	} cases[] = {
		{ "right", 0x31686347, TYPE, 2, 5, 5, 2, 1 },
		{ "nothing but a header", 0x31686347, TYPE, 0, 0, 0, 0, 1 },
		{ "magic", 0x31686348, TYPE, 0, 5, 5, 0, -EPROTO },
		{ "magic, with descriptors", 0x31686348, TYPE, 3, 5, 5, 3, -EPROTO },
		{ "family 0", 0x31686347, 3, 0, 5, 5, 0, -EPROTO },
		{ "family past the last", 0x31686347, CHAN_TYPE(CHAN_FAMILIES, 0), 1, 5, 5, 1, -EPROTO },
		{ "the largest type", 0x31686347, 0xffff, 1, 5, 5, 1, -EPROTO },
		{ "length above", 0x31686347, TYPE, 1, 6, 5, 1, -EPROTO },
		{ "length below", 0x31686347, TYPE, 1, 4, 5, 1, -EPROTO },
		{ "length far above", 0x31686347, TYPE, 1, UINT32_MAX, 5, 1, -EPROTO },
		{ "length past the largest", 0x31686347, TYPE, 1, CHAN_BODY + 1, 5, 1, -EPROTO },
		{ "truncated", 0x31686347, TYPE, 1, CHAN_BODY + 1, CHAN_BODY + 1, 1, -EPROTO },
		{ "truncated, saying less", 0x31686347, TYPE, 1, CHAN_BODY, CHAN_BODY + 1, 1, -EPROTO },
		{ "fewer descriptors than said", 0x31686347, TYPE, 3, 5, 5, 2, -EPROTO },
		{ "more descriptors than said", 0x31686347, TYPE, 1, 5, 5, 2, -EPROTO },
		{ "descriptors, none said", 0x31686347, TYPE, 0, 5, 5, 2, -EPROTO },
		{ "none of those said", 0x31686347, TYPE, 3, 5, 5, 0, -EPROTO },
		{ "as many as there may be", 0x31686347, TYPE, 16, 5, 5, 16, 1 },
		{ "one more", 0x31686347, TYPE, 17, 5, 5, 17, -EPROTO },
		{ "one more than said", 0x31686347, TYPE, 16, 5, 5, 17, -EPROTO },
		{ "many more", 0x31686347, TYPE, 64, 5, 5, 64, -EPROTO },
	};
	static uint8_t raw[HEAD + CHAN_BODY + 10];
	size_t open = folder_fds();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r;

		print_message("%s\n", cases[i].what);
		head_of(raw, cases[i].magic, cases[i].type, cases[i].fds, cases[i].n);
		send_raw(raw, HEAD + cases[i].sent, cases[i].sent_fds);
		r = chan_recv(ends[1], &in);
		assert_int_equal(r, cases[i].want);
		assert_int_equal(in.n_fds, r == 1 ? cases[i].sent_fds : 0);
		assert_int_equal(in.n, r == 1 ? cases[i].sent : 0);
		if (r != 1)
			assert_int_equal(folder_fds(), open);
		chan_msg_done(&in);
		assert_int_equal(folder_fds(), open);
	}
	for (size_t n = 1; n < HEAD; n++) { /* less than a header */
		head_of(raw, 0x31686347, TYPE, 0, 0);
		send_raw(raw, n, n % 3);
		assert_int_equal(chan_recv(ends[1], &in), -EPROTO);
		assert_int_equal(folder_fds(), open);
	}
	/* After all that the channel is as it was. */
	chan_msg_init(&out, TYPE, 1);
	assert_int_equal(chan_send(ends[0], &out), 0);
	assert_int_equal(chan_recv(ends[1], &in), 1);
}

static void nothing_at_all_with_a_descriptor(void **state)
{
	size_t open = folder_fds();

	(void)state;
	send_raw("", 0, 1);
	assert_int_equal(chan_recv(ends[1], &in), -EPROTO);
	assert_int_equal(folder_fds(), open);
}

/* ---- descriptors ---- */

static void put_pipes(int keep[2], size_t n)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	chan_msg_init(&out, TYPE, 4);
	for (size_t i = 0; i < n; i++)
		chan_put_fd(&out, p[i % 2]);
	assert_int_equal(chan_send(ends[0], &out), 0);
	keep[0] = p[0];
	keep[1] = p[1];
}

static void descriptors_are_the_messages_until_taken(void **state)
{
	int p[2], got, last;
	size_t open = folder_fds();
	char c;

	(void)state;
	put_pipes(p, 4);
	close(p[0]);
	assert_int_equal(chan_recv(ends[1], &in), 1);
	assert_int_equal(in.n_fds, 4);
	last = chan_take_fd(&in);
	got = chan_take_fd(&in);
	assert_true(got >= 0 && got != p[1]);
	assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
	chan_msg_done(&in);
	assert_int_equal(chan_take_fd(&in), -1);
	chan_msg_done(&in);                      /* twice is fine */
	assert_int_equal(write(got, "x", 1), 1); /* what was taken stays */
	assert_int_equal(read(last, &c, 1), 1);
	close(got);
	close(last);
	assert_int_equal(fcntl(p[1], F_GETFD), 0); /* the sender's stay his */
	close(p[1]);
	assert_int_equal(folder_fds(), open);
}

static void more_than_there_may_be_are_not_sent(void **state)
{
	(void)state;
	chan_msg_init(&out, TYPE, 0);
	for (int i = 0; i < CHAN_FDS; i++)
		chan_put_fd(&out, ends[1]);
	assert_int_equal(out.err, 0);
	chan_put_fd(&out, ends[1]);
	assert_int_equal(chan_send(ends[0], &out), -EMSGSIZE);
	chan_msg_init(&out, TYPE, 0);
	chan_put_fd(&out, -1);
	assert_int_equal(chan_send(ends[0], &out), -EBADF);
	assert_int_equal(chan_take_fd(&out), -1); /* lent ones are nobody's to take */
	chan_msg_done(&out);
	assert_int_equal(chan_recv(ends[1], &in), -EAGAIN);
}

/* No room in our own table is not the other end's fault. */
static void no_room_for_descriptors(void **state)
{
	struct rlimit old, low;
	size_t open;
	int p[2], top;

	(void)state;
	put_pipes(p, 5);
	open = folder_fds();
	top = dup(0);
	assert_true(top >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)top + 2; /* so that two find room, three do not */
	close(top);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(chan_recv(ends[1], &in), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(in.type, TYPE);
	assert_int_equal(in.serial, 4);
	assert_int_equal(in.n, 0);
	assert_int_equal(chan_take_fd(&in), -1);
	assert_int_equal(folder_fds(), open);
	close(p[0]);
	close(p[1]);
}

/* ---- ends and waiting ---- */

static void what_was_sent_before_the_end_arrives(void **state)
{
	(void)state;
	chan_msg_init(&out, TYPE, 1);
	assert_int_equal(chan_send(ends[0], &out), 0);
	out.serial = 2;
	assert_int_equal(chan_send(ends[1], &out), 0); /* that it never reads, so that its end is a reset */
	close(ends[0]);
	ends[0] = -1;
	assert_int_equal(chan_recv(ends[1], &in), 1);
	assert_int_equal(in.serial, 1);
	assert_int_equal(chan_recv(ends[1], &in), 0);
	assert_int_equal(chan_recv(ends[1], &in), 0);
	assert_int_equal(chan_recv_wait(ends[1], &in, -1), 0);
	assert_int_equal(chan_send(ends[1], &out), -EPIPE);
	assert_int_equal(chan_send_wait(ends[1], &out, -1), -EPIPE);
}

static void a_reset_is_gone_to_the_sender_too(void **state)
{
	(void)state;
	chan_msg_init(&out, TYPE, 1);
	assert_int_equal(chan_send(ends[1], &out), 0);
	close(ends[0]);
	ends[0] = -1;
	assert_int_equal(chan_send(ends[1], &out), -EPIPE);
	assert_int_equal(chan_send(ends[1], &out), -EPIPE);
}

static void a_full_channel_makes_nobody_wait(void **state)
{
	int sent = 0, got = 0;

	(void)state;
	chan_msg_init(&out, TYPE, 1);
	out.n = CHAN_BODY;
	memset(out.body, 'x', CHAN_BODY);
	while (chan_send(ends[0], &out) == 0)
		sent++;
	assert_true(sent > 1 && sent < 1000);
	assert_int_equal(chan_send(ends[0], &out), -EAGAIN);
	assert_int_equal(chan_send_wait(ends[0], &out, 0), -ETIMEDOUT);
	assert_int_equal(chan_send_wait(ends[0], &out, 20), -ETIMEDOUT);
	while (chan_recv(ends[1], &in) == 1)
		got++;
	assert_int_equal(got, sent);
	assert_int_equal(chan_send_wait(ends[0], &out, 20), 0);
	assert_int_equal(chan_recv_wait(ends[1], &in, 20), 1);
	assert_int_equal(chan_recv_wait(ends[1], &in, 20), -ETIMEDOUT);
}

/* A process that reads slowly; the sender waits for it and loses nothing. */
static void waiting_for_a_slow_one(void **state)
{
	enum { N = 200 };
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (pid == 0) {
		for (uint32_t i = 0; i < N; i++) {
			if (i % 50 == 0)
				usleep(5000);
			if (chan_recv_wait(ends[1], &in, 5000) != 1 || in.serial != i || in.n != CHAN_BODY)
				_exit(1);
		}
		_exit(0);
	}
	memset(out.body, 'x', CHAN_BODY);
	for (uint32_t i = 0; i < N; i++) {
		chan_msg_init(&out, TYPE, i);
		out.n = CHAN_BODY;
		assert_int_equal(chan_send_wait(ends[0], &out, 5000), 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void calls_that_fail(void **state)
{
#ifdef GUICHET_FAULTS
	int two[2] = { -7, -7 };

	(void)state;
	fault_arm(FAULT_SYS, 1, ENFILE, false);
	assert_int_equal(chan_pair(two), -ENFILE);
	assert_int_equal(two[0], -7);
	chan_msg_init(&out, TYPE, 1);
	fault_arm(FAULT_SYS, 1, EINTR, false);
	assert_int_equal(chan_send(ends[0], &out), 0);
	fault_arm(FAULT_SYS, 1, ENOBUFS, false);
	assert_int_equal(chan_send(ends[0], &out), -ENOBUFS);
	fault_arm(FAULT_SYS, 1, EINTR, false);
	assert_int_equal(chan_recv(ends[1], &in), 1);
	fault_arm(FAULT_SYS, 1, ENOMEM, false);
	assert_int_equal(chan_recv(ends[1], &in), -ENOMEM);
	fault_arm(FAULT_SYS, 2, EINTR, false); /* of poll() */
	assert_int_equal(chan_recv_wait(ends[1], &in, 10), -ETIMEDOUT);
	fault_arm(FAULT_SYS, 2, ENOMEM, false);
	assert_int_equal(chan_recv_wait(ends[1], &in, 10), -ENOMEM);
	fault_arm(FAULT_SYS, 0, 0, false);
#else
	(void)state;
	skip();
#endif
}

static void no_channel_at_all(void **state)
{
	int fd = dup(0);

	(void)state;
	close(fd);
	chan_msg_init(&out, TYPE, 1);
	assert_int_equal(chan_send(fd, &out), -EBADF);
	assert_int_equal(chan_recv(fd, &in), -EBADF);
	assert_int_equal(chan_recv_wait(fd, &in, -1), -EBADF);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(the_pair_is_ours_alone),
		T(values_arrive_as_they_were_put),
		T(in_order_and_apart),
		T(the_largest_fits_and_one_more_does_not),
		T(a_reader_believes_no_length),
		T(a_text_is_a_text),
		T(what_is_not_ours),
		T(nothing_at_all_with_a_descriptor),
		T(descriptors_are_the_messages_until_taken),
		T(more_than_there_may_be_are_not_sent),
		T(no_room_for_descriptors),
		T(what_was_sent_before_the_end_arrives),
		T(a_reset_is_gone_to_the_sender_too),
		T(a_full_channel_makes_nobody_wait),
		T(waiting_for_a_slow_one),
		T(calls_that_fail),
		T(no_channel_at_all),
	};

	return cmocka_run_group_tests_name("chan", tests, NULL, NULL);
}
