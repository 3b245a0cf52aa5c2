/* test_dial.c - children of a real loop: each address of a name has its share of the time, and a datagram child speaks from where it was asked. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drive/clock.h"
#include "drive/loop_priv.h"
#include "support/toy.h"

enum { TAG = 7, FULL = 4 };

struct world {
	struct loop *l;
	struct svc svc;
	struct lane lane;
	_Atomic uint64_t stats[STAT_N];
	const struct peer *local;
	int server;
};

static void begin(struct world *w, toy_fn *fn)
{
	toy_reset(fn);
	*w = (struct world){ .server = -1 };
	w->svc = (struct svc){ .name = "toy", .proto = &toy_proto };
	w->svc.limits.input = w->svc.limits.output = 1 << 20;
	w->lane = (struct lane){ .svc = &w->svc, .stats = w->stats };
	assert_int_equal(loop_new(&(struct loop_setup){ .many = true, .stop_fd = -1, .cut_fd = -1 }, &w->l), 0);
}

static void end(struct world *w)
{
	loop_free(&w->l);
	peer_unref(w->local);
	if (w->server >= 0)
		close(w->server);
	toy_done();
}

/* A bound socket of `type` on this IPv4 address and a port of the system's choice, which is said. */
static int bound(const char *host, int type, struct netaddr *ret)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	*ret = (struct netaddr){ .n = sizeof(ret->st), .type = type };
	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, host, &in.sin_addr), 1);
	assert_int_equal(bind(fd, (const struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, &ret->sa, &ret->n), 0);
	return fd;
}

/* ---- a name with several addresses ---- */

static nsec opened, gone;

static enum verdict dial(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN && !ev->chan)
		io_child(io, TAG,
			 &(struct child){
				 .kind = CHILD_CONNECT, .address = "tcp:127.0.0.1:9", .deadline = io->now + 3 * SEC });
	if (ev->kind == EV_OPEN && ev->chan)
		opened = io->now;
	if (ev->kind == EV_GONE)
		gone = io->now;
	return V_GO;
}

/* A listener that is full does not answer: the system drops what is said to it. */
static void fill(const struct netaddr *at, int fds[FULL])
{
	for (int i = 0; i < FULL; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		assert_true(fds[i] >= 0);
		(void)!connect(fds[i], &at->sa, at->n);
	}
	if (poll(&(struct pollfd){ fds[FULL - 1], POLLOUT, 0 }, 1, 100) != 0)
		skip(); /* here it does */
}

/* As if the name had these addresses. */
static void resolve_to(struct world *w, const struct netaddr *v, unsigned n)
{
	struct lookup *k = (struct lookup *)w->l->done->job;

	mem_free(k->v);
	k->v = mem_alloc(n * sizeof(*v));
	assert_non_null(k->v);
	memcpy(k->v, v, n * sizeof(*v));
	k->n = n;
}

static void start_dial(struct world *w, const struct netaddr *v, unsigned n)
{
	sess_id id;

	opened = gone = 0;
	begin(w, dial);
	assert_int_equal(loop_add_bare(w->l, &w->lane, NULL, &id), 0);
	resolve_to(w, v, n);
}

static void test_a_dead_address(void **state)
{
	struct netaddr at[3];
	int dead = bound("127.0.0.1", SOCK_STREAM, &at[0]), live = bound("127.0.0.1", SOCK_STREAM, &at[2]), fds[FULL];
	struct world w;
	nsec begun = clock_mono();

	(void)state;
	assert_int_equal(listen(dead, 0), 0);
	assert_int_equal(listen(live, 5), 0);
	fill(&at[0], fds);
	at[1] = at[0];
	start_dial(&w, at, 3);
	while (!opened && !gone)
		loop_turn(w.l, SEC);
	assert_true(opened && opened - begun >= 1900 * MSEC); /* a third of the time, and half of what was left */
	assert_log("open c7.open");
	end(&w);

	start_dial(&w, at, 2); /* and when none answers, the deadline is what it was */
	begun = clock_mono();
	while (!gone)
		loop_turn(w.l, SEC);
	assert_true(gone - begun >= 2900 * MSEC);
	assert_log("open c7.gone:7:-110");
	end(&w);
	for (int i = 0; i < FULL; i++)
		close(fds[i]);
	close(dead);
	close(live);
}

/* ---- a name that nobody wants to know any more ---- */

static _Atomic bool gate;
static _Atomic unsigned at_gate;

static void wait_at_gate(struct job *job)
{
	(void)job;
	atomic_fetch_add(&at_gate, 1);
	while (!atomic_load(&gate))
		usleep(500);
}

static void keep(struct job *job)
{
	(void)job;
}

static enum verdict dial_and_end(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_OPEN)
		io_child(io, TAG, &(struct child){ .kind = CHILD_CONNECT, .address = "tcp:localhost:9" });
	if (ev->kind == EV_TIMER)
		io_end(io, TAG);
	if (ev->kind == EV_OPEN)
		io_timer(io, 0, io->now + 200 * MSEC); /* a lookup that waits for nobody ends before */
	return V_GO;
}

/* Its lookup waits behind those that hang, and does so no longer than the connection. */
static void test_a_lookup_in_vain(void **state)
{
	static struct job hangs[JOBS_WAIT];
	struct world w;
	struct jobs *pool;
	struct task *t;
	sess_id id;

	(void)state;
	begin(&w, dial_and_end);
	assert_int_equal(jobs_new(1, &pool), 0);
	w.l->setup.jobs = pool;
	for (int i = 0; i < JOBS_WAIT; i++) {
		hangs[i] = (struct job){ .run = wait_at_gate, .drop = keep, .waits = true };
		assert_int_equal(jobs_submit(pool, &hangs[i], loop_inbox(w.l), &t), 0);
		list_add(&w.l->tasks, &t->in_loop);
	}
	while (atomic_load(&at_gate) < JOBS_WAIT)
		usleep(500);
	assert_int_equal(loop_add_bare(w.l, &w.lane, NULL, &id), 0);
	assert_ptr_not_equal(w.l->tasks.prev, &t->in_loop);
	for (int i = 0; i < 1000 && w.l->tasks.prev != &t->in_loop; i++)
		loop_turn(w.l, 10 * MSEC);
	assert_ptr_equal(w.l->tasks.prev, &t->in_loop);
	assert_log("open timer:0 c7.gone:7:-125");
	atomic_store(&gate, true);
	jobs_free(&pool);
	end(&w);
}

/* ---- a datagram socket of its own ---- */

static enum verdict answer_elsewhere(const struct ev *ev, struct io *io)
{
	if (ev->kind == EV_DGRAM && !ev->chan)
		io_child(io, TAG, &(struct child){ .kind = CHILD_DGRAM, .route = toy.x[0] ? NULL : ev->dgram.route });
	if (ev->kind == EV_OPEN && ev->chan)
		out_dgram(io_chan(io, TAG), NULL, "from here on", 12);
	return V_GO;
}

/* A socket on every address, of one family or of both. */
static void serve_everywhere(struct world *w, bool six)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in in = { .sin_family = AF_INET };
	const struct sockaddr *sa = six ? (const struct sockaddr *)&in6 : (const struct sockaddr *)&in;
	struct netaddr me = { .n = sizeof(me.st) };
	int on = 1;
	sess_id id;

	begin(w, answer_elsewhere);
	w->server = socket(sa->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->server < 0 || bind(w->server, sa, six ? sizeof(in6) : sizeof(in)) < 0)
		skip(); /* no IPv6 */
	if (six)
		setsockopt(w->server, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	setsockopt(w->server, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	assert_int_equal(getsockname(w->server, &me.sa, &me.n), 0);
	w->local = netaddr_peer(&me.sa, me.n);
	assert_int_equal(loop_adopt_dgram(w->l, w->server, &w->lane, w->local, false, true, &id), 0);
}

static int ask(const struct world *w, const char *host)
{
	struct netaddr me;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(w->local->port) };
	int fd = bound("127.0.0.1", SOCK_DGRAM, &me);

	assert_int_equal(inet_pton(AF_INET, host, &to.sin_addr), 1);
	assert_int_equal(sendto(fd, "x", 1, 0, (const struct sockaddr *)&to, sizeof(to)), 1);
	return fd;
}

static void turns(struct loop *l)
{
	for (int i = 0; i < 6; i++)
		loop_turn(l, 5 * MSEC);
}

static void test_from_where_it_was_asked(void **state)
{
	(void)state;
	for (int six = 0; six < 2; six++) {
		struct world w;
		struct netaddr from = { .n = sizeof(from.st) }, me;
		const struct sockaddr_in *in = (const struct sockaddr_in *)&from.st;
		char text[32];
		int fd, other;

		serve_everywhere(&w, six);
		fd = ask(&w, "127.0.0.5");
		turns(w.l);
		assert_log("open dgram:1 c7.bound:7 c7.open");
		assert_int_equal(recvfrom(fd, text, sizeof(text), MSG_DONTWAIT, &from.sa, &from.n), 12);
		assert_int_equal(in->sin_addr.s_addr, inet_addr("127.0.0.5"));
		assert_int_not_equal(ntohs(in->sin_port), w.local->port);

		other = bound("127.0.0.1", SOCK_DGRAM, &me); /* it hears whom it was made for and nobody else */
		sendto(other, "me!", 3, 0, &from.sa, from.n);
		sendto(fd, "ok", 2, 0, &from.sa, from.n);
		turns(w.l);
		assert_log("c7.dgram:2");
		close(other);
		close(fd);
		end(&w);
	}
}

static void test_no_route(void **state)
{
	struct world w;
	int fd;

	(void)state;
	serve_everywhere(&w, false);
	toy.x[0] = 1;
	fd = ask(&w, "127.0.0.1");
	turns(w.l);
	assert_log("open dgram:1 c7.gone:7:-89");
	close(fd);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_dead_address),
		cmocka_unit_test(test_a_lookup_in_vain),
		cmocka_unit_test(test_from_where_it_was_asked),
		cmocka_unit_test(test_no_route),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
