/*
 * fuzz_proxy.c - a stranger's bytes as a PROXY header, and what follows it through a session. Input: one byte (how many
 * bytes a read gives, 0 = all at once), then what the peer sends.
 */
#include <stdlib.h>
#include <string.h>

#include "drive/mem.h"
#include "layer/proxy.h"
#include "proto/protos.h"
#include "support/fuzz.h"

#define MUST(x) ((x) ? (void)0 : abort())

/* The first bytes decide: what is a header stays one whatever follows, what is none does not become one. */
static ssize_t check_parse(struct span s)
{
	struct proxy_header h, again;
	const char *why = NULL;
	ssize_t whole = proxy_parse(s, &h, &why);

	MUST(whole <= (ssize_t)s.n && (whole > 0 || why));
	for (size_t n = 0; n < s.n; n += 1 + n / 16) {
		ssize_t r = proxy_parse((struct span){ s.p, n }, &again, &why);

		MUST(r == 0 || r == whole);
		MUST(r <= 0 || (memcmp(&h, &again, sizeof(h)) == 0 && whole <= (ssize_t)n));
	}
	return whole;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct memdrive *w;
	struct memconn *c;
	ssize_t header;

	if (n == 0)
		return 0;
	header = check_parse((struct span){ p + 1, n - 1 });
	MUST(memdrive_new(&(struct mem_setup){ .proto = &echo_proto, .input = 1 << 20 }, &w, NULL) == 0);
	c = memconn_open(w, &(struct mem_open){ .layer = &proxy_layer });
	MUST(c);
	memconn_send(c, p + 1, n - 1, p[0]);
	if (header > 0) {
		struct span rest = { p + 1 + header, n - 1 - (size_t)header };

		MUST(memconn_out(c).n == rest.n && (rest.n == 0 || memcmp(memconn_out(c).p, rest.p, rest.n) == 0));
	} else {
		MUST(memconn_out(c).n == 0);
		memconn_eof(c);
		MUST(memconn_end(c) == MEM_CLOSED || memconn_end(c) == MEM_ABORTED);
	}
	MUST(memdrive_stat(w, STAT_PROXIED) == (header > 0));
	memdrive_free(&w);
	return 0;
}
