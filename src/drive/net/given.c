/* given.c - see given.h. */
#include "drive/net/given.h"

#include <dirent.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/str.h"
#include "drive/sys.h"

enum { MOST = 1024 }; /* more of them are left to whoever gave them */

struct given {
	unsigned n;
	int v[MOST];
};

/* ---- what it is ---- */

static int get(int fd, int level, int option)
{
	int value = 0;
	socklen_t n = sizeof(value);

	return getsockopt(fd, level, option, &value, &n) < 0 ? -errno : value;
}

enum given_kind given_kind(int fd)
{
	int type = get(fd, SOL_SOCKET, SO_TYPE);
	struct sockaddr_storage peer;
	socklen_t n = sizeof(peer);

	if (type == -EBADF)
		return GIVEN_NOTHING;
	if (type < 0)
		return GIVEN_FILE;
	if (type == SOCK_DGRAM)
		return GIVEN_DGRAM;
	if (get(fd, SOL_SOCKET, SO_ACCEPTCONN) > 0)
		return GIVEN_DOOR;
	return getpeername(fd, (struct sockaddr *)&peer, &n) == 0 ? GIVEN_TALK : GIVEN_IDLE;
}

int given_address(int fd, struct netaddr *ret)
{
	socklen_t n = sizeof(ret->interface);
	int type = get(fd, SOL_SOCKET, SO_TYPE);

	*ret = (struct netaddr){ .n = sizeof(ret->st), .type = type };
	if (type == -ENOTSOCK) {
		ret->n = 0;
		return 0;
	}
	if (type < 0)
		return type;
	if (sys_getsockname(fd, &ret->sa, &ret->n) < 0)
		return -errno;
	if (ret->sa.sa_family == AF_INET6)
		ret->v6only = get(fd, IPPROTO_IPV6, IPV6_V6ONLY) > 0;
	if (ret->sa.sa_family != AF_UNIX && getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, ret->interface, &n) < 0)
		*ret->interface = '\0';
	return 0;
}

/* ---- which there are ---- */

/* Not what libraries have opened meanwhile, nor the folder that is being read. */
static bool was_given(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return fd > STDERR_FILENO && flags >= 0 && !(flags & FD_CLOEXEC);
}

static void look(struct given *g, DIR *d)
{
	/* cppcheck-suppress readdirCalled ; the stream is this function's own, and readdir_r() is deprecated */
	for (const struct dirent *e; g->n < MOST && (e = readdir(d));) {
		uint64_t fd;

		if (str_to_u64(e->d_name, &fd) == 0 && was_given((int)fd))
			g->v[g->n++] = (int)fd;
	}
}

int given_new(struct given **ret)
{
	struct given *g = mem_zalloc(sizeof(*g));
	DIR *d = g ? opendir("/proc/self/fd") : NULL;

	if (!g)
		return -ENOMEM;
	if (d) { /* without it, nothing was given */
		look(g, d);
		closedir(d);
	}
	for (unsigned i = 0; i < g->n; i++)
		(void)fcntl(g->v[i], F_SETFD, FD_CLOEXEC);
	*ret = g;
	return 0;
}

void given_free(struct given **g)
{
	mem_free(*g);
	*g = NULL;
}

bool given_has(const struct given *g, int fd, struct buf *why)
{
	for (unsigned i = 0; i < g->n; i++)
		if (g->v[i] == fd)
			return true;
	if (fd == STDIN_FILENO && fcntl(fd, F_GETFD) >= 0)
		return true;
	if (fd == STDIN_FILENO)
		buf_adds(why, "standard input is closed");
	else if (fd <= STDERR_FILENO)
		buf_adds(why, "standard input and output are served by stdio:");
	else
		buf_addf(why, "nobody has given descriptor %d to this program", fd);
	return false;
}

int given_find(const struct given *g, const struct netaddr *at)
{
	for (unsigned i = 0; i < g->n; i++) {
		enum given_kind kind = given_kind(g->v[i]);
		struct netaddr a;

		if ((kind == GIVEN_DOOR || kind == GIVEN_DGRAM) && given_address(g->v[i], &a) == 0 &&
		    netaddr_same(&a, at))
			return g->v[i];
	}
	return -1;
}

/* ---- taking one ---- */

static int duplicate(int fd, int *ret)
{
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	return *ret < 0 ? -errno : 0;
}

static bool same_file(int a, int b)
{
	struct stat x, y;

	return sys_fstat(a, &x) == 0 && sys_fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* From now on nobody can read or write there by mistake. */
static int hide_stdio(void)
{
	int fd = sys_open("/dev/null", O_RDWR | O_CLOEXEC, 0), r = 0;

	if (fd < 0)
		return -errno;
	for (int to = STDIN_FILENO; to <= STDOUT_FILENO && r == 0; to++)
		r = sys_dup3(fd, to, 0) < 0 ? -errno : 0;
	fd_close(&fd);
	return r;
}

static int take_stdio(int *ret_fd, int *ret_wfd)
{
	bool one = given_kind(STDIN_FILENO) != GIVEN_FILE &&
		   (given_kind(STDIN_FILENO) != GIVEN_TALK || same_file(STDIN_FILENO, STDOUT_FILENO));
	int fd = -1, wfd = -1, r = duplicate(STDIN_FILENO, &fd);

	if (r == 0 && !one)
		r = duplicate(STDOUT_FILENO, &wfd);
	if (r == 0)
		r = hide_stdio();
	if (r < 0) {
		fd_close(&fd);
		fd_close(&wfd);
		return r;
	}
	*ret_fd = fd;
	*ret_wfd = wfd;
	return 0;
}

static void forget(struct given *g, int fd)
{
	for (unsigned i = 0; i < g->n; i++)
		if (g->v[i] == fd)
			g->v[i] = g->v[--g->n];
	close(fd);
}

int given_take(struct given *g, int fd, int *ret_fd, int *ret_wfd)
{
	int mine, r;

	if (fd == STDIN_FILENO)
		return take_stdio(ret_fd, ret_wfd);
	r = duplicate(fd, &mine);
	if (r < 0)
		return r;
	if (given_kind(fd) == GIVEN_TALK)
		forget(g, fd);
	*ret_fd = mine;
	*ret_wfd = -1;
	return 0;
}
