/* named.c - see named.h. */
#include "drive/net/named.h"

#include <errno.h>
#include <string.h>

#include "drive/net/fifo.h"
#include "drive/net/listener.h"
#include "drive/net/queue.h"
#include "drive/sys.h"

static int open_it(struct listener *ln, struct buf *why)
{
	const char *path = ln->at.name.path;
	int r;

	if (ln->at.type == NETADDR_QUEUE) {
		r = queue_open(path, why);
		ln->fd = r < 0 ? -1 : r;
		ln->queue = r >= 0;
		return r < 0 ? r : 0;
	}
	r = fifo_open(path, &ln->fifo, why);
	if (r == 0)
		ln->fd = fifo_fd(ln->fifo);
	return r;
}

static int name_it(struct listener *ln)
{
	ln->local = peer_new(PEER_NAME, ln->at.name.path, strlen(ln->at.name.path), 0, 0);
	return ln->local ? 0 : -ENOMEM;
}

int named_take(struct listener *ln, int dir)
{
	int r;

	if (ln->at.type == NETADDR_QUEUE) {
		ln->queue = true;
		r = queue_take(ln->at.name.path);
	} else {
		r = fifo_take(ln->fd, dir, &ln->fifo);
		if (r < 0)
			ln->fd = -1;
	}
	return r < 0 ? r : name_it(ln);
}

int named_dir(const struct listener *ln)
{
	return ln->fifo ? fifo_dir(ln->fifo) : -1;
}

int named_open(struct listener *ln, struct buf *why)
{
	int r = open_it(ln, why);
	struct stat st;

	if (r < 0)
		return r;
	if (sys_fstat(ln->fd, &st) < 0)
		return -errno;
	ln->born = (struct owner){ st.st_uid, st.st_gid, st.st_mode & 0777 };
	return name_it(ln);
}

int named_give(const struct listener *ln, const struct owner *to)
{
	return ln->queue ? queue_give(ln->fd, to) : owner_give(ln->at.name.path, S_IFIFO, to);
}

void named_close(struct listener *ln)
{
	if (!ln->queue && !ln->fifo)
		return;
	if (ln->queue)
		queue_close(&ln->fd, ln->at.name.path, !ln->taken);
	fifo_close(&ln->fifo);
	ln->queue = false;
	ln->fd = -1;
}
