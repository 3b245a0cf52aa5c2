/*
 * secret.c - see secret.h. The terminal gives each key as it is, the one for an interrupt too: so no signal can end us while the
 * echo is off, and what it was is put back in every case but SIGKILL.
 */
#include "main/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "store/people.h"

enum { TRIES = 3, CTRL_C = 3, CTRL_D = 4, CTRL_U = 21, BACKSPACE = 8, DELETE = 127, LINE = PEOPLE_PASSWORD_MAX + 2 };

void secret_done(struct buf *b)
{
	if (b->p)
		explicit_bzero(b->p, b->fixed ? b->n : b->cap);
	buf_done(b);
}

static int failed(struct buf *why, int err)
{
	buf_addf(why, "cannot read the password: %s", strerror(-err));
	return err;
}

/* ---- standard input ---- */

int secret_read(int fd, struct buf *ret, struct buf *why)
{
	char c;
	ssize_t n;

	buf_reset(ret);
	while ((n = read(fd, &c, 1)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return failed(why, -errno);
		if (c == '\n')
			break;
		if (ret->n > LINE)
			break; /* too long, which is found below */
		buf_addc(ret, c);
	}
	if (ret->n && ret->p[ret->n - 1] == '\r')
		buf_cut(ret, ret->n - 1);
	return ret->err ? failed(why, ret->err) : people_check_password(buf_span(ret), why);
}

/* ---- the terminal ---- */

/* The last character, which may have several bytes. */
static void rub_out(struct buf *b)
{
	size_t n = b->n;

	while (n > 0 && (b->p[n - 1] & 0xc0) == 0x80)
		n--;
	buf_cut(b, n ? n - 1 : 0);
}

/* Up to Enter. */
static int type(int fd, struct buf *ret)
{
	unsigned char c;
	ssize_t n;

	buf_reset(ret);
	while ((n = read(fd, &c, 1)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (c == '\r' || c == '\n')
			return ret->err;
		if (c == CTRL_C || (c == CTRL_D && ret->n == 0))
			return -ECANCELED;
		if (c == CTRL_U)
			buf_reset(ret);
		else if (c == BACKSPACE || c == DELETE)
			rub_out(ret);
		else
			buf_addc(ret, (char)c);
	}
	return -ECANCELED;
}

static int type_unseen(int fd, const char *prompt, const char *whose, struct buf *ret)
{
	struct termios before, now;
	sigset_t all, old;
	int r;

	if (tcgetattr(fd, &before) < 0)
		return -errno;
	now = before;
	now.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG);
	now.c_cc[VMIN] = 1;
	now.c_cc[VTIME] = 0;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	r = tcsetattr(fd, TCSAFLUSH, &now) < 0 ? -errno : 0;
	if (r == 0) {
		dprintf(fd, "%s %s: ", prompt, whose);
		r = type(fd, ret);
		(void)tcsetattr(fd, TCSAFLUSH, &before);
		dprintf(fd, "\n");
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	return r;
}

static int ask_twice(int fd, const char *whose, struct buf *ret, struct buf *again, struct buf *why)
{
	for (int i = 0; i < TRIES; i++) {
		int r = type_unseen(fd, i ? "They differ. Password of" : "Password of", whose, ret);

		if (r == 0)
			r = people_check_password(buf_span(ret), why);
		if (r == -EINVAL)
			return r;
		if (r == 0)
			r = type_unseen(fd, "Once more, password of", whose, again);
		if (r < 0)
			return r == -ECANCELED ? buf_adds(why, "interrupted: nothing was changed"), r : failed(why, r);
		if (ret->n == again->n && memcmp(ret->p, again->p, ret->n) == 0)
			return 0;
	}
	buf_adds(why, "they were never the same: nothing was changed");
	return -ECANCELED;
}

static int open_terminal(struct buf *why)
{
	int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd >= 0)
		return fd;
	buf_adds(why, "there is no terminal to ask for the password on; with --stdin it is the first line of standard "
		      "input");
	return -ENOTTY;
}

int secret_can_ask(struct buf *why)
{
	int fd = open_terminal(why);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int secret_ask(const char *whose, struct buf *ret, struct buf *why)
{
	int fd = open_terminal(why), r;
	char text[LINE + 1];
	struct buf again;

	if (fd < 0)
		return fd;
	buf_init_fixed(&again, text, sizeof(text));
	r = ask_twice(fd, whose, ret, &again, why);
	explicit_bzero(text, sizeof(text));
	close(fd);
	return r;
}
