/* people.c - a set of people in memory: found by name and by certificate, put in and taken out. people_text.c reads and writes it. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "store/people_priv.h"

/* ---- names ---- */

static int refuse(struct buf *why, struct span name, const char *what)
{
	if (why) {
		buf_add_excerpt(why, name);
		buf_addf(why, " %s", what);
	}
	return -EINVAL;
}

int people_check_name(struct span name, struct buf *why)
{
	if (name.n == 0)
		return refuse(why, name, "is no name: it is empty");
	if (name.n > PEOPLE_NAME_MAX)
		return refuse(why, name, "is too long for a name, at most 128 bytes");
	if (!utf8_is_text(name))
		return refuse(why, name, "is no name: it is not UTF-8");
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] < ' ' || name.p[i] == 0x7f || name.p[i] == ':' || name.p[i] == ',')
			return refuse(why, name, "is no name: it has a control character, a : or a , in it");
	if (memchr("@#$+", name.p[0], 4))
		return refuse(why, name, "is no name: it may not begin with @ # $ or +");
	if (name.p[0] == ' ' || name.p[name.n - 1] == ' ')
		return refuse(why, name, "is no name: it begins or ends with a space");
	if (span_is(name, "*") || span_is(name, "anonymous"))
		return refuse(why, name, "is no name: rules mean others by it");
	return 0;
}

/* ---- one of them ---- */

void person_free(struct person *who)
{
	if (!who)
		return;
	mem_free(who->name);
	mem_free(who->hash);
	mem_free(who->scram);
	str_words_done(&who->groups);
	str_words_done(&who->certificates);
	mem_free(who);
}

static int copy_text(const char *from, char **to)
{
	*to = from ? mem_strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

static int person_copy(const struct person *from, struct person **ret)
{
	struct person *to = mem_zalloc(sizeof(*to));
	int r = to ? 0 : -ENOMEM;

	if (r == 0)
		r = copy_text(from->name, &to->name);
	if (r == 0)
		r = copy_text(from->hash, &to->hash);
	if (r == 0)
		r = copy_text(from->scram, &to->scram);
	if (r == 0)
		r = str_words_copy(&from->groups, &to->groups);
	if (r == 0)
		r = str_words_copy(&from->certificates, &to->certificates);
	if (r < 0) {
		person_free(to);
		return r;
	}
	to->disabled = from->disabled;
	*ret = to;
	return 0;
}

bool person_is_in(const struct person *who, const char *group)
{
	for (size_t i = 0; i < who->groups.n; i++)
		if (strcmp(who->groups.v[i], group) == 0)
			return true;
	return false;
}

/* ---- the set ---- */

int people_new(struct people **ret)
{
	struct people *p = mem_zalloc(sizeof(*p));

	if (!p)
		return -ENOMEM;
	atomic_init(&p->refs, 1);
	*ret = p;
	return 0;
}

struct people *people_ref(struct people *p)
{
	if (p)
		atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void people_unref(struct people *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < p->n; i++)
		person_free(p->v[i]);
	mem_free(p->v);
	mem_free(p->hashed);
	mem_free(p->decoy);
	mem_free(p);
}

size_t people_count(const struct people *p)
{
	return p ? p->n : 0;
}

size_t people_damaged(const struct people *p)
{
	return p ? p->damaged : 0;
}

const struct person *people_at(const struct people *p, size_t i)
{
	return p->v[i];
}

static int order(struct span a, const char *b)
{
	size_t n = strlen(b);
	int r = memcmp(a.p, b, a.n < n ? a.n : n);

	return r ? r : a.n < n ? -1 : a.n > n;
}

/* Where it is (true), or where it would be. */
static bool search(const struct people *p, struct span name, size_t *ret)
{
	size_t low = 0, high = p->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int r = order(name, p->v[mid]->name);

		if (r == 0) {
			*ret = mid;
			return true;
		}
		if (r < 0)
			high = mid;
		else
			low = mid + 1;
	}
	*ret = low;
	return false;
}

const struct person *people_find(const struct people *p, struct span name)
{
	size_t at;

	return p && name.n && search(p, name, &at) ? p->v[at] : NULL;
}

static int grow(struct people *p)
{
	size_t cap = p->cap ? 2 * p->cap : 16;
	struct person **v;

	if (p->n < p->cap)
		return 0;
	v = mem_realloc(p->v, cap * sizeof(struct person *));
	if (!v)
		return -ENOMEM;
	p->v = v;
	p->cap = cap;
	return 0;
}

/* What cannot be read back is not written. */
static int check_words(const struct str_words *groups, const struct str_words *certificates, struct buf *why)
{
	for (size_t i = 0; i < groups->n; i++)
		if (people_check_name(span_str(groups->v[i]), why) < 0)
			return -EINVAL;
	if (groups->n > PEOPLE_GROUPS)
		return refuse(why, span_str(groups->v[0]), "and others: at most 64 groups");
	if (certificates->n > PEOPLE_CERTIFICATES)
		return refuse(why, span_str(certificates->v[0]), "and others: at most 16 certificates");
	for (size_t i = 0; i < certificates->n; i++) {
		struct span s = span_str(certificates->v[i]);

		if (s.n == 0 || s.n > PEOPLE_TEXT || !utf8_is_text(s) || strchr(certificates->v[i], '\n'))
			return refuse(why, s, "is no subject of a certificate");
	}
	return 0;
}

int people_put(struct people *p, const struct person *like, struct buf *why)
{
	struct span name = span_str(like->name);
	struct person *new = NULL;
	size_t at;
	int r = people_check_name(name, why);

	if (r == 0)
		r = check_words(&like->groups, &like->certificates, why);
	if (r == 0 && like->hash && !people_hash_known(like->hash))
		r = refuse(why, name, "has a hash of an unknown kind");
	if (r == 0)
		r = grow(p);
	if (r == 0)
		r = person_copy(like, &new);
	if (r < 0)
		return r;
	if (search(p, name, &at)) {
		person_free(p->v[at]);
	} else {
		memmove(p->v + at + 1, p->v + at, (p->n - at) * sizeof(*p->v));
		p->n++;
	}
	p->v[at] = new;
	p->n_hashed = 0; /* for who reads the text again */
	return 0;
}

bool people_remove(struct people *p, const char *name)
{
	size_t at;

	if (!search(p, span_str(name), &at))
		return false;
	person_free(p->v[at]);
	p->n--;
	memmove(p->v + at, p->v + at + 1, (p->n - at) * sizeof(*p->v));
	p->n_hashed = 0;
	return true;
}

/* ---- certificates ---- */

static bool owns(const struct person *who, const char *subject)
{
	for (size_t i = 0; i < who->certificates.n; i++)
		if (strcmp(who->certificates.v[i], subject) == 0)
			return true;
	return false;
}

/* The end of one part of a subject; what stands behind a backslash ends none. */
static size_t part_end(const char *s)
{
	size_t n = 0;

	while (s[n] && s[n] != ',' && s[n] != '+')
		n += s[n] == '\\' && s[n + 1] ? 2 : 1;
	return n;
}

/* The only CN, as it stands there; empty when there is none, are two, or one that has to be taken apart first. */
static struct span common_name(const char *subject)
{
	struct span found = {};

	for (const char *s = subject; *s;) {
		size_t n = part_end(s);

		if (n > 3 && strncmp(s, "CN=", 3) == 0) {
			if (found.n)
				return (struct span){};
			found = (struct span){ (const uint8_t *)s + 3, n - 3 };
		}
		s += n + (s[n] != '\0');
	}
	if (found.n && memchr(found.p, '\\', found.n))
		return (struct span){};
	return found;
}

const struct person *people_by_certificate(const struct people *p, const char *subject)
{
	const struct person *who = NULL;
	size_t owners = 0;

	for (size_t i = 0; i < people_count(p); i++) {
		if (!owns(p->v[i], subject))
			continue;
		who = p->v[i];
		owners++;
	}
	if (owners > 1)
		return NULL; /* neither is believed */
	if (owners == 0) {
		who = people_find(p, common_name(subject));
		if (who && who->certificates.n)
			return NULL;
	}
	return who && !who->disabled ? who : NULL;
}
