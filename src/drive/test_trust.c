/* test_trust.c - TLS for connections that a protocol opens. That they work is shown by the bridges of tests/e2e. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "core/proto_child.h"
#include "layer/tls.h"

static int make(const struct trust_setup *setup, struct buf *why)
{
	struct child c = { .kind = CHILD_CONNECT, .address = "tls:far.example:1" };
	struct trust *t = NULL;
	int r = trust_new(setup, &t, why);

	if (r == 0)
		r = trust_child(t, &c);
	assert_true((c.layer == &tls_client_layer) == (r == 0));
	if (c.layer)
		c.layer->drop_arg(c.layer_arg);
	trust_free(&t);
	assert_null(t);
	return r;
}

static void it_is_made_of_pem(void **state)
{
	BUF_AUTO struct buf crt = BUF_INIT(8192), key = BUF_INIT(8192), both = BUF_INIT(16384), why = BUF_INIT(1024);
	struct trust_setup s = {};

	(void)state;
	assert_int_equal(tls_auto_certificate(NULL, &crt, &key, 1800000000), 0);
	buf_addf(&both, "%s%s", buf_str(&crt), buf_str(&key));
	s.ca = buf_span(&crt);
	assert_int_equal(make(&s, &why), 0);
	s.certificate = buf_span(&crt);
	s.key = buf_span(&key);
	assert_int_equal(make(&s, &why), 0);
	s.certificate = buf_span(&both);
	s.key = (struct span){};
	assert_int_equal(make(&s, &why), 0);
	assert_int_equal(why.n, 0);
	s.ca = span_str("no PEM");
	assert_int_equal(make(&s, &why), -EINVAL);
	assert_true(why.n > 0);
}

static void memory_may_be_out(void **state)
{
	const struct trust_setup s = { .insecure = true };

	(void)state;
	assert_int_equal(make(&s, NULL), 0);
#ifdef GUICHET_FAULTS
	for (unsigned long n = 1, calls = 1; n <= calls; n++) {
		BUF_AUTO struct buf why = BUF_INIT(1024);

		fault_arm(FAULT_MEM, n, 0, false);
		(void)!make(&s, &why);
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
	}
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_made_of_pem),
		cmocka_unit_test(memory_may_be_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
