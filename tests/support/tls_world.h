/*
 * tls_world.h - OpenSSL as the client or server at the other end of a memory connection (drive/mem.h): real sessions of the core with
 * the TLS layer on them. Certificates and contexts come from tls_peer.h.
 *
 *	c = memconn_open(w, &(struct mem_open){ .layer = &tls_server_layer, .layer_arg = tls_arg_new(ctx, NULL) });
 *	end_init(&e, tls_fix.client_ssl[1], true);
 *	tls_carry(c, &e, 0);
 */
#pragma once
#include "drive/mem.h"
#include "support/tls_peer.h"

/* Carries bytes both ways, in pieces of at most `piece` to the session, until nothing moves. `c` may be NULL. */
void tls_carry(struct memconn *c, struct peer_end *e, size_t piece);

void tls_say(struct memconn *c, struct peer_end *e, const char *text); /* writes, when it is up, and carries */
void tls_bye(struct memconn *c, struct peer_end *e);                   /* close_notify, carried, then FIN */

/* It got exactly this since the last look, and forgets it. */
bool tls_heard(struct peer_end *e, const char *text);

/*
 * Faults for the sessions but not for OpenSSL at the other end: what calls into the world stands between tls_faults_on() and
 * tls_faults_off(), as tls_carry() and its friends do by themselves. The nth allocation since tls_faults() fails; 0 = none.
 */
void tls_faults(unsigned long nth);
void tls_faults_on(void);
void tls_faults_off(void);
unsigned long tls_faults_seen(void); /* allocations since tls_faults() */
