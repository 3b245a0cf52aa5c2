/* herd.c - the processes of one service under model prefork: made, replaced when one is lost, told to end. See brood.h. */
#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/pause.h"
#include "drive/clock.h"
#include "drive/model/brood.h"
#include "drive/sys.h"

enum {
	LET_GO_MS = 100, /* to wait for those who may be in a call that takes long */
	LAST = 64 * 64,  /* accepted at the end of a listener: a full backlog */
};

#define FIRST_PAUSE (100 * MSEC) /* then twice as long each time */
#define LAST_PAUSE (30 * SEC)

struct herd {
	struct service *service; /* of which this is a part */
	int end_fd;              /* readable: let go, and end with the conversation */
	unsigned wanted, alive;
	unsigned failures; /* in a row: it could not be made, or did not get as far as its first client */
	nsec again;        /* not before that */
	bool over;
};

bool herd_accepts(const struct listener *ln)
{
	return !ln->dgram && !ln->fifo && !ln->talk;
}

int herd_fd(const struct herd *h)
{
	return h->end_fd;
}

static int add_one(struct herd *h)
{
	struct service *v = h->service;
	struct brood_birth birth = { .service = v, .kind = BROOD_ACCEPTOR };
	int *keep = mem_alloc((v->n + 1) * sizeof(*keep));
	int r;

	if (!keep)
		return -ENOMEM;
	keep[birth.n_keep++] = h->end_fd;
	for (size_t i = 0; i < v->n; i++)
		if (herd_accepts(v->entries[i].ln))
			keep[birth.n_keep++] = v->entries[i].ln->fd;
	birth.keep = keep;
	r = prefork_add(v, &birth);
	mem_free(keep);
	h->alive += r == 0;
	return r;
}

int herd_start(struct herd *h)
{
	int r = 0;

	while (r == 0 && h->alive < h->wanted)
		r = add_one(h);
	return r;
}

int herd_new(struct service *v, struct herd **ret)
{
	struct herd *h = mem_zalloc(sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->service = v;
	h->wanted = v->model->workers(v->plan.common);
	h->end_fd = sys_eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->end_fd < 0) {
		int r = -errno;

		mem_free(h);
		return r;
	}
	*ret = h;
	return 0;
}

void herd_free(struct herd **h)
{
	if (!*h)
		return;
	fd_close(&(*h)->end_fd);
	mem_free(*h);
	*h = NULL;
}

/* Whoever is told next that an address is free finds it so. */
void herd_end(struct herd *h)
{
	uint64_t one = 1;

	if (h->over)
		return;
	h->over = true;
	(void)!write(h->end_fd, &one, sizeof(one));
	for (int i = 0; i < LET_GO_MS * 10; i++) {
		brood_reap(h->service->server->brood);
		if (!brood_holding(h->service->server->brood, h->service))
			return;
		usleep(100);
	}
}

unsigned herd_alive(const struct herd *h)
{
	return h->alive;
}

static void put_off(struct herd *h, nsec now)
{
	h->again = now + pause_after(h->failures, FIRST_PAUSE, LAST_PAUSE);
}

/* Clients who end a process again and again must not keep the others waiting: a pause is for those that could not even begin. */
void herd_lost(struct herd *h, bool was_ready)
{
	nsec now = clock_mono();

	h->alive--;
	if (was_ready)
		h->failures = 0;
	else if (h->again <= now) /* all that fail at once fail for one reason */
		h->failures++;
	put_off(h, now);
}

static void replace(struct herd *h, nsec now)
{
	struct log_line line;
	int r = herd_start(h);

	if (r == 0)
		return;
	h->failures++;
	put_off(h, now);
	if (!log_begin(&line, LOG_WARN, "process-missing"))
		return;
	log_str(&line, "service", h->service->plan.name);
	log_errno(&line, r);
	log_end(&line);
}

nsec herds_turn(struct server *s)
{
	nsec now = clock_mono(), first = UINT64_MAX;

	for (size_t i = 0; i < s->n; i++) {
		struct herd *h = s->services[i]->herd;

		if (!h || h->over || h->alive == h->wanted)
			continue;
		if (h->again <= now)
			replace(h, now);
		if (h->alive < h->wanted && h->again < first)
			first = h->again;
	}
	if (first == UINT64_MAX)
		return first;
	return first > now ? first - now : 0;
}

void herd_listen_last(struct listener *ln)
{
	struct service *v = ln->owner;
	struct arrival who;

	for (int i = 0; v && v->herd && herd_accepts(ln) && i < LAST && loop_accept(ln, &v->lanes[0], &who) > 0; i++) {
		fork_take(NULL, ln, &v->lanes[0], &who);
		peer_unref(who.peer);
	}
}
