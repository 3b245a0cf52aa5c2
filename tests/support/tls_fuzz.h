/*
 * tls_fuzz.h - TLS without chance, for fuzz targets and their seeds: all random numbers come from counters and the certificate is a
 * fixed one, so the same bytes always meet the same state, and a recorded conversation gets past the handshake as it did when it
 * was recorded.
 */
#pragma once
#include "base/span.h"
#include "layer/tls.h"

/* A certificate with its key, for fuzz.test and *.fuzz.test. */
struct span tls_fuzz_certificate(void);

enum { TLS_FUZZ_CLIENT = 1, TLS_FUZZ_ASK = 2 };

/*
 * The context for these flags: a client that trusts the certificate and shows it when asked, or a server with it, which asks for a client's
 * certificate or not. Made once; from the first call on OpenSSL's random numbers are fixed_bytes of the chosen stream.
 */
struct tls_ctx *tls_fuzz_context(unsigned flags);

void tls_fuzz_restart(void);      /* all streams of numbers from their start, stream 0 */
void tls_fuzz_stream(unsigned i); /* 0: the layer's; 1: its peer's */
