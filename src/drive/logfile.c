/*
 * logfile.c - see logfile.h. Lines go to a descriptor of our own, which keeps its number for ever: reopening puts
 * another file under it in one step (dup3), so a thread that is writing meanwhile needs no lock and loses nothing.
 */
#include "drive/logfile.h"

#include <poll.h>
#include <stdatomic.h>
#include <time.h>

#include "base/date.h"
#include "base/log.h"
#include "drive/clock.h"
#include "drive/sys.h"
#include "store/events.h"

enum { PIPE_ROOM = 1 << 20 }; /* for the lines of a burst, where the system allows it */

static _Atomic int log_fd = -1;
static _Atomic int way;       /* enum write_way */
static _Atomic uint64_t lost; /* lines that could not be written since the last one that could */

/* How to write without ever waiting for a reader: the loops that serve everybody do the logging. */
enum write_way {
	WAY_WRITE,  /* a file, or non-blocking */
	WAY_SOCKET, /* what systemd gives */
	WAY_ASK,    /* blocking, and shared with others: only when there is room */
};

/* Seconds change rarely and lines come in crowds: the text of the last one is kept. */
static const char *time_text(char ret[static DATE_TEXT])
{
	static _Thread_local char second[DATE_TEXT];
	static _Thread_local int64_t at = -1;
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (t.tv_sec != at) {
		date_iso(t.tv_sec, 0, second);
		second[strlen(second) - 1] = '\0'; /* its Z comes behind the milliseconds */
		at = t.tv_sec;
	}
	snprintf(ret, DATE_TEXT, "%.31s.%03uZ", second, (unsigned)(t.tv_nsec / 1000000) % 1000);
	return ret;
}

static struct iovec piece(const char *s, size_t n)
{
	return (struct iovec){ .iov_base = (char *)s, .iov_len = n };
}

static ssize_t write_pieces(int fd, struct iovec *v, int n)
{
	int how = atomic_load_explicit(&way, memory_order_relaxed);
	struct pollfd ask = { .fd = fd, .events = POLLOUT };

	if (how == WAY_SOCKET) {
		struct msghdr m = { .msg_iov = v, .msg_iovlen = (size_t)n };
		ssize_t r = sys_sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (r >= 0 || errno != ENOTSOCK) /* just now another one was put under the number */
			return r;
	} else if (how == WAY_ASK && poll(&ask, 1, 0) == 0) {
		errno = EAGAIN;
		return -1;
	}
	return sys_writev(fd, v, n);
}

static bool write_line(bool json, const char *text, size_t n)
{
	char time[DATE_TEXT], head[DATE_TEXT + 16];
	int len = snprintf(head, sizeof(head), json ? "{\"time\":\"%s\"," : "%s ", time_text(time));
	struct iovec v[] = { piece(head, (size_t)len), piece(text, n), json ? piece("}\n", 2) : piece("\n", 1) };
	ssize_t r;

	do
		r = write_pieces(atomic_load(&log_fd), v, 3);
	while (r < 0 && errno == EINTR);
	return r >= 0;
}

/* A full disk or a reader that went away must not stop the services: what is lost is counted, and said when it goes on. */
static void sink(enum log_level level, bool json, const char *text, size_t n)
{
	struct log_line l;
	uint64_t gone;

	(void)level;
	if (!write_line(json, text, n)) {
		atomic_fetch_add(&lost, 1);
		return;
	}
	gone = atomic_load_explicit(&lost, memory_order_relaxed);
	if (gone == 0 || !atomic_compare_exchange_strong(&lost, &gone, 0) ||
	    !log_begin(&l, LOG_ERROR, "log-lines-lost") || !l.log.n)
		return;
	log_uint(&l, "lines", gone);
	write_line(l.log.json, l.log.text, l.log.n);
}

/* ---- those who hear of events ---- */

static struct events *stream;

/* What is traced is no event: who is sent one may be traced. */
static bool is_wanted(const char *event)
{
	return events_wanted(stream, clock_mono()) && strcmp(event, "trace") != 0;
}

static void put_event(enum log_level level, bool json, const char *text, size_t n)
{
	char time[DATE_TEXT], all[EVENTS_TEXT];
	int len = snprintf(all, sizeof(all), "{\"time\":\"%s\",%.*s}", time_text(time), (int)n, text);

	(void)level;
	(void)json;
	if (len > 0 && (size_t)len < sizeof(all))
		events_put(stream, all, (size_t)len);
}

void logfile_events(struct events *e)
{
	static const struct log_tap tap = { is_wanted, put_event };

	log_tap(NULL);
	stream = e;
	if (e)
		log_tap(&tap);
}

/* O_NONBLOCK: a pipe that nobody reads must not hang us. */
enum { OPEN_FLAGS = O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK };

/*
 * A pipe or a terminal is opened once more: it can then be non-blocking without making it so for whoever shares it. A
 * file is not: what else is written to it (2>&1) goes on where the last one ended.
 */
static int open_stderr(enum write_way *ret_way)
{
	struct stat st;
	int fd;

	if (sys_fstat(STDERR_FILENO, &st) < 0)
		return -1;
	if (S_ISSOCK(st.st_mode)) {
		*ret_way = WAY_SOCKET;
	} else if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
		fd = sys_open("/proc/self/fd/2", OPEN_FLAGS, 0); /* not ours to open when it came from another user */
		if (fd >= 0) {
			(void)!fcntl(fd, F_SETPIPE_SZ, PIPE_ROOM);
			return fd;
		}
		*ret_way = WAY_ASK;
	}
	return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
}

/* A descriptor that is writable, or -errno. */
static int open_place(const char *where, enum write_way *ret_way)
{
	int fd;

	if (strcmp(where, "stderr") == 0)
		fd = open_stderr(ret_way);
	else
		fd = sys_open(where, OPEN_FLAGS | O_CREAT, 0640);
	return fd < 0 ? -errno : fd;
}

static int put_in_place(int fd)
{
	int old = atomic_load(&log_fd), r = fd;

	if (old >= 0) {
		r = sys_dup3(fd, old, O_CLOEXEC) < 0 ? -errno : old;
		fd_close(&fd);
	}
	return r;
}

static void use(int fd, enum write_way how, enum log_level most, enum tables_log_format format)
{
	atomic_store(&log_fd, fd);
	atomic_store(&way, (int)how);
	log_setup(most, format == LOG_FORMAT_JSON, sink);
}

int logfile_open(const char *where, enum log_level most, enum tables_log_format format, struct buf *why)
{
	enum write_way how = WAY_WRITE;
	int fd = open_place(where, &how);

	if (fd >= 0)
		fd = put_in_place(fd);
	if (fd < 0) {
		buf_addf(why, "cannot write the log to %s: %s", where, strerror(-fd));
		return fd;
	}
	use(fd, how, most, format);
	return 0;
}

/* Who has opened it has made it non-blocking where that is ours to do; so what blocks and is no file is shared. */
static enum write_way way_of(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (fstat(fd, &st) < 0 || S_ISREG(st.st_mode))
		return WAY_WRITE;
	if (S_ISSOCK(st.st_mode))
		return WAY_SOCKET;
	return flags & O_NONBLOCK ? WAY_WRITE : WAY_ASK;
}

void logfile_take(int fd, enum log_level most, enum tables_log_format format)
{
	enum write_way how = way_of(fd);

	fd = put_in_place(fd);
	if (fd >= 0)
		use(fd, how, most, format);
}

int logfile_fd(void)
{
	return atomic_load(&log_fd);
}
