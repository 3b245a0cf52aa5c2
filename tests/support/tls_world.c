/* tls_world.c - see tls_world.h. */
#include "support/tls_world.h"

#include <stdlib.h>

#include "base/fault.h"
#include "base/mem.h"

static struct {
	unsigned long nth, seen;
} faults;

void tls_faults(unsigned long nth)
{
	faults.nth = nth;
	faults.seen = 0;
}

void tls_faults_on(void)
{
#ifdef GUICHET_FAULTS
	fault_arm(FAULT_MEM, faults.nth > faults.seen ? faults.nth - faults.seen : 0, 0, false);
#endif
}

void tls_faults_off(void)
{
#ifdef GUICHET_FAULTS
	faults.seen += fault_calls(FAULT_MEM);
	fault_arm(FAULT_MEM, 0, 0, false);
#endif
}

unsigned long tls_faults_seen(void)
{
	return faults.seen;
}

void tls_carry(struct memconn *c, struct peer_end *e, size_t piece)
{
	uint8_t p[20000];
	struct span out;
	size_t n;

	for (bool moved = true; c && moved;) {
		moved = false;
		end_read(e);
		while ((n = end_take(e, p, sizeof(p))) > 0) {
			moved = true;
			tls_faults_on();
			memconn_send(c, p, n, piece);
			tls_faults_off();
		}
		out = memconn_out(c);
		if (out.n) {
			moved = true;
			if (BIO_write(e->in, out.p, (int)out.n) != (int)out.n)
				abort();
			memconn_take(c, SIZE_MAX);
		}
	}
}

void tls_say(struct memconn *c, struct peer_end *e, const char *text)
{
	if (SSL_is_init_finished(e->ssl) && !e->error && !e->ended)
		(void)SSL_write(e->ssl, text, (int)strlen(text));
	tls_carry(c, e, 0);
}

void tls_bye(struct memconn *c, struct peer_end *e)
{
	if (SSL_is_init_finished(e->ssl) && !e->error)
		(void)SSL_shutdown(e->ssl);
	tls_carry(c, e, 0);
	if (!c)
		return;
	tls_faults_on();
	memconn_eof(c);
	tls_faults_off();
	tls_carry(c, e, 0);
}

bool tls_heard(struct peer_end *e, const char *text)
{
	bool same = e->got.n == strlen(text) && memcmp(e->got.p, text, e->got.n) == 0;

	bytes_drop(&e->got, e->got.n);
	return same;
}
