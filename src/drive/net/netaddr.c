/* netaddr.c - see netaddr.h. */
#include "drive/net/netaddr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/mem.h"

enum { ADDRESSES_MAX = 16 };

static void say(struct buf *why, const char *what, const char *name, const char *detail)
{
	if (why)
		buf_addf(why, "%s \"%s\"%s%s", what, name, detail ? ": " : "", detail ? detail : "");
}

static int socktype(const struct addr_text *a)
{
	if (a->transport == ADDR_UNIXSEQ)
		return SOCK_SEQPACKET;
	return addr_kinds[a->transport].flags & ADDR_F_DGRAM ? SOCK_DGRAM : SOCK_STREAM;
}

static bool host_is_numeric(const char *host)
{
	unsigned char b[16];
	char bare[ADDR_HOST_MAX + 1];

	snprintf(bare, sizeof(bare), "%s", host);
	bare[strcspn(bare, "%")] = '\0'; /* fe80::1%eth0 */
	return inet_pton(AF_INET, host, b) == 1 || inet_pton(AF_INET6, bare, b) == 1;
}

bool netaddr_is_numeric(const struct addr_text *a)
{
	if (!(addr_kinds[a->transport].flags & ADDR_F_NET))
		return true;
	return a->host[0] == '\0' || !strcmp(a->host, "*") || host_is_numeric(a->host);
}

static int resolve_unix(const struct addr_text *a, struct netaddr **ret, unsigned *ret_n, struct buf *why)
{
	struct netaddr *v;

	if (strlen(a->path) >= sizeof(v->un.sun_path)) {
		say(why, "path too long for a unix socket", a->path, NULL);
		return -ENAMETOOLONG;
	}
	v = mem_zalloc(sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->un.sun_family = AF_UNIX;
	memcpy(v->un.sun_path, a->path, strlen(a->path) + 1);
	v->n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(a->path) + 1);
	v->type = socktype(a);
	*ret = v;
	*ret_n = 1;
	return 0;
}

static int resolve_name(const struct addr_text *a, struct netaddr **ret, unsigned *ret_n)
{
	struct netaddr *v = mem_zalloc(sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->type = a->transport == ADDR_FIFO ? NETADDR_FIFO : NETADDR_QUEUE;
	memcpy(v->name.path, a->path, sizeof(v->name.path));
	*ret = v;
	*ret_n = 1;
	return 0;
}

/* The port in numbers, from /etc/services where it is a name. */
static int port_of(const struct addr_text *a, uint16_t *ret, struct buf *why)
{
	const char *proto = addr_kinds[a->transport].flags & ADDR_F_DGRAM ? "udp" : "tcp";
	struct servent se, *found = NULL;
	char tmp[1024];

	if (a->port >= 0) {
		*ret = (uint16_t)a->port;
		return 0;
	}
	if (getservbyname_r(a->service, proto, &se, tmp, sizeof(tmp), &found) != 0 || !found) {
		say(why, "no such service in /etc/services", a->service, NULL);
		return -ENOENT;
	}
	*ret = ntohs((uint16_t)found->s_port);
	return 0;
}

void netaddr_set_port(struct netaddr *v, uint16_t port)
{
	if (v->sa.sa_family == AF_INET6)
		((struct sockaddr_in6 *)&v->st)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)&v->st)->sin_port = htons(port);
}

static void add4(struct netaddr *v, unsigned *n, uint32_t host)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&v[*n].st;

	in->sin_family = AF_INET;
	in->sin_addr.s_addr = htonl(host);
	v[(*n)++].n = sizeof(*in);
}

static void add6(struct netaddr *v, unsigned *n, const struct in6_addr *host)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&v[*n].st;

	in6->sin6_family = AF_INET6;
	in6->sin6_addr = *host;
	v[(*n)++].n = sizeof(*in6);
}

/* No host and *: what these mean depends on which side we are. */
static unsigned fixed_hosts(const struct addr_text *a, enum tables_family family, bool listen, struct netaddr *v)
{
	bool any = a->host[0] == '*';
	unsigned n = 0;

	if (any && listen && family != FAMILY_4)
		add6(v, &n, &in6addr_any); /* dual-stack unless narrowed: one socket serves both */
	if (any && (!listen || family == FAMILY_4))
		add4(v, &n, listen ? INADDR_ANY : INADDR_LOOPBACK);
	if (!any && family != FAMILY_6)
		add4(v, &n, INADDR_LOOPBACK);
	if (!any && family != FAMILY_4)
		add6(v, &n, &in6addr_loopback);
	return n;
}

static int lookup(const struct addr_text *a, enum tables_family family, struct netaddr *v, unsigned *ret_n,
		  struct buf *why)
{
	static const int families[] = { [FAMILY_ANY] = AF_UNSPEC, [FAMILY_4] = AF_INET, [FAMILY_6] = AF_INET6 };
	struct addrinfo want = { .ai_family = families[family], .ai_socktype = socktype(a) }, *found = NULL;
	unsigned n = 0;
	int r;

	if (host_is_numeric(a->host))
		want.ai_flags = AI_NUMERICHOST;
	r = getaddrinfo(a->host, NULL, &want, &found);
	if (r != 0) {
		say(why, "cannot find host", a->host, gai_strerror(r));
		return r == EAI_MEMORY ? -ENOMEM : -ENXIO;
	}
	for (struct addrinfo *i = found; i && n < ADDRESSES_MAX; i = i->ai_next) {
		if (i->ai_family != AF_INET && i->ai_family != AF_INET6)
			continue;
		memcpy(&v[n].st, i->ai_addr, i->ai_addrlen);
		v[n++].n = i->ai_addrlen;
	}
	freeaddrinfo(found);
	if (n == 0) {
		say(why, "no address for host", a->host, NULL);
		return -ENXIO;
	}
	*ret_n = n;
	return 0;
}

int netaddr_resolve(const struct addr_text *a, enum tables_family family, bool listen, struct netaddr **ret,
		    unsigned *ret_n, struct buf *why)
{
	unsigned flags = addr_kinds[a->transport].flags, n = 0;
	struct netaddr *v;
	uint16_t port = 0;
	int r;

	if (a->transport == ADDR_UNIX || a->transport == ADDR_UNIXSEQ || a->transport == ADDR_UNIXGRAM)
		return resolve_unix(a, ret, ret_n, why);
	if (a->transport == ADDR_FIFO || a->transport == ADDR_MQ)
		return resolve_name(a, ret, ret_n);
	if (!(flags & ADDR_F_NET)) {
		say(why, "not an address of a socket", addr_kinds[a->transport].name, NULL);
		return -EAFNOSUPPORT;
	}
	r = port_of(a, &port, why);
	if (r < 0)
		return r;
	v = mem_zalloc(ADDRESSES_MAX * sizeof(*v));
	if (!v)
		return -ENOMEM;
	if (a->host[0] == '\0' || !strcmp(a->host, "*"))
		n = fixed_hosts(a, family, listen, v);
	else
		r = lookup(a, family, v, &n, why);
	if (r < 0) {
		mem_free(v);
		return r;
	}
	for (unsigned i = 0; i < n; i++) {
		v[i].type = socktype(a);
		v[i].v6only = family == FAMILY_6;
		netaddr_set_port(&v[i], port);
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

struct peer *netaddr_peer_again(struct peer *old, const struct sockaddr *sa, socklen_t n)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
	const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)sa;
	size_t path;

	switch (n ? sa->sa_family : AF_UNSPEC) {
	case AF_INET:
		return peer_again(old, PEER_IP4, &in->sin_addr, 4, ntohs(in->sin_port), 0);
	case AF_INET6:
		return peer_again(old, PEER_IP6, &in6->sin6_addr, 16, ntohs(in6->sin6_port), in6->sin6_scope_id);
	case AF_UNIX:
		path = n > offsetof(struct sockaddr_un, sun_path) ? n - offsetof(struct sockaddr_un, sun_path) : 0;
		if (path && un->sun_path[0])
			path = strnlen(un->sun_path, path);
		return peer_again(old, PEER_UNIX, un->sun_path, path, 0, 0);
	default:
		return peer_again(old, PEER_NONE, "", 0, 0, 0);
	}
}

struct peer *netaddr_peer(const struct sockaddr *sa, socklen_t n)
{
	return netaddr_peer_again(NULL, sa, n);
}

bool netaddr_of_peer(const struct peer *p, struct netaddr *ret)
{
	unsigned n = 0;
	struct in6_addr host;
	uint32_t host4;

	*ret = (struct netaddr){};
	if (!p)
		return false;
	switch ((enum peer_kind)p->kind) {
	case PEER_IP4:
		memcpy(&host4, p->b, 4);
		add4(ret, &n, ntohl(host4));
		break;
	case PEER_IP6:
		memcpy(&host, p->b, 16);
		add6(ret, &n, &host);
		((struct sockaddr_in6 *)&ret->st)->sin6_scope_id = p->scope;
		break;
	case PEER_UNIX:
		if (p->n == 0 || p->n > sizeof(ret->un.sun_path))
			return false;
		ret->un.sun_family = AF_UNIX;
		memcpy(ret->un.sun_path, p->b, p->n);
		ret->n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + p->n);
		if (p->b[0] && p->n < sizeof(ret->un.sun_path))
			ret->n++; /* the NUL of a path; of an abstract name each byte counts */
		return true;
	case PEER_NONE:
	case PEER_NAME:
		return false;
	}
	netaddr_set_port(ret, p->port);
	return true;
}

/* ---- which of them meet ---- */

enum { EVERY4 = 1, EVERY6 = 2 };

static const struct sockaddr_in *in4(const struct netaddr *v)
{
	return (const struct sockaddr_in *)&v->st;
}

static const struct sockaddr_in6 *in6(const struct netaddr *v)
{
	return (const struct sockaddr_in6 *)&v->st;
}

uint16_t netaddr_port(const struct netaddr *v)
{
	if (v->sa.sa_family == AF_INET)
		return ntohs(in4(v)->sin_port);
	return v->sa.sa_family == AF_INET6 ? ntohs(in6(v)->sin6_port) : 0;
}

bool netaddr_is_any(const struct netaddr *v)
{
	if (v->sa.sa_family == AF_INET)
		return in4(v)->sin_addr.s_addr == INADDR_ANY;
	return v->sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&in6(v)->sin6_addr);
}

/* The families that it takes whole; 0: it is one address. */
static unsigned whole(const struct netaddr *v)
{
	if (!netaddr_is_any(v))
		return 0;
	return v->sa.sa_family == AF_INET ? EVERY4 : v->v6only ? EVERY6 : EVERY4 | EVERY6;
}

static unsigned touched(const struct netaddr *v)
{
	unsigned all = whole(v);

	return all ? all : v->sa.sa_family == AF_INET ? EVERY4 : v->sa.sa_family == AF_INET6 ? EVERY6 : 0;
}

static bool same_door(const struct netaddr *a, const struct netaddr *b)
{
	if (*a->interface && *b->interface && strcmp(a->interface, b->interface) != 0)
		return false;
	return a->type == b->type && netaddr_port(a) == netaddr_port(b);
}

static bool same_host(const struct netaddr *a, const struct netaddr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return in4(a)->sin_addr.s_addr == in4(b)->sin_addr.s_addr;
	if (a->sa.sa_family == AF_INET6)
		return IN6_ARE_ADDR_EQUAL(&in6(a)->sin6_addr, &in6(b)->sin6_addr) &&
		       in6(a)->sin6_scope_id == in6(b)->sin6_scope_id;
	if (a->type >= NETADDR_FIFO)
		return strcmp(a->name.path, b->name.path) == 0;
	return a->sa.sa_family == AF_UNIX && strcmp(a->un.sun_path, b->un.sun_path) == 0;
}

static bool covers_host(const struct netaddr *a, const struct netaddr *b)
{
	unsigned all = whole(a);

	if (!all)
		return same_host(a, b) && !whole(b);
	return touched(b) && !(touched(b) & ~all);
}

bool netaddr_same(const struct netaddr *a, const struct netaddr *b)
{
	return same_door(a, b) && same_host(a, b) && whole(a) == whole(b) && strcmp(a->interface, b->interface) == 0;
}

bool netaddr_covers(const struct netaddr *a, const struct netaddr *b)
{
	return same_door(a, b) && (!*a->interface || *b->interface) && covers_host(a, b);
}

bool netaddr_overlaps(const struct netaddr *a, const struct netaddr *b)
{
	return same_door(a, b) && (covers_host(a, b) || covers_host(b, a) || whole(a) & whole(b));
}
