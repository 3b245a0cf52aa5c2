/* test_tls_ctx.c - contexts: what a configuration can say wrong, in sentences; the automatic certificate; records. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/fault.h"
#include "layer/tls_priv.h"
#include "support/tls_peer.h"

static const int64_t now = 1800000000; /* 2027-01-15 */
static struct cert *good, *other, *old, *young, *weak, *ca, *leaf;

/* Days from the real clock to `now`, because cert_new() counts from the real clock. */
static long days(long from_now)
{
	return (long)((now - (int64_t)time(NULL)) / 86400) + from_now;
}

static int set_up(void **state)
{
	(void)state;
	good = cert_new(&(struct cert_ask){ .subject = "good",
					    .names = "DNS:good.test,DNS:*.wild.test",
					    .from_days = days(-10),
					    .to_days = days(10) });
	other = cert_new(&(struct cert_ask){ .subject = "other" });
	old = cert_new(&(struct cert_ask){ .subject = "old", .from_days = days(-20), .to_days = days(-10) });
	young = cert_new(&(struct cert_ask){ .subject = "young", .from_days = days(10), .to_days = days(20) });
	weak = cert_new(&(struct cert_ask){ .subject = "weak", .rsa_bits = 1024 });
	ca = cert_new(&(struct cert_ask){ .subject = "ca", .ca = true, .from_days = days(-20), .to_days = days(-10) });
	leaf = cert_new(&(struct cert_ask){
		.subject = "leaf", .issuer = ca, .rsa_bits = 2048, .from_days = days(-10), .to_days = days(10) });
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	cert_free(good);
	cert_free(other);
	cert_free(old);
	cert_free(young);
	cert_free(weak);
	cert_free(ca);
	cert_free(leaf);
	return 0;
}

/* What tls_ctx_new() says; "" with success. */
static const char *said(const struct tls_setup *setup, int expected)
{
	static char text[1000];
	struct tls_ctx *ctx = NULL;
	struct buf why;

	buf_init(&why, 900);
	assert_int_equal(tls_ctx_new(setup, &ctx, &why), expected);
	assert_int_equal(ERR_peek_error(), 0);
	assert_int_equal(ctx != NULL, expected == 0);
	snprintf(text, sizeof(text), "%s", buf_str(&why));
	buf_done(&why);
	tls_ctx_unref(ctx);
	return text;
}

static const char *said_of(const char *certificate, const char *key, int expected)
{
	struct tls_setup setup = { .id.certificate = span_str(certificate), .now = now };

	if (key)
		setup.id.key = span_str(key);
	return said(&setup, expected);
}

static char *joined(const char *a, const char *b)
{
	char *p = malloc(strlen(a) + strlen(b) + 1);

	assert_non_null(p);
	memcpy(p, a, strlen(a));
	memcpy(p + strlen(a), b, strlen(b) + 1);
	return p;
}

static char *encrypted_key(const struct cert *c)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p, *copy;
	long n;

	assert_int_equal(PEM_write_bio_PKCS8PrivateKey(bio, c->key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL), 1);
	n = BIO_get_mem_data(bio, &p);
	copy = calloc(1, (size_t)n + 1);
	memcpy(copy, p, (size_t)n);
	BIO_free(bio);
	return copy;
}

/* Sentences name the files when they are known, each the one it is about. */
static void places(void **state)
{
	struct tls_identity bad = {
		.certificate = span_str("hello"), .key = span_str("hello"), .from = "a.crt", .key_from = "a.key"
	};
	struct tls_setup setup = { .id = bad, .now = now };
	struct tls_name name = { .name = "x.test" };

	(void)state;
	assert_string_equal(said(&setup, -EINVAL), "certificate: a.crt: no PEM certificate found");
	setup.id.certificate = span_str(good->pem);
	assert_string_equal(said(&setup, -EINVAL), "key: a.key: no PEM private key found");
	setup.id.key = span_str(other->key_pem);
	assert_string_equal(said(&setup, -EINVAL), "key: a.key: does not match the certificate a.crt");
	setup.id.key = (struct span){};
	assert_string_equal(said(&setup, -EINVAL), "key: a.crt: no PEM private key found");
	setup.id = cert_identity(good);
	setup.names = &name;
	setup.names_n = 1;
	name.id = bad;
	assert_string_equal(said(&setup, -EINVAL), "certificate of x.test: a.crt: no PEM certificate found");
	name.id = cert_identity(other);
	name.id.from = "b.crt";
	assert_non_null(strstr(said(&setup, 0), "certificate of x.test: b.crt: it is for another name"));
}

/* What a reload asks: is it another certificate now? */
static void comparing(void **state)
{
	struct tls_name names[] = { { .name = "a.test", .id = cert_identity(good) },
				    { .name = "b.test", .id = cert_identity(good) } };
	struct tls_setup setup = { .id = cert_identity(good), .names = names, .names_n = 2 };
	char *chain = joined(leaf->pem, ca->pem), at[TLS_NOT_AFTER];
	struct tls_ctx *a = NULL, *b = NULL;
	struct buf why;

	(void)state;
	buf_init(&why, 900);
	assert_int_equal(tls_ctx_new(&setup, &a, &why), 0);
	names[1].id = cert_identity(other);
	assert_int_equal(tls_ctx_new(&setup, &b, &why), 0);
	assert_true(tls_ctx_same_identity(a, b, 0));
	assert_true(tls_ctx_same_identity(a, b, 1));
	assert_false(tls_ctx_same_identity(a, b, 2));
	assert_true(tls_ctx_same_identity(a, b, 3)); /* neither has it */
	tls_ctx_not_after(a, 0, at);
	assert_int_equal(strlen(at), strlen("2027-11-21T10:00:00Z"));
	assert_int_equal(at[10], 'T');
	tls_ctx_not_after(a, 3, at);
	assert_string_equal(at, "");
	tls_ctx_unref(a);
	tls_ctx_unref(b);

	/* the same one with another chain */
	setup = (struct tls_setup){ .id = cert_identity(leaf) };
	assert_int_equal(tls_ctx_new(&setup, &a, &why), 0);
	setup.id.certificate = span_str(chain);
	assert_int_equal(tls_ctx_new(&setup, &b, &why), 0);
	assert_false(tls_ctx_same_identity(a, b, 0));
	tls_ctx_unref(a);
	tls_ctx_unref(b);
	buf_done(&why);
	free(chain);
}

static void certificates(void **state)
{
	char *key_first = joined(good->key_pem, good->pem), *cert_first = joined(good->pem, good->key_pem);
	char *chain = joined(leaf->pem, ca->pem), *text = joined("Subject: somebody\n\n", good->pem);
	char *secret = encrypted_key(good), *cut = joined(good->pem, "");

	(void)state;
	assert_string_equal(said_of(good->pem, good->key_pem, 0), "");
	assert_string_equal(said_of(text, good->key_pem, 0), "");
	assert_string_equal(said_of(key_first, NULL, 0), "");
	assert_string_equal(said_of(cert_first, NULL, 0), "");
	assert_string_equal(said_of(cert_first, cert_first, 0), "");
	assert_string_equal(said_of(leaf->pem, leaf->key_pem, 0), "");
	assert_string_equal(said_of("", NULL, -EINVAL), "certificate: no PEM certificate found");
	assert_string_equal(said_of("hello\n", good->key_pem, -EINVAL), "certificate: no PEM certificate found");
	assert_string_equal(said_of(good->key_pem, NULL, -EINVAL), "certificate: no PEM certificate found");
	assert_string_equal(said_of(good->pem, NULL, -EINVAL), "key: no PEM private key found");
	assert_string_equal(said_of(good->pem, "hello\n", -EINVAL), "key: no PEM private key found");
	assert_string_equal(said_of(good->pem, other->key_pem, -EINVAL), "key: does not match the certificate");
	assert_string_equal(said_of(good->pem, leaf->key_pem, -EINVAL), "key: does not match the certificate");
	assert_string_equal(said_of(good->pem, secret, -EINVAL),
			    "key: it is encrypted; remove the password, nobody is there to type it");
	assert_string_equal(said_of(weak->pem, weak->key_pem, -EINVAL),
			    "certificate: its key is too small (RSA needs 2048 bits or more)");
	cut[strlen(cut) / 2] = '\0';
	assert_string_equal(said_of(cut, good->key_pem, -EINVAL),
			    "certificate: the PEM certificate number 1 is damaged");
	free(key_first);
	key_first = joined(good->pem, cut);
	assert_string_equal(said_of(key_first, good->key_pem, -EINVAL),
			    "certificate: the PEM certificate number 2 is damaged");
	free(cut);
	cut = joined(good->key_pem, "");
	memset(cut + 60, 'A', 20);
	assert_string_equal(said_of(good->pem, cut, -EINVAL), "key: the PEM private key is damaged");

	/* dates are warnings */
	assert_non_null(strstr(said_of(old->pem, old->key_pem, 0), "certificate: expired on 20"));
	assert_non_null(strstr(said_of(young->pem, young->key_pem, 0), "certificate: not valid before 20"));
	assert_non_null(strstr(said_of(chain, leaf->key_pem, 0), "certificate number 2 of the chain: expired on 20"));
	free(key_first);
	free(cert_first);
	free(chain);
	free(text);
	free(secret);
	free(cut);
}

static void names(void **state)
{
	static const char *const bad[] = { "", "*", "*.", "a.*", "*.*.org", "." };
	struct tls_name n[] = {
		{ "good.test", cert_identity(good) },
		{ "*.wild.test", cert_identity(good) },
		{ "else.test", cert_identity(good) },
	};
	struct tls_setup setup = { .id = cert_identity(good), .names = n, .names_n = 3 };

	(void)state;
	assert_string_equal(said(&setup, 0), "certificate of else.test: it is for another name");
	n[1].id.key = span_str(other->key_pem);
	assert_string_equal(said(&setup, -EINVAL), "key of *.wild.test: does not match the certificate");
	n[1].id.key = span_str(good->key_pem);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		n[1].name = bad[i];
		assert_non_null(strstr(said(&setup, -EINVAL), "is not a name like example.org or *.example.org"));
	}
}

static void trust_and_protocols(void **state)
{
	static const char *const empty[] = { "h2", "", NULL };
	struct tls_setup setup = { .id = cert_identity(good), .ask = TLS_ASK_OPTIONAL };

	(void)state;
	assert_string_equal(said(&setup, -EINVAL), "client_ca: client certificates cannot be checked without it");
	setup.ca = span_str("no such thing");
	assert_string_equal(said(&setup, -EINVAL), "client_ca: no PEM certificate found");
	setup.ca = span_str(ca->pem);
	assert_string_equal(said(&setup, 0), "");
	setup.alpn = empty;
	assert_string_equal(said(&setup, -EINVAL), "alpn: at most 16 names of 1 to 255 bytes");
	setup = (struct tls_setup){ .client = true };
	assert_string_equal(said(&setup, 0), "");
	setup.ca = span_str("no such thing");
	assert_string_equal(said(&setup, -EINVAL), "ca: no PEM certificate found");
	setup.ca = span_str(ca->pem);
	setup.id.certificate = span_str(good->pem);
	assert_string_equal(said(&setup, -EINVAL), "key: no PEM private key found");
}

static void automatic(void **state)
{
	static const char *const more[] = { "host.lan", "192.0.2.7", "2001:db8::1", NULL };
	static const char *const bad[][2] = { { "a b", NULL }, { "", NULL }, { "x,DNS:y", NULL }, { "a..b", NULL } };
	struct buf cert, key, again;
	time_t at;
	BIO *bio;
	X509 *x;

	(void)state;
	buf_init(&cert, 1 << 16);
	buf_init(&key, 1 << 16);
	buf_init(&again, 1 << 16);
	assert_int_equal(tls_auto_certificate(more, &cert, &key, now), 0);
	assert_string_equal(said_of(buf_str(&cert), buf_str(&key), 0), "");
	bio = BIO_new_mem_buf(buf_str(&cert), -1);
	x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	assert_non_null(x);
	assert_int_equal(X509_check_host(x, "localhost", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(x, "host.lan", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(x, "other.lan", 0, 0, NULL), 0);
	assert_int_equal(X509_check_ip_asc(x, "127.0.0.1", 0), 1);
	assert_int_equal(X509_check_ip_asc(x, "::1", 0), 1);
	assert_int_equal(X509_check_ip_asc(x, "192.0.2.7", 0), 1);
	assert_int_equal(X509_check_ip_asc(x, "2001:db8::1", 0), 1);
	assert_int_equal(X509_check_ca(x), 0);
	assert_int_equal(X509_check_purpose(x, X509_PURPOSE_SSL_SERVER, 0), 1);
	at = (time_t)now;
	assert_true(X509_cmp_time(X509_get0_notBefore(x), &at) < 0);
	at = (time_t)now + 3650L * 86400;
	assert_true(X509_cmp_time(X509_get0_notAfter(x), &at) > 0);
	at = (time_t)now + 3655L * 86400;
	assert_true(X509_cmp_time(X509_get0_notAfter(x), &at) < 0);
	X509_free(x);
	BIO_free(bio);

	assert_int_equal(tls_auto_certificate(NULL, &again, &key, now), 0);
	assert_string_not_equal(buf_str(&again), buf_str(&cert));
	buf_reset(&cert);
	buf_reset(&key);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(tls_auto_certificate(bad[i], &cert, &key, now), -EINVAL);
		assert_int_equal(cert.n + key.n, 0);
	}
	buf_done(&again);
	buf_init(&again, 100); /* too small for a key */
	assert_int_equal(tls_auto_certificate(NULL, &cert, &again, now), -EMSGSIZE);
	assert_int_equal(cert.n + again.n, 0);
	buf_done(&cert);
	buf_done(&key);
	buf_done(&again);
	assert_int_equal(ERR_peek_error(), 0);
}

static void records(void **state)
{
	static const struct {
		const char *text;
		size_t n, size;
		bool sane;
	} rows[] = {
		{ "\x16\x03\x01\x00", 4, 0, false },      { "\x16\x03\x01\x00\x00", 5, 5, true },
		{ "\x16\x03\x01\x00\x02x", 6, 0, true },  { "\x17\x03\x03\x00\x02xyz", 8, 7, true },
		{ "\x17\x03\x03\x48\x00", 5, 0, true },   { "\x17\x03\x03\x48\x01", 5, 5, false },
		{ "\x13\x03\x03\x00\x01x", 6, 5, false }, { "\x18\x03\x03\x00\x01x", 6, 5, false },
		{ "\x17\x02\x03\x00\x01x", 6, 5, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		bool sane = false;
		struct span s = { (const uint8_t *)rows[i].text, rows[i].n };

		assert_int_equal(tls_record_size(s, &sane), rows[i].size);
		assert_int_equal(sane, rows[i].sane);
	}
}

static void hellos(void **state)
{
	static const uint8_t small[] = "\x16\x03\x01\x00\x09\x01\x00\x00\x02"
				       "ab\x02\x01\xff"; /* the next begins */
	static const uint8_t rest[] = "\x16\x03\x01\x00\x01\xff", big[] = "\x16\x03\x01\x00\x04\x01\x00\x40\x01";
	static const uint8_t most[] = "\x16\x03\x01\x00\x04\x01\x00\x40\x00", ccs[] = "\x14\x03\x03\x00\x01\x01";
	struct tls_hello h = {};

	(void)state;
	assert_true(tls_hello_fits(&h, (struct span){ small, 14 }, false));
	assert_true(tls_hello_fits(&h, (struct span){ rest, 6 }, false)); /* not a ClientHello: OpenSSL's business */
	h = (struct tls_hello){};
	assert_true(tls_hello_fits(&h, (struct span){ most, 9 }, false));
	h = (struct tls_hello){};
	assert_true(tls_hello_fits(&h, (struct span){ ccs, 6 }, false));
	assert_false(tls_hello_fits(&h, (struct span){ big, 9 }, false));
	h = (struct tls_hello){};
	assert_true(tls_hello_fits(&h, (struct span){ ccs, 6 }, true));
	assert_true(tls_hello_fits(&h, (struct span){ big, 9 }, true)); /* encrypted by now */
}

#ifdef GUICHET_FAULTS
enum { STRIDE = 11 }; /* reading PEM takes thousands of allocations, all in the same few places */

static void no_memory(void **state)
{
	static const char *const alpn[] = { "h2", NULL };
	struct tls_name name = { "*.wild.test", cert_identity(good) };
	struct tls_setup setup = { .id = cert_identity(leaf),
				   .names = &name,
				   .names_n = 1,
				   .alpn = alpn,
				   .now = now,
				   .ask = TLS_ASK_REQUIRED,
				   .ca = span_str(good->pem) };
	unsigned long made = 0, n = 0, calls;

	(void)state;
	do {
		struct tls_ctx *ctx = NULL;
		struct buf why;
		int r;

		buf_init(&why, 900);
		n += n < 200 ? 1 : STRIDE;
		fault_arm(FAULT_MEM, n, 0, false);
		r = tls_ctx_new(&setup, &ctx, &why);
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_true(r == 0 || r == -ENOMEM || r == -EINVAL);
		assert_int_equal(ctx != NULL, r == 0);
		assert_int_equal(ERR_peek_error(), 0);
		made += r == 0;
		tls_ctx_unref(ctx);
		buf_done(&why);
	} while (n <= calls);
	assert_true(made > 0);
	print_message("tls_ctx_new: %lu allocations\n", n);
}

static void no_memory_automatic(void **state)
{
	static const char *const more[] = { "host.lan", NULL };
	unsigned long n = 0, calls;
	int r;

	(void)state;
	do {
		struct buf cert, key;

		buf_init(&cert, 1 << 16);
		buf_init(&key, 1 << 16);
		n += n < 200 ? 1 : STRIDE;
		fault_arm(FAULT_MEM, n, 0, false);
		r = tls_auto_certificate(more, &cert, &key, now);
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_true(r == 0 || r == -ENOMEM || r == -EIO || r == -EINVAL);
		if (r == 0)
			assert_string_equal(said_of(buf_str(&cert), buf_str(&key), 0), "");
		else
			assert_int_equal(cert.n + key.n, 0);
		assert_int_equal(ERR_peek_error(), 0);
		buf_done(&cert);
		buf_done(&key);
	} while (n <= calls);
	assert_int_equal(r, 0);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(certificates),
		cmocka_unit_test(places),
		cmocka_unit_test(comparing),
		cmocka_unit_test(names),
		cmocka_unit_test(trust_and_protocols),
		cmocka_unit_test(automatic),
		cmocka_unit_test(records),
		cmocka_unit_test(hellos),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(no_memory),
		cmocka_unit_test(no_memory_automatic),
#endif
	};

	if (tls_use_mem() < 0)
		return 1;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
