/* test_message_thread.c - a message that is retained already, and in this moment gets its number on disk. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/subscriber.h"

enum { TIMES = 1000 };

/* In the loop of somebody who has just subscribed, and found it. */
static void *deliver(void *arg)
{
	static const struct subscriber_limits lim = { .queue = TIMES, .queue_bytes = SIZE_MAX };
	const struct delivery d = { .m = arg, .qos = 1, .retain = true, .alone = ALONE };
	struct subscriber *s = subscriber_new(span_str("s"), 1);
	int r = 0;

	s->kept_id = 1;
	for (int i = 0; i < TIMES && r == 0; i++)
		r = subscriber_push(s, &d, &lim);
	subscriber_unref(s);
	return r == 0 ? arg : NULL;
}

static void test_number(void **state)
{
	struct message *m = message_new(&(struct message_birth){ .topic = span_str("t"), .qos = 1, .retain = true });
	pthread_t thread;
	void *back;

	(void)state;
	assert_non_null(m);
	assert_int_equal(pthread_create(&thread, NULL, deliver, m), 0);
	m->kept = 7; /* as the loop that publishes it does, once */
	assert_int_equal(pthread_join(thread, &back), 0);
	assert_ptr_equal(back, m);
	message_unref(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_number) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
