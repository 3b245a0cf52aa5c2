/*
 * logfile.c - see logfile.h. Lines go to a descriptor of our own, which keeps its number for ever: reopening puts
 * another file under it in one step (dup3), so a thread that is writing meanwhile needs no lock and loses nothing.
 */
#include "drive/logfile.h"

#include <assert.h>
#include <stdatomic.h>
#include <time.h>

#include "base/date.h"
#include "base/log.h"
#include "drive/sys.h"

static _Atomic int log_fd = -1;
static _Atomic uint64_t lost; /* lines that could not be written since the last one that could */

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

static bool write_line(bool json, const char *text, size_t n)
{
	char time[DATE_TEXT], head[DATE_TEXT + 16];
	int len = snprintf(head, sizeof(head), json ? "{\"time\":\"%s\"," : "%s ", time_text(time));
	struct iovec v[] = { piece(head, (size_t)len), piece(text, n), piece("}\n" + !json, 1 + json) };
	ssize_t r;

	do
		r = sys_writev(atomic_load(&log_fd), v, 3);
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
	    !log_begin(&l, LOG_ERROR, "log-lines-lost"))
		return;
	log_uint(&l, "lines", gone);
	write_line(l.json, l.text, l.n);
}

/* A descriptor that is writable, or -errno. O_NONBLOCK: a named pipe that nobody reads must not hang us. */
static int open_place(const char *where)
{
	int fd;

	if (strcmp(where, "stderr") == 0)
		fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		fd = sys_open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	return fd < 0 ? -errno : fd;
}

int logfile_open(const char *where, enum log_level most, enum tables_log_format format, struct buf *why)
{
	int fd = open_place(where), old = atomic_load(&log_fd);

	if (fd < 0) {
		buf_addf(why, "cannot write the log to %s: %s", where, strerror(-fd));
		return fd;
	}
	if (old < 0) {
		atomic_store(&log_fd, fd);
	} else {
		dup3(fd, old, O_CLOEXEC);
		fd_close(&fd);
	}
	log_setup(most, format == LOG_FORMAT_JSON, sink);
	return 0;
}
