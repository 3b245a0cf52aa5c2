/*
 * fuzz_echo.c - what echo answers, against a second and slower way to say what it should: in one loop over all that the
 * client said, without events, queues or pieces. When the first byte is 255 it is a conversation of several clients instead.
 */
#include <stdlib.h>

#include "proto/protos.h"
#include "support/fuzz.h"
#include "support/world.h"

enum { UPPER = 1, SUCCESSOR = 2, REPLY = 4, UNTIL = 8, LINE = 64 << 10 };

static const char until[] = "fin", before[] = "%<", after[] = ">%";

/* What is expected; born large enough for any input of a fuzzer. */
static struct {
	uint8_t p[8 << 20];
	size_t n;
	bool over; /* the conversation was ended by the server */
} want;

static void add(const void *p, size_t n)
{
	if (want.n + n > sizeof(want.p))
		abort();
	memcpy(want.p + want.n, p, n);
	want.n += n;
}

static void add_changed(unsigned how, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t c = (uint8_t)(p[i] + (how & SUCCESSOR ? 1 : 0));

		if (how & UPPER && c >= 'a' && c <= 'z')
			c = (uint8_t)(c - 32);
		add(&c, 1);
	}
}

static void add_line(unsigned how, const uint8_t *p, size_t n, size_t end)
{
	if (n > LINE) {
		static const char text[] = "error: a line may have at most 65536 bytes\n";

		add(text, sizeof(text) - 1);
		want.over = true;
	} else if (how & UNTIL && n == strlen(until) && memcmp(p, until, n) == 0) {
		want.over = true;
	} else {
		add(before, how & REPLY ? strlen(before) : 0);
		add_changed(how, p, n);
		add(after, how & REPLY ? strlen(after) : 0);
		add(p + n, end);
	}
}

static void expect(unsigned how, const uint8_t *p, size_t n)
{
	want.n = 0;
	want.over = false;
	if (!(how & (UPPER | REPLY | UNTIL))) {
		add_changed(how, p, n);
		return;
	}
	while (n && !want.over) {
		const uint8_t *lf = memchr(p, '\n', n);
		size_t whole = lf ? (size_t)(lf - p) + 1 : n, end = lf ? 1 : 0;

		/* one CR before the LF, or before the end of the conversation, does not belong to the line */
		if (whole > end && p[whole - end - 1] == '\r')
			end++;
		add_line(how, p, whole - end, end);
		p += whole;
		n -= whole;
	}
}

static void compare(unsigned how, size_t piece, const uint8_t *p, size_t n)
{
	const char *options[10] = {}, **o = options;
	struct memconn *c;
	struct span out;
	struct world w;

	*o++ = "upper", *o++ = how & UPPER ? "yes" : "no";
	*o++ = "successor", *o++ = how & SUCCESSOR ? "yes" : "no";
	if (how & REPLY)
		*o++ = "reply", *o++ = "%%<%s>%%";
	if (how & UNTIL)
		*o++ = "until", *o++ = until;
	if (world_try_open(&w, &echo_proto, NULL, options, NULL) < 0 || !(c = memconn_open(w.drive, NULL)))
		abort();
	memconn_reads(c, piece);
	memconn_writes(c, piece);
	memconn_send(c, p, n, piece);
	memconn_eof(c);
	out = memconn_out(c);
	expect(how, p, n);
	if (out.n != want.n || (out.n && memcmp(out.p, want.p, out.n) != 0) || memconn_end(c) != MEM_CLOSED)
		abort();
	world_close(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const banner[] = { "banner", "hi", "reply", "%s%%", NULL, NULL };

	if (size < 2)
		return 0;
	if (data[0] == 255)
		fuzz_talk(&echo_proto, (const char *const *const[]){ NULL, banner }, 2, data + 1, size - 1);
	else
		compare(data[0] & 15, data[1], data + 2, size - 2);
	return 0;
}
