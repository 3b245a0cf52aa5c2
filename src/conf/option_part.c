/* option_part.c - the two types of options that own more than a value: files with their content, and sections of their own. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "conf/option_priv.h"

/* ---- files ---- */

static void forget_bytes(struct option_file *f)
{
	if (f->bytes.p)
		explicit_bzero((void *)f->bytes.p, f->bytes.n);
	mem_free((void *)f->bytes.p);
	f->bytes = (struct span){};
}

static int set_bytes(struct option_file *f, struct span bytes)
{
	uint8_t *p = mem_alloc(bytes.n + 1);

	if (!p)
		return -ENOMEM;
	if (bytes.n)
		memcpy(p, bytes.p, bytes.n);
	forget_bytes(f);
	f->bytes = (struct span){ p, bytes.n };
	return 0;
}

int option_set_file(const struct option *row, void *slot, const char *text, struct buf *why)
{
	struct option_file *f = slot;
	char *path;

	(void)row;
	if (*text == '\0') {
		buf_adds(why, "the path is empty");
		return -EINVAL;
	}
	path = mem_strdup(text);
	if (!path)
		return -ENOMEM;
	option_done_file(f);
	f->path = path;
	return 0;
}

int option_file_take(const struct option *row, void *values, struct span bytes, struct buf *why)
{
	struct option_file *f = (void *)((char *)values + row->offset);

	if (row->max && bytes.n > row->max) {
		buf_addf(why, "%s: %s has %zu bytes, at most %llu are read", row->name, f->path, bytes.n,
			 (unsigned long long)row->max);
		return -EFBIG;
	}
	return set_bytes(f, bytes);
}

void option_format_file(const struct option *row, const void *slot, struct buf *b)
{
	const struct option_file *f = slot;

	(void)row;
	if (f->path)
		buf_adds(b, f->path);
}

bool option_equal_file(const void *a, const void *b)
{
	const struct option_file *x = a, *y = b;

	if (!x->path || !y->path)
		return x->path == y->path;
	return strcmp(x->path, y->path) == 0 && span_same(x->bytes, y->bytes);
}

int option_copy_file(const void *from, void *to)
{
	const struct option_file *f = from;
	struct option_file *copy = to;

	if (!f->path)
		return 0;
	copy->path = mem_strdup(f->path);
	if (!copy->path)
		return -ENOMEM;
	return f->bytes.p ? set_bytes(copy, f->bytes) : 0;
}

void option_done_file(void *slot)
{
	struct option_file *f = slot;

	forget_bytes(f);
	mem_free(f->path);
	f->path = NULL;
}

/* ---- parts ---- */

int option_set_parts(const struct option *row, void *slot, const char *text, struct buf *why)
{
	(void)slot;
	(void)text;
	buf_addf(why, "is no option but a section of its own, [SERVICE.%s.NAME]", row->name);
	return -EINVAL;
}

int option_part_add(const struct option *row, void *values, const char *name, struct option_part **ret)
{
	struct option_parts *parts = (void *)((char *)values + row->offset);
	struct option_part *v, part = {};

	for (size_t i = 0; i < parts->n; i++)
		if (strcmp(parts->v[i].name, name) == 0)
			return -EEXIST;
	v = mem_realloc(parts->v, (parts->n + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	parts->v = v;
	parts->table = row->part;
	part.name = mem_strdup(name);
	if (!part.name || option_values_new(row->part, &part.values) < 0) {
		mem_free(part.name);
		return -ENOMEM;
	}
	v[parts->n] = part;
	*ret = &v[parts->n++];
	return 0;
}

static void format_part(const struct option_part *part, const struct option_table *t, struct buf *b)
{
	const char *gap = "";

	buf_addf(b, "%s (", part->name);
	for (size_t i = 0; i < t->n; i++) {
		size_t begin = b->n, named;

		buf_addf(b, "%s%s = ", gap, t->rows[i].name);
		named = b->n;
		option_format(&t->rows[i], part->values, b);
		if (b->n == named)
			buf_cut(b, begin);
		else
			gap = ", ";
	}
	buf_addc(b, ')');
}

void option_format_parts(const struct option *row, const void *slot, struct buf *b)
{
	const struct option_parts *parts = slot;

	for (size_t i = 0; i < parts->n; i++) {
		buf_adds(b, i ? " " : "");
		format_part(&parts->v[i], row->part, b);
	}
}

bool option_equal_parts(const void *a, const void *b)
{
	const struct option_parts *x = a, *y = b;

	if (x->n != y->n)
		return false;
	for (size_t i = 0; i < x->n; i++)
		if (strcmp(x->v[i].name, y->v[i].name) != 0 ||
		    !option_values_equal(x->table, x->v[i].values, y->v[i].values))
			return false;
	return true;
}

int option_copy_parts(const void *from, void *to)
{
	const struct option_parts *parts = from;
	struct option_parts *copy = to;

	if (!parts->n)
		return 0;
	copy->table = parts->table;
	copy->v = mem_zalloc(parts->n * sizeof(*copy->v));
	if (!copy->v)
		return -ENOMEM;
	for (; copy->n < parts->n; copy->n++) {
		const struct option_part *part = &parts->v[copy->n];
		struct option_part *mine = &copy->v[copy->n];

		mine->name = mem_strdup(part->name);
		if (!mine->name || option_values_copy(parts->table, part->values, &mine->values) < 0) {
			mem_free(mine->name);
			return -ENOMEM;
		}
	}
	return 0;
}

void option_done_parts(void *slot)
{
	struct option_parts *parts = slot;

	for (size_t i = 0; i < parts->n; i++) {
		mem_free(parts->v[i].name);
		option_values_free(parts->table, &parts->v[i].values);
	}
	mem_free(parts->v);
	*parts = (struct option_parts){};
}
