/* exec.c - a command as asked for, kept until the driver acts on it: one block with all its words. */
#include <string.h>

#include "base/mem.h"
#include "core/session.h"

struct kept {
	struct exec e; /* first */
	struct exec_user user;
	const char *v[]; /* argv, NULL, envp, NULL; then the bytes of all */
};

static size_t bytes_of(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}

/* How many words, and adds their bytes. */
static size_t measure(const char *const *v, size_t *bytes)
{
	size_t n = 0;

	for (; v && v[n]; n++)
		*bytes += bytes_of(v[n]);
	return n;
}

static const char *keep(char **at, const char *s)
{
	size_t n = bytes_of(s);
	char *to = *at;

	if (!s)
		return NULL;
	memcpy(to, s, n);
	*at += n;
	return to;
}

static void keep_all(char **at, const char **to, const char *const *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = keep(at, v[i]);
	to[n] = NULL;
}

struct exec *exec_copy(const struct exec *e)
{
	size_t bytes = bytes_of(e->path) + bytes_of(e->dir);
	size_t words = measure(e->argv, &bytes), variables = measure(e->envp, &bytes);
	struct kept *k = mem_alloc(sizeof(*k) + (words + variables + 2) * sizeof(k->v[0]) + bytes);
	char *at;

	if (!k)
		return NULL;
	at = (char *)(k->v + words + variables + 2);
	k->e = *e;
	k->e.path = keep(&at, e->path);
	k->e.dir = keep(&at, e->dir);
	keep_all(&at, k->v, e->argv, words);
	keep_all(&at, k->v + words + 1, e->envp, variables);
	k->e.argv = k->v;
	k->e.envp = e->envp ? k->v + words + 1 : NULL;
	if (e->user) {
		k->user = *e->user;
		k->e.user = &k->user;
	}
	return &k->e;
}
