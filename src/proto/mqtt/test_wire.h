/* test_wire.h - packets for the tests of the codec: a first byte and a body, whose length is put between them. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/mqtt/test_wire_any.h"
#include "proto/mqtt/write.h"

#define SPAN(text) ((struct span){ (const uint8_t *)(text), sizeof(text) - 1 })
#define COUNT(v) (sizeof(v) / sizeof((v)[0]))

enum { C = MQTT_FROM_CLIENT, S = MQTT_FROM_SERVER };

/* Returns 0 or the reason code; the frame points into a static array. */
static inline int make_frame(unsigned version, unsigned from, unsigned first, struct span body, struct mqtt_frame *ret,
			     const char **ret_why)
{
	static uint8_t bytes[100000];
	size_t n = 0, v = body.n;
	int r;

	assert_true(body.n + 5 < sizeof(bytes));
	bytes[n++] = (uint8_t)first;
	for (; v > 127; v >>= 7)
		bytes[n++] = (uint8_t)(0x80 | (v & 0x7f));
	bytes[n++] = (uint8_t)v;
	if (body.n)
		memcpy(bytes + n, body.p, body.n);
	r = mqtt_frame((struct mqtt_form){ (uint8_t)version, (uint8_t)from }, (struct span){ bytes, n + body.n },
		       sizeof(bytes), ret, ret_why);
	assert_int_not_equal(r, 0);
	return r < 0 ? -r : 0;
}

struct judged {
	unsigned version, from, first;
	struct span body;
	unsigned code;   /* 0 = it is good */
	const char *why; /* or, when it is good, its description */
};

static inline void judge(const struct judged *row, size_t i)
{
	char text[1000];
	struct mqtt_frame f;
	union any any;
	const char *why = "";
	struct buf b;
	int code = make_frame(row->version, row->from, row->first, row->body, &f, &why);

	buf_init_fixed(&b, text, sizeof(text));
	if (code == 0) {
		code = parse_any(&f, &any, &why);
		mqtt_describe(&f, &b);
	}
	if ((unsigned)code != row->code || strcmp(code ? why : text, row->why) != 0)
		fail_msg("row %zu: 0x%02x %s: %s", i, (unsigned)code, code ? why : "good", text);
	/* cut short it is never read past its end (the sanitizer would say), and mostly refused */
	for (size_t n = 0; n < row->body.n; n++) {
		uint8_t *exact = test_malloc(n + 1);

		memcpy(exact, row->body.p, n);
		if (make_frame(row->version, row->from, row->first, (struct span){ exact, n }, &f, &why) == 0) {
			f.body.p = exact;
			(void)!parse_any(&f, &any, &why);
		}
		test_free(exact);
	}
}

static inline void judge_all(const struct judged *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		judge(&rows[i], i);
}
