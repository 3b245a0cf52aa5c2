/* The smallest UDP echo: take up to 64 datagrams in one call, send them back in one call.
 *
 * No epoll: a blocking recvmmsg with MSG_WAITFORONE sleeps for the first datagram and then takes what is there. The
 * same headers serve both ways, because the address a datagram came from is the one it goes to.
 */
#define _GNU_SOURCE
#include "tiny.h"

enum { BATCH = 64, DATAGRAM = 2048 };

int main(void)
{
	static char data[BATCH][DATAGRAM];
	static struct sockaddr_in peer[BATCH];
	static struct iovec iov[BATCH];
	static struct mmsghdr m[BATCH];
	int fd = open_and_announce("echo", SOCK_DGRAM);

	for (int i = 0; i < BATCH; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_name = &peer[i], .msg_iov = &iov[i], .msg_iovlen = 1 };
	for (;;) {
		int n;

		for (int i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){ data[i], DATAGRAM };
			m[i].msg_hdr.msg_namelen = sizeof peer[i];
		}
		n = recvmmsg(fd, m, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0)
			fail("recvmmsg");
		for (int i = 0; i < n; i++)
			iov[i].iov_len = m[i].msg_len;
		/* A datagram that finds no room is lost, as datagrams are. */
		for (int sent = 0; sent < n;) {
			int w = sendmmsg(fd, m + sent, (unsigned)(n - sent), 0);

			sent += w > 0 ? w : 1;
		}
	}
}
