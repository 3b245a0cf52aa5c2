/* keeper.c - see keeper.h. */
#include "support/keeper.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"

enum { LIMIT = 64 << 20 };

static void committed(void *arg, uint64_t position)
{
	struct keeper *t = arg;

	pthread_mutex_lock(&t->lock);
	t->committed = position;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

static void state_changed(void *arg, enum keep_state state, int err)
{
	struct keeper *t = arg;

	pthread_mutex_lock(&t->lock);
	t->state = state;
	t->err = err;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

static void init(struct keeper *t, const char *parent)
{
	*t = (struct keeper){ .setup = { .limit = LIMIT, .committed = committed, .state = state_changed, .arg = t } };
	snprintf(t->dir, sizeof(t->dir), "%s/guichet-keep-XXXXXX", parent);
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->file, sizeof(t->file), "%s/store.mdb", t->dir);
	t->setup.dir = t->dir;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
}

void keeper_init(struct keeper *t)
{
	init(t, "/tmp");
}

void keeper_init_fast(struct keeper *t)
{
	init(t, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
}

void keeper_done(struct keeper *t)
{
	struct dirent *e;
	DIR *d = opendir(t->dir);

	keeper_close(t);
	while (d && (e = readdir(d)))
		(void)!unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(t->dir);
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->changed);
}

void keeper_open(struct keeper *t)
{
	char text[300];
	struct buf why;

	buf_init_fixed(&why, text, sizeof(text));
	t->committed = 0;
	t->state = KEEP_FINE;
	if (keep_open(&t->setup, &t->k, &why) < 0)
		fail_msg("%s", text);
}

void keeper_start(struct keeper *t)
{
	char text[300];
	struct buf why;

	if (!t->k)
		keeper_open(t);
	buf_init_fixed(&why, text, sizeof(text));
	if (keep_start(t->k, &t->found, &why) < 0)
		fail_msg("%s", text);
}

void keeper_close(struct keeper *t)
{
	keep_close(&t->k);
	keep_batch_done(&t->b);
}

void keeper_reopen(struct keeper *t)
{
	keeper_close(t);
	keeper_open(t);
}

void keeper_submit(struct keeper *t)
{
	uint64_t position = keep_submit(t->k, &t->b);

	assert_true(position != UINT64_MAX);
	pthread_mutex_lock(&t->lock);
	while (t->committed < position && t->state != KEEP_BROKEN)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
	assert_true(t->committed >= position);
	assert_true(keep_committed(t->k) >= position);
}

void keeper_wait_state(struct keeper *t, enum keep_state state)
{
	pthread_mutex_lock(&t->lock);
	while (t->state != state)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

/* ---- as text ---- */

static void add_span(struct buf *b, const char *key, struct span s)
{
	buf_addf(b, " %s=", key);
	if (s.n > 64)
		buf_addf(b, "%zu:%c..%c", s.n, s.p[0], s.p[s.n - 1]);
	else
		buf_add(b, s.p, s.n);
}

static void add_message(struct buf *b, const struct keep_message *m)
{
	add_span(b, "topic", m->topic);
	add_span(b, "payload", m->payload);
	if (m->props.n)
		add_span(b, "props", m->props);
	buf_addf(b, " q%u r%u until=%llu", m->qos, m->retain, (unsigned long long)m->until);
	if (m->from)
		buf_addf(b, " from=%llu", (unsigned long long)m->from);
}

static void add_waiters(struct buf *b, const struct keep_record *r)
{
	for (uint32_t i = 0; i < r->n_waiters; i++) {
		const struct keep_waiter *w = &r->waiters[i];

		buf_addf(b, " [%llu q%u r%u p%u t%u", (unsigned long long)w->session, w->qos, w->retain, w->packet,
			 w->turn);
		if (w->alone)
			buf_addf(b, " a%u", w->alone);
		for (unsigned j = 0; j < w->n_ids; j++)
			buf_addf(b, " #%u", w->ids[j]);
		buf_addc(b, ']');
	}
}

static void add_record(struct buf *b, const struct keep_record *r)
{
	const struct keep_session *s = &r->session;
	const struct keep_subscription *sub = &r->subscription;

	switch (r->kind) {
	case KEEP_SESSION:
		buf_addf(b, "session %llu", (unsigned long long)s->id);
		add_span(b, "name", s->name);
		buf_addf(b, " expiry=%u until=%llu", s->expiry, (unsigned long long)s->until);
		if (s->has_will) {
			buf_addf(b, " will %u %llu", s->will_delay, (unsigned long long)s->will_at);
			add_message(b, &s->will);
		}
		break;
	case KEEP_SUBSCRIPTION:
		buf_addf(b, "subscription %llu", (unsigned long long)sub->session);
		add_span(b, "group", sub->group);
		add_span(b, "filter", sub->filter);
		buf_addf(b, " #%u q%u h%u l%u p%u", sub->id, sub->qos, sub->retain_handling, sub->no_local,
			 sub->as_published);
		if (sub->number)
			buf_addf(b, " n%u", sub->number);
		if (sub->owed)
			add_span(b, "owed", sub->owed_at);
		break;
	case KEEP_AWAITED:
		buf_addf(b, "awaited %llu %u", (unsigned long long)r->id, r->packet);
		break;
	case KEEP_RETAINED:
		buf_adds(b, "retained");
		add_message(b, &r->message);
		break;
	case KEEP_MESSAGE:
		buf_addf(b, "message %llu", (unsigned long long)r->id);
		add_message(b, &r->message);
		add_waiters(b, r);
		break;
	}
	buf_addc(b, '\n');
}

char *keeper_text(struct keeper *t)
{
	struct keep_record r;
	struct buf b;
	char *text;

	buf_init(&b, 16 << 20);
	while (keep_next(t->k, &r) == 1)
		add_record(&b, &r);
	assert_int_equal(buf_take(&b, &text), 0);
	return text;
}

/* ---- writing ---- */

void keeper_session(struct keeper *t, uint64_t id, const char *name)
{
	const struct keep_session s = { .id = id, .name = span_str(name), .expiry = 60 };

	assert_int_equal(keep_put_session(&t->b, &s), 0);
}

void keeper_message(struct keeper *t, uint64_t id, const char *topic, const char *payload, const uint64_t *sessions,
		    uint32_t n)
{
	const struct keep_message m = { .topic = span_str(topic), .payload = span_str(payload), .qos = 1 };
	struct keep_waiter *w = calloc(n, sizeof(*w));

	for (uint32_t i = 0; i < n; i++)
		w[i] = (struct keep_waiter){ .session = sessions[i], .packet = (uint16_t)id, .qos = 1 };
	assert_int_equal(keep_put_message(&t->b, id, &m, w, n), 0);
	free(w);
}

void keeper_retain(struct keeper *t, const char *topic, const char *payload)
{
	const struct keep_message m = {
		.topic = span_str(topic), .payload = span_str(payload), .qos = 1, .retain = true
	};

	assert_int_equal(keep_retain(&t->b, &m), 0);
}

void keeper_each_allocation(struct keeper *t)
{
	for (unsigned long n = 1, calls = 1; n <= calls; n++) {
		struct keep_record r;
		int got = 1;

		fault_arm(FAULT_MEM, n, 0, false);
		if (keep_open(&t->setup, &t->k, NULL) == 0) {
			while (got == 1)
				got = keep_next(t->k, &r);
			if (got == 0)
				(void)!keep_start(t->k, &t->found, NULL);
		}
		calls = fault_calls(FAULT_MEM);
		fault_arm(FAULT_MEM, 0, 0, false);
		keeper_close(t);
	}
}

void keeper_start_small(struct keeper *t, uint64_t largest, uint64_t sessions)
{
	keeper_init_fast(t);
	t->setup.limit = KEEP_LIMIT_MIN;
	t->setup.largest = largest;
	keeper_start(t);
	for (uint64_t i = 1; i <= sessions; i++)
		keeper_session(t, i, "s");
	keeper_submit(t);
}
