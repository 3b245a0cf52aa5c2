/* people_scram.c - see people_scram.h. */
#include "store/people_scram.h"

#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"
#include "store/people_priv.h"

enum {
	DIGEST = 32,
	SALT = 16,  /* of a new one */
	NONCE = 18, /* random bytes of ours */
	ITERATIONS_MAX = 10000000,
};

static const char prefix[] = "SCRAM-SHA-256$";

struct people_scram {
	struct people *people;    /* a reference */
	const struct person *who; /* NULL: there is no such one, or he cannot log in this way */
	struct people_verifier verifier;
	char user[PEOPLE_NAME_MAX + 1];
	struct buf said;  /* AuthMessage: client-first-bare "," server-first "," ... */
	struct buf nonce; /* both halves */
	struct buf bound; /* the gs2 header in base64, as c= must have it */
};

/* ---- verifiers ---- */

static int hmac(const uint8_t key[DIGEST], struct span what, uint8_t ret[DIGEST])
{
	unsigned n = 0;

	return HMAC(EVP_sha256(), key, DIGEST, what.p, what.n, ret, &n) && n == DIGEST ? 0 : -EIO;
}

static int digest(const uint8_t what[DIGEST], uint8_t ret[DIGEST])
{
	unsigned n = 0;

	return EVP_Digest(what, DIGEST, ret, &n, EVP_sha256(), NULL) == 1 && n == DIGEST ? 0 : -EIO;
}

int people_verifier_make(struct span password, struct span salt, unsigned iterations, struct people_verifier *ret)
{
	struct people_verifier v = { .iterations = iterations, .salt_n = salt.n };
	uint8_t salted[DIGEST], client[DIGEST];
	int r = 0;

	if (salt.n == 0 || salt.n > sizeof(v.salt))
		return -EINVAL;
	memcpy(v.salt, salt.p, salt.n);
	if (PKCS5_PBKDF2_HMAC((const char *)password.p, (int)password.n, salt.p, (int)salt.n, (int)iterations,
			      EVP_sha256(), DIGEST, salted) != 1)
		r = -EIO;
	if (r == 0)
		r = hmac(salted, span_str("Client Key"), client);
	if (r == 0)
		r = digest(client, v.stored);
	if (r == 0)
		r = hmac(salted, span_str("Server Key"), v.server);
	if (r == 0)
		*ret = v;
	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(client, sizeof(client));
	return r;
}

void people_verifier_format(const struct people_verifier *v, struct buf *b)
{
	buf_addf(b, "%s%u:", prefix, v->iterations);
	people_add_base64(b, v->salt, v->salt_n);
	buf_addc(b, '$');
	people_add_base64(b, v->stored, DIGEST);
	buf_addc(b, ':');
	people_add_base64(b, v->server, DIGEST);
}

int people_verifier_new(struct span password, struct buf *ret)
{
	uint8_t salt[SALT];
	struct people_verifier v = {};
	int r = people_check_password(password, NULL);

	if (r == 0)
		r = random_fill(salt, sizeof(salt));
	if (r == 0)
		r = people_verifier_make(password, (struct span){ salt, sizeof(salt) }, PEOPLE_SCRAM_ITERATIONS, &v);
	if (r < 0)
		return r;
	buf_reset(ret);
	people_verifier_format(&v, ret);
	explicit_bzero(&v, sizeof(v));
	return ret->err;
}

/* The next part, up to `end` or to the end of the text; false: there is no such end, and one is wanted. */
static bool take_part(const char **at, char end, struct span *ret)
{
	const char *stop = end ? strchr(*at, end) : *at + strlen(*at);

	if (!stop)
		return false;
	*ret = (struct span){ (const uint8_t *)*at, (size_t)(stop - *at) };
	*at = stop + (end != '\0');
	return true;
}

static int to_iterations(struct span s, unsigned *ret)
{
	char text[12];
	uint64_t v;

	if (s.n == 0 || s.n >= sizeof(text))
		return -EINVAL;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	if (str_to_u64(text, &v) < 0 || v == 0 || v > ITERATIONS_MAX)
		return -EINVAL;
	*ret = (unsigned)v;
	return 0;
}

int people_verifier_parse(const char *text, struct people_verifier *ret)
{
	struct people_verifier v = {};
	struct span iterations, salt, stored, server;
	int n;

	if (strncmp(text, prefix, strlen(prefix)) != 0)
		return -EINVAL;
	text += strlen(prefix);
	if (!take_part(&text, ':', &iterations) || !take_part(&text, '$', &salt) || !take_part(&text, ':', &stored) ||
	    !take_part(&text, '\0', &server) || to_iterations(iterations, &v.iterations) < 0)
		return -EINVAL;
	n = people_base64(salt, v.salt, sizeof(v.salt));
	if (n <= 0 || people_base64(stored, v.stored, DIGEST) != DIGEST ||
	    people_base64(server, v.server, DIGEST) != DIGEST)
		return -EINVAL;
	v.salt_n = (size_t)n;
	*ret = v;
	return 0;
}

/* ---- the first message ---- */

/* `NAME=` and what follows up to a comma; the comma is taken too. */
static bool take_attribute(struct span *s, char name, struct span *ret)
{
	const uint8_t *comma;

	if (s->n < 2 || s->p[0] != (uint8_t)name || s->p[1] != '=')
		return false;
	comma = memchr(s->p, ',', s->n);
	*ret = (struct span){ s->p + 2, (comma ? (size_t)(comma - s->p) : s->n) - 2 };
	s->n -= ret->n + 2 + (comma != NULL);
	s->p += ret->n + 2 + (comma != NULL);
	return true;
}

/* =2C is a comma and =3D an equals sign; any other = is a mistake (RFC 5802, section 5.1). */
static int take_name(struct span s, char ret[PEOPLE_NAME_MAX + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c == '=') {
			struct span code = { s.p + i, s.n - i };

			if (!span_starts(code, "=2C") && !span_starts(code, "=3D"))
				return -EINVAL;
			c = s.p[i + 2] == 'C' ? ',' : '=';
			i += 2;
		}
		if (n == PEOPLE_NAME_MAX)
			return -EINVAL;
		ret[n++] = (char)c;
	}
	ret[n] = '\0';
	return n ? 0 : -EINVAL;
}

static bool is_nonce(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '!' || s.p[i] > '~' || s.p[i] == ',')
			return false;
	return s.n > 0;
}

/* `n,,` or `y,,`: nobody else's name, and no channel binding. What is left is client-first-bare. */
static int take_header(struct people_scram *x, struct span *s)
{
	if (!span_starts(*s, "n,,") && !span_starts(*s, "y,,"))
		return -EINVAL;
	people_add_base64(&x->bound, s->p, 3);
	s->p += 3;
	s->n -= 3;
	return 0;
}

static int add_nonce(struct people_scram *x, struct span client, const char *ours)
{
	uint8_t random[NONCE];
	int r = ours ? 0 : random_fill(random, sizeof(random));

	buf_add(&x->nonce, client.p, client.n);
	if (ours)
		buf_adds(&x->nonce, ours);
	else
		people_add_base64(&x->nonce, random, sizeof(random));
	return r ? r : x->nonce.err;
}

/* Who he would be, and else a salt that does not tell that he is not. */
static void choose(struct people_scram *x, const struct people_memory *m)
{
	const struct person *who = people_find(x->people, span_str(x->user));
	uint8_t bytes[DIGEST];

	if (who && who->scram && people_verifier_parse(who->scram, &x->verifier) == 0) {
		x->who = who->disabled ? NULL : who;
		return;
	}
	people_memory_key(m, span_str(x->user), bytes);
	x->verifier = (struct people_verifier){ .iterations = PEOPLE_SCRAM_ITERATIONS, .salt_n = SALT };
	memcpy(x->verifier.salt, bytes, SALT);
	people_memory_key(m, (struct span){ bytes, sizeof(bytes) },
			  x->verifier.stored); /* nobody knows what it is of */
}

static int begin(struct people_scram *x, const struct people_memory *m, struct span s, const char *ours,
		 struct buf *ret)
{
	struct span name, nonce, bare;
	int r = s.n <= PEOPLE_SCRAM_MESSAGE && utf8_is_text(s) ? take_header(x, &s) : -EINVAL;

	if (r < 0)
		return r;
	bare = s;
	if (!take_attribute(&s, 'n', &name) || !take_attribute(&s, 'r', &nonce) || !is_nonce(nonce))
		return -EINVAL;
	r = take_name(name, x->user);
	if (r == 0)
		r = add_nonce(x, nonce, ours);
	if (r < 0)
		return r;
	choose(x, m);
	buf_reset(ret);
	buf_addf(ret, "r=%s,s=", buf_str(&x->nonce));
	people_add_base64(ret, x->verifier.salt, x->verifier.salt_n);
	buf_addf(ret, ",i=%u", x->verifier.iterations);
	buf_add(&x->said, bare.p, bare.n);
	buf_addc(&x->said, ',');
	buf_add(&x->said, ret->p, ret->n);
	return ret->err ? ret->err : x->said.err ? x->said.err : x->bound.err;
}

int people_scram_first(const struct people_memory *m, struct people *p, struct span message, const char *nonce,
		       struct people_scram **ret_exchange, struct buf *ret)
{
	struct people_scram *x = mem_zalloc(sizeof(*x));
	int r;

	if (!x)
		return -ENOMEM;
	x->people = people_ref(p);
	buf_init(&x->said, (size_t)4 * PEOPLE_SCRAM_MESSAGE);
	buf_init(&x->nonce, PEOPLE_SCRAM_MESSAGE + 64);
	buf_init(&x->bound, 16);
	r = begin(x, m, message, nonce, ret);
	if (r < 0)
		people_scram_free(&x);
	else
		*ret_exchange = x;
	return r;
}

/* ---- the second one ---- */

/* `c=...,r=...[,...],p=...`: *ret_without is what stands before the proof. */
static int take_final(const struct people_scram *x, struct span s, struct span *ret_without, uint8_t proof[DIGEST])
{
	struct span all = s, c, r, last;

	if (s.n > PEOPLE_SCRAM_MESSAGE || !utf8_is_text(s))
		return -EINVAL;
	if (!take_attribute(&s, 'c', &c) || !span_is(c, buf_str(&x->bound)))
		return -EINVAL;
	if (!take_attribute(&s, 'r', &r) || !span_is(r, buf_str(&x->nonce)))
		return -EINVAL;
	for (;;) { /* extensions, which nobody has defined yet */
		const uint8_t *start = s.p;

		if (take_attribute(&s, 'p', &last)) {
			if (s.n > 0 || people_base64(last, proof, DIGEST) != DIGEST)
				return -EINVAL;
			*ret_without = (struct span){ all.p, (size_t)(start - all.p) - 1 };
			return 0;
		}
		if (s.n < 2 || s.p[0] == 'm' || !take_attribute(&s, (char)s.p[0], &last))
			return -EINVAL;
	}
}

int people_scram_final(struct people_scram *x, struct span message, const struct person **ret_who, struct buf *ret)
{
	uint8_t proof[DIGEST], signature[DIGEST], stored[DIGEST];
	struct span without;
	int r = take_final(x, message, &without, proof);

	if (r < 0)
		return r;
	buf_addc(&x->said, ',');
	buf_add(&x->said, without.p, without.n);
	r = x->said.err;
	if (r == 0)
		r = hmac(x->verifier.stored, buf_span(&x->said), signature);
	for (size_t i = 0; i < DIGEST && r == 0; i++)
		proof[i] ^= signature[i];
	if (r == 0)
		r = digest(proof, stored);
	if (r == 0 && (CRYPTO_memcmp(stored, x->verifier.stored, DIGEST) != 0 || !x->who))
		r = -EACCES;
	if (r == 0)
		r = hmac(x->verifier.server, buf_span(&x->said), signature);
	explicit_bzero(proof, sizeof(proof));
	if (r < 0)
		return r;
	buf_reset(ret);
	buf_adds(ret, "v=");
	people_add_base64(ret, signature, DIGEST);
	*ret_who = x->who;
	return ret->err;
}

struct span people_scram_user(const struct people_scram *x)
{
	return span_str(x->user);
}

void people_scram_free(struct people_scram **xp)
{
	struct people_scram *x = *xp;

	if (!x)
		return;
	*xp = NULL;
	people_unref(x->people);
	buf_done(&x->said);
	buf_done(&x->nonce);
	buf_done(&x->bound);
	explicit_bzero(&x->verifier, sizeof(x->verifier));
	mem_free(x);
}
