/*
 * stream.c - bytes between a stream's descriptor and its session. With edges a short read means drained, unless the
 * peer has hung up: then reading goes on until read(2) says so.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "core/file.h"
#include "drive/exec.h"
#include "drive/record.h"
#include "drive/sys.h"

enum {
	READS = 4, /* in a row, then the others have their turn */
	/*
	 * Where sessions speak to each other, a byte of one is work for many, who hear it at the end of the turn. So of these one
	 * reads so much in a row; when many are ready a part of TURN_TAKEN, and at least so little.
	 */
	SHARED_MOST = 32 << 10,
	SHARED_LEAST = 4 << 10,
	FLUSH_MAX =
		128 << 10,  /* bytes written in a row: 200 who take all they can get must not keep the others waiting */
	STDIO_PIECE = 4096, /* PIPE_BUF: what a pipe that is ready takes without blocking; also RECORD_SEND */
	LAYER_MORE = 1 << 16, /* over the option output: what layers put around it */
};

static bool is_drained(const struct conn *c, bool fell_short)
{
	if (c->src.flags & C_BLOCKING)
		return true; /* it may be, and the next read would wait */
	return fell_short && !(c->src.ready & READY_HUP) && !(c->src.flags & C_RECORDS) && !exec_ended(c);
}

/* recv(2), where it can be: read(2) asks more about the descriptor before it comes to the socket. */
static ssize_t read_bytes(struct conn *c, void *p, size_t n)
{
	if (c->src.flags & C_RECORDS)
		return record_read(c, p, n);
	return c->src.flags & C_SOCKET ? sys_recv(c->src.fd, p, n, 0) : sys_read(c->src.fd, p, n);
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

static bool is_shared(const struct sess *s)
{
	return s->proto && s->proto->shard;
}

static size_t share_of(const struct loop *l, const struct sess *s)
{
	if (!is_shared(s))
		return SIZE_MAX;

	size_t n = TURN_TAKEN / (l->talk ? l->talk : 1);

	return n < SHARED_LEAST ? SHARED_LEAST : smaller(n, SHARED_MOST);
}

/* True when input is drained for now. */
static bool read_once(struct loop *l, struct conn *c)
{
	struct sess *s = &c->s;
	size_t room;
	void *p = sess_rbuf(s, &room);
	ssize_t n;

	if (!p)
		return true;
	room = smaller(room, share_of(l, s));
	n = read_bytes(c, p, room);
	if (n > 0) {
		l->taken += is_shared(s) ? (size_t)n : 0;
		sess_rgot(s, (size_t)n);
		if (l->host.lent)
			stream_flush(l, conn_of(l->host.lent));
		return is_drained(c, (size_t)n < room);
	}
	if (n < 0 && errno == EINTR)
		return false;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		if (exec_ended(c))
			sess_reof(s, 0); /* whoever else holds the pipe open */
		return true;
	}
	sess_reof(s, n == 0 ? 0 : -errno);
	return true;
}

void stream_read(struct loop *l, struct conn *c)
{
	size_t before = l->taken, most = share_of(l, &c->s);
	bool drained = false;
	int n = 0;

	if (loop_must_wait(l, c))
		return;
	while (!drained && n++ < READS && l->taken - before < most && sess_wants_read(&c->s))
		drained = read_once(l, c);
	sess_rdone(&c->s);
	/* a layer answers by itself, and a protocol that reads while its output is full would let it do so for ever */
	if (sess_queued(&c->s) > c->s.lane->svc->limits.output + LAYER_MORE)
		sess_abort(&c->s, "output-limit", STAT_OUTPUT);
	if (drained && !(c->src.flags & C_NOPOLL))
		c->src.ready &= (uint8_t)~READY_IN;
	else if (sess_wants_read(&c->s))
		sess_mark(&c->s);
}

static ssize_t write_bytes(const struct conn *c, struct head *h)
{
	if (c->src.flags & C_BLOCKING)
		return sys_write(c->wfd, h->v[0].iov_base, smaller(h->v[0].iov_len, STDIO_PIECE));
	if (c->src.flags & C_RECORDS)
		return sys_send(c->wfd, h->v[0].iov_base, smaller(h->v[0].iov_len, RECORD_SEND), MSG_NOSIGNAL);
	if (!(c->src.flags & C_SOCKET))
		return sys_writev(c->wfd, h->v, (int)h->n);
	if (h->n == 1)
		return sys_send(c->wfd, h->v[0].iov_base, h->v[0].iov_len, MSG_NOSIGNAL);
	return sys_sendmsg(c->wfd, &(struct msghdr){ .msg_iov = h->v, .msg_iovlen = h->n }, MSG_NOSIGNAL);
}

static ssize_t pread_errno(int fd, void *p, size_t n, off_t off)
{
	ssize_t got = pread(fd, p, n, off);

	return got < 0 ? -errno : got;
}

static ssize_t write_file(const struct conn *c, struct head *h)
{
	struct rec_file *f = h->file;
	off_t off = f->off;
	size_t n = f->n < FLUSH_MAX ? f->n : FLUSH_MAX;
	bool by_pieces = c->src.flags & (C_RECORDS | C_BLOCKING);
	uint8_t piece[16384];
	ssize_t got;

	h->bytes = n;
	if (f->file->fd >= 0 && !by_pieces) {
		got = sys_sendfile(c->wfd, f->file->fd, &off, n);
		if (got == 0) {
			errno = ESTALE; /* shorter than promised */
			return -1;
		}
		return got;
	}
	n = smaller(n, by_pieces ? STDIO_PIECE : sizeof(piece));
	got = f->file->fd >= 0 ? pread_errno(f->file->fd, piece, n, off) : f->file->pread(f->file, piece, n, off);
	if (got <= 0) {
		errno = got < 0 ? (int)-got : ESTALE;
		return -1;
	}
	h->bytes = (size_t)got; /* all that can be sent now: less would mean that the socket is full */
	if (!(c->src.flags & C_SOCKET))
		return sys_write(c->wfd, piece, (size_t)got);
	return sys_send(c->wfd, piece, (size_t)got, MSG_NOSIGNAL);
}

bool stream_alone(const struct conn *c)
{
	return sess_peer_eof(&c->s) || (sess_parted(&c->s) && !(c->src.ready & READY_IN));
}

static void end_output(struct conn *c)
{
	if (c->src.flags & C_SOCKET) {
		/* the close that follows says it all, but where somebody else may have the socket too, or it comes later */
		if (!(sess_is_closing(&c->s) && stream_alone(c) && !c->kin))
			sys_shutdown(c->wfd, SHUT_WR);
	} else if (!(c->src.flags & C_KEEP_FDS) && c->wfd != c->src.fd) {
		fd_close(&c->wfd);
	}
	sess_wrote(&c->s, 0);
}

/*
 * As in a shell's pipe: what a command does not read is lost, and what it says counts. One that has the connection itself has no
 * pipe at all.
 */
static ssize_t not_read(struct conn *c, const struct head *h)
{
	if (c->wfd >= 0 && errno != EPIPE)
		return -1;
	sess_unread(&c->s);
	return (ssize_t)h->bytes;
}

void stream_flush(struct loop *l, struct conn *c)
{
	struct sess *s = &c->s;
	struct head *h = &l->head;
	size_t total = 0;

	for (sess_head(s, h); h->kind != HEAD_NONE; sess_head(s, h)) {
		ssize_t n;

		if (h->kind == HEAD_EOF) {
			end_output(c);
			continue;
		}
		if (!(c->src.ready & READY_OUT))
			return;
		if (total >= FLUSH_MAX) {
			sess_mark(s);
			return;
		}
		n = h->kind == HEAD_FILE ? write_file(c, h) : write_bytes(c, h);
		if (n < 0 && c->src.flags & C_COMMAND)
			n = not_read(c, h);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			c->src.ready &= (uint8_t)~READY_OUT;
			return;
		}
		if (n < 0) {
			sess_broken(s, -errno);
			return;
		}
		total += (size_t)n;
		l->flushed += (size_t)n;
		if ((size_t)n < h->bytes && !(c->src.flags & (C_NOPOLL | C_RECORDS)))
			c->src.ready &= (uint8_t)~READY_OUT; /* the socket is full */
		sess_wrote(s, (size_t)n);
	}
}

/* Of a pipe whose end was read: nobody has opened it yet, or everybody has closed it? */
static bool had_writer(int fd)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) != 0;
}

bool stream_drained(struct conn *c)
{
	uint8_t waste[4096];

	for (int i = 0; i < 16; i++) {
		ssize_t n = sys_read(c->src.fd, waste, sizeof(waste));

		if (n == 0 && c->wfd != c->src.fd)
			return had_writer(c->src.fd);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return true;
		if (n < 0)
			return false;
	}
	return true; /* it goes on talking: it is not waiting for our last reply */
}
