/*
 * test_unix.c - unix sockets in a loop, by epoll and by poll(2): datagrams with the names and credentials of their senders,
 * receivers without room, and records that are read as a stream.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "drive/loop_priv.h"
#include "drive/record.h"

enum { ROOM = 512 << 10, LARGE = 150000 };

/* ---- a protocol that tells who it hears ---- */

static enum verdict step(void *self, const struct ev *ev, struct io *io)
{
	char text[256], name[PEER_TEXT];
	struct span in;
	int n;

	(void)self;
	switch (ev->kind) {
	case EV_DGRAM:
		n = snprintf(text, sizeof(text), "%u %u %d %s", io->who ? io->who->uid : 0, io->who ? io->who->gid : 0,
			     io->who ? (int)io->who->pid : 0, peer_text(ev->dgram.route->name, name));
		if (ev->dgram.data.n && ev->dgram.data.p[0] == 'c' && !io->parent)
			io_child(io, 1, &(struct child){ .kind = CHILD_DGRAM, .route = ev->dgram.route });
		else
			out_dgram(io, ev->dgram.route, text, (size_t)n);
		return V_GO;
	case EV_OPEN:
		if (ev->chan)
			out_dgram(io_chan(io, ev->chan), NULL, "from a child", 12);
		return V_GO;
	case EV_DATA:
		in = in_peek(io);
		out_mem(io, in.p, in.n);
		in_take(io, in.n);
		return V_GO;
	case EV_EOF:
		return V_CLOSE;
	default:
		return V_GO;
	}
}

static const struct proto teller = {
	.abi = PROTO_ABI, .name = "teller", .flags = P_STREAM | P_DGRAM | P_SMALL | P_READ_WHILE_FULL, .step = step
};

struct world {
	struct loop *l;
	struct svc svc;
	struct lane lane;
	_Atomic uint64_t stats[STAT_N];
	const struct peer *local;
	int server, client; /* datagrams */
	struct sockaddr_un at;
};

static int named(const char *path, struct sockaddr_un *ret)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(ret->sun_path, path, strlen(path));
	unlink(path);
	assert_int_equal(bind(fd, (const struct sockaddr *)ret, sizeof(*ret)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), 0);
	return fd;
}

static int nameless(const struct world *w)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (const struct sockaddr *)&w->at, sizeof(w->at)), 0);
	return fd;
}

static int abstract(void)
{
	const struct sockaddr any = { .sa_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, &any, sizeof(any.sa_family)), 0);
	return fd;
}

/* Not connected: for those that are, the kernel knows no number of datagrams that may wait. */
static bool say(const struct world *w, int fd, const char *text)
{
	return sendto(fd, text, strlen(text), 0, (const struct sockaddr *)&w->at, sizeof(w->at)) > 0;
}

static void begin(struct world *w, bool many)
{
	struct loop_setup setup = { .many = many, .stop_fd = -1, .cut_fd = -1, .serial = many ? 0 : 1 };

	*w = (struct world){ .server = -1, .client = -1 };
	w->svc = (struct svc){ .name = "teller", .proto = &teller };
	w->svc.limits.input = w->svc.limits.output = 1 << 20;
	w->lane = (struct lane){ .svc = &w->svc, .stats = w->stats };
	assert_int_equal(loop_new(&setup, &w->l), 0);
}

static void begin_dgram(struct world *w, bool many)
{
	char path[64];
	sess_id id;

	begin(w, many);
	snprintf(path, sizeof(path), "/tmp/guichet-unix-%d", (int)getpid());
	w->server = named(path, &w->at);
	w->client = abstract();
	w->local = peer_new(PEER_UNIX, path, strlen(path), 0, 0);
	assert_int_equal(loop_adopt_dgram(w->l, w->server, &w->lane, w->local, false, false, &id), 0);
}

static void end(struct world *w)
{
	loop_free(&w->l);
	if (w->server >= 0) {
		close(w->server);
		close(w->client);
		unlink(w->at.sun_path);
	}
	peer_unref(w->local);
}

/* Turns until something has come, as text; "": nothing has. */
static const char *hear(const struct world *w, int fd, char buf[static 256])
{
	ssize_t n = -1;

	for (int i = 0; i < 200 && n < 0; i++) {
		loop_turn(w->l, MSEC);
		n = recv(fd, buf, 255, 0);
	}
	buf[n < 0 ? 0 : n] = '\0';
	return buf;
}

/* ---- datagrams ---- */

static void names(bool many)
{
	char text[256], want[256], path[64];
	struct sockaddr_un at;
	struct world w;
	int fd;

	begin_dgram(&w, many);
	snprintf(path, sizeof(path), "/tmp/guichet-unix-%d-client", (int)getpid());
	fd = named(path, &at);
	assert_int_equal(connect(fd, (const struct sockaddr *)&w.at, sizeof(w.at)), 0);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	snprintf(want, sizeof(want), "%u %u %d %s", getuid(), getgid(), (int)getpid(), path);
	assert_string_equal(hear(&w, fd, text), want);
	unlink(path);
	close(fd);

	assert_true(say(&w, w.client, "x"));
	snprintf(want, sizeof(want), "%u %u %d @", getuid(), getgid(), (int)getpid());
	assert_memory_equal(hear(&w, w.client, text), want, strlen(want));

	fd = nameless(&w);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	for (int i = 0; i < 20 && !w.stats[STAT_DROP_UNNAMED]; i++)
		loop_turn(w.l, MSEC);
	assert_int_equal(w.stats[STAT_DROP_UNNAMED], 1);
	assert_int_equal(w.stats[STAT_DGRAMS_OUT], 2);
	close(fd);
	end(&w);
}

static void test_names(void **state)
{
	(void)state;
	names(true);
	names(false);
}

/* A path that fills sun_path has no NUL. */
static void test_longest_name(void **state)
{
	struct netaddr a, b;
	struct peer *p;

	(void)state;
	a = (struct netaddr){ .n = sizeof(a.un) };
	a.un.sun_family = AF_UNIX;
	for (size_t n = sizeof(a.un.sun_path) - 2; n <= sizeof(a.un.sun_path); n++) {
		memset(a.un.sun_path, 0, sizeof(a.un.sun_path));
		memset(a.un.sun_path, 'x', n);
		p = netaddr_peer(&a.sa, a.n);
		assert_non_null(p);
		assert_int_equal(p->n, n);
		assert_true(netaddr_of_peer(p, &b));
		assert_memory_equal(&b.un, &a.un, b.n);
		assert_in_range(b.n, sizeof(a.un) - 1, sizeof(a.un));
		peer_unref(p);
	}
}

/* A child talks to whoever the route names. */
static void test_child(void **state)
{
	char text[256];
	struct world w;

	(void)state;
	for (int many = 0; many < 2; many++) {
		begin_dgram(&w, many);
		assert_true(say(&w, w.client, "c"));
		assert_string_equal(hear(&w, w.client, text), "from a child");
		end(&w);
	}
}

/* Who does not read loses answers, and delays the others' only once. */
static void deaf(bool many)
{
	char text[256];
	struct world w;
	int fd, sent = 0;

	begin_dgram(&w, many);
	fd = abstract();
	while (w.stats[STAT_DROP_FULL] == 0) {
		sent += say(&w, fd, "x");
		loop_turn(w.l, MSEC);
	}
	for (int i = 0; i < 8; i++) /* fewer than can wait for us */
		sent += say(&w, fd, "x");
	assert_true(say(&w, w.client, "x"));

	nsec before = w.l->host.now;

	assert_string_not_equal(hear(&w, w.client, text), "");
	assert_true(w.l->host.now - before < SEC / 2); /* far more than it takes, far less than 20 times the patience */
	assert_in_range(w.stats[STAT_DROP_FULL], 2, sent);
	while (recv(fd, text, sizeof(text), 0) > 0)
		;
	assert_true(say(&w, fd, "x"));
	assert_string_not_equal(hear(&w, fd, text), "");
	close(fd);
	end(&w);
}

static void test_deaf(void **state)
{
	(void)state;
	deaf(true);
	deaf(false);
}

#ifdef GUICHET_FAULTS
/* Without memory for its sender a datagram is refused, and the next one is answered. */
static void test_no_memory(void **state)
{
	char text[256];
	struct world w;

	(void)state;
	begin_dgram(&w, true);
	assert_true(say(&w, w.client, "x"));
	assert_string_not_equal(hear(&w, w.client, text), ""); /* now it has all that lasts */
	for (unsigned long n = 1; n < 4; n++) {
		assert_true(say(&w, w.client, "x"));
		fault_arm(FAULT_MEM, n, ENOMEM, false);
		for (int i = 0; i < 5; i++)
			loop_turn(w.l, MSEC);
		fault_arm(FAULT_MEM, 0, 0, false);
		while (recv(w.client, text, sizeof(text), 0) > 0)
			;
		assert_true(say(&w, w.client, "x"));
		assert_string_not_equal(hear(&w, w.client, text), "");
	}
	assert_int_not_equal(w.stats[STAT_REFUSED_MEMORY], 0);
	end(&w);
}
#endif

/* ---- records ---- */

static int talk(struct world *w, bool many)
{
	struct peer *p = peer_new(PEER_UNIX, "", 0, 0, 0);
	struct adopt a = { .wfd = -1, .lane = &w->lane, .local = p, .peer = p, .socket = true, .records = true };
	int pair[2], room = ROOM;

	begin(w, many);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	a.fd = pair[1];
	assert_int_equal(loop_adopt(w->l, &a), 0);
	peer_unref(p);
	return pair[0];
}

/* Turns until n bytes have come back, in records of the largest size that we promise; or the end has. */
static size_t take(const struct world *w, int fd, uint8_t *ret, size_t n)
{
	size_t got = 0;

	for (int i = 0; i < 2000 && got < n; i++) {
		uint8_t piece[RECORD_SEND + 1];
		ssize_t k;

		loop_turn(w->l, MSEC);
		while ((k = recv(fd, piece, sizeof(piece), 0)) > 0) {
			assert_true(k <= RECORD_SEND && got + (size_t)k <= n);
			memcpy(ret + got, piece, (size_t)k);
			got += (size_t)k;
		}
		if (k == 0)
			break;
	}
	return got;
}

static void test_records(void **state)
{
	static const size_t sizes[] = { 1, 0, HOST_RBUF, 0, HOST_RBUF + 1, LARGE, 0, 0, 5 };
	uint8_t *says = mem_alloc(LARGE), *hears = mem_alloc(LARGE);

	(void)state;
	for (size_t i = 0; i < LARGE; i++)
		says[i] = (uint8_t)(i * 7 + i / 251);
	for (int many = 0; many < 2; many++) {
		struct world w;
		int fd = talk(&w, many);

		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			assert_int_equal(send(fd, says, sizes[i], 0), sizes[i]);
			assert_int_equal(take(&w, fd, hears, sizes[i]), sizes[i]);
			assert_memory_equal(says, hears, sizes[i]);
		}
		assert_int_equal(send(fd, "", 0, 0), 0); /* the end comes behind it */
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		assert_int_equal(take(&w, fd, hears, 1), 0);
		for (int i = 0; i < 10 && !w.stats[STAT_CLOSED]; i++)
			loop_turn(w.l, MSEC);
		assert_int_equal(w.stats[STAT_CLOSED], 1);
		assert_int_equal(w.stats[STAT_ERRORS], 0);
		close(fd);
		end(&w);
	}
	mem_free(says);
	mem_free(hears);
}

#ifdef GUICHET_FAULTS
/* What does not fit and cannot be kept ends the session; nothing is lost without a word. */
static void test_record_without_memory(void **state)
{
	uint8_t *says = mem_zalloc(LARGE);

	(void)state;
	for (unsigned long n = 1; n < 12; n++) {
		struct world w;
		int fd = talk(&w, true);

		assert_int_equal(send(fd, says, LARGE, 0), LARGE);
		fault_arm(FAULT_MEM, n, ENOMEM, false);
		for (int i = 0; i < 10; i++)
			loop_turn(w.l, MSEC);
		fault_arm(FAULT_MEM, 0, 0, false);
		if (!w.stats[STAT_CLOSED])
			assert_int_equal(take(&w, fd, says, LARGE), LARGE);
		close(fd);
		end(&w);
	}
	mem_free(says);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),     cmocka_unit_test(test_longest_name),
		cmocka_unit_test(test_child),     cmocka_unit_test(test_deaf),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_no_memory), cmocka_unit_test(test_record_without_memory),
#endif
		cmocka_unit_test(test_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
