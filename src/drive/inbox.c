/* inbox.c - see inbox.h. */
#include "drive/inbox.h"

#include <errno.h>
#include <pthread.h>

#include "base/mail.h"
#include "base/mem.h"
#include "core/ids.h"
#include "drive/jobs.h"
#include "drive/sys.h"

enum {
	LOOPS_MAX = 4096,
	CROWD = 1024, /* letters that a loop may be behind */
	WAKE_TRIES = 4,
};

struct inbox {
	_Atomic(struct post *) head; /* newest first; CLOSED when the loop has ended */
	_Atomic bool asleep;
	_Atomic unsigned refs;
	_Atomic uint32_t letters; /* posted and not taken */
	int fd;
};

static _Atomic unsigned crowded; /* loops that are behind */
static struct post closed_mark;
#define CLOSED (&closed_mark)

/* The directory of loops; taken once per (turn, loop) and per port post. */
static struct {
	pthread_mutex_t lock;
	struct inbox *v[LOOPS_MAX];
} dir = { .lock = PTHREAD_MUTEX_INITIALIZER };

int inbox_new(struct inbox **ret)
{
	struct inbox *b = mem_zalloc(sizeof(*b));

	if (!b)
		return -ENOMEM;
	atomic_init(&b->refs, 1);
	b->fd = sys_eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (b->fd < 0) {
		int r = -errno;

		mem_free(b);
		return r;
	}
	*ret = b;
	return 0;
}

struct inbox *inbox_ref(struct inbox *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void inbox_unref(struct inbox *b)
{
	if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (struct post *p = atomic_load(&b->head), *next; p && p != CLOSED; p = next) {
		next = p->next;
		post_drop(p);
	}
	fd_close(&b->fd);
	mem_free(b);
}

int inbox_open(struct inbox *b, unsigned *ret_index)
{
	int r = -EMFILE;

	pthread_mutex_lock(&dir.lock);
	for (unsigned i = 1; i < LOOPS_MAX && r < 0; i++) { /* 0 is for loops that nobody can post to */
		if (!dir.v[i]) {
			dir.v[i] = inbox_ref(b);
			*ret_index = i;
			r = 0;
		}
	}
	pthread_mutex_unlock(&dir.lock);
	return r;
}

static uint32_t letters_of(const struct post *p)
{
	return p->kind == POST_LETTERS ? p->letters.n : 0;
}

static void count_letters(struct inbox *b, uint32_t n)
{
	uint32_t old = n ? atomic_fetch_add_explicit(&b->letters, n, memory_order_relaxed) : 0;

	if (n && old < CROWD && old + n >= CROWD)
		atomic_fetch_add_explicit(&crowded, 1, memory_order_relaxed);
}

void inbox_taken(struct inbox *b, uint32_t n)
{
	uint32_t old = n ? atomic_fetch_sub_explicit(&b->letters, n, memory_order_relaxed) : 0;

	if (n && old >= CROWD && old - n < CROWD)
		atomic_fetch_sub_explicit(&crowded, 1, memory_order_relaxed);
}

bool inbox_crowded(void)
{
	return atomic_load_explicit(&crowded, memory_order_relaxed) > 0;
}

void inbox_close(struct inbox *b, unsigned index)
{
	pthread_mutex_lock(&dir.lock);
	dir.v[index] = NULL;
	pthread_mutex_unlock(&dir.lock);

	struct post *p = atomic_exchange(&b->head, CLOSED);

	for (struct post *next; p && p != CLOSED; p = next) {
		next = p->next;
		inbox_taken(b, letters_of(p));
		post_refuse(p);
	}
	inbox_unref(b);
}

struct inbox *inbox_find(unsigned index)
{
	struct inbox *b = NULL;

	pthread_mutex_lock(&dir.lock);
	if (index < LOOPS_MAX && dir.v[index])
		b = inbox_ref(dir.v[index]);
	pthread_mutex_unlock(&dir.lock);
	return b;
}

static void wake(struct inbox *b)
{
	uint64_t one = 1;

	for (int i = 0; i < WAKE_TRIES; i++)
		if (sys_write(b->fd, &one, sizeof(one)) > 0 || errno == EAGAIN) /* EAGAIN: it is readable already */
			return;
	atomic_store(&b->asleep, true); /* the next post tries again */
}

void inbox_push(struct inbox *b, struct post *p)
{
	struct post *old = atomic_load_explicit(&b->head, memory_order_relaxed);

	count_letters(b, letters_of(p));
	do {
		if (old == CLOSED) {
			inbox_taken(b, letters_of(p));
			post_refuse(p);
			return;
		}
		p->next = old;
	} while (!atomic_compare_exchange_weak(&b->head, &old, p));
	if (atomic_exchange(&b->asleep, false))
		wake(b);
}

struct post *inbox_take(struct inbox *b)
{
	struct post *p = atomic_load_explicit(&b->head, memory_order_relaxed);
	struct post *oldest = NULL;

	if (!p || p == CLOSED)
		return NULL;
	p = atomic_exchange(&b->head, NULL);
	for (struct post *next; p; p = next) {
		next = p->next;
		p->next = oldest;
		oldest = p;
	}
	return oldest;
}

int inbox_fd(const struct inbox *b)
{
	return b->fd;
}

bool inbox_sleep(struct inbox *b)
{
	atomic_store(&b->asleep, true);
	if (!atomic_load(&b->head))
		return true;
	atomic_store(&b->asleep, false);
	return false;
}

void inbox_awake(struct inbox *b, bool was_ready)
{
	uint64_t n;

	atomic_store_explicit(&b->asleep, false, memory_order_relaxed);
	if (was_ready)
		while (read(b->fd, &n, sizeof(n)) < 0 && errno == EINTR)
			;
}

struct post *post_letters(uint32_t cap)
{
	struct post *p = mem_alloc(sizeof(*p) + cap * sizeof(p->v[0]));

	if (!p)
		return NULL;
	*p = (struct post){ .kind = POST_LETTERS };
	p->letters.cap = cap;
	return p;
}

void post_drop(struct post *p)
{
	if (p->kind == POST_TASK)
		task_drop(&p->task);
	if (p->kind == POST_LETTERS)
		for (uint32_t i = 0; i < p->letters.n; i++)
			mail_drop(p->v[i].l.mail);
	if (!p->lent)
		mem_free(p);
}

bool letter_refuse(struct letter_to *letter)
{
	const struct letter l = letter->l;
	bool answer = l.reply && !(letter->flags & LETTER_GONE);

	mail_drop(l.mail);
	letter->l.mail = NULL;
	if (answer)
		*letter = (struct letter_to){ l.from, { .tag = l.tag, .reply = l.reply }, LETTER_GONE };
	return answer;
}

void post_refuse(struct post *p)
{
	struct inbox *b = NULL;
	uint32_t n = 0;

	for (uint32_t i = 0; p->kind == POST_LETTERS && i < p->letters.n; i++)
		if (letter_refuse(&p->v[i]))
			p->v[n++] = p->v[i];
	if (p->kind == POST_LETTERS)
		p->letters.n = n;
	if (n)
		b = inbox_find(id_loop(p->v[0].to));
	if (b)
		inbox_push(b, p);
	else
		post_drop(p);
	inbox_unref(b);
}
