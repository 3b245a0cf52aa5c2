/*
 * test_login.c - logging in over the memory driver, by a toy (tests/support/asks.h). What is remembered takes no job; a reload is seen; penalties end the conversation.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "drive/mem.h"
#include "store/access.h"
#include "support/asks.h"

#define SECRET \
	"{mosquitto}$6$AAECAwQFBgcICQoL$JqsxEv/ucyxjA5DKsQ+Y8CDWaQDNQI9FpAkmfwAqWfwZLk/JEGgM0EpylrJHAZKKyFQjJeZ3nFaHjPz" \
	"OzPPmPw=="

/* ---- */

static struct access *a;

static void put_in_force(const char *people, const char *rule)
{
	BUF_AUTO struct buf why = BUF_INIT(256);
	struct people *p;
	struct rules *r = NULL;

	assert_int_equal(people_parse(span_str(people), &p, NULL, NULL), 0);
	if (rule) {
		assert_int_equal(rules_new(&r), 0);
		assert_int_equal(rules_add(r, true, rule, &why), 0);
	}
	access_set(a, p, r);
	people_unref(p);
	rules_unref(r);
}

static struct memdrive *world(void)
{
	struct memdrive *w;

	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &asks_proto, .access = a }, &w, NULL), 0);
	return w;
}

static void says(struct memconn *c, const char *text, const char *answer)
{
	memconn_take(c, SIZE_MAX);
	memconn_sends(c, text);
	if (!span_is(memconn_out(c), answer))
		fail_msg("%s: %.*s", text, (int)memconn_out(c).n, (const char *)memconn_out(c).p);
}

static int up(void **state)
{
	(void)state;
	assert_int_equal(access_new(&a), 0);
	put_in_force("alice hash=" SECRET " groups=staff\nbob hash=" SECRET " disabled\nsensor\n",
		     "@staff read topics:home/#");
	return 0;
}

static int down(void **state)
{
	(void)state;
	access_free(&a);
	return 0;
}

static void in_and_out(void **state)
{
	struct memdrive *w = world();
	struct memconn *c = memconn_open(w, NULL);

	(void)state;
	says(c, "read home/x\n", "no\n");
	says(c, "alice wrong\n", "wrong\n");
	says(c, "bob secret\n", "wrong\n");
	says(c, "sensor secret\n", "wrong\n");
	says(c, "mallory secret\n", "wrong\n");
	says(c, " \n", "wrong\n");
	assert_int_equal(memdrive_stat(w, STAT_LOGINS_FAILED), 5);
	says(c, "alice secret\n", "in\n");
	put_in_force("alice hash=" SECRET " groups=staff\n", "@staff read topics:home/#");
	says(c, "read home/x\n", "yes\n");
	says(c, "write home/x\n", "no\n");
	memdrive_free(&w);
}

static void whom_it_remembers_takes_no_job(void **state)
{
	struct memdrive *w = world();
	struct memconn *c = memconn_open(w, NULL), *d = memconn_open(w, NULL);

	(void)state;
	says(c, "alice secret\n", "in\n");
	memdrive_hold_jobs(w, true);
	says(d, "alice secret\n", "in\n");
	says(d, "alice Secret\n", "");
	assert_int_equal(memdrive_jobs(w), 1);
	memdrive_run_jobs(w, 1);
	assert_true(span_is(memconn_out(d), "wrong\n"));
	memdrive_advance(w, 601 * SEC);
	says(c, "alice secret\n", "");
	assert_int_equal(memdrive_jobs(w), 1);
	memconn_reset(c); /* its answer comes when nobody is there */
	memdrive_free(&w);
}

#ifdef GUICHET_FAULTS
/* Allocations of one job and its answer: one with a hash has one more. */
static unsigned long run_one(struct memdrive *w)
{
	unsigned long n;

	fault_arm(FAULT_MEM, 1000000, 0, false);
	memdrive_run_jobs(w, 1);
	n = fault_calls(FAULT_MEM);
	fault_arm(FAULT_MEM, 0, 0, false);
	return n;
}

/* A thousand clients of one name, all at once: what the first one's hash was is known to those who wait behind. */
static void who_waits_behind_takes_no_hash(void **state)
{
	struct buf password = BUF_INIT(64), hash = BUF_INIT(PEOPLE_TEXT), text = BUF_INIT(2 * PEOPLE_TEXT);
	struct memdrive *w = world();
	struct memconn *c = memconn_open(w, NULL), *d = memconn_open(w, NULL);
	unsigned long first, second;

	(void)state;
	buf_adds(&password, "secret");
	assert_int_equal(people_hash(buf_span(&password), &hash), 0); /* of libcrypt, which needs memory */
	buf_addf(&text, "alice hash=%s\n", buf_str(&hash));
	put_in_force(buf_str(&text), NULL);
	buf_reset(&text);
	buf_addf(&text, "alice %s\n", buf_str(&password));
	memdrive_hold_jobs(w, true);
	says(c, buf_str(&text), "");
	says(d, buf_str(&text), "");
	first = run_one(w);
	second = run_one(w);
	assert_true(span_is(memconn_out(c), "in\n"));
	assert_true(span_is(memconn_out(d), "in\n"));
	assert_true(second < first);
	memdrive_free(&w);
	buf_done(&password);
	buf_done(&hash);
	buf_done(&text);
}
#endif

static void reload(void **state)
{
	struct memdrive *w = world();
	struct memconn *c = memconn_open(w, NULL);

	(void)state;
	says(c, "alice secret\n", "in\n");
	says(c, "read home/x\n", "yes\n");
	put_in_force("alice hash=" SECRET "\n", "alice write topics:%c/%u");
	says(c, "read home/x\n", "no\n");
	says(c, "write c1/alice\n", "yes\n");
	put_in_force("alice disabled hash=" SECRET "\n", "* * topics:#");
	says(c, "write c1/alice\n", "gone\n");
	says(c, "alice secret\n", "wrong\n");
	put_in_force("", NULL); /* no section: this machine may */
	c = memconn_open(w, NULL);
	says(c, "read home/x\n", "yes\n");
	c = memconn_open(w, &(struct mem_open){ .peer = "[::1]:9" });
	says(c, "read home/x\n", "yes\n");
	c = memconn_open(w, &(struct mem_open){ .peer = "192.0.2.1:9" });
	says(c, "read home/x\n", "no\n");
	memdrive_free(&w);
}

static void certificates(void **state)
{
	static const struct who alice = { .how = WHO_CERTIFICATE, .user = "CN=alice,O=Home" },
				eve = { .how = WHO_CERTIFICATE, .user = "CN=eve" };
	struct memdrive *w = world();

	(void)state;
	says(memconn_open(w, &(struct mem_open){ .who = &alice }), "read home/x\n", "yes\n");
	says(memconn_open(w, &(struct mem_open){ .who = &eve }), "read home/x\n", "no\n");
	memdrive_free(&w);
}

static void barred(void **state)
{
	struct memdrive *w = world();
	struct memconn *c = memconn_open(w, NULL);

	(void)state;
	memdrive_bar(w, true);
	says(c, "alice wrong\n", "barred\n");
	assert_int_equal(memconn_end(c), MEM_CLOSED);
	memdrive_free(&w);
}

static void without_people(void **state)
{
	struct access *kept = a;
	struct memdrive *w;
	struct memconn *c;

	(void)state;
	a = NULL;
	w = world();
	a = kept;
	c = memconn_open(w, NULL);
	says(c, "alice secret\n", "wrong\n");
	says(c, "read x\n", "yes\n");
	memdrive_free(&w);
}

#ifdef GUICHET_FAULTS
/* Nobody gets in, or reads, because memory is out. */
static void without_memory(void **state)
{
	bool done = false;

	(void)state;
	for (unsigned long n = 1; !done && n < 500; n++) {
		struct memdrive *w = world();
		struct memconn *c = memconn_open(w, NULL);
		struct span out;

		fault_arm(FAULT_MEM, n, 0, false);
		memconn_sends(c, "alice wrong\n");
		memconn_sends(c, "write home/x\n");
		done = fault_calls(FAULT_MEM) < n;
		fault_arm(FAULT_MEM, 0, 0, false);
		out = memconn_out(c);
		assert_false(out.n && (memmem(out.p, out.n, "in\n", 3) || memmem(out.p, out.n, "yes\n", 4)));
		memdrive_free(&w);
	}
	assert_true(done);
}
#endif

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, up, down)
	const struct CMUnitTest tests[] = {
		T(in_and_out),     T(whom_it_remembers_takes_no_job), T(reload), T(certificates), T(barred),
		T(without_people),
#ifdef GUICHET_FAULTS
		T(without_memory), T(who_waits_behind_takes_no_hash),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
