/* try.c - see try.h. The transport says which program, the protocol what to do with it. */
#include "main/try.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/str.h"

/* What a conversation with a protocol is like; one that is not here waits for lines and answers them. */
static const struct manner {
	const char *proto;
	bool answers_all;   /* to whatever comes, even an empty line: nobody needs to type */
	bool ends;          /* by itself; nc would then still wait for the keyboard */
	const char *behind; /* for its output */
} manners[] = {
	{ "chargen", true, false, " | head" },
	{ "daytime", true, true, "" },
	{ "qotd", true, true, "" },
	{ "time", true, true, " | od -An -tx1" },
};

static const struct manner *manner_of(const struct proto *proto)
{
	static const struct manner talk = { "", false, false, "" };

	for (size_t i = 0; i < sizeof(manners) / sizeof(manners[0]); i++)
		if (strcmp(manners[i].proto, proto->name) == 0)
			return &manners[i];
	return &talk;
}

/* Where to go to reach a socket that is bound to every address: here. */
static const char *host_of(const struct addr_text *a)
{
	if (a->host[0] == '\0' || strcmp(a->host, "*") == 0 || strcmp(a->host, "0.0.0.0") == 0)
		return "127.0.0.1";
	return strcmp(a->host, "::") == 0 ? "::1" : a->host;
}

static void socat(const char *kind, const char *path, const char *more, struct buf *b)
{
	char text[ADDR_PATH_MAX + 64];
	struct buf word;

	buf_init_fixed(&word, text, sizeof(text));
	buf_addf(&word, "%s:%s%s", kind, path, more);
	buf_adds(b, "socat - ");
	str_add_word(b, text);
}

static void openssl(const struct addr_text *a, struct buf *b)
{
	bool v6 = addr_is_ipv6(host_of(a));

	buf_addf(b, "openssl s_client -quiet -connect %s%s%s:%d", v6 ? "[" : "", host_of(a), v6 ? "]" : "", a->port);
}

/* As an address that one can connect to. */
static void add_address(const struct addr_text *a, struct buf *b)
{
	char text[ADDR_PATH_MAX + ADDR_HOST_MAX + 64];
	struct addr_text to = *a;
	struct buf word;

	if (addr_is_net(a))
		snprintf(to.host, sizeof(to.host), "%s", host_of(a));
	buf_init_fixed(&word, text, sizeof(text));
	addr_format(&to, &word);
	str_add_word(b, text);
}

/* A broker says nothing by itself, and is not talked to by hand. */
static void subscribe(const char *program, const struct addr_text *a, bool login, struct buf *b)
{
	const char *host = host_of(a);

	str_add_word(b, program);
	buf_adds(b, " sub ");
	if (a->transport == ADDR_TCP) {
		if (strcmp(host, "127.0.0.1") != 0)
			buf_addf(b, "-h %s ", host);
		buf_addf(b, "-p %d", a->port);
	} else {
		buf_adds(b, addr_is_secure(a) ? "--insecure " : "");
		add_address(a, b);
	}
	buf_adds(b, login ? " -u USER -P PASSWORD" : "");
	buf_adds(b, " -v -t '#'");
}

static bool is_broker(const struct proto *proto, const struct addr_text *a)
{
	return strcmp(proto->name, "mqtt") == 0 && (addr_is_net(a) || a->transport == ADDR_UNIX);
}

void try_command(const char *program, const struct proto *proto, const struct addr_text *a, bool login, struct buf *b)
{
	const struct manner *m = manner_of(proto);

	if (is_broker(proto, a)) {
		subscribe(program, a, login, b);
		return;
	}
	switch (a->transport) {
	case ADDR_TCP:
		buf_addf(b, "nc %s %d%s", host_of(a), a->port, m->ends ? " </dev/null" : "");
		break;
	case ADDR_UDP:
		buf_addf(b, "%s %s %d", m->answers_all ? "echo | nc -u -w1" : "nc -u", host_of(a), a->port);
		break;
	case ADDR_TLS:
		openssl(a, b);
		break;
	case ADDR_UNIX:
		socat("UNIX-CONNECT", a->path, "", b);
		break;
	case ADDR_UNIXSEQ:
		socat("UNIX-CONNECT", a->path, ",type=5", b);
		break;
	case ADDR_WS:
	case ADDR_WSS:
	case ADDR_UNIXGRAM:
	case ADDR_FIFO:
	case ADDR_MQ:
		str_add_word(b, program);
		buf_addf(b, " connect %s", addr_is_secure(a) ? "--insecure " : "");
		add_address(a, b);
		break;
	default:
		return;
	}
	buf_adds(b, m->behind);
}
