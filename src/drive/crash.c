/*
 * crash.c - see crash.h. The handler may be interrupted by a second fault of its own, when what it looks at is what was
 * damaged: it has put back the handlers that were there before, so that one ends the process.
 */
#include "drive/crash.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/peer.h"
#include "core/session.h"

enum { STACK = 16 << 10 };

static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS };
enum { SIGNALS = sizeof(signals) / sizeof(signals[0]) };

static struct shared_crash *place;
static _Thread_local struct shared_crash *moved; /* of a child, and not written to the page that `place` is in */
static _Thread_local void *room;                 /* of a thread that is not the first */
static struct sigaction before[SIGNALS];
static _Thread_local const struct host *served;

void crash_serves(const struct host *h)
{
	served = h;
}

static void note_ip(struct shared_crash *c, const uint8_t *b, size_t n, uint16_t port)
{
	c->n = (uint8_t)n;
	memcpy(c->addr, b, n);
	c->port = port;
}

static void note_route(struct shared_crash *c, const struct route *r)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	if (r->n < sizeof(in))
		return;
	memcpy(&in, r->sa, sizeof(in));
	if (in.sin_family == AF_INET) {
		note_ip(c, (const uint8_t *)&in.sin_addr, 4, ntohs(in.sin_port));
	} else if (in.sin_family == AF_INET6 && r->n >= sizeof(in6)) {
		memcpy(&in6, r->sa, sizeof(in6));
		note_ip(c, (const uint8_t *)&in6.sin6_addr, 16, ntohs(in6.sin6_port));
	}
}

static void note(struct shared_crash *c)
{
	const struct sess *s = served ? served->serving : NULL;

	if (!s)
		return;
	if (s->lane)
		snprintf(c->service, sizeof(c->service), "%s", s->lane->svc->name);
	c->unproven = served->route != NULL;
	if (served->route)
		note_route(c, served->route);
	else if (s->peer && (s->peer->n == 4 || s->peer->n == 16) && s->peer->kind != PEER_UNIX)
		note_ip(c, s->peer->b, s->peer->n, s->peer->port);
}

/* A fault comes again as soon as we return, to whoever is asked then; what somebody sent does not. */
static void handle(int signo, siginfo_t *info, void *context)
{
	struct shared_crash *to = moved ? moved : place;

	(void)context;
	for (unsigned i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &before[i], NULL);
	if (info->si_code != SI_USER &&
	    atomic_load(&to->signal) == 0) { /* a mistake, and the first thread to make it */
		atomic_store(&to->signal, signo);
		note(to);
	}
	if (info->si_code <= 0 || signo == SIGSYS)
		raise(signo);
}

void crash_move(struct shared_crash *to)
{
	moved = to;
	served = NULL;
}

static bool has_room(void)
{
	stack_t had;

	return sigaltstack(NULL, &had) < 0 || !(had.ss_flags & SS_DISABLE); /* a sanitizer has its own */
}

static void take_room(void *stack)
{
	(void)sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = STACK }, NULL);
}

/* Not a thread-local array: it would lie between those of the C library and the rest, and fork children write to both. */
void crash_thread(void)
{
	if (!has_room() && (room = mem_alloc(STACK)))
		take_room(room);
}

void crash_thread_ends(void)
{
	if (room)
		(void)sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL);
	mem_free(room);
	room = NULL;
}

void crash_watch(struct shared_crash *to)
{
	static uint8_t stack[STACK]; /* pages that nobody touches */
	struct sigaction sa = { .sa_sigaction = handle, .sa_flags = SA_ONSTACK | SA_NODEFER | SA_SIGINFO };

	place = to;
	if (!has_room())
		take_room(stack);
	sigemptyset(&sa.sa_mask);
	for (unsigned i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &sa, &before[i]);
}

void crash_log(struct log_line *line, pid_t pid, int status)
{
	const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;

	log_uint(line, "pid", (unsigned)pid);
	if (name)
		log_str(line, "signal", name);
	else if (WIFSIGNALED(status)) /* a real-time one */
		log_uint(line, "signal", (unsigned)WTERMSIG(status));
	else
		log_uint(line, "status", (unsigned)WEXITSTATUS(status));
}
