/* test_tables.c - the common tables are right, and their rules across options hold. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "conf/tables.h"

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static void test_check(void **state)
{
	static const struct option_table *const tables[] = { &tables_guichet, &tables_service, &tables_tls };

	(void)state;
	for (size_t i = 0; i < LENGTH(tables); i++) {
		BUF_AUTO struct buf why = BUF_INIT(1000);

		if (option_table_check(tables[i], &why) < 0)
			fail_msg("%s: %s", tables[i]->name, buf_str(&why));
	}
}

/* A section's entries may be known by any of its tables, so no name may be in two. */
static void test_no_name_twice(void **state)
{
	(void)state;
	for (size_t i = 0; i < tables_tls.n; i++)
		assert_null(option_find(&tables_service, tables_tls.rows[i].name));
}

static void test_defaults(void **state)
{
	const struct service_options *s;
	const struct guichet_options *g;
	const struct tls_options *t;
	void *values;

	(void)state;
	assert_int_equal(option_values_new(&tables_service, &values), 0);
	s = values;
	assert_int_equal(s->model, MODEL_EVENT);
	assert_int_equal(s->family, FAMILY_ANY);
	assert_int_equal(s->backlog, 4096);
	assert_int_equal(s->idle, 600 * NSEC_PER_SEC);
	assert_int_equal(s->output, 1 << 20);
	assert_int_equal(s->mode, 0660);
	assert_true(s->enabled && s->nodelay && !s->low_ports);
	assert_null(s->protocol);
	option_values_free(&tables_service, &values);

	assert_int_equal(option_values_new(&tables_guichet, &values), 0);
	g = values;
	assert_int_equal(g->log_level, LOG_INFO);
	assert_int_equal(g->log_format, LOG_FORMAT_TEXT);
	assert_int_equal(g->dgram_reply, 512);
	assert_int_equal(option_resolve(&tables_guichet, values, "/etc/g", NULL), 0);
	assert_string_equal(g->log, "stderr");
	assert_string_equal(g->data, "/etc/g/guichet-data");
	assert_null(g->control);
	option_values_free(&tables_guichet, &values);

	assert_int_equal(option_values_new(&tables_tls, &values), 0);
	t = values;
	assert_string_equal(t->certificate, "auto");
	assert_int_equal(t->tls_min, TLS_1_2);
	option_values_free(&tables_tls, &values);
}

/* What one word may be is told when it is set: nothing behind it ever sees another. */
static void test_tls_words(void **state)
{
	static const struct {
		const char *option, *text, *why; /* NULL = right */
	} t[] = {
		{ "sni", "a=b:c *.d=/e:/f", NULL },
		{ "sni", "a=b", "sni: \"a=b\" is not of the form NAME=CERTIFICATE:KEY" },
		{ "sni", "=b:c", "sni: \"=b:c\" is not of the form NAME=CERTIFICATE:KEY" },
		{ "sni", "a=:c", "sni: \"a=:c\" is not of the form NAME=CERTIFICATE:KEY" },
		{ "sni", "a=b:", "sni: \"a=b:\" is not of the form NAME=CERTIFICATE:KEY" },
		{ "sni", "a=b:c:d", "sni: \"a=b:c:d\" is not of the form NAME=CERTIFICATE:KEY" },
		{ "sni", "a x=b:c d",
		  "sni: \"a\" is not of the form NAME=CERTIFICATE:KEY\nsni: \"d\" is not of the form NAME=CERTIFICATE:KEY" },
		{ "alpn", "mqtt http/1.1", NULL },
		{ "alpn", "''", "alpn: a name has 0 bytes, 1 to 255" },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		BUF_AUTO struct buf why = BUF_INIT(1000);
		void *values;

		assert_int_equal(option_values_new(&tables_tls, &values), 0);
		assert_int_equal(option_set(&tables_tls, values, t[i].option, t[i].text, &why), t[i].why ? -EINVAL : 0);
		assert_string_equal(buf_str(&why), t[i].why ? t[i].why : "");
		assert_int_equal(option_resolve(&tables_tls, values, "/etc", NULL), 0);
		option_values_free(&tables_tls, &values);
	}
}

static void test_tls_rules(void **state)
{
	static const struct {
		const char *set[2][2];
		const char *why; /* NULL = right */
	} t[] = {
		{ { { "key", "k" }, { "tls_min", "1.2" } },
		  "key: has no use with certificate = auto, which makes its own" },
		{ { { "key", "k" }, { "certificate", "c" } }, NULL },
		{ { { "client_ca", "c" }, { "tls_min", "1.2" } },
		  "client_ca: has no use without client_certificate = optional or required" },
		{ { { "client_certificate", "required" }, { "tls_min", "1.2" } },
		  "client_certificate: needs client_ca, the authorities to check it against" },
		{ { { "client_certificate", "required" }, { "client_ca", "c" } }, NULL },
	};

	(void)state;
	for (size_t i = 0; i < LENGTH(t); i++) {
		BUF_AUTO struct buf why = BUF_INIT(1000);
		void *values;

		assert_int_equal(option_values_new(&tables_tls, &values), 0);
		for (size_t j = 0; j < 2; j++)
			assert_int_equal(option_set(&tables_tls, values, t[i].set[j][0], t[i].set[j][1], NULL), 0);
		assert_int_equal(option_values_check(&tables_tls, values, &why), t[i].why ? -EINVAL : 0);
		assert_string_equal(buf_str(&why), t[i].why ? t[i].why : "");
		option_values_free(&tables_tls, &values);
	}
}

static void test_tls_resolve(void **state)
{
	const struct tls_options *o;
	void *values;

	(void)state;
	assert_int_equal(option_values_new(&tables_tls, &values), 0);
	o = values;
	assert_int_equal(option_set(&tables_tls, values, "sni", "a=b:c '*.d=/e:x y'", NULL), 0);
	assert_int_equal(option_set(&tables_tls, values, "client_ca", "ca.pem", NULL), 0);
	assert_int_equal(option_resolve(&tables_tls, values, "/etc", NULL), 0);
	assert_int_equal(o->sni.n, 2);
	assert_string_equal(o->sni.v[0], "a=/etc/b:/etc/c");
	assert_string_equal(o->sni.v[1], "*.d=/e:/etc/x y");
	assert_string_equal(o->client_ca, "/etc/ca.pem");
	assert_string_equal(o->certificate, "auto");
	option_values_free(&tables_tls, &values);
}

#ifdef GUICHET_FAULTS
static void test_no_memory(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned long n = 1; failed; n++) {
		void *values;
		int err;

		fault_arm(FAULT_MEM, 0, 0, false);
		assert_int_equal(option_values_new(&tables_tls, &values), 0);
		assert_int_equal(option_set(&tables_tls, values, "sni", "a=b:c d=e:f", NULL), 0);
		fault_arm(FAULT_MEM, n, 0, false);
		err = option_resolve(&tables_tls, values, "/etc", NULL);
		failed = fault_calls(FAULT_MEM) >= n;
		assert_int_equal(err, failed ? -ENOMEM : 0);
		option_values_free(&tables_tls, &values);
	}
	fault_arm(FAULT_MEM, 0, 0, false);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),     cmocka_unit_test(test_no_name_twice),
		cmocka_unit_test(test_defaults),  cmocka_unit_test(test_tls_words),
		cmocka_unit_test(test_tls_rules), cmocka_unit_test(test_tls_resolve),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_no_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
