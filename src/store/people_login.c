/*
 * people_login.c - is this password his? The slow answer, and the memory of those that were right.
 *
 * What is remembered is an HMAC of the user's hash, his name and the password under a key that lives as long as the process, in a
 * table of fixed size without a lock. Three words are written there one after the other, so two threads can leave a mixture: half
 * of one's digest beside half of another's fits nothing, and any time in it is at most ten minutes away.
 */
#include <errno.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/mem.h"
#include "base/random.h"
#include "store/people_priv.h"

enum {
	KEY = 32,
	SETS = 1 << 12,
	WAYS = 8, /* 32768 logins in 768 KiB; pages that nobody touches cost nothing */
};
static const uint64_t lasts = 600 * NSEC_PER_SEC;

struct memo {
	_Atomic uint64_t half[2];
	_Atomic uint64_t until; /* 0: nothing is here */
};

struct table {
	struct memo memos[SETS][WAYS];
};

struct people_memory {
	uint8_t key[KEY];
	_Atomic(struct table *) table; /* NULL: nobody has logged in yet */
};

int people_memory_new(struct people_memory **ret)
{
	struct people_memory *m = mem_zalloc(sizeof(*m));
	int r = m ? random_fill(m->key, sizeof(m->key)) : -ENOMEM;

	if (r < 0)
		people_memory_free(&m);
	else
		*ret = m;
	return r;
}

void people_memory_free(struct people_memory **m)
{
	if (*m) {
		explicit_bzero((*m)->key, sizeof((*m)->key));
		mem_free(atomic_load(&(*m)->table));
	}
	mem_free(*m);
	*m = NULL;
}

void people_memory_key(const struct people_memory *m, struct span what, uint8_t ret[static 32])
{
	unsigned n = 0;

	if (!HMAC(EVP_sha256(), m->key, KEY, what.n ? what.p : (const uint8_t *)"", what.n, ret, &n))
		memset(ret, 0, 32); /* memory is out */
}

/* ---- remembering ---- */

struct mark {
	uint64_t half[2], place;
};

/* The names and the hash have no NUL: no two of these texts are the same for different people. */
static bool make_mark(const struct people_memory *m, const struct person *who, struct span password, struct mark *ret)
{
	uint8_t text[PEOPLE_TEXT + PEOPLE_NAME_MAX + PEOPLE_PASSWORD_MAX + 2], digest[EVP_MAX_MD_SIZE];
	size_t hash = strlen(who->hash) + 1, name = strlen(who->name) + 1, n = hash + name + password.n;
	unsigned size = 0;
	bool good;

	if (password.n > PEOPLE_PASSWORD_MAX || password.n == 0 || n > sizeof(text))
		return false;
	memcpy(text, who->hash, hash);
	memcpy(text + hash, who->name, name);
	memcpy(text + hash + name, password.p, password.n);
	good = HMAC(EVP_sha256(), m->key, KEY, text, n, digest, &size) && size >= sizeof(*ret);
	memcpy(ret, digest, sizeof(*ret));
	explicit_bzero(text, sizeof(text));
	return good;
}

static struct memo *find_memo(const struct people_memory *m, const struct mark *k)
{
	struct table *t = atomic_load_explicit(&m->table, memory_order_acquire);
	struct memo *set = t ? t->memos[k->place % SETS] : NULL;

	for (unsigned i = 0; set && i < WAYS; i++)
		if (atomic_load_explicit(&set[i].half[0], memory_order_relaxed) == k->half[0] &&
		    atomic_load_explicit(&set[i].half[1], memory_order_relaxed) == k->half[1])
			return &set[i];
	return NULL;
}

/* Made by who is the first: most processes have no use for one. NULL: memory is out. */
static struct table *table_of(struct people_memory *m)
{
	struct table *now = atomic_load_explicit(&m->table, memory_order_acquire);
	struct table *fresh = now ? NULL : mem_zalloc(sizeof(*fresh));

	if (!fresh || atomic_compare_exchange_strong(&m->table, &now, fresh))
		return now ? now : fresh;
	mem_free(fresh);
	return now;
}

static void remember(struct people_memory *m, const struct mark *k, uint64_t now)
{
	struct table *t = table_of(m);
	struct memo *set = t ? t->memos[k->place % SETS] : NULL, *to = find_memo(m, k);

	if (!set)
		return;
	for (unsigned i = 0; !to && i < WAYS; i++)
		if (atomic_load_explicit(&set[i].until, memory_order_relaxed) <= now)
			to = &set[i];
	if (!to) { /* the one that would be forgotten first */
		to = &set[0];
		for (unsigned i = 1; i < WAYS; i++)
			if (atomic_load_explicit(&set[i].until, memory_order_relaxed) <
			    atomic_load_explicit(&to->until, memory_order_relaxed))
				to = &set[i];
	}
	atomic_store_explicit(&to->half[0], k->half[0], memory_order_relaxed);
	atomic_store_explicit(&to->half[1], k->half[1], memory_order_relaxed);
	atomic_store_explicit(&to->until, now + lasts, memory_order_relaxed);
}

const struct person *people_recall(const struct people_memory *m, const struct people *p, struct span user,
				   struct span password, uint64_t now)
{
	const struct person *who = people_find(p, user);
	const struct memo *memo;
	struct mark k;

	if (!m || !who || !who->hash || who->disabled || !make_mark(m, who, password, &k))
		return NULL;
	memo = find_memo(m, &k);
	return memo && atomic_load_explicit(&memo->until, memory_order_relaxed) > now ? who : NULL;
}

/* ---- the slow answer ---- */

/* Of someone else, and the same one each time that this name is tried. NULL: nobody has a hash. */
static const char *other_hash(const struct people_memory *m, const struct people *p, struct span user)
{
	uint8_t digest[32];
	uint64_t n;

	if (!p || !p->n_hashed)
		return p ? p->decoy : NULL;
	people_memory_key(m, user, digest);
	memcpy(&n, digest, sizeof(n));
	return p->hashed[n % p->n_hashed]->hash;
}

int people_verify(struct people_memory *m, const struct people *p, struct span user, struct span password, uint64_t now,
		  struct people_answer *ret)
{
	BUF_AUTO struct buf fresh = BUF_INIT(PEOPLE_TEXT);
	const struct person *who = people_find(p, user);
	const char *hash = who && who->hash ? who->hash : other_hash(m, p, user);
	struct mark k;
	bool right = false;
	int r = 0;

	if (!hash) {
		r = people_hash_setting(&fresh);
		hash = buf_str(&fresh);
	}
	if (r == 0)
		r = people_hash_try(hash, password, &right);
	if (r < 0)
		return r;
	*ret = (struct people_answer){ .hashed = 1 };
	if (!who || !who->hash || who->disabled || !right)
		return 0;
	ret->who = who;
	ret->upgrade = !people_hash_is_ours(who->hash);
	if (make_mark(m, who, password, &k))
		remember(m, &k, now);
	return 0;
}
