/*
 * memaddr.c - addresses as a test writes them, "192.0.2.1:53", "[2001:db8::1]:25", "/path", "name", and back. All by way of
 * base/addr.h and struct peer, so that a datagram's route and a connection's peer cannot differ in what they take.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/peer.h"
#include "drive/mem_priv.h"
#include "drive/net/netaddr.h"

struct peer *mem_peer(struct memdrive *w, const char *text)
{
	char tcp[PEER_TEXT + 8];
	struct addr_text a;
	uint8_t b[16];

	if (!text)
		return peer_new(PEER_IP4, (const uint8_t[]){ 127, 0, 0, 1 }, 4, w->next_port++, 0);
	if (*text == '/')
		return peer_new(PEER_UNIX, text, strlen(text), 0, 0);
	snprintf(tcp, sizeof(tcp), "tcp:%s", text);
	if (addr_parse(tcp, &a, NULL) == 0 && a.port >= 0) {
		if (inet_pton(AF_INET, a.host, b) == 1)
			return peer_new(PEER_IP4, b, 4, (uint16_t)a.port, 0);
		if (inet_pton(AF_INET6, a.host, b) == 1)
			return peer_new(PEER_IP6, b, 16, (uint16_t)a.port, 0);
	}
	return peer_new(PEER_NAME, text, strlen(text), 0, 0);
}

int mem_route(struct memdrive *w, const char *text, bool proven, struct route *ret)
{
	struct peer *peer = NULL;
	struct netaddr addr;
	bool ok;

	for (int i = 0; i < MEM_TRIES && !peer; i++)
		peer = mem_peer(w, text);
	if (!peer)
		return -ENOMEM;
	ok = netaddr_of_peer(peer, &addr) && addr.n <= sizeof(ret->sa);
	peer_unref(peer);
	if (!ok)
		return -EINVAL;
	*ret = (struct route){ .proven = proven, .n = (uint8_t)addr.n };
	memcpy(ret->sa, &addr.st, addr.n);
	return 0;
}

void mem_route_text(const struct route *r, char *ret, size_t size)
{
	struct sockaddr_storage sa = {};
	struct peer *peer = NULL;
	char text[PEER_TEXT];

	memcpy(&sa, r->sa, r->n);
	for (int i = 0; i < MEM_TRIES && !peer; i++)
		peer = netaddr_peer((const struct sockaddr *)&sa, r->n);
	snprintf(ret, size, "%.*s", (int)size - 1, peer && r->n ? peer_text(peer, text) : "");
	peer_unref(peer);
}
