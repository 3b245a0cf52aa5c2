/*
 * fuzz_relay.c - two sides that speak, end and break in any order; or, when the first byte is odd, the text of the option `to`.
 */
#include <stdlib.h>

#include "proto/protos.h"
#include "support/fuzz.h"
#include "support/world.h"

/* Whatever the text is, the service opens or says why not. */
static void open_with(const uint8_t *data, size_t size)
{
	char text[512];
	const char *const options[] = { "to", text, NULL, NULL };
	BUF_AUTO struct buf why;
	struct world w;
	size_t n = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	int r;

	memcpy(text, data, n);
	text[n] = '\0';
	buf_init(&why, 4096);
	r = world_try_open(&w, &relay_proto, NULL, options, &why);
	if (r == 0) {
		struct memconn *c = memconn_open(w.drive, NULL);

		if (!c || memdrive_children(w.drive) != 1)
			abort();
	} else if (why.n == 0) {
		abort();
	}
	world_close(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const to[] = { "to", "tcp:192.0.2.7:25", NULL, NULL };

	if (size && data[0] & 1)
		open_with(data + 1, size - 1);
	else
		fuzz_talk(&relay_proto, (const char *const *const[]){ to }, 1, data, size);
	return 0;
}
