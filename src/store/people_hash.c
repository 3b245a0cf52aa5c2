/*
 * people_hash.c - passwords against slow hashes: what libcrypt knows, and the two kinds of mosquitto. A comparison takes as long
 * wherever the first difference is.
 */
#include <crypt.h>
#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/utf8.h"
#include "store/people_priv.h"

enum {
	SALT = 16,  /* bytes of a new one */
	PIECE = 64, /* bytes of a salt or a digest in base64 */
	ITERATIONS_MAX = 10000000,
};

static const char ours[] = "$y$";
enum { MADE = 26 }; /* letters of a password that we make */

/* ---- base64 ---- */

static bool is_base64(struct span s)
{
	size_t pad = 0;

	if (s.n == 0 || s.n % 4 != 0)
		return false;
	while (pad < 2 && s.p[s.n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < s.n - pad; i++)
		if (!str_is_alnum((char)s.p[i]) && s.p[i] != '+' && s.p[i] != '/')
			return false;
	return true;
}

int people_base64(struct span text, uint8_t *ret, size_t size)
{
	uint8_t bytes[PEOPLE_TEXT];
	size_t n = text.n / 4 * 3;

	if (!is_base64(text) || n > sizeof(bytes) || EVP_DecodeBlock(bytes, text.p, (int)text.n) != (int)n)
		return -EINVAL;
	for (size_t i = text.n; text.p[i - 1] == '='; i--)
		n--;
	if (n > size)
		return -EINVAL;
	memcpy(ret, bytes, n);
	explicit_bzero(bytes, sizeof(bytes));
	return (int)n;
}

void people_add_base64(struct buf *b, const uint8_t *p, size_t n)
{
	uint8_t text[PEOPLE_TEXT];

	if (n > sizeof(text) / 4 * 3 - 3)
		return;
	buf_add(b, text, (size_t)EVP_EncodeBlock(text, p, (int)n));
	explicit_bzero(text, sizeof(text));
}

/* ---- mosquitto ---- */

struct mosquitto {
	unsigned iterations; /* 0: one round of SHA-512 over password and salt */
	uint8_t salt[PIECE], digest[PIECE];
	int salt_n;
};

/* The next part, up to a $ or the end. */
static struct span next_part(const char **at)
{
	size_t n = strcspn(*at, "$");
	struct span s = { (const uint8_t *)*at, n };

	*at += n + ((*at)[n] == '$');
	return s;
}

static int parse_mosquitto(const char *hash, struct mosquitto *ret)
{
	struct mosquitto m = {};
	struct span part;

	if (strncmp(hash, "$7$", 3) == 0) {
		const char *at = hash + 3;
		char number[12];
		uint64_t v;

		part = next_part(&at);
		if (part.n >= sizeof(number))
			return -EINVAL;
		memcpy(number, part.p, part.n);
		number[part.n] = '\0';
		if (str_to_u64(number, &v) < 0 || v == 0 || v > ITERATIONS_MAX)
			return -EINVAL;
		m.iterations = (unsigned)v;
		hash = at;
	} else if (strncmp(hash, "$6$", 3) == 0) {
		hash += 3;
	} else {
		return -EINVAL;
	}
	m.salt_n = people_base64(next_part(&hash), m.salt, sizeof(m.salt));
	part = next_part(&hash);
	if (m.salt_n <= 0 || *hash || people_base64(part, m.digest, sizeof(m.digest)) != PIECE)
		return -EINVAL;
	*ret = m;
	return 0;
}

static int digest_once(const struct mosquitto *m, struct span password, uint8_t ret[PIECE])
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	unsigned n = 0;
	bool good;

	if (!c)
		return -ENOMEM;
	good = EVP_DigestInit_ex(c, EVP_sha512(), NULL) == 1 && EVP_DigestUpdate(c, password.p, password.n) == 1 &&
	       EVP_DigestUpdate(c, m->salt, (size_t)m->salt_n) == 1 && EVP_DigestFinal_ex(c, ret, &n) == 1;
	EVP_MD_CTX_free(c);
	return good && n == PIECE ? 0 : -EIO;
}

static int try_mosquitto(const char *hash, struct span password, bool *ret_right)
{
	struct mosquitto m;
	uint8_t digest[PIECE];
	int r = parse_mosquitto(hash, &m);

	if (r < 0)
		return r;
	if (m.iterations == 0)
		r = digest_once(&m, password, digest);
	else if (PKCS5_PBKDF2_HMAC((const char *)password.p, (int)password.n, m.salt, m.salt_n, (int)m.iterations,
				   EVP_sha512(), PIECE, digest) != 1)
		r = -EIO;
	if (r == 0)
		*ret_right = CRYPTO_memcmp(digest, m.digest, PIECE) == 0;
	explicit_bzero(digest, sizeof(digest));
	return r;
}

/* ---- libcrypt ---- */

/* 32 KiB with the password in it: not for the stack, and gone afterwards. */
static int run_crypt(const char *password, const char *setting, char ret[CRYPT_OUTPUT_SIZE])
{
	struct crypt_data *data = mem_zalloc(sizeof(*data));
	const char *hash;
	int r = -EIO;

	if (!data)
		return -ENOMEM;
	hash = crypt_r(password, setting, data);
	if (hash && *hash != '*') {
		r = 0;
		snprintf(ret, CRYPT_OUTPUT_SIZE, "%s", hash);
	} else if (errno == ENOMEM) {
		r = -ENOMEM;
	}
	explicit_bzero(data, sizeof(*data));
	mem_free(data);
	return r;
}

static bool is_same(const char *a, const char *b)
{
	size_t n = strlen(a);

	return n == strlen(b) && CRYPTO_memcmp(a, b, n) == 0;
}

static int try_crypt(const char *hash, struct span password, bool *ret_right)
{
	char text[PEOPLE_PASSWORD_MAX + 1], now[CRYPT_OUTPUT_SIZE];
	int r;

	memcpy(text, password.p, password.n);
	text[password.n] = '\0';
	r = run_crypt(text, hash, now);
	if (r == 0)
		*ret_right = is_same(now, hash);
	explicit_bzero(text, sizeof(text));
	explicit_bzero(now, sizeof(now));
	return r;
}

/* ---- all kinds ---- */

static const char *after(const char *hash, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(hash, prefix, n) == 0 ? hash + n : NULL;
}

/* In the form of mosquitto's? */
static const char *after_mosquitto(const char *hash)
{
	const char *made = after(hash, PEOPLE_MADE);

	return made ? made : after(hash, PEOPLE_MOSQUITTO);
}

bool people_hash_known(const char *hash)
{
	static const char *const kinds[] = { "$y$", "$gy$", "$7$", "$2b$", "$2y$", "$2a$", "$6$", "$5$" };
	const char *inner = after_mosquitto(hash);
	struct mosquitto m;

	if (inner)
		return parse_mosquitto(inner, &m) == 0;
	for (const char *s = hash; *s; s++)
		if (*s <= ' ' || *s > '~' || strchr(":;*!\\\"'", *s))
			return false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(hash, kinds[i], strlen(kinds[i])) == 0)
			return strlen(hash) < CRYPT_OUTPUT_SIZE && strlen(hash) > strlen(kinds[i]) &&
			       crypt_checksalt(hash) != CRYPT_SALT_INVALID;
	return false;
}

bool people_hash_is_ours(const char *hash)
{
	return after(hash, ours) || after(hash, PEOPLE_MADE);
}

int people_hash_setting(struct buf *ret)
{
	char text[CRYPT_GENSALT_OUTPUT_SIZE];
	uint8_t salt[SALT];
	int r = random_fill(salt, sizeof(salt));

	if (r < 0)
		return r;
	if (!crypt_gensalt_rn(ours, 0, (const char *)salt, sizeof(salt), text, sizeof(text)))
		return errno ? -errno : -EIO;
	buf_reset(ret);
	buf_adds(ret, text);
	return ret->err;
}

int people_check_password(struct span password, struct buf *why)
{
	const char *what = NULL;

	if (password.n == 0)
		what = "an empty password";
	else if (password.n > PEOPLE_PASSWORD_MAX)
		what = "a password of more than 256 bytes";
	else if (!utf8_is_text(password))
		what = "a password that is not UTF-8";
	else if (memchr(password.p, '\n', password.n) || memchr(password.p, '\r', password.n))
		what = "a password with a line end in it";
	if (!what)
		return 0;
	if (why)
		buf_addf(why, "%s cannot be used", what);
	return -EINVAL;
}

int people_hash(struct span password, struct buf *ret)
{
	char text[PEOPLE_PASSWORD_MAX + 1], hash[CRYPT_OUTPUT_SIZE];
	int r = people_check_password(password, NULL);

	if (r == 0)
		r = people_hash_setting(ret);
	if (r < 0)
		return r;
	memcpy(text, password.p, password.n);
	text[password.n] = '\0';
	r = run_crypt(text, buf_str(ret), hash);
	explicit_bzero(text, sizeof(text));
	if (r < 0)
		return r;
	buf_reset(ret);
	buf_adds(ret, hash);
	return ret->err;
}

/* One round over it and a salt: what would take time here is to guess 130 bits. */
static int hash_made(struct span password, struct buf *ret)
{
	struct mosquitto m = { .salt_n = SALT };
	uint8_t digest[PIECE];
	int r = random_fill(m.salt, SALT);

	if (r == 0)
		r = digest_once(&m, password, digest);
	if (r < 0)
		return r;
	buf_reset(ret);
	buf_adds(ret, PEOPLE_MADE "$6$");
	people_add_base64(ret, m.salt, SALT);
	buf_addc(ret, '$');
	people_add_base64(ret, digest, sizeof(digest));
	return ret->err;
}

int people_generate(struct buf *ret_password, struct buf *ret_hash)
{
	static const char letters[33] = "abcdefghijkmnpqrstuvwxyz23456789"; /* that nobody takes for another one */
	uint8_t bits[MADE];
	int r = random_fill(bits, sizeof(bits));

	if (r < 0)
		return r;
	buf_reset(ret_password);
	for (size_t i = 0; i < sizeof(bits); i++)
		buf_addc(ret_password, letters[bits[i] % 32]);
	explicit_bzero(bits, sizeof(bits));
	return ret_password->err ? ret_password->err : hash_made(buf_span(ret_password), ret_hash);
}

/* What can be no password is hashed as another one, and is wrong. */
int people_hash_try(const char *hash, struct span password, bool *ret_right)
{
	static const struct span other = { (const uint8_t *)"-", 1 };
	const char *inner = after_mosquitto(hash);
	bool possible = password.n > 0 && password.n <= PEOPLE_PASSWORD_MAX && !memchr(password.p, '\0', password.n);
	bool right = false;
	int r;

	if (!possible)
		password = other;
	r = inner ? try_mosquitto(inner, password, &right) : try_crypt(hash, password, &right);
	if (r == 0)
		*ret_right = right && possible;
	return r;
}
