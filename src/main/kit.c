/* kit.c - see kit.h. Packed: for each file the lengths of path and content as 32-bit numbers, then the two of them. */
#include "main/kit.h"

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>

#include "base/list.h"
#include "base/mem.h"
#include "drive/files.h"
#include "drive/sys.h"

enum { KIT_MAX = 64 << 20 }; /* bytes of a packed one; a configuration and its certificates are far below */

struct item {
	struct list node;
	char *path;
	size_t n;
	uint8_t bytes[];
};

struct kit {
	struct list items;
};

int kit_new(struct kit **ret)
{
	struct kit *k = mem_alloc(sizeof(*k));

	if (!k)
		return -ENOMEM;
	list_init(&k->items);
	*ret = k;
	return 0;
}

static void drop(struct item *i)
{
	explicit_bzero(i->bytes, i->n);
	mem_free(i->path);
	mem_free(i);
}

void kit_free(struct kit **kp)
{
	struct kit *k = *kp;
	struct list *n;

	if (!k)
		return;
	*kp = NULL;
	while ((n = list_pop(&k->items)))
		drop(list_entry(n, struct item, node));
	mem_free(k);
}

static struct item *find(const struct kit *k, const char *path)
{
	for (const struct list *n = k->items.next; n != &k->items; n = n->next) {
		struct item *i = list_entry(n, struct item, node);

		if (strcmp(i->path, path) == 0)
			return i;
	}
	return NULL;
}

int kit_add(struct kit *k, const char *path, struct span bytes)
{
	struct item *old = find(k, path), *i = mem_alloc(sizeof(*i) + bytes.n);

	if (!i)
		return -ENOMEM;
	i->path = mem_strdup(path);
	if (!i->path) {
		mem_free(i);
		return -ENOMEM;
	}
	i->n = bytes.n;
	if (bytes.n > 0)
		memcpy(i->bytes, bytes.p, bytes.n);
	if (old) {
		list_del(&old->node);
		drop(old);
	}
	list_add(&k->items, &i->node);
	return 0;
}

bool kit_find(const struct kit *k, const char *path, struct span *ret)
{
	const struct item *i = find(k, path);

	if (i)
		*ret = (struct span){ i->bytes, i->n };
	return i != NULL;
}

int kit_read(const struct kit *from, struct kit *into, const char *path, struct buf *b, struct buf *why)
{
	struct span bytes;
	int r;

	if (!from) {
		r = files_read(path, b, why);
	} else if (kit_find(from, path, &bytes)) {
		buf_add(b, bytes.p, bytes.n);
		r = b->err;
	} else {
		if (why)
			buf_addf(why, "cannot read %s: it is not in the kit", path);
		r = -ENOENT;
	}
	return r == 0 && into ? kit_add(into, path, buf_span(b)) : r;
}

/* ---- packing ---- */

static int put(int fd, const void *bytes, size_t n)
{
	for (const char *p = bytes; n > 0;) {
		ssize_t r = sys_write(fd, p, n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}

static int put_item(int fd, const struct item *i)
{
	uint32_t n[2] = { (uint32_t)strlen(i->path), (uint32_t)i->n };
	int r = put(fd, n, sizeof(n));

	if (r == 0)
		r = put(fd, i->path, n[0]);
	return r == 0 ? put(fd, i->bytes, i->n) : r;
}

static bool is_too_large(const struct kit *k)
{
	size_t n = 0;

	for (const struct list *l = k->items.next; l != &k->items; l = l->next)
		n += list_entry(l, const struct item, node)->n + PATH_MAX;
	if (n <= KIT_MAX)
		return false;
	errno = EFBIG;
	return true;
}

int kit_pack(const struct kit *k)
{
	int fd = is_too_large(k) ? -1 : sys_memfd_create("guichet-kit", MFD_CLOEXEC | MFD_ALLOW_SEALING),
	    r = fd < 0 ? -errno : 0;

	for (const struct list *n = k->items.next; n != &k->items && r == 0; n = n->next)
		r = put_item(fd, list_entry(n, const struct item, node));
	if (r == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		r = -errno;
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}

/* The next item of what is left; 0, or -EPROTO when it is cut off, or has a path that is none. */
static int take_item(struct kit *k, struct span *left)
{
	struct span bytes;
	uint32_t n[2];
	char *path;
	int r;

	if (left->n < sizeof(n))
		return -EPROTO;
	memcpy(n, left->p, sizeof(n));
	left->p += sizeof(n);
	left->n -= sizeof(n);
	if (n[0] == 0 || n[0] > left->n || n[1] > left->n - n[0] || memchr(left->p, '\0', n[0]))
		return -EPROTO;
	path = mem_strndup((const char *)left->p, n[0]);
	bytes = (struct span){ left->p + n[0], n[1] };
	r = path ? kit_add(k, path, bytes) : -ENOMEM;
	mem_free(path);
	left->p += (size_t)n[0] + n[1];
	left->n -= (size_t)n[0] + n[1];
	return r;
}

static int take_all(struct kit *k, struct span left)
{
	int r = 0;

	while (r == 0 && left.n > 0)
		r = take_item(k, &left);
	return r;
}

int kit_unpack(int fd, struct kit **ret)
{
	struct kit *k;
	struct stat st;
	void *p;
	int r;

	if (sys_fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < 0 || st.st_size > KIT_MAX)
		return -EPROTO;
	r = kit_new(&k);
	if (r < 0)
		return r;
	p = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
	if (p == MAP_FAILED)
		r = -errno;
	else if (p)
		r = take_all(k, (struct span){ p, (size_t)st.st_size });
	if (p && p != MAP_FAILED)
		munmap(p, (size_t)st.st_size);
	if (r < 0)
		kit_free(&k);
	else
		*ret = k;
	return r;
}
