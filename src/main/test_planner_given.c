/* test_planner_given.c - which section gets which of the sockets that systemd has opened, and what is served for one errand. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "main/control.h"
#include "main/planner.h"

enum { A = 3, B = 4, C = 5 }; /* numbers as systemd has them; the planner does not mind that nothing is open there */

struct result {
	char listen[512];   /* "echo=fd:3 shout=tcp:1,fd:4" */
	char problems[512]; /* or what was wrong */
};

static void add_plan(const struct plan *plan, struct buf *b)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct addr_list *l = &plan->services[i].common->listen;

		buf_addf(b, "%s%s=", i ? " " : "", plan->services[i].name);
		for (size_t k = 0; k < l->n; k++) {
			if (k)
				buf_addc(b, ',');
			addr_format(&l->v[k], b);
		}
	}
}

static struct result plan_of(const char *const *words, size_t n_words, const struct planner_socket *sockets, size_t n)
{
	struct planner_setup setup = {
		.words = words, .n_words = n_words, .sockets = sockets, .n_sockets = n, .dry = true
	};
	struct conf_problems ps = {};
	struct result r = {};
	struct plan *plan;
	struct buf listen, problems;

	buf_init_fixed(&listen, r.listen, sizeof(r.listen));
	buf_init_fixed(&problems, r.problems, sizeof(r.problems));
	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	add_plan(plan, &listen);
	conf_problems_format(&ps, &problems);
	conf_problems_done(&ps);
	plan_free(&plan);
	return r;
}

#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

static void test_names_and_order(void **state)
{
	static const char *const words[] = { "echo@tcp:1", "shout@tcp:2,protocol=echo", "discard@fd:5" };
	static const struct {
		struct planner_socket sockets[3];
		const char *listen, *problems;
	} rows[] = {
		{ { { A, "" }, { B, "" }, { C, "" } }, "echo=tcp:1,fd:3 shout=tcp:2,fd:4 discard=fd:5", "" },
		{ { { A, "shout" }, { B, "" }, { C, "" } }, "echo=tcp:1,fd:4 shout=tcp:2,fd:3 discard=fd:5", "" },
		{ { { A, "echo" }, { B, "echo" }, { C, "x" } }, "echo=tcp:1,fd:3,fd:4 shout=tcp:2 discard=fd:5", "" },
		{ { { A, "shot" }, { C, "" } },
		  "echo=tcp:1 shout=tcp:2 discard=fd:5",
		  "LISTEN_FDNAMES: descriptor 3 is named \"shot\", but no section is, did you mean \"shout\"?\n" },
		{ { { A, "echo" }, { B, "shout" }, { C, "discard" } },
		  "echo=tcp:1,fd:3 shout=tcp:2,fd:4 discard=fd:5",
		  "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		size_t n = rows[i].sockets[2].fd ? 3 : 2;
		struct result r = plan_of(words, COUNT(words), rows[i].sockets, n);

		assert_string_equal(r.problems, rows[i].problems);
		assert_string_equal(r.listen, rows[i].listen);
	}
}

static void test_more_than_sections(void **state)
{
	static const char *const words[] = { "echo@tcp:1" };
	static const struct planner_socket sockets[] = { { A, "" }, { B, "" } };

	(void)state;
	assert_string_equal(plan_of(words, 1, sockets, 2).problems,
			    "LISTEN_FDS: descriptor 4 has no name, and there is no section left for it\n");
}

/* Without a configuration the names are all there is. */
static void test_names_alone(void **state)
{
	static const struct planner_socket named[] = { { A, "echo" }, { B, "daytime" } },
					   other[] = { { A, "nothing" } };

	(void)state;
	assert_string_equal(plan_of(NULL, 0, named, 2).listen, "echo=fd:3 daytime=fd:4");
	assert_non_null(strstr(plan_of(NULL, 0, other, 1).problems, "no section is"));
}

/* A socket without a name goes where its address is written. */
static void test_addresses(void **state)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t n = sizeof(in);
	char word[64];

	(void)state;
	assert_int_equal(bind(fd, (const struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &n), 0);
	snprintf(word, sizeof(word), "shout@tcp:127.0.0.1:%u,protocol=echo", ntohs(in.sin_port));

	const char *words[] = { "echo@tcp:1", word };
	struct planner_socket sockets[] = { { fd, "" } };
	struct result r = plan_of(words, 2, sockets, 1);

	assert_string_equal(r.problems, "");
	assert_null(strstr(r.listen, "fd:"));
	words[1] = "shout@tcp:2,protocol=echo";
	assert_non_null(strstr(plan_of(words, 2, sockets, 1).listen, "echo=tcp:1,fd:"));
	close(fd);
}

static bool is_errand(const char *word)
{
	struct planner_setup setup = { .words = &word, .n_words = 1, .dry = true, .control = &control_proto };
	struct conf_problems ps = {};
	struct plan *plan;
	bool errand;

	assert_int_equal(planner_make(&setup, &plan, &ps), 0);
	assert_true(conf_problems_none(&ps));
	errand = plan->n == 1; /* without the control socket */
	assert_int_equal(plan->global->control == NULL, errand);
	conf_problems_done(&ps);
	plan_free(&plan);
	return errand;
}

static void test_errands(void **state)
{
	char word[64];
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	snprintf(word, sizeof(word), "echo@fd:%d", pair[0]);
	assert_true(is_errand(word));
	assert_true(is_errand("echo@stdio:"));
	assert_false(is_errand("echo@tcp:0"));
	close(pair[0]);
	close(pair[1]);
}

#ifdef GUICHET_FAULTS
static void test_no_memory(void **state)
{
	static const struct planner_socket sockets[] = { { A, "echo" }, { B, "daytime" } };
	struct planner_setup setup = { .sockets = sockets, .n_sockets = 2, .dry = true };
	bool hit = true;

	(void)state;
	for (unsigned long n = 1; hit; n++) {
		struct conf_problems ps = {};
		struct plan *plan = NULL;
		int err;

		fault_arm(FAULT_MEM, n, 0, false);
		err = planner_make(&setup, &plan, &ps);
		hit = fault_calls(FAULT_MEM) >= n;
		fault_arm(FAULT_MEM, 0, 0, false);
		assert_true(err == 0 || err == -ENOMEM);
		assert_int_equal(plan != NULL, err == 0);
		plan_free(&plan);
		conf_problems_done(&ps);
	}
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_order), cmocka_unit_test(test_more_than_sections),
		cmocka_unit_test(test_names_alone),     cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_errands),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_no_memory),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
