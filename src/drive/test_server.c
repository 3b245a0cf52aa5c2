/*
 * test_server.c - the whole server in one process: three loops, models event and thread, clients in threads, reloads
 * while they talk. Run under ThreadSanitizer too; then every system call is made to fail, one by one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/mem.h"
#include "drive/jobs.h"
#include "drive/server.h"
#include "drive/sys.h"
#include "proto/protos.h"

struct world {
	struct server *s;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t ready;
	bool up;
	int status;
	const char *const *_Atomic next; /* what a SIGHUP brings: NAME key=value ..., NULL-ended twice */
	_Atomic unsigned reloads;
	struct buf addresses; /* "echo tcp:127.0.0.1:1234\n" ... */
};

/* Adds one service from words: its name, then option=value. */
static void add_service(struct plan *p, const char *const *words)
{
	struct plan_service *v = plan_add(p);
	void *common, *own = NULL;

	assert_non_null(v);
	v->name = mem_strdup(words[0]);
	v->proto = protos_find(words[0]);
	assert_non_null(v->proto);
	assert_int_equal(option_values_new(&tables_service, &common), 0);
	v->common = common;
	if (v->proto->options)
		assert_int_equal(option_values_new(v->proto->options, &own), 0);
	v->options = own;
	for (size_t i = 1; words[i]; i++) {
		char key[64];
		const char *value = strchr(words[i], '=') + 1;

		snprintf(key, sizeof(key), "%.*s", (int)(value - words[i] - 1), words[i]);
		if (option_set(&tables_service, common, key, value, NULL) < 0)
			assert_int_equal(option_set(v->proto->options, own, key, value, NULL), 0);
	}
}

/* One service after the other, each ended by NULL, the last by another NULL. */
static struct plan *make_plan(const char *const *words)
{
	struct plan *p;
	void *global;

	assert_int_equal(plan_new(&p), 0);
	assert_int_equal(option_values_new(&tables_guichet, &global), 0);
	p->global = global;
	p->global->loops = 3;
	p->global->drain = 10 * SEC; /* longer than a close waits for its peer */
	for (; words[0]; words++) {
		add_service(p, words);
		while (words[0])
			words++;
	}
	return p;
}

static void list_addresses(struct world *w)
{
	buf_reset(&w->addresses);
	for (size_t i = 0; i < server_services(w->s); i++) {
		struct service_view v;

		server_service(w->s, i, &v);
		for (size_t j = 0; j < v.addresses; j++) {
			buf_addf(&w->addresses, "%s ", v.name);
			server_address(w->s, i, j, &w->addresses);
			buf_adds(&w->addresses, "\n");
		}
	}
}

static void on_ready(struct server *s, void *arg)
{
	struct world *w = arg;

	(void)s;
	pthread_mutex_lock(&w->lock);
	list_addresses(w);
	w->up = true;
	pthread_cond_signal(&w->ready);
	pthread_mutex_unlock(&w->lock);
}

static void on_reload(struct server *s, void *arg)
{
	struct world *w = arg;
	struct plan *p = make_plan(atomic_load(&w->next));
	struct conf_problems ps = {};

	(void)!server_apply(s, &p, &ps);
	conf_problems_done(&ps);
	pthread_mutex_lock(&w->lock);
	list_addresses(w);
	pthread_mutex_unlock(&w->lock);
	atomic_fetch_add(&w->reloads, 1);
}

static void *run(void *arg)
{
	struct world *w = arg;
	struct server_calls calls = { .ready = on_ready, .reload = on_reload, .arg = w };

	w->status = server_run(w->s, &calls);
	on_ready(w->s, w); /* also when it could not run: whoever waits goes on */
	return NULL;
}

/* 0, or -errno when it did not come up (faults). */
static int start(struct world *w, const char *const *words)
{
	struct conf_problems ps = {};
	struct plan *p = make_plan(words);
	int r;

	*w = (struct world){ .lock = PTHREAD_MUTEX_INITIALIZER, .ready = PTHREAD_COND_INITIALIZER };
	atomic_store(&w->next, words);
	buf_init(&w->addresses, 65536);
	r = server_new(&(struct server_setup){}, &w->s);
	if (r == 0)
		r = server_apply(w->s, &p, &ps);
	plan_free(&p);
	conf_problems_done(&ps);
	if (r < 0) {
		server_free(&w->s);
		buf_done(&w->addresses);
		return r;
	}
	assert_int_equal(pthread_create(&w->thread, NULL, run, w), 0);
	pthread_mutex_lock(&w->lock);
	while (!w->up)
		pthread_cond_wait(&w->ready, &w->lock);
	pthread_mutex_unlock(&w->lock);
	return 0;
}

static int stop(struct world *w)
{
	kill(getpid(), SIGTERM); /* blocked in every thread: the server's signalfd gets it */
	pthread_join(w->thread, NULL);
	assert_false(server_is_stuck(w->s));
	server_free(&w->s);
	buf_done(&w->addresses);

	/* a server that never ran did not take it */
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigtimedwait(&set, NULL, &(struct timespec){});
	return w->status;
}

/* ---- clients ---- */

static int dial(struct world *w, const char *service, int type)
{
	char want[64], *at;
	unsigned port = 0;
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { 20, 0 };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	snprintf(want, sizeof(want), "%s %s:127.0.0.1:", service, type == SOCK_STREAM ? "tcp" : "udp");
	pthread_mutex_lock(&w->lock);
	at = strstr(buf_str(&w->addresses), want);
	if (at)
		port = (unsigned)strtoul(at + strlen(want), NULL, 10);
	pthread_mutex_unlock(&w->lock);
	in.sin_port = htons((uint16_t)port);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (!port || connect(fd, (const struct sockaddr *)&in, sizeof(in)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool exchange(int fd, const char *say, const char *hear)
{
	char got[4096];
	size_t n = 0, want = strlen(hear);

	if (send(fd, say, strlen(say), MSG_NOSIGNAL) < 0)
		return false;
	while (n < want) {
		ssize_t r = recv(fd, got + n, want - n, 0);

		if (r <= 0)
			return false;
		n += (size_t)r;
	}
	return memcmp(got, hear, want) == 0;
}

struct client {
	struct world *w;
	const char *service;
	unsigned rounds, failed;
};

static void *talk(void *arg)
{
	struct client *c = arg;

	for (unsigned i = 0; i < c->rounds; i++) {
		char line[64];
		int fd = dial(c->w, c->service, SOCK_STREAM);

		snprintf(line, sizeof(line), "round %u\n", i);
		for (unsigned k = 0; k < 5; k++)
			c->failed += fd < 0 || !exchange(fd, line, line);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static unsigned talk_all(struct world *w, const char *const *services, unsigned rounds)
{
	pthread_t t[16];
	struct client c[16];
	unsigned n = 0, failed = 0;

	for (; services[n % 16] && n < 16; n++) {
		c[n] = (struct client){ w, services[n], rounds, 0 };
		assert_int_equal(pthread_create(&t[n], NULL, talk, &c[n]), 0);
	}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(t[i], NULL);
		failed += c[i].failed;
	}
	return failed;
}

static const char *const both_models[] = { "echo",         "listen=tcp:0 udp:0", NULL, "skeleton",
					   "listen=tcp:0", "model=thread",       NULL, NULL };

static void test_models(void **state)
{
	(void)state;
	struct world w;
	static const char *const who[] = { "echo", "echo", "echo", "echo", NULL };
	struct buf b;

	assert_int_equal(start(&w, both_models), 0);
	assert_int_equal(talk_all(&w, who, 30), 0);

	int udp = dial(&w, "echo", SOCK_DGRAM);

	assert_true(exchange(udp, "ping", "ping"));
	close(udp);
	buf_init(&b, 1 << 20);
	server_stats(w.s, true, &b); /* only reads; the counters are whole values */
	assert_non_null(strstr(buf_str(&b), "\"accepted\":120"));
	buf_done(&b);
	assert_int_equal(stop(&w), 0);
}

static const char *const threads_only[] = { "echo", "listen=tcp:0", "model=thread", NULL, NULL };

static void test_threads(void **state)
{
	(void)state;
	struct world w;
	static const char *const who[] = { "echo", "echo", "echo", "echo", NULL };
	int open;

	assert_int_equal(start(&w, threads_only), 0);
	assert_int_equal(talk_all(&w, who, 20), 0);
	open = dial(&w, "echo", SOCK_STREAM);
	assert_true(exchange(open, "x", "x"));
	assert_int_equal(stop(&w), 0); /* EV_STOP reaches the thread: echo closes */
	close(open);
}

/* What one says all others hear, whichever loop they are on. */
static void test_chat(void **state)
{
	(void)state;
	static const char *const words[] = { "chat", "listen=tcp:0", NULL, NULL };
	enum { PEOPLE = 24, LINES = 20 };
	struct world w;
	int fd[PEOPLE];

	assert_int_equal(start(&w, words), 0);
	for (int i = 0; i < PEOPLE; i++)
		assert_true((fd[i] = dial(&w, "chat", SOCK_STREAM)) >= 0);
	usleep(200000); /* nothing is said at connect: there is no event to wait for */
	for (int k = 0; k < LINES; k++) {
		char line[32];
		int who = k % PEOPLE;

		snprintf(line, sizeof(line), "line %d\n", k);
		assert_int_equal(send(fd[who], line, strlen(line), 0), strlen(line));
		for (int i = 0; i < PEOPLE; i++)
			if (i != who)
				assert_true(exchange(fd[i], "", line));
	}
	for (int i = 0; i < PEOPLE; i++)
		close(fd[i]);
	assert_int_equal(stop(&w), 0);
}

static bool wait_for(const struct server *s, const char *what)
{
	bool found = false;

	for (int i = 0; i < 1000 && !found; i++) {
		struct buf b;

		usleep(10000);
		buf_init(&b, 1 << 20);
		server_stats(s, true, &b);
		found = strstr(buf_str(&b), what) != NULL;
		buf_done(&b);
	}
	return found;
}

/* Many talk at once and nobody listens: they wait for the loops, go on when these have caught up, and are heard to leave. */
static void test_flood(void **state)
{
	(void)state;
	static const char *const words[] = { "chat", "listen=tcp:0", NULL, NULL };
	enum { PEOPLE = 60, ROUNDS = 40 };
	static char lines[16384];
	struct world w;
	int fd[PEOPLE];

	memset(lines, '\n', sizeof(lines));
	assert_int_equal(start(&w, words), 0);
	for (int i = 0; i < PEOPLE; i++)
		assert_true((fd[i] = dial(&w, "chat", SOCK_STREAM)) >= 0);
	for (int k = 0; k < ROUNDS; k++)
		for (int i = 0; i < PEOPLE; i++)
			(void)!send(fd[i], lines, sizeof(lines), MSG_DONTWAIT | MSG_NOSIGNAL);
	for (int i = 0; i < PEOPLE; i++)
		close(fd[i]);
	assert_true(wait_for(w.s, "\"open\":0"));
	assert_int_equal(stop(&w), 0);
}

/* Options change while people talk: their connections go on, and nobody is refused in between. */
static void test_reload(void **state)
{
	(void)state;
	static const char *const before[] = { "echo", "listen=tcp:0", NULL, "chat", "listen=tcp:0", NULL, NULL };
	static const char *const after[] = { "echo", "listen=tcp:0", "upper=yes", NULL, NULL };
	static const char *const who[] = { "echo", "echo", NULL };
	struct world w;
	int old, fresh;

	assert_int_equal(start(&w, before), 0);
	old = dial(&w, "echo", SOCK_STREAM);
	assert_true(exchange(old, "abc\n", "abc\n"));
	for (unsigned i = 1; i <= 20; i++) {
		atomic_store(&w.next, before);
		kill(getpid(), SIGHUP);
		if (i % 5 == 0)
			assert_int_equal(talk_all(&w, who, 5), 0);
		while (atomic_load(&w.reloads) < i)
			usleep(1000);
	}
	atomic_store(&w.next, after);
	kill(getpid(), SIGHUP);
	while (atomic_load(&w.reloads) < 21)
		usleep(1000);
	assert_true(exchange(old, "abc\n", "abc\n"));
	fresh = dial(&w, "echo", SOCK_STREAM);
	assert_true(exchange(fresh, "abc\n", "ABC\n"));
	assert_int_equal(dial(&w, "chat", SOCK_STREAM), -1);
	close(old);
	close(fresh);
	assert_int_equal(stop(&w), 0);
}

static void reload_to(struct world *w, const char *const *words)
{
	unsigned before = atomic_load(&w->reloads);

	atomic_store(&w->next, words);
	kill(getpid(), SIGHUP);
	while (atomic_load(&w->reloads) == before)
		usleep(1000);
}

/* Who accepts changes with the model, while the socket stays. */
static void test_model_changes(void **state)
{
	(void)state;
	static const char *const event[] = { "echo", "listen=tcp:0", NULL, NULL };
	static const char *const who[] = { "echo", "echo", NULL };
	struct world w;
	int old;

	assert_int_equal(start(&w, event), 0);
	old = dial(&w, "echo", SOCK_STREAM);
	assert_true(exchange(old, "abc\n", "abc\n"));
	for (unsigned i = 0; i < 6; i++) {
		reload_to(&w, i % 2 ? event : threads_only);
		assert_int_equal(talk_all(&w, who, 10), 0);
	}
	assert_true(exchange(old, "abc\n", "abc\n"));
	close(old);
	assert_int_equal(stop(&w), 0);
}

/* A burst does not get past the limit while it is handed from loop to loop, or while threads begin. */
static void limit_clients(const char *const *words)
{
	enum { CLIENTS = 60, MAX = 5 };
	struct world w;
	int fd[CLIENTS], served = 0;

	assert_int_equal(start(&w, words), 0);
	for (int round = 0; round < 2; round++) { /* the second time: their places came free */
		served = 0;
		for (int i = 0; i < CLIENTS; i++)
			assert_true((fd[i] = dial(&w, "echo", SOCK_STREAM)) >= 0);
		for (int i = 0; i < CLIENTS; i++)
			served += exchange(fd[i], "x", "x");
		assert_int_equal(served, MAX);
		for (int i = 0; i < CLIENTS; i++)
			close(fd[i]);
		usleep(200000);
	}
	assert_int_equal(stop(&w), 0);
}

static void test_max(void **state)
{
	(void)state;
	static const char *const event[] = { "echo", "listen=tcp:0", "max=5", NULL, NULL };
	static const char *const thread[] = { "echo", "listen=tcp:0", "max=5", "model=thread", NULL, NULL };

	limit_clients(event);
	limit_clients(thread);
}

/* While the last ones talk a new client is refused at once; a second signal reaches those who do not listen. */
static void test_second_signal(void **state)
{
	(void)state;
	static const char *const deaf[][5] = { { "chargen", "listen=tcp:0" },
					       { "chargen", "listen=tcp:0", "model=thread" } };
	struct world w;
	int fd;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(start(&w, deaf[i]), 0);
		fd = dial(&w, "chargen", SOCK_STREAM);
		usleep(200000); /* it is sent more than it takes, so EV_STOP does not end it */
		kill(getpid(), SIGTERM);
		usleep(200000);
		assert_int_equal(dial(&w, "chargen", SOCK_STREAM), -1);
		assert_int_equal(stop(&w), 1);
		close(fd);
	}
}

#ifdef GUICHET_FAULTS
/* One conversation over each transport; how far it came does not matter, that it ends does. */
static void converse(struct world *w)
{
	int fd = dial(w, "echo", SOCK_STREAM), udp = dial(w, "echo", SOCK_DGRAM);
	struct timeval soon = { 0, 300000 };

	if (udp >= 0)
		setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
	if (udp >= 0)
		exchange(udp, "ping", "ping");
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon));
		exchange(fd, "hello\n", "hello\n");
	}
	if (fd >= 0)
		close(fd);
	if (udp >= 0)
		close(udp);
}

static void fail_each(int err, const char *const *words)
{
	for (unsigned long n = 1;; n++) {
		struct world w;
		bool seen;
		int fd;

		fault_arm(FAULT_SYS, n, err, false);
		if (start(&w, words) < 0)
			continue; /* it said so, and left nothing behind (LeakSanitizer) */
		converse(&w);
		seen = fault_calls(FAULT_SYS) >= n;
		fault_arm(FAULT_SYS, 0, 0, false);
		fd = dial(&w, "echo", SOCK_STREAM);
		if (w.status == 0 && fd >= 0) {
			if (!exchange(fd, "again\n", "again\n")) /* one failure is one client's at most */
				fail_msg("call %lu failed with errno %d, and nobody is served any more", n, err);
			close(fd);
		}
		stop(&w);
		if (!seen)
			break;
	}
}

static void test_failing_calls(void **state)
{
	(void)state;
	static const char *const words[] = { "echo", "listen=tcp:0 udp:0", NULL, NULL };

	fail_each(EMFILE, words);
	fail_each(ENOMEM, threads_only);
}
#endif

static void no_log(enum log_level level, bool json, const char *text, size_t n)
{
	(void)level;
	(void)json;
	(void)text;
	(void)n;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),        cmocka_unit_test(test_threads),       cmocka_unit_test(test_chat),
		cmocka_unit_test(test_reload),        cmocka_unit_test(test_model_changes), cmocka_unit_test(test_max),
		cmocka_unit_test(test_flood),         cmocka_unit_test(test_second_signal),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_failing_calls),
#endif
	};

	log_setup(LOG_DEBUG, false, no_log);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
