/* tls_fuzz.c - see tls_fuzz.h. */
#define OPENSSL_SUPPRESS_DEPRECATED /* RAND_METHOD */
#include "support/tls_fuzz.h"

#include <openssl/rand.h>
#include <stdlib.h>

#define MUST(x) ((x) ? (void)0 : abort())

static const char certificate[] = "-----BEGIN CERTIFICATE-----\n"
				  "MIIBQjCB6KADAgECAgEBMAoGCCqGSM49BAMCMA8xDTALBgNVBAMMBGZ1enowIBcN\n"
				  "MjUxMDE3MTIxMzM5WhgPMjEyNjEwMjgxMjEzMzlaMA8xDTALBgNVBAMMBGZ1enow\n"
				  "WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQ4nnfeRzl/pMfeq5YRb4Ut23jeZGwe\n"
				  "W26BBo8VJeTT4DzYJRJAy9z99wdNiV6WDVgtIrYP9MJX/nVjnrXEYwEeozMwMTAM\n"
				  "BgNVHRMBAf8EAjAAMCEGA1UdEQQaMBiCCWZ1enoudGVzdIILKi5mdXp6LnRlc3Qw\n"
				  "CgYIKoZIzj0EAwIDSQAwRgIhALNnl4k6lO523POWw5lI2/Oth4bDbnolsQbuPD5g\n"
				  "6ch2AiEA4GJrYNesPNqUSNb/UlL/gCT+2iIS8JFGHih06VGyhjU=\n"
				  "-----END CERTIFICATE-----\n"
				  "-----BEGIN PRIVATE KEY-----\n"
				  "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgf7DVAJJ9+0y7pb1V\n"
				  "joP0wC03lrd3lzSdvupiAgPe9KehRANCAAQ4nnfeRzl/pMfeq5YRb4Ut23jeZGwe\n"
				  "W26BBo8VJeTT4DzYJRJAy9z99wdNiV6WDVgtIrYP9MJX/nVjnrXEYwEe\n"
				  "-----END PRIVATE KEY-----\n";

/* ---- random numbers that are not ---- */

static uint64_t counters[2];
static unsigned stream;

static int fixed_bytes(unsigned char *p, int n)
{
	for (int i = 0; i < n; i++) {
		uint64_t x = (++counters[stream] + (uint64_t)stream * 1000003) * 0x9e3779b97f4a7c15u;

		x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
		p[i] = (unsigned char)(x >> 37);
	}
	return 1;
}

static int seeded(void)
{
	return 1;
}

void tls_fuzz_restart(void)
{
	counters[0] = counters[1] = 0;
	stream = 0;
}

void tls_fuzz_stream(unsigned i)
{
	stream = i;
}

/* ---- the contexts ---- */

struct span tls_fuzz_certificate(void)
{
	return span_str(certificate);
}

static struct tls_ctx *make_context(unsigned flags)
{
	static const char *const alpn[] = { "mqtt", "h2", NULL };
	struct tls_identity id = { .certificate = span_str(certificate) };
	struct tls_name name = { "*.fuzz.test", id };
	struct tls_setup setup = { .client = flags & TLS_FUZZ_CLIENT, .id = id, .ca = id.certificate, .alpn = alpn };
	struct tls_ctx *ctx = NULL;
	struct buf why;

	if (!setup.client) {
		setup.names = &name;
		setup.names_n = 1;
		setup.ask = flags & TLS_FUZZ_ASK ? TLS_ASK_OPTIONAL : TLS_ASK_NONE;
	}
	buf_init(&why, 500);
	MUST(tls_ctx_new(&setup, &ctx, &why) == 0);
	buf_done(&why);
	return ctx;
}

struct tls_ctx *tls_fuzz_context(unsigned flags)
{
	static const RAND_METHOD method = { .bytes = fixed_bytes, .pseudorand = fixed_bytes, .status = seeded };
	static struct tls_ctx *contexts[4];

	if (!contexts[0]) {
		MUST(RAND_set_rand_method(&method) == 1);
		for (unsigned i = 0; i < 4; i++)
			contexts[i] = make_context(i);
	}
	return contexts[flags & 3];
}
