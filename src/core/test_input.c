/* test_input.c - the line helper, and how input is kept between steps. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/session.h"
#include "drive/mem.h"
#include "support/toy.h"

enum { MAX = 8 };

static struct memdrive *w;
static struct memconn *c;
static struct buf said; /* each line in brackets; ! for too long */

static enum verdict lines(const struct ev *ev, struct io *io)
{
	struct span line;
	int r;

	if (ev->kind != EV_DATA)
		return toy_take(ev, io);
	while ((r = in_line(io, MAX, &line)) == 1)
		buf_addf(&said, "[%.*s]", (int)line.n, line.p ? (const char *)line.p : "");
	if (r == -EMSGSIZE) {
		buf_addc(&said, '!');
		return V_CLOSE;
	}
	assert_int_equal(r, 0);
	return V_GO;
}

static void start(toy_fn *fn)
{
	toy_reset(fn);
	buf_init(&said, 1 << 16);
	assert_int_equal(memdrive_new(&(struct mem_setup){ .proto = &toy_proto }, &w, NULL), 0);
	c = memconn_open(w, NULL);
}

static int stop(void **state)
{
	(void)state;
	memdrive_free(&w);
	buf_done(&said);
	toy_done();
	return 0;
}

/* In pieces of every size the lines are the same. */
static void check(const char *sent, size_t n, const char *want)
{
	for (size_t k = 1; k <= n; k++) {
		start(lines);
		memconn_send(c, sent, n, k);
		memconn_eof(c);
		if (strcmp(buf_str(&said), want) != 0)
			fail_msg("pieces of %zu: %s instead of %s", k, buf_str(&said), want);
		assert_int_equal(memconn_end(c), MEM_CLOSED);
		stop(NULL);
	}
}

#define CHECK(sent, want) check(sent, sizeof(sent) - 1, want)

static void lines_are_what_they_are(void **state)
{
	(void)state;
	CHECK("a\nb\n", "[a][b]");
	CHECK("a\r\nb\r\n", "[a][b]");
	CHECK("\n", "[]");
	CHECK("\r\n", "[]");
	CHECK("\r\r\n", "[\r]");
	CHECK("a\rb\n", "[a\rb]");
	CHECK("\n\n\n", "[][][]");
	CHECK("a\nb", "[a][b]"); /* the rest before EOF is a line */
	CHECK("a\nb\r", "[a][b]");
	CHECK("\r", "[]");
	CHECK("a\n", "[a]");             /* and nothing is none */
	CHECK("1234567\n", "[1234567]"); /* exactly max, LF included */
	CHECK("123456\r\n", "[123456]");
	CHECK("1234567\nx\n", "[1234567][x]");
	CHECK("12345678\n", "!");
	CHECK("12345678", "!");
	CHECK("1234567\r\n", "!");
	CHECK("1234567", "[1234567]");
	CHECK("a\n12345678", "[a]!");
}

/* A second look with another maximum, and bytes taken by other means, find the LF all the same. */
static enum verdict mixed(const struct ev *ev, struct io *io)
{
	struct span line;

	if (ev->kind != EV_DATA)
		return toy_take(ev, io);
	if (in_line(io, 4, &line) == -EMSGSIZE) {
		in_take(io, 1);
		if (in_line(io, 100, &line) == 1)
			buf_addf(&said, "[%.*s]", (int)line.n, (const char *)line.p);
	}
	return V_GO;
}

static void what_was_searched_is_not_forgotten_wrongly(void **state)
{
	(void)state;
	start(mixed);
	memconn_sends(c, "12345678\n");
	assert_string_equal(buf_str(&said), "[2345678]");
}

/* Spans got before in_take() are good until the step returns, wherever the input is kept. */
static enum verdict keep_spans(const struct ev *ev, struct io *io)
{
	struct span v[3];

	if (ev->kind != EV_DATA || in_peek(io).n < 9)
		return ev->kind == EV_EOF ? V_CLOSE : V_GO;
	for (int i = 0; i < 3; i++)
		assert_int_equal(in_line(io, 10, &v[i]), 1);
	assert_int_equal(in_peek(io).n, 0);
	for (int i = 0; i < 3; i++)
		buf_add(&said, v[i].p, v[i].n);
	return V_GO;
}

static void spans_live_until_the_step_returns(void **state)
{
	(void)state;
	for (size_t k = 1; k <= 9; k++) {
		start(keep_spans);
		memconn_send(c, "ab\ncd\nef\n", 9, k);
		assert_string_equal(buf_str(&said), "abcdef");
		stop(NULL);
	}
	w = NULL;
}

/* ---- where the bytes are kept ---- */

static uint8_t bytes[300000];
static size_t seen;

/* Records of 1 + n bytes, n in the first. */
static enum verdict records(const struct ev *ev, struct io *io)
{
	struct span in;

	if (ev->kind != EV_DATA)
		return toy_take(ev, io);
	while ((in = in_peek(io)).n > 0 && in.n > in.p[0]) {
		for (size_t i = 1; i <= in.p[0]; i++)
			assert_int_equal(in.p[i], (uint8_t)(seen + i));
		seen++;
		in_take(io, 1 + (size_t)in.p[0]);
	}
	if (in.n)
		in_need(io, 1 + (size_t)in.p[0]);
	return V_GO;
}

static void parts_of_records_survive_every_reading(void **state)
{
	size_t n = 0, records_n = 0;

	(void)state;
	while (n + 256 < sizeof(bytes)) {
		size_t k = (records_n * 37) % 256;

		bytes[n++] = (uint8_t)k;
		for (size_t i = 1; i <= k; i++)
			bytes[n++] = (uint8_t)(records_n + i);
		records_n++;
	}
	for (size_t piece = 1; piece < 70000; piece = piece * 3 + 1) {
		start(records);
		toy.quiet = true;
		seen = 0;
		memconn_send(c, bytes, n, piece);
		assert_int_equal(seen, records_n);
		assert_null(memconn_sess(c)->in.p); /* all is taken: no memory is held */
		stop(NULL);
	}
	w = NULL;
}

/* Big input on its way out again is not copied; what the client does not take is. */
static void lent_output_is_right_with_every_window(void **state)
{
	static uint8_t big[200000];

	(void)state;
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = toy_byte(i);
	for (size_t win = 1; win < 300000; win = win * 2 + 777) {
		start(toy_echo);
		toy.quiet = true;
		memconn_window(c, win);
		memconn_send(c, big, sizeof(big), 30000);
		for (int i = 0; i < 500 && memconn_out(c).n < sizeof(big); i++)
			memconn_window(c, win + 500);
		assert_int_equal(memconn_out(c).n, sizeof(big));
		assert_memory_equal(memconn_out(c).p, big, sizeof(big));
		stop(NULL);
	}
	w = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_what_they_are),
		cmocka_unit_test_teardown(what_was_searched_is_not_forgotten_wrongly, stop),
		cmocka_unit_test_teardown(spans_live_until_the_step_returns, stop),
		cmocka_unit_test_teardown(parts_of_records_survive_every_reading, stop),
		cmocka_unit_test_teardown(lent_output_is_right_with_every_window, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
