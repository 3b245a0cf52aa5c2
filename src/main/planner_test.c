/*
 * planner_test.c - what test mode makes of addresses: loopback and a port that the system picks, paths in one folder. So any
 * number of tests can serve the same configuration at the same time. Who connects to another service by its path finds it there;
 * ports are not known yet.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/addr.h"
#include "conf/option.h"
#include "main/planner_priv.h"

static const char *base_name(const struct addr_text *a)
{
	const char *slash = strrchr(a->path, '/');

	return slash ? slash + 1 : a->path;
}

static bool same_kind(const struct addr_text *a, const struct addr_text *b)
{
	return (addr_is_path(a) && addr_is_path(b)) || (a->transport == ADDR_MQ && b->transport == ADDR_MQ);
}

/* Does another address of the plan end in the same name of a file, or of a queue? */
static bool is_taken(const struct plan *plan, const struct addr_text *a)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct addr_list *l = &plan->services[i].common->listen;

		for (size_t j = 0; j < l->n; j++)
			if (&l->v[j] != a && same_kind(&l->v[j], a) && strcmp(base_name(&l->v[j]), base_name(a)) == 0)
				return true;
	}
	return false;
}

/* Whom other services connect to by its path moves for them too. */
static void follow(const struct plan *plan, const struct addr_text *from, const struct addr_text *to)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct plan_service *s = &plan->services[i];
		const struct option_table *t = s->proto->flags & P_DIALS ? s->proto->options : NULL;

		for (size_t j = 0; t && j < t->n; j++) {
			const struct addr_list *l = (const void *)((const char *)s->options + t->rows[j].offset);

			for (size_t k = 0; t->rows[j].type == OPTION_ADDRS && k < l->n; k++)
				if (addr_equal(&l->v[k], from))
					l->v[k] = *to;
		}
	}
}

/* Address i of service s moves into the test's folder, where every name is there once. */
static int move_path(struct planner *p, const struct plan_service *s, size_t i, struct addr_text *a, struct buf *why)
{
	struct addr_text moved = *a;
	struct buf b;
	int err;

	buf_init_fixed(&b, moved.path, sizeof(moved.path));
	if (is_taken(p->plan, a))
		buf_addf(&b, "%zu-%zu-", (size_t)(s - p->plan->services), i);
	buf_adds(&b, base_name(a));
	err = b.err ? b.err : addr_rebase(&moved, p->setup->test_data, why);
	if (!err) {
		follow(p->plan, a, &moved);
		*a = moved;
	}
	return err;
}

/* Loopback of the family that was asked for, and a port that the system picks. */
static void move_host(struct addr_text *a)
{
	const char *host = addr_is_ipv4(a->host) ? "127.0.0.1" : addr_is_ipv6(a->host) ? "::1" : "";

	snprintf(a->host, sizeof(a->host), "%s", host);
	a->service[0] = '\0';
	a->port = 0;
}

/* They are in no folder: the name says whose it is. */
static void move_queue(const struct planner *p, const struct plan_service *s, size_t i, struct addr_text *a)
{
	struct addr_text moved = *a;
	struct buf b;

	buf_init_fixed(&b, moved.path, ADDR_MQ_MAX + 1);
	buf_addf(&b, "/guichet-%ld-", (long)getpid());
	if (is_taken(p->plan, a))
		buf_addf(&b, "%zu-%zu-", (size_t)(s - p->plan->services), i);
	buf_addf(&b, "%.200s", a->path + 1);
	*a = moved;
}

void planner_move(struct planner *p, struct plan_service *s)
{
	for (size_t i = 0; i < s->common->listen.n; i++) {
		struct addr_text *a = &s->common->listen.v[i];
		char text[PLANNER_SENTENCE];
		struct buf why;

		buf_init_fixed(&why, text, sizeof(text));
		buf_adds(&why, "listen: ");
		if (a->transport == ADDR_STDIO) {
			buf_adds(&why, "stdio: is where test mode tells its addresses; leave --test out");
			planner_problem(p, s, text);
		}
		if (addr_is_net(a))
			move_host(a);
		else if (a->transport == ADDR_MQ)
			move_queue(p, s, i, a);
		else if (addr_is_path(a) && move_path(p, s, i, a, &why) < 0)
			planner_problem(p, s, text);
	}
}
