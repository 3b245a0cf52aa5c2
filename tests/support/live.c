/* live.c - see live.h. */
#include "support/live.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "layer/tls.h"
#include "proto/protos.h"

const struct proto *live_proto;

/* ---- plans ---- */

static const struct proto *proto_of(const char *const *words)
{
	const char *name = words[0];

	for (size_t i = 1; words[i]; i++)
		if (strncmp(words[i], "protocol=", 9) == 0)
			name = words[i] + 9;
	if (live_proto && strcmp(live_proto->name, name) == 0)
		return live_proto;
	return protos_find(name);
}

static void add_certificate(struct plan_service *v)
{
	struct buf crt, key, why;
	struct tls_setup setup = {};
	void *tls;

	buf_init(&crt, 1 << 16);
	buf_init(&key, 1 << 16);
	buf_init(&why, 4096);
	assert_int_equal(tls_auto_certificate(NULL, &crt, &key, time(NULL)), 0);
	setup.id = (struct tls_identity){ .certificate = buf_span(&crt), .key = buf_span(&key) };
	assert_int_equal(tls_ctx_new(&setup, &v->tls_ctx, &why), 0);
	assert_int_equal(option_values_new(&tables_tls, &tls), 0);
	v->tls = tls;
	buf_done(&crt);
	buf_done(&key);
	buf_done(&why);
}

/* Adds one service from words: its name, then option=value. */
static void add_service(struct plan *p, const char *const *words)
{
	struct plan_service *v = plan_add(p);
	void *common, *own = NULL;

	assert_non_null(v);
	v->name = mem_strdup(words[0]);
	v->proto = proto_of(words);
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
		if (strcmp(key, "protocol") == 0)
			continue;
		if (option_set(&tables_service, common, key, value, NULL) < 0)
			assert_int_equal(option_set(v->proto->options, own, key, value, NULL), 0);
	}
	for (size_t i = 0; i < v->common->listen.n; i++)
		if (addr_is_secure(&v->common->listen.v[i]) && !v->tls)
			add_certificate(v);
}

struct plan *live_plan(const char *const *words)
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

/* ---- the server ---- */

static void list_addresses(struct live *w)
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
	struct live *w = arg;

	(void)s;
	pthread_mutex_lock(&w->lock);
	list_addresses(w);
	w->up = true;
	pthread_cond_signal(&w->ready);
	pthread_mutex_unlock(&w->lock);
}

static void on_reload(struct server *s, void *arg)
{
	struct live *w = arg;
	struct plan *p = live_plan(atomic_load(&w->next));
	struct conf_problems ps = {};
	int r;

#ifdef GUICHET_FAULTS
	fault_arm(w->fail_kind, w->fail_at, EMFILE, false);
#endif
	r = server_apply(s, &p, &ps);
#ifdef GUICHET_FAULTS
	w->fail_seen = w->fail_at && fault_calls(w->fail_kind) >= w->fail_at;
	fault_arm(w->fail_kind, 0, 0, false);
#endif
	snprintf(w->problem, sizeof(w->problem), "%s", ps.n ? ps.v[0].text : "");
	conf_problems_done(&ps);
	pthread_mutex_lock(&w->lock);
	list_addresses(w);
	pthread_mutex_unlock(&w->lock);
	atomic_store(&w->applied, r);
	atomic_fetch_add(&w->reloads, 1);
}

static void *run(void *arg)
{
	struct live *w = arg;
	struct server_calls calls = { .ready = on_ready, .reload = on_reload, .arg = w };

	w->status = server_run(w->s, &calls);
	on_ready(w->s, w); /* also when it could not run: whoever waits goes on */
	return NULL;
}

int live_start(struct live *w, const char *const *words)
{
	struct conf_problems ps = {};
	struct plan *p = live_plan(words);
	int r;

	*w = (struct live){ .lock = PTHREAD_MUTEX_INITIALIZER, .ready = PTHREAD_COND_INITIALIZER };
	atomic_store(&w->next, words);
	buf_init(&w->addresses, 65536);
	r = server_new(&(struct server_setup){ .parent = getppid() }, &w->s);
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

int live_stop(struct live *w)
{
	kill(getpid(), SIGTERM); /* blocked in every thread: the server's signalfd gets it */
	pthread_join(w->thread, NULL);
	for (int ms = 0; ms < 20000 && server_is_stuck(w->s);
	     ms++) /* it gives its threads a second to end, and we some more */
		usleep(1000);
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

unsigned live_port(struct live *w, const char *service, int type)
{
	char want[64], *at;
	unsigned port = 0;

	snprintf(want, sizeof(want), "%s %s:127.0.0.1:", service, type == SOCK_STREAM ? "tcp" : "udp");
	pthread_mutex_lock(&w->lock);
	at = strstr(buf_str(&w->addresses), want);
	if (at)
		port = (unsigned)strtoul(at + strlen(want), NULL, 10);
	pthread_mutex_unlock(&w->lock);
	return port;
}

int live_dial_port(unsigned port, int type)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval limit = { 20, 0 };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (!port || connect(fd, (const struct sockaddr *)&in, sizeof(in)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

int live_dial(struct live *w, const char *service, int type)
{
	return live_dial_port(live_port(w, service, type), type);
}

unsigned live_free_port(void)
{
	enum { FIRST = 20000, PORTS = 12000 }; /* the kernel gives out those from 32768, also to who tests beside us */
	static unsigned tries;

	for (;;) {
		unsigned port = FIRST + ((unsigned)getpid() * 37 + tries++) % PORTS;
		struct sockaddr_in in = { .sin_family = AF_INET,
					  .sin_port = htons((uint16_t)port),
					  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

		assert_true(fd >= 0);
		r = bind(fd, (const struct sockaddr *)&in, sizeof(in));
		close(fd);
		if (r == 0)
			return port;
	}
}

bool live_exchange(int fd, const char *say, const char *hear)
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

static bool has_input(int fd, int ms)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, ms) == 1;
}

/* Up to the end of this line, whatever came before it. */
static void drain_to(int fd, const char *line)
{
	size_t want = strlen(line), n = 0;
	char last[16];

	assert_true(want <= sizeof(last));
	while (n < want || memcmp(last, line, want) != 0) {
		if (n == want)
			memmove(last, last + 1, --n);
		assert_int_equal(recv(fd, last + n, 1, 0), 1);
		n++;
	}
}

/* The first one repeats himself until the last one hears him; who comes may hear, too, what was said before in another loop. */
void live_is_in(const int *fd, unsigned n)
{
	char line[16];

	if (n < 2)
		return;
	do
		assert_int_equal(send(fd[0], "\n", 1, MSG_NOSIGNAL), 1);
	while (!has_input(fd[n - 1], 50));
	snprintf(line, sizeof(line), "=%u\n", n);
	assert_int_equal(send(fd[0], line, strlen(line), MSG_NOSIGNAL), (ssize_t)strlen(line));
	for (unsigned i = 1; i < n; i++)
		drain_to(fd[i], line);
}

int live_reload(struct live *w, const char *const *words)
{
	unsigned before = atomic_load(&w->reloads);

	atomic_store(&w->next, words);
	kill(getpid(), SIGHUP);
	while (atomic_load(&w->reloads) == before)
		usleep(1000);
	return atomic_load(&w->applied);
}

/* ---- again and again ---- */

static void *call(void *arg)
{
	struct live_caller *c = arg;

	while (!atomic_load(&c->enough)) {
		int fd = live_dial_port(c->port, SOCK_STREAM);
		bool ok = fd >= 0 && live_exchange(fd, "1\n", "1\n");

		c->served += ok;
		c->refused += !ok;
		close(fd);
	}
	return NULL;
}

void live_call(struct live_caller *c, unsigned port)
{
	*c = (struct live_caller){ .port = port };
	assert_int_equal(pthread_create(&c->thread, NULL, call, c), 0);
}

void live_call_end(struct live_caller *c)
{
	while (!atomic_load(&c->served) && !atomic_load(&c->refused))
		usleep(1000);
	atomic_store(&c->enough, true);
	pthread_join(c->thread, NULL);
	assert_true(c->served > 0);
	assert_int_equal(c->refused, 0);
}

#ifdef GUICHET_FAULTS
static bool answers(unsigned port, int type, const char *hear)
{
	int fd = live_dial_port(port, type);
	bool ok = fd >= 0 && live_exchange(fd, "a\n", hear);

	close(fd);
	return ok;
}

void live_fail_each(unsigned port, const char *const *before, const char *const *after, enum fault_kind kind)
{
	bool seen = true;
	struct live w;
	int old;

	assert_int_equal(live_start(&w, before), 0);
	old = live_dial_port(port, SOCK_STREAM);
	assert_true(live_exchange(old, "a", "a"));
	w.fail_kind = kind;
	for (unsigned long n = 1; seen; n++) {
		const char *hear;
		int r;

		w.fail_at = n;
		r = live_reload(&w, after);
		hear = r < 0 ? "a\n" : "A\n";
		seen = w.fail_seen;
		w.fail_at = 0;
		if (!answers(port, SOCK_STREAM, hear) || !answers(port, SOCK_DGRAM, hear))
			fail_msg("call %lu failed, apply says %d, and nobody serves so", n, r);
		assert_true(live_exchange(old, "b\n", "b\n"));
		assert_true(!seen || live_reload(&w, before) == 0);
	}
	close(old);
	assert_int_equal(live_stop(&w), 0);
}
#endif

static void no_log(enum log_level level, bool json, const char *text, size_t n)
{
	(void)level;
	(void)json;
	(void)text;
	(void)n;
}

void live_no_log(void)
{
	log_setup(LOG_DEBUG, false, no_log);
}
