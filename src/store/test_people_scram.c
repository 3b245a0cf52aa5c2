/* test_people_scram.c - SCRAM-SHA-256: the exchange of RFC 7677, and every way not to get in. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "store/people_priv.h"
#include "store/people_scram.h"

/* RFC 7677, section 3 */
#define CLIENT_NONCE "rOprNGfwEbeRWgbNEkqO"
#define SERVER_NONCE "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define NONCE CLIENT_NONCE SERVER_NONCE
#define SALT "W22ZaJ0SNY7soEsUEjb6gQ=="
#define FIRST "n,,n=user,r=" CLIENT_NONCE
#define ANSWER "r=" NONCE ",s=" SALT ",i=4096"
#define FINAL "c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
#define PROVED "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

static struct people_memory *m;
static struct people *p, *disabled;

static struct people *one(const char *password, bool off)
{
	BUF_AUTO struct buf text = BUF_INIT(1024);
	struct people_verifier v;
	struct people *set;
	uint8_t salt[32];
	int n = people_base64(span_str(SALT), salt, sizeof(salt));

	assert_int_equal(people_verifier_make(span_str(password), (struct span){ salt, (size_t)n }, 4096, &v), 0);
	buf_adds(&text, "user scram=");
	people_verifier_format(&v, &text);
	buf_adds(&text, off ? " disabled\nother\n" : "\nother\n");
	assert_int_equal(people_parse(buf_span(&text), &set, NULL, NULL), 0);
	assert_int_equal(people_count(set), 2);
	return set;
}

static int up(void **state)
{
	(void)state;
	p = one("pencil", false);
	disabled = one("pencil", true);
	return people_memory_new(&m);
}

static int down(void **state)
{
	(void)state;
	people_unref(p);
	people_unref(disabled);
	people_memory_free(&m);
	return 0;
}

static struct people_scram *begin(struct people *set, const char *first, const char *answer)
{
	BUF_AUTO struct buf b = BUF_INIT(1024);
	struct people_scram *x = NULL;

	assert_int_equal(people_scram_first(m, set, span_str(first), SERVER_NONCE, &x, &b), 0);
	if (answer)
		assert_string_equal(buf_str(&b), answer);
	return x;
}

/* What comes of it. */
static int end(struct people_scram *x, const char *final)
{
	BUF_AUTO struct buf b = BUF_INIT(1024);
	const struct person *who = NULL;
	int r = people_scram_final(x, span_str(final), &who, &b);

	if (r == 0) {
		assert_string_equal(buf_str(&b), PROVED);
		assert_string_equal(who->name, "user");
	} else {
		assert_null(who);
		assert_int_equal(b.n, 0);
	}
	people_scram_free(&x);
	return r;
}

static void the_example(void **state)
{
	struct people_scram *x = begin(p, FIRST, ANSWER);

	(void)state;
	assert_true(span_is(people_scram_user(x), "user"));
	assert_int_equal(end(x, FINAL), 0);
}

static void who_does_not_know_it(void **state)
{
	struct people *other = one("Pencil", false);

	(void)state;
	assert_int_equal(end(begin(other, FIRST, ANSWER), FINAL), -EACCES);
	assert_int_equal(end(begin(disabled, FIRST, ANSWER), FINAL), -EACCES);
	people_unref(other);
}

/* He gets an answer as anybody does: the same one each time, another one than others. */
static void who_is_nobody(void **state)
{
	static const char *const names[] = { "n,,n=mallory,r=abc", "n,,n=other,r=abc" };
	BUF_AUTO struct buf a = BUF_INIT(1024), b = BUF_INIT(1024), first = BUF_INIT(1024);
	struct people_scram *x;

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(people_scram_first(m, p, span_str(names[i]), "N", &x, &a), 0);
		assert_int_equal(end(x, "c=biws,r=abcN,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), -EACCES);
		assert_int_equal(people_scram_first(m, p, span_str(names[i]), "N", &x, &b), 0);
		people_scram_free(&x);
		assert_string_equal(buf_str(&a), buf_str(&b));
		assert_true(span_starts(buf_span(&a), "r=abcN,s="));
		assert_string_not_equal(buf_str(&a), buf_str(&first));
		buf_reset(&first);
		buf_adds(&first, buf_str(&a));
	}
	assert_int_equal(people_scram_first(m, NULL, span_str(names[0]), "N", &x, &b), 0);
	people_scram_free(&x);
}

static void malformed_first(void **state)
{
	static const char *const cases[] = {
		"",
		"n",
		"n,,",
		"n,,n=user",
		"n,,n=user,",
		"n,,n=user,r=",
		"n,,r=abc,n=user",
		"n,,n=,r=abc",
		"n,,n=us=er,r=abc",
		"n,,n=us=2cer,r=abc",
		"n,,n=us=2,r=abc",
		"n,,m=ext,n=user,r=abc",
		"n,a=admin,n=user,r=abc",
		"p=tls-unique,,n=user,r=abc",
		"x,,n=user,r=abc",
		"n,,n=user,r=a b",
		"n,,n=us\xff-er,r=abc",
	};
	BUF_AUTO struct buf b = BUF_INIT(1024);
	char *longest = test_calloc(1, 2000);
	struct people_scram *x;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(people_scram_first(m, p, span_str(cases[i]), NULL, &x, &b), -EINVAL);
	memset(longest, 'a', 1900);
	memcpy(longest, "n,,n=user,r=", 12);
	assert_int_equal(people_scram_first(m, p, span_str(longest), NULL, &x, &b), -EINVAL);
	test_free(longest);
}

static void names_with_commas(void **state)
{
	struct people_scram *x = begin(p, "y,,n=a=2Cb=3Dc,r=abc,x=later", NULL);

	(void)state;
	assert_true(span_is(people_scram_user(x), "a,b=c"));
	assert_int_equal(end(x, "c=eSws,r=abc" SERVER_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
			 -EACCES);
}

static void malformed_final(void **state)
{
	static const char *const cases[] = {
		"",
		"c=biws",
		"c=biws,r=" NONCE,
		"c=biws,r=" CLIENT_NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		"c=eSws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		"r=" NONCE ",c=biws,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		"c=biws,r=" NONCE ",p=AAAA",
		"c=biws,r=" NONCE ",p=",
		"c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ",
		"c=biws,r=" NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=,x=y",
		"c=biws,r=" NONCE ",m=x,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(end(begin(p, FIRST, ANSWER), cases[i]), -EINVAL);
	assert_int_equal(end(begin(p, FIRST, ANSWER),
			     "c=biws,r=" NONCE ",x=y,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
			 -EACCES); /* what it has signed is another text */
}

static void verifiers(void **state)
{
	static const char *const bad[] = { "", "SCRAM-SHA-256$", "SCRAM-SHA-1$4096:" SALT "$AAAA:AAAA",
					   "SCRAM-SHA-256$0:" SALT "$AAAA:AAAA", "SCRAM-SHA-256$4096:$AAAA:AAAA" };
	BUF_AUTO struct buf a = BUF_INIT(1024), b = BUF_INIT(1024);
	struct people_verifier v;

	(void)state;
	assert_int_equal(people_verifier_new(span_str("pencil"), &a), 0);
	assert_int_equal(people_verifier_parse(buf_str(&a), &v), 0);
	assert_int_equal(v.iterations, PEOPLE_SCRAM_ITERATIONS);
	people_verifier_format(&v, &b);
	assert_string_equal(buf_str(&a), buf_str(&b));
	assert_int_equal(people_verifier_new(span_str(""), &a), -EINVAL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(people_verifier_parse(bad[i], &v), -EINVAL);
}

#ifdef GUICHET_FAULTS
static void without_memory(void **state)
{
	bool done = false;

	(void)state;
	for (unsigned long n = 1; !done && n < 1000; n++) {
		BUF_AUTO struct buf b = BUF_INIT(1024);
		const struct person *who;
		struct people_scram *x = NULL;
		int r;

		fault_arm(FAULT_MEM, n, 0, false);
		r = people_scram_first(m, p, span_str(FIRST), SERVER_NONCE, &x, &b);
		if (r == 0)
			r = people_scram_final(x, span_str(FINAL), &who, &b);
		done = fault_calls(FAULT_MEM) < n;
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_true(r == 0 || r == -ENOMEM);
		people_scram_free(&x);
	}
	assert_true(done);
}
#endif

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = {
		T(the_example),       T(who_does_not_know_it), T(who_is_nobody), T(malformed_first),
		T(names_with_commas), T(malformed_final),      T(verifiers),
#ifdef GUICHET_FAULTS
		T(without_memory),
#endif
	};

	return cmocka_run_group_tests(tests, up, down);
}
