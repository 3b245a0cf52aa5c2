/*
 * fuzz_protos.c - any protocol with any options: it opens or says why not, and then serves. Here above all for those without a target
 * of their own, which read little or nothing: chargen, daytime, discard, qotd, time.
 *
 * The first byte: which protocol. Four bytes as in support/fuzz.h. Lines `NAME=VALUE`, ended by an empty one. Then what is said.
 */
#include <errno.h>
#include <stdlib.h>

#include "proto/protos.h"
#include "support/fuzz.h"
#include "support/world.h"

enum {
	LINES = 4,
	HEAD = 4, /* of support/fuzz.h */
	SLOW = 128,
	TEXT = 2048,
	BYTES = 1 << 15,
};

static const struct proto *choose(uint8_t b)
{
	size_t n = 0;

	while (protos[n])
		n++;
	return protos[b % n];
}

/* Cuts `text` into pairs for world_try_open(); returns what is behind the empty line. */
static char *cut_options(char *text, const char *pairs[2 * LINES + 2])
{
	for (int i = 0; i < LINES && *text && *text != '\n'; i++) {
		size_t n = strcspn(text, "\n");
		char *end = text + n, *value = memchr(text, '=', n);

		if (!value)
			break;
		*value = '\0';
		*pairs++ = text;
		*pairs++ = value + 1;
		text = *end ? end + 1 : end;
		*end = '\0';
	}
	return *text == '\n' ? text + 1 : text;
}

/* True: it opens. */
static bool opens(const struct proto *proto, const char *const *pairs)
{
	BUF_AUTO struct buf why;
	struct world w;
	int r;

	buf_init(&why, 1 << 16);
	r = world_try_open(&w, proto, NULL, pairs, &why);
	world_close(&w);
	if (r < 0 && r != -ENOENT && why.n == 0)
		abort();
	return r == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t said[HEAD + BYTES];
	const char *pairs[2 * LINES + 2] = {};
	const struct proto *proto;
	char text[TEXT + 1];
	size_t n, used;

	if (size < 1 + HEAD || size > BYTES)
		return 0;
	proto = choose(data[0]);
	memcpy(said, data + 1, HEAD);
	data += 1 + HEAD;
	size -= 1 + HEAD;
	if (proto == &chargen_proto)
		said[3] |= SLOW; /* it would never be at rest */
	n = size < TEXT ? size : TEXT;
	memcpy(text, data, n);
	text[n] = '\0';
	used = (size_t)(cut_options(text, pairs) - text);
	if (!opens(proto, pairs))
		return 0;
	said[0] = 0;
	memcpy(said + HEAD, data + used, size - used);
	fuzz_talk(proto, (const char *const *const[]){ pairs }, 1, said, HEAD + size - used);
	return 0;
}
