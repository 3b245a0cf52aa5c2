/*
 * test_people.c - people as text and as a set: what is read and written back, what is damaged, whose a certificate is; hashes of
 * libcrypt's and mosquitto's kinds; logging in, where nobody can tell an unknown user by the work that he makes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc.h"
#include "base/fault.h"
#include "base/mem.h"
#include "store/people_priv.h"

/* All of the password `secret`; computed by libcrypt, and by mosquitto_passwd. */
#define YESCRYPT "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0"
#define SHA512 "$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz."
#define BCRYPT "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
#define PBKDF2 \
	"{mosquitto}$7$101$AAECAwQFBgcICQoL$Xr99N9ym9ys8TWxis5ajETJq6EVYzmc6nb8t3pUYnPBbCAbICS4xejTltonXWCtJNBvA+By+" \
	"TXUqU6qCblO00w=="
#define DIGEST \
	"{mosquitto}$6$AAECAwQFBgcICQoL$JqsxEv/ucyxjA5DKsQ+Y8CDWaQDNQI9FpAkmfwAqWfwZLk/JEGgM0EpylrJHAZKKyFQjJeZ3nFaHjPz" \
	"OzPPmPw=="

static char said[4096];

static void hear(void *arg, unsigned line, const char *text)
{
	size_t n = strlen(said);

	(void)arg;
	snprintf(said + n, sizeof(said) - n, "%u: %s\n", line, text);
}

static struct people *parse(const char *text)
{
	struct people *p = NULL;

	said[0] = '\0';
	assert_int_equal(people_parse(span_str(text), &p, hear, NULL), 0);
	return p;
}

static const struct person *find(const struct people *p, const char *name)
{
	return people_find(p, span_str(name));
}

/* ---- text ---- */

static void reads_and_writes(void **state)
{
	static const char text[] = "# comment\n\n"
				   "zoe hash=" YESCRYPT " groups=staff,iot disabled\n"
				   "\"Anna Lena\" certificate=\"CN=Anna Lena,O=Home\" certificate=CN=two\n"
				   "bob hash=" PBKDF2 "\n"
				   "  carl\n";
	struct people *p = parse(text), *q;
	BUF_AUTO struct buf a = BUF_INIT(65536), b = BUF_INIT(65536);

	(void)state;
	assert_string_equal(said, "");
	assert_int_equal(people_count(p), 4);
	assert_string_equal(people_at(p, 0)->name, "Anna Lena");
	assert_int_equal(find(p, "Anna Lena")->certificates.n, 2);
	assert_true(person_is_in(find(p, "zoe"), "iot"));
	assert_false(person_is_in(find(p, "zoe"), "io"));
	assert_true(find(p, "zoe")->disabled);
	assert_string_equal(find(p, "bob")->hash, PBKDF2);
	assert_null(find(p, "car"));
	assert_null(find(p, ""));
	assert_null(find(NULL, "carl"));
	people_format(p, &a);
	q = parse(buf_str(&a));
	assert_string_equal(said, "");
	people_format(q, &b);
	assert_string_equal(buf_str(&a), buf_str(&b));
	assert_string_equal(find(q, "Anna Lena")->certificates.v[0], "CN=Anna Lena,O=Home");
	people_unref(p);
	people_unref(q);
}

/* Wrong lines are told and left out; the others count. */
static void wrong_lines(void **state)
{
	static const struct {
		const char *text, *said;
	} cases[] = {
		{ "alice\nali:ce\n", "2: \"ali:ce\" is no name: it has a control character, a : or a , in it\n" },
		{ "alice\n@staff\n", "2: \"@staff\" is no name: it may not begin with @ # $ or +\n" },
		{ "alice\nanonymous\n", "2: \"anonymous\" is no name: rules mean others by it\n" },
		{ "alice\n\"*\"\n", "2: \"*\" is no name: rules mean others by it\n" },
		{ "alice\nbob hash=$1$abc$def\n", "2: the hash is of an unknown kind\n" },
		{ "alice\nbob hash=secret\n", "2: the hash is of an unknown kind\n" },
		{ "alice\nbob hash={mosquitto}$7$0$AAAA$AAAA\n", "2: the hash is of an unknown kind\n" },
		{ "alice\nbob hash=" BCRYPT " hash=" BCRYPT "\n", "2: a word comes twice\n" },
		{ "alice\nbob scram=SCRAM-SHA-256$4096:x$y:z\n", "2: the SCRAM verifier is none\n" },
		{ "alice\nbob admin\n", "2: unknown word \"admin\"\n" },
		{ "alice\nbob groups=a,,b\n", "2: \"\" is no name: it is empty\n" },
		{ "alice\nbob certificate=\n", "2: a certificate is empty or too long\n" },
		{ "alice\nbob \"groups=a\n", "2: a quote is not closed\n" },
		{ "alice\nbob disabled crc=00000000\n",
		  "2: it is damaged: crc does not fit (who has changed the line by hand takes crc=... off)\n" },
		{ "alice\nbob crc=0000\n", "2: unknown word \"crc=0000\"\n" },
		{ "alice\nbob \xff\n", "2: it is damaged: too long, or no text\n" },
		{ "alice\nbob disa", "2: it is damaged: the file ends in the middle of it\n" },
		{ "alice\nalice disabled\n", "2: \"alice\" comes twice, first at line 1\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct people *p = parse(cases[i].text);

		assert_string_equal(said, cases[i].said);
		assert_int_equal(people_count(p), 1);
		assert_int_equal(people_damaged(p), 1);
		assert_false(find(p, "alice")->disabled);
		people_unref(p);
	}
}

/* Nothing that a disk makes of a line lets somebody in who was not, or takes his flags away. */
static void damage(void **state)
{
	struct people *p = parse("eve hash=" BCRYPT " groups=guests disabled\n"), *q;
	BUF_AUTO struct buf b = BUF_INIT(65536);
	size_t start;
	char *copy;

	(void)state;
	people_format(p, &b);
	start = (size_t)(strchr(buf_str(&b), '\n') - buf_str(&b)) + 1;
	copy = strdup(buf_str(&b));
	for (size_t i = start; i < b.n; i++)
		for (int bit = 0; bit < 8; bit++) {
			copy[i] ^= (char)(1 << bit);
			assert_int_equal(people_parse((struct span){ (uint8_t *)copy, b.n }, &q, NULL, NULL), 0);
			for (size_t k = 0; k < people_count(q); k++) /* a # at its start makes a comment of it */
				assert_true(people_at(q, k)->disabled && !strcmp(people_at(q, k)->name, "eve"));
			people_unref(q);
			copy[i] ^= (char)(1 << bit);
		}
	for (size_t n = 0; n < b.n; n++) {
		assert_int_equal(people_parse((struct span){ (uint8_t *)copy, n }, &q, NULL, NULL), 0);
		assert_int_equal(people_count(q), 0);
		people_unref(q);
	}
	free(copy);
	people_unref(p);
}

static void too_much(void **state)
{
	struct people *p;
	char *text = calloc(1, PEOPLE_FILE_MAX + 2);

	(void)state;
	memset(text, '\n', PEOPLE_FILE_MAX + 1);
	assert_int_equal(people_parse((struct span){ (uint8_t *)text, PEOPLE_FILE_MAX + 1 }, &p, NULL, NULL), -EFBIG);
	memset(text, 'a', PEOPLE_LINE_MAX + 1);
	text[PEOPLE_LINE_MAX + 2] = '\0';
	p = parse(text);
	assert_int_equal(people_count(p), 0);
	assert_int_equal(people_damaged(p), 1);
	people_unref(p);
	free(text);
}

static void change(void **state)
{
	BUF_AUTO struct buf why = BUF_INIT(1024);
	struct people *p;
	struct str_words groups = { (char *[]){ (char *)"a,b" }, 1 };

	(void)state;
	assert_int_equal(people_new(&p), 0);
	assert_int_equal(people_put(p, &(struct person){ .name = (char *)"bob" }, &why), 0);
	assert_int_equal(people_put(p, &(struct person){ .name = (char *)"alice" }, &why), 0);
	assert_int_equal(people_put(p, &(struct person){ .name = (char *)"bob", .disabled = true }, &why), 0);
	assert_int_equal(people_count(p), 2);
	assert_true(find(p, "bob")->disabled);
	assert_int_equal(people_put(p, &(struct person){ .name = (char *)"a:b" }, &why), -EINVAL);
	assert_int_equal(people_put(p, &(struct person){ .name = (char *)"c", .groups = groups }, &why), -EINVAL);
	assert_int_equal(people_put(p, &(struct person){ .name = (char *)"c", .hash = (char *)"x" }, &why), -EINVAL);
	assert_true(people_remove(p, "alice"));
	assert_false(people_remove(p, "alice"));
	assert_int_equal(people_count(p), 1);
	people_unref(people_ref(p));
	people_unref(p);
	people_unref(NULL);
}

/* ---- certificates ---- */

static const char *whose(const struct people *p, const char *subject)
{
	const struct person *who = people_by_certificate(p, subject);

	return who ? who->name : "nobody";
}

static void certificates(void **state)
{
	struct people *p = parse("alice\nbob certificate=CN=robert,O=Home\ncarl disabled\nrobert\n"
				 "dora certificate=CN=d\nemil certificate=CN=d\n");

	(void)state;
	assert_string_equal(whose(p, "CN=alice,O=Home"), "alice");
	assert_string_equal(whose(p, "O=Home,CN=alice"), "alice");
	assert_string_equal(whose(p, "O=Home+CN=alice"), "alice");
	assert_string_equal(whose(p, "CN=robert,O=Home"), "bob"); /* who says so goes before who is called so */
	assert_string_equal(whose(p, "CN=robert,O=Office"), "robert");
	assert_string_equal(whose(p, "CN=bob"), "nobody"); /* he has said which one */
	assert_string_equal(whose(p, "CN=carl"), "nobody");
	assert_string_equal(whose(p, "CN=d"), "nobody"); /* two say so */
	assert_string_equal(whose(p, "CN=alice,CN=robert"), "nobody");
	assert_string_equal(whose(p, "O=x\\,CN=alice"), "nobody"); /* a part of the organisation's name */
	assert_string_equal(whose(p, "CN=al\\ice"), "nobody");
	assert_string_equal(whose(p, "OU=alice"), "nobody");
	assert_string_equal(whose(p, "CN="), "nobody");
	assert_string_equal(whose(p, "CN=x\\"), "nobody");
	assert_string_equal(whose(p, ""), "nobody");
	assert_string_equal(whose(NULL, "CN=alice"), "nobody");
	people_unref(p);
}

/* ---- hashes ---- */

static bool is_right(const char *hash, struct span password)
{
	bool right = false;

	assert_int_equal(people_hash_try(hash, password, &right), 0);
	return right;
}

static void kinds(void **state)
{
	static const char *const hashes[] = { YESCRYPT, SHA512, BCRYPT, PBKDF2, DIGEST };

	(void)state;
	for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
		assert_true(people_hash_known(hashes[i]));
		assert_int_equal(people_hash_is_ours(hashes[i]), i == 0);
		assert_true(is_right(hashes[i], span_str("secret")));
		assert_false(is_right(hashes[i], span_str("Secret")));
		assert_false(is_right(hashes[i], span_str("")));
		assert_false(is_right(hashes[i], (struct span){ (const uint8_t *)"secret\0x", 8 }));
		assert_false(is_right(hashes[i], (struct span){ (const uint8_t *)hashes[i], 257 % 40 }));
	}
	assert_false(people_hash_known(""));
	assert_false(people_hash_known("*"));
	assert_false(people_hash_known("$y$"));
	assert_false(people_hash_known("{mosquitto}" YESCRYPT));
	assert_false(people_hash_known("{mosquitto}$7$101$AAAA$AAAA"));
	assert_false(people_hash_known("{mosquitto}$7$99999999999$AAAA$AAAA"));
	assert_false(people_hash_known("ab0123456789."));
}

static void ours(void **state)
{
	BUF_AUTO struct buf a = BUF_INIT(1024), b = BUF_INIT(1024);
	char longest[PEOPLE_PASSWORD_MAX + 2];

	(void)state;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(people_hash(span_str("secret"), &a), 0);
	assert_int_equal(people_hash(span_str("secret"), &b), 0);
	assert_string_not_equal(buf_str(&a), buf_str(&b)); /* salted */
	assert_true(people_hash_is_ours(buf_str(&a)));
	assert_true(is_right(buf_str(&a), span_str("secret")));
	assert_int_equal(people_hash(span_str(""), &a), -EINVAL);
	assert_int_equal(people_hash(span_str("a\nb"), &a), -EINVAL);
	assert_int_equal(people_hash(span_str("\xff"), &a), -EINVAL);
	assert_int_equal(people_hash(span_str(longest), &a), -EINVAL);
	assert_int_equal(people_hash(span_str(longest + 1), &a), 0);
	assert_true(is_right(buf_str(&a), span_str(longest + 1)));
	assert_false(is_right(buf_str(&a), span_str(longest)));
}

static void base64(void **state)
{
	uint8_t bytes[4];

	(void)state;
	assert_int_equal(people_base64(span_str("AAEC"), bytes, 4), 3);
	assert_int_equal(people_base64(span_str("AAE="), bytes, 4), 2);
	assert_int_equal(people_base64(span_str("AA=="), bytes, 4), 1);
	assert_int_equal(people_base64(span_str(""), bytes, 4), -EINVAL);
	assert_int_equal(people_base64(span_str("AAE"), bytes, 4), -EINVAL);
	assert_int_equal(people_base64(span_str("A==="), bytes, 4), -EINVAL);
	assert_int_equal(people_base64(span_str(" AAE"), bytes, 4), -EINVAL);
	assert_int_equal(people_base64(span_str("AAECAAEC"), bytes, 4), -EINVAL);
}

/* ---- logging in ---- */

#define CHEAP "$5$rounds=5000$toolongsaltstrin$37tCxOq5xshRncIKBOJ8buhNCuZ0PBFBUwb3XaEPn08"

static struct people_memory *m;

static int memory_up(void **state)
{
	(void)state;
	return people_memory_new(&m);
}

static int memory_down(void **state)
{
	(void)state;
	people_memory_free(&m);
	return 0;
}

static struct people_answer verify(const struct people *p, const char *user, const char *password, uint64_t now)
{
	struct people_answer a = {};

	assert_int_equal(people_verify(m, p, span_str(user), span_str(password), now, &a), 0);
	assert_int_equal(a.hashed, 1); /* whoever asks, and whatever comes of it */
	return a;
}

static void who_gets_in(void **state)
{
	struct people *p = parse("alice hash=" CHEAP "\nbob hash=" CHEAP " disabled\ncert\n"),
		      *nobody = parse("cert\n");
	char many[600];

	(void)state;
	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	assert_ptr_equal(verify(p, "alice", "secret", 1).who, find(p, "alice"));
	assert_true(verify(p, "alice", "secret", 1).upgrade);
	assert_null(verify(p, "alice", "wrong", 1).who);
	assert_null(verify(p, "alice", "", 1).who);
	assert_null(verify(p, "alice", many, 1).who);
	assert_null(verify(p, "bob", "secret", 1).who);
	assert_null(verify(p, "cert", "secret", 1).who);
	assert_null(verify(p, "cert", "", 1).who);
	assert_null(verify(p, "mallory", "secret", 1).who); /* also when the other one's password is right */
	assert_null(verify(p, "", "secret", 1).who);
	assert_null(verify(p, many, "secret", 1).who);
	assert_null(verify(nobody, "alice", "secret", 1).who);
	assert_null(verify(NULL, "alice", "secret", 1).who);
	people_unref(p);
	people_unref(nobody);
}

static const struct person *recall(const struct people *p, const char *user, const char *password, uint64_t now)
{
	return people_recall(m, p, span_str(user), span_str(password), now);
}

static void what_is_remembered(void **state)
{
	struct people *p = parse("carol hash=" CHEAP "\nbob hash=" CHEAP "\n");
	struct people *changed = parse("carol hash=" BCRYPT "\n"), *off = parse("carol hash=" CHEAP " disabled\n");
	uint64_t now = 5 * NSEC_PER_SEC, end = now + 600 * NSEC_PER_SEC;

	(void)state;
	assert_null(recall(p, "carol", "secret", now));
	verify(p, "carol", "wrong", now);
	assert_null(recall(p, "carol", "wrong", now));
	verify(p, "carol", "secret", now);
	assert_ptr_equal(recall(p, "carol", "secret", now), find(p, "carol"));
	assert_ptr_equal(recall(p, "carol", "secret", end - 1), find(p, "carol"));
	assert_null(recall(p, "carol", "secret", end));
	assert_null(recall(p, "carol", "Secret", now));
	assert_null(recall(p, "bob", "secret", now));
	assert_null(recall(changed, "carol", "secret", now));
	assert_null(recall(off, "carol", "secret", now));
	assert_null(recall(NULL, "carol", "secret", now));
	assert_null(people_recall(NULL, p, span_str("carol"), span_str("secret"), now));
	people_unref(p);
	people_unref(changed);
	people_unref(off);
}

/* More than there are places: who would be forgotten first makes room, so those who came last are there. */
static void more_than_fit(void **state)
{
	enum { MANY = 40000, LAST = 1000 };
	BUF_AUTO struct buf text = BUF_INIT(PEOPLE_FILE_MAX);
	unsigned known = 0, last = 0;
	struct people *p;

	(void)state;
	for (int i = 0; i < MANY; i++)
		buf_addf(&text, "u%05d hash=" DIGEST "\n", i);
	p = parse(buf_str(&text));
	assert_int_equal(people_count(p), MANY);
	for (size_t i = 0; i < MANY; i++)
		assert_non_null(verify(p, people_at(p, i)->name, "secret", 1 + i).who);
	for (size_t i = 0; i < MANY; i++) {
		bool there = recall(p, people_at(p, i)->name, "secret", MANY) != NULL;

		known += there;
		last += there && i >= MANY - LAST;
	}
	assert_int_equal(last, LAST);
	assert_in_range(known, 30000, 32768);
	people_unref(p);
}

#ifdef GUICHET_FAULTS
static void without_memory(void **state)
{
	static const char text[] = "alice hash=" DIGEST " groups=a,b certificate=CN=a\nbob\nbob\n";
	bool done = false;

	(void)state;
	for (unsigned long n = 1; !done && n < 1000; n++) {
		struct people *p = NULL;
		BUF_AUTO struct buf b = BUF_INIT(4096);
		struct people_answer a = {};
		int r;

		fault_arm(FAULT_MEM, n, 0, false);
		r = people_parse(span_str(text), &p, NULL, NULL);
		if (r == 0)
			r = people_put(p, &(struct person){ .name = (char *)"carl" }, &b);
		if (r == 0)
			people_format(p, &b);
		if (r == 0 && b.err == 0)
			r = people_verify(m, p, span_str("alice"), span_str("secret"), 1, &a);
		done = fault_calls(FAULT_MEM) < n;
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_true(r == 0 || r == -ENOMEM);
		people_unref(p);
	}
	assert_true(done);
}
#endif

int main(void)
{
#define T(f) cmocka_unit_test(f)
	const struct CMUnitTest tests[] = {
		T(reads_and_writes),   T(wrong_lines),   T(damage), T(too_much), T(change),
		T(certificates),       T(kinds),         T(ours),   T(base64),   T(who_gets_in),
		T(what_is_remembered), T(more_than_fit),
#ifdef GUICHET_FAULTS
		T(without_memory),
#endif
	};

	return cmocka_run_group_tests(tests, memory_up, memory_down);
}
