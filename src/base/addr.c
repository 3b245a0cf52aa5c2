/*
 * addr.c - the grammar of addresses. Parsing goes down by transport; every refusal writes the sentence that the user
 * reads, with the right form where it can be guessed.
 */
#include "base/addr.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

#define STREAM_NET (ADDR_F_STREAM | ADDR_F_NET)

const struct addr_kind addr_kinds[ADDR_TRANSPORTS] = {
	[ADDR_TCP] = { "tcp", STREAM_NET, "tcp:[HOST:]PORT", "TCP; no host is loopback, * is every address" },
	[ADDR_UDP] = { "udp", ADDR_F_DGRAM | ADDR_F_NET, "udp:[HOST:]PORT", "UDP datagrams" },
	[ADDR_TLS] = { "tls", STREAM_NET | ADDR_F_SECURE, "tls:[HOST:]PORT", "TLS over TCP" },
	[ADDR_UNIX] = { "unix", ADDR_F_STREAM | ADDR_F_PATH, "unix:PATH", "unix stream socket" },
	[ADDR_UNIXSEQ] = { "unixseq", ADDR_F_STREAM | ADDR_F_PATH, "unixseq:PATH",
			   "unix seqpacket socket; record edges are not kept" },
	[ADDR_UNIXGRAM] = { "unixgram", ADDR_F_DGRAM | ADDR_F_PATH, "unixgram:PATH", "unix datagram socket" },
	[ADDR_FIFO] = { "fifo", ADDR_F_STREAM | ADDR_F_PATH, "fifo:PATH",
			"named pipe where clients announce their own two pipes" },
	[ADDR_MQ] = { "mq", ADDR_F_DGRAM, "mq:/NAME", "POSIX message queue; the first word names the reply queue" },
	[ADDR_STDIO] = { "stdio", ADDR_F_STREAM,
			 "stdio:", "one conversation on standard input and output, as inetd gives it" },
	[ADDR_FD] = { "fd", ADDR_F_FD, "fd:NUMBER", "descriptor inherited from whoever started the program" },
	[ADDR_WS] = { "ws", STREAM_NET | ADDR_F_WEB, "ws:[HOST:]PORT[/TARGET]", "WebSocket over TCP" },
	[ADDR_WSS] = { "wss", STREAM_NET | ADDR_F_WEB | ADDR_F_SECURE, "wss:[HOST:]PORT[/TARGET]",
		       "WebSocket over TLS" },
};

/* A piece of the text being parsed. */
static struct span piece(const char *from, const char *to)
{
	return (struct span){ (const uint8_t *)from, (size_t)(to - from) };
}

/* May it stand in a message as it is, to be copied from there? Other text is shown by buf_add_excerpt(). */
static bool is_plain(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\')
			return false;
	return s.n <= BUF_EXCERPT;
}

static void copy_piece(char *to, struct span s)
{
	memcpy(to, s.p, s.n);
	to[s.n] = '\0';
}

/* ---- host and port ---- */

static bool all_digits(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!str_is_digit((char)s.p[i]))
			return false;
	return s.n > 0;
}

/* Labels of letters, digits, - and _, at most 63 bytes each; a dot may end the name. */
static bool is_host_name(struct span s)
{
	size_t label = 0;

	if (s.n > ADDR_HOST_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		char c = str_lower((char)s.p[i]);

		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
		} else if (str_is_digit(c) || (c >= 'a' && c <= 'z') || c == '_' || (c == '-' && label > 0)) {
			if (++label > 63)
				return false;
		} else {
			return false;
		}
	}
	return s.n > 0;
}

/* Nothing but digits and dots: meant as an IPv4 address. */
static bool looks_like_ipv4(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!str_is_digit((char)s.p[i]) && s.p[i] != '.')
			return false;
	return s.n > 0;
}

static int set_host(struct span s, struct addr_text *a, struct buf *why)
{
	if (!span_is(s, "*") && !is_host_name(s)) {
		buf_add_excerpt(why, s);
		buf_adds(why, " is not a host name or an address");
		return -EINVAL;
	}
	copy_piece(a->host, s);
	for (char *p = a->host; *p; p++)
		*p = str_lower(*p);
	if (looks_like_ipv4(s) && !addr_is_ipv4(a->host)) {
		buf_add_excerpt(why, s);
		buf_adds(why, " is not an IPv4 address: four numbers, 0 to 255, no leading zeros");
		return -EINVAL;
	}
	return 0;
}

/* As /etc/services has them: letters, digits and a few marks, at least one letter. */
static bool is_service_name(struct span s)
{
	bool letter = false;

	for (size_t i = 0; i < s.n; i++) {
		char c = str_lower((char)s.p[i]);
		bool is_letter = c >= 'a' && c <= 'z';

		if (!is_letter && !str_is_digit(c) && (c == '\0' || !strchr("-_.+", c)))
			return false;
		letter |= is_letter;
	}
	return letter && s.n <= ADDR_SERVICE_MAX;
}

static int set_port(struct span s, struct addr_text *a, struct buf *why)
{
	unsigned v = 0;

	if (all_digits(s)) {
		for (size_t i = 0; i < s.n && v <= 65535; i++)
			v = v * 10 + (unsigned)(s.p[i] - '0');
		if (v <= 65535) {
			a->port = (int)v;
			return 0;
		}
		buf_adds(why, "port ");
		buf_add_excerpt(why, s);
		buf_adds(why, " is too large, 0 to 65535");
		return -EINVAL;
	}
	if (!is_service_name(s)) {
		buf_add_excerpt(why, s);
		buf_adds(why, " is not a port: a number, 0 to 65535, or a name of /etc/services");
		return -EINVAL;
	}
	copy_piece(a->service, s);
	a->port = -1;
	return 0;
}

static int no_port(const char *name, struct span host, struct buf *why)
{
	buf_addf(why, "no port, write %s:", name);
	if (host.n > 0 && is_plain(host)) {
		buf_add(why, host.p, host.n);
		buf_addc(why, ':');
	}
	buf_adds(why, "PORT");
	return -EINVAL;
}

/* [ADDRESS]:PORT, the text starting at the bracket. */
static int parse_bracketed(const char *name, struct span s, struct addr_text *a, struct buf *why)
{
	const uint8_t *close = memchr(s.p, ']', s.n);
	struct span host, behind;

	if (!close) {
		buf_adds(why, "[ without ]");
		return -EINVAL;
	}
	host = (struct span){ s.p + 1, (size_t)(close - s.p) - 1 };
	behind = (struct span){ close + 1, s.n - host.n - 2 };
	if (host.n <= ADDR_HOST_MAX)
		copy_piece(a->host, host);
	if (host.n > ADDR_HOST_MAX || !addr_is_ipv6(a->host)) {
		buf_add_excerpt(why, host);
		buf_adds(why, " is not an IPv6 address; only those stand in brackets");
		return -EINVAL;
	}
	for (char *p = a->host; *p && *p != '%'; p++)
		*p = str_lower(*p);
	if (behind.n > 0 && behind.p[0] != ':') {
		buf_adds(why, "after the bracket comes :PORT, not ");
		buf_add_excerpt(why, behind);
		return -EINVAL;
	}
	if (behind.n <= 1)
		return no_port(name, (struct span){ s.p, host.n + 2 }, why);
	return set_port((struct span){ behind.p + 1, behind.n - 1 }, a, why);
}

/* More than one colon and no bracket: an IPv6 address, or nonsense. */
static int explain_colons(const char *name, struct span s, struct buf *why)
{
	char text[64];
	char *last;

	if (s.n < sizeof(text) && is_plain(s)) {
		copy_piece(text, s);
		last = strrchr(text, ':');
		if (addr_is_ipv6(text)) {
			buf_addf(why, "an IPv6 address stands in brackets and needs a port, write %s:[%s]:PORT", name,
				 text);
			return -EINVAL;
		}
		*last = '\0';
		if (addr_is_ipv6(text)) {
			buf_addf(why, "an IPv6 address stands in brackets, write %s:[%s]:%s", name, text, last + 1);
			return -EINVAL;
		}
	}
	buf_addf(why, "too many colons in ");
	buf_add_excerpt(why, s);
	buf_addf(why, ", the form is %s:[HOST:]PORT", name);
	return -EINVAL;
}

/* No colon: a port, or a host whose port was forgotten. */
static int parse_lone(const char *name, struct span s, struct addr_text *a, struct buf *why)
{
	if (s.n == 0)
		return no_port(name, s, why);
	if (!all_digits(s) && (memchr(s.p, '.', s.n) || span_is(s, "*") || span_is(s, "localhost")))
		return no_port(name, s, why);
	return set_port(s, a, why);
}

/* [HOST:]PORT */
static int parse_authority(const char *name, struct span s, struct addr_text *a, struct buf *why)
{
	const uint8_t *colon = s.n ? memchr(s.p, ':', s.n) : NULL;
	struct span host, port;
	int err;

	if (s.n > 0 && s.p[0] == '[')
		return parse_bracketed(name, s, a, why);
	if (!colon)
		return parse_lone(name, s, a, why);
	host = (struct span){ s.p, (size_t)(colon - s.p) };
	port = (struct span){ colon + 1, s.n - host.n - 1 };
	if (port.n > 0 && memchr(port.p, ':', port.n))
		return explain_colons(name, s, why);
	if (host.n == 0) {
		buf_addf(why, "no host between the colons, write %s:PORT for loopback or %s:*:PORT for every address",
			 name, name);
		return -EINVAL;
	}
	err = set_host(host, a, why);
	if (err)
		return err;
	return port.n > 0 ? set_port(port, a, why) : no_port(name, host, why);
}

/* The request target of a WebSocket address, from its slash on. */
static int set_target(const char *s, struct addr_text *a, struct buf *why)
{
	size_t n = strlen(s);

	if (n > ADDR_PATH_MAX) {
		buf_addf(why, "the part from / on is longer than %d bytes", ADDR_PATH_MAX);
		return -EINVAL;
	}
	for (size_t i = 0; i < n; i++) {
		if (s[i] <= ' ' || s[i] > '~' || s[i] == '#') {
			buf_add_excerpt(why, span_str(s));
			buf_adds(why, " is not a request target: printable ASCII without # and spaces");
			return -EINVAL;
		}
	}
	memcpy(a->path, s, n + 1);
	return 0;
}

static int parse_net(const struct addr_kind *kind, const char *rest, struct addr_text *a, struct buf *why)
{
	const char *end = rest + strlen(rest);
	const char *slash = strchr(rest, '/');
	int err;

	if (rest[0] == '/' && rest[1] == '/') {
		buf_addf(why, "the form is %s, without \"//\"", kind->form);
		return -EINVAL;
	}
	if (!slash || !(kind->flags & ADDR_F_WEB))
		return parse_authority(kind->name, piece(rest, end), a, why);
	err = parse_authority(kind->name, piece(rest, slash), a, why);
	return err ? err : set_target(slash, a, why);
}

/* ---- the others ---- */

static int parse_path(const struct addr_kind *kind, const char *rest, struct addr_text *a, struct buf *why)
{
	size_t n = strlen(rest);
	size_t max = a->transport == ADDR_FIFO ? ADDR_PATH_MAX : ADDR_UNIX_MAX;

	if (n == 0) {
		buf_addf(why, "no path, the form is %s", kind->form);
		return -EINVAL;
	}
	if (n > max) {
		buf_addf(why, "the path has %zu bytes, at most %zu fit", n, max);
		return -EINVAL;
	}
	if (rest[0] == '@') {
		buf_addf(why, "abstract sockets are not served; write %s:./@NAME for a file of that name", kind->name);
		return -EINVAL;
	}
	if (rest[n - 1] == '/') {
		buf_add_excerpt(why, span_str(rest));
		buf_adds(why, " names a folder");
		return -EINVAL;
	}
	memcpy(a->path, rest, n + 1);
	return 0;
}

static int parse_queue(const char *rest, struct addr_text *a, struct buf *why)
{
	size_t n = strlen(rest);

	if (rest[0] != '/' || n < 2 || strchr(rest + 1, '/') || strcmp(rest, "/.") == 0 || strcmp(rest, "/..") == 0) {
		buf_add_excerpt(why, span_str(rest));
		buf_adds(why, " is not the name of a queue: one slash, at its beginning, as in mq:/guichet-echo");
		return -EINVAL;
	}
	if (n > ADDR_MQ_MAX) {
		buf_addf(why, "the name has %zu bytes, at most %d fit", n, ADDR_MQ_MAX);
		return -EINVAL;
	}
	memcpy(a->path, rest, n + 1);
	return 0;
}

static int parse_fd(const char *rest, struct addr_text *a, struct buf *why)
{
	uint64_t v;

	if (str_to_u64(rest, &v) < 0 || v > ADDR_FD_MAX) {
		buf_add_excerpt(why, span_str(rest));
		buf_addf(why, " is not the number of a descriptor, 0 to %d", ADDR_FD_MAX);
		return -EINVAL;
	}
	a->fd = (int)v;
	return 0;
}

static int parse_nothing(const char *rest, struct buf *why)
{
	if (*rest == '\0')
		return 0;
	buf_adds(why, "nothing comes behind stdio:, but here is ");
	buf_add_excerpt(why, span_str(rest));
	return -EINVAL;
}

static int parse_rest(const char *rest, struct addr_text *a, struct buf *why)
{
	const struct addr_kind *kind = &addr_kinds[a->transport];

	if (kind->flags & ADDR_F_NET)
		return parse_net(kind, rest, a, why);
	if (kind->flags & ADDR_F_PATH)
		return parse_path(kind, rest, a, why);
	if (a->transport == ADDR_MQ)
		return parse_queue(rest, a, why);
	return a->transport == ADDR_FD ? parse_fd(rest, a, why) : parse_nothing(rest, why);
}

/* ---- the whole ---- */

static const struct addr_kind *find_kind(struct span name)
{
	for (size_t i = 0; i < ADDR_TRANSPORTS; i++)
		if (span_is(name, addr_kinds[i].name))
			return &addr_kinds[i];
	return NULL;
}

static void hint_transport(struct span name, struct str_closest *c, char word[32])
{
	if (name.n >= 32)
		return;
	copy_piece(word, name);
	*c = str_closest_start(word);
	for (size_t i = 0; i < ADDR_TRANSPORTS; i++)
		str_closest_offer(c, addr_kinds[i].name);
}

/* Is the text right once `prefix` stands before it, and short enough to show? Then that is what was meant. */
static bool would_parse(const char *prefix, const char *text)
{
	char all[ADDR_HOST_MAX + ADDR_SERVICE_MAX + 8];
	struct buf b;
	struct addr_text a;

	buf_init_fixed(&b, all, sizeof(all));
	buf_addf(&b, "%s%s", prefix, text);
	return is_plain(span_str(text)) && b.err == 0 && addr_parse(all, &a, NULL) == 0;
}

/* There is no colon at all. */
static void explain_bare(const char *text, struct buf *why)
{
	const struct addr_kind *kind = find_kind(span_str(text));

	if (*text == '\0') {
		buf_adds(why, "an empty address, the form is TRANSPORT:REST, as tcp:7007");
		return;
	}
	buf_add_excerpt(why, span_str(text));
	if (kind)
		buf_addf(why, " is not a whole address, the form is %s", kind->form);
	else if (all_digits(span_str(text)) && would_parse("tcp:", text))
		buf_addf(why, " has no transport, did you mean \"tcp:%s\"?", text);
	else if (strchr(text, '/') && would_parse("unix:", text))
		buf_addf(why, " has no transport, did you mean \"unix:%s\"?", text);
	else
		buf_adds(why, " has no transport, the form is TRANSPORT:REST, as tcp:7007");
}

/* What stands before the first colon is no transport. */
static void explain_transport(const char *text, struct span name, struct buf *why)
{
	struct str_closest c = {};
	char word[32];

	buf_adds(why, "unknown transport ");
	buf_add_excerpt(why, name);
	hint_transport(name, &c, word);
	if (c.best)
		str_add_hint(why, c.best);
	else if (would_parse("tcp:", text))
		buf_addf(why, ", did you mean \"tcp:%s\"?", text);
	else
		buf_adds(why, ", see `guichet help addresses`");
}

int addr_parse(const char *text, struct addr_text *ret, struct buf *why)
{
	struct addr_text a = {};
	const char *colon = strchr(text, ':');
	const struct addr_kind *kind;
	struct buf nowhere;
	char none[1];
	int err;

	if (!why) {
		buf_init_fixed(&nowhere, none, sizeof(none));
		why = &nowhere;
	}
	if (!colon) {
		explain_bare(text, why);
		return -EINVAL;
	}
	kind = find_kind(piece(text, colon));
	if (!kind) {
		explain_transport(text, piece(text, colon), why);
		return -EINVAL;
	}
	a.transport = (enum addr_transport)(kind - addr_kinds);
	err = parse_rest(colon + 1, &a, why);
	if (err)
		return err;
	*ret = a;
	return 0;
}

void addr_format(const struct addr_text *a, struct buf *b)
{
	buf_addf(b, "%s:", addr_kinds[a->transport].name);
	if (a->transport == ADDR_FD)
		buf_addf(b, "%d", a->fd);
	if (addr_is_net(a)) {
		const char *host = a->host;

		if (*host)
			buf_addf(b, strchr(host, ':') ? "[%s]:" : "%s:", host);
		if (a->port >= 0)
			buf_addf(b, "%d", a->port);
		else
			buf_adds(b, a->service);
	}
	buf_adds(b, a->path);
}

bool addr_equal(const struct addr_text *a, const struct addr_text *b)
{
	return a->transport == b->transport && a->port == b->port && a->fd == b->fd && strcmp(a->host, b->host) == 0 &&
	       strcmp(a->service, b->service) == 0 && strcmp(a->path, b->path) == 0;
}

int addr_rebase(struct addr_text *a, const char *dir, struct buf *why)
{
	char path[ADDR_PATH_MAX + 1];
	size_t max = a->transport == ADDR_FIFO ? ADDR_PATH_MAX : ADDR_UNIX_MAX;
	const char *from = a->path;
	struct buf b;

	if (!addr_is_path(a) || from[0] == '/' || *dir == '\0' || strcmp(dir, ".") == 0)
		return 0;
	if (from[0] == '.' && from[1] == '/')
		from += 2;
	buf_init_fixed(&b, path, max + 1);
	buf_addf(&b, dir[strlen(dir) - 1] == '/' ? "%s%s" : "%s/%s", dir, from);
	if (b.err) {
		if (why) {
			buf_addf(why, "the path of %s:", addr_kinds[a->transport].name);
			buf_add_excerpt(why, span_str(a->path));
			buf_adds(why, ", seen from ");
			buf_add_excerpt(why, span_str(dir));
			buf_addf(why, ", has %zu bytes, at most %zu fit", strlen(dir) + 1 + strlen(from), max);
		}
		return -ENAMETOOLONG;
	}
	memcpy(a->path, path, b.n + 1);
	return 0;
}
