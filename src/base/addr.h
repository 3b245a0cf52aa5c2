/*
 * addr.h - the text of an address, `TRANSPORT:REST`, parsed and printed. One grammar for `listen =`, `guichet serve
 * SERVICE@ADDRESS` and `guichet connect ADDRESS`. No sockets and no look-ups here: drive turns it into a sockaddr.
 *
 *	tcp:7007  tcp:*:7007  tcp:127.0.0.1:7007  tcp:[::1]:7007  tcp:example.org:echo      also udp: tls: ws: wss:
 *	ws:9001/chat  wss:example.org:443/mqtt      behind the port the request target (client); none = /
 *	unix:PATH  unixseq:PATH  unixgram:PATH  fifo:PATH  mq:/NAME  stdio:  fd:3
 *
 * No host is loopback, both families. `*` is every address (meaningful for a listener only). A port is a number or a
 * name of /etc/services.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum addr_transport {
	ADDR_TCP,
	ADDR_UDP,
	ADDR_TLS,
	ADDR_UNIX,
	ADDR_UNIXSEQ,
	ADDR_UNIXGRAM,
	ADDR_FIFO,
	ADDR_MQ,
	ADDR_STDIO,
	ADDR_FD,
	ADDR_WS,
	ADDR_WSS,
	ADDR_TRANSPORTS,
};

enum {
	ADDR_F_STREAM = 1 << 0, /* a conversation: bytes in order, both ways */
	ADDR_F_DGRAM = 1 << 1,  /* one message, one answer */
	ADDR_F_SECURE = 1 << 2, /* TLS below */
	ADDR_F_NET = 1 << 3,    /* host and port; otherwise see PATH and FD */
	ADDR_F_PATH = 1 << 4,   /* a path of the file system */
	ADDR_F_WEB = 1 << 5,    /* WebSocket: may have a request target */
	ADDR_F_FD = 1 << 6,     /* a descriptor we were born with; a stream or not, drive asks the kernel */
};

struct addr_kind {
	const char *name; /* "tcp" */
	unsigned flags;   /* ADDR_F_* */
	const char *form; /* "tcp:[HOST:]PORT" */
	const char *help; /* one line, no full stop */
};

/* In the order of enum addr_transport; `guichet help addresses` prints it. */
extern const struct addr_kind addr_kinds[ADDR_TRANSPORTS];

#define ADDR_HOST_MAX 253 /* a name's dots included */
#define ADDR_SERVICE_MAX 63
#define ADDR_PATH_MAX 511 /* fifo and request targets; 107 for unix sockets, 255 for a queue's name */
#define ADDR_UNIX_MAX 107 /* sun_path without its NUL */
#define ADDR_TEXT_MAX (ADDR_HOST_MAX + ADDR_SERVICE_MAX + ADDR_PATH_MAX + 16) /* of what addr_format() adds */
#define ADDR_FD_MAX 1048575
#define ADDR_MQ_MAX 255 /* with its slash */

/* Plain data, copied by assignment, compared by addr_equal(). Unused fields are zero. */
struct addr_text {
	enum addr_transport transport;
	int port;                     /* 0 (the system picks) .. 65535; -1 = look up `service` */
	int fd;                       /* ADDR_FD: the number */
	char host[ADDR_HOST_MAX + 1]; /* "" = loopback, "*" = every address, else a name or address, no brackets */
	char service[ADDR_SERVICE_MAX + 1]; /* "" unless port is -1 */
	char path[ADDR_PATH_MAX + 1];       /* unix*, fifo: a path; mq: "/name"; ws: the request target, "" = none */
};

/*
 * Parse. Returns 0, or -EINVAL with one sentence in `why` (no full stop, no line end) that says what is wrong and,
 * where it can be guessed, the right form: unknown transport "tpc", did you mean "tcp"?
 * `why` may be NULL. No allocation but in `why`.
 */
[[nodiscard]] int addr_parse(const char *text, struct addr_text *ret, struct buf *why);

/* Adds the canonical text; parsing it gives an equal address. */
void addr_format(const struct addr_text *a, struct buf *b);

bool addr_equal(const struct addr_text *a, const struct addr_text *b);

static inline unsigned addr_flags(const struct addr_text *a)
{
	return addr_kinds[a->transport].flags;
}

static inline bool addr_is_dgram(const struct addr_text *a)
{
	return addr_flags(a) & ADDR_F_DGRAM;
}

static inline bool addr_is_secure(const struct addr_text *a)
{
	return addr_flags(a) & ADDR_F_SECURE;
}

static inline bool addr_is_net(const struct addr_text *a)
{
	return addr_flags(a) & ADDR_F_NET;
}

static inline bool addr_is_path(const struct addr_text *a)
{
	return addr_flags(a) & ADDR_F_PATH;
}

/* Text of an IPv4 (a.b.c.d) or IPv6 address, without brackets; a zone (%eth0) is allowed after IPv6. */
bool addr_is_ipv4(const char *s);
bool addr_is_ipv6(const char *s);

/* Their bytes in network order, of a text without a zone; false, and nothing written, when it is none. */
bool addr_ipv4_bytes(const char *s, uint8_t ret[static 4]);
bool addr_ipv6_bytes(const char *s, uint8_t ret[static 16]);

/*
 * Makes a relative path of a unix or fifo address start at `dir` ("" and "." change nothing); any other address is
 * left alone. 0, or -ENAMETOOLONG with a sentence in `why`: the address is then unchanged.
 */
[[nodiscard]] int addr_rebase(struct addr_text *a, const char *dir, struct buf *why);

/* Several, separated by white space; quotes as in str.h. */
struct addr_list {
	struct addr_text *v;
	size_t n;
};

/*
 * 0; -EINVAL with a line in `why` for each word that is wrong (also for two that want the same port or path); -E2BIG for
 * more than `max`, in `why` too; -ENOMEM. The caller frees *ret with addr_list_done(). An empty text is an empty list.
 */
[[nodiscard]] int addr_list_parse(const char *text, size_t max, struct addr_list *ret, struct buf *why);
void addr_list_done(struct addr_list *l);
void addr_list_format(const struct addr_list *l, struct buf *b);
/* Two that cannot be listened on together: the same port of the same kind of socket, or the same name in the file system. */
bool addr_conflict(const struct addr_text *a, const struct addr_text *b);
bool addr_list_equal(const struct addr_list *a, const struct addr_list *b);
