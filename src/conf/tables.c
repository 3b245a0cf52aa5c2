/* tables.c - the rows of the common tables; protocols have their own. */
#include "conf/tables.h"

#include <errno.h>

#include "base/mem.h"

#define HOUR (3600 * NSEC_PER_SEC)
#define DAY (24 * HOUR)

/* ---- [guichet] ---- */

#define G struct guichet_options

static const char *const log_formats[] = { "text", "json", NULL };
static const char *const log_levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const log_words[] = { "stderr", NULL };

static const struct option guichet_rows[] = {
	OPT_PATH(G, control, NULL, NULL,
		 "unix socket for `guichet stats` and the like; control.sock in the data folder when not set"),
	OPT_UINT(
		G, crashes, "2", 1, 200,
		"connections of one address (IPv6: /64) that crash the server within `penalty`, until it is not let in any more"),
	OPT_PATH(G, data, "./guichet-data", NULL, "folder for everything that is kept; made when missing"),
	OPT_UINT(G, dgram_rate, "20", 0, 1000000,
		 "replies a second to datagrams of one /24 (IPv6: /64) that has not proved its address; "
		 "0 = no limit, loopback is free"),
	OPT_SIZE(G, dgram_reply, "512", 0, 65535,
		 "largest reply to a datagram from an address that is not proved; 0 = no limit"),
	OPT_NSEC(G, drain, "5s", 0, HOUR, "how long open conversations may go on after the order to stop"),
	OPT_NSEC(G, exit_idle, "30s", 0, DAY,
		 "a server whose standard input is a socket that others can use, as inetd gives it with wait, ends when nobody has "
		 "come for so long; 0 = it stays"),
	OPT_UINT(G, fds, "0", 0, 0, "descriptors that may be open at once; 0 = the hard limit of the system"),
	OPT_UINT(G, file_cache, "512", 0, 1 << 20,
		 "files that each event loop keeps open for those who ask for them again; 0 = none"),
	OPT_SIZE(G, file_cache_size, "8M", 0, (uint64_t)1 << 40,
		 "memory that each event loop may use for the small ones among them, of at most 16K each"),
	OPT_STRING(G, group, NULL, 0, 64,
		   "group that the processes which serve run as, when started as root; that of `user` when not set"),
	OPT_UINT(G, handshakes, "16", 1, 10000,
		 "steps of TLS handshakes taken in one turn of a loop, so that the others do not wait"),
	OPT_UINT(
		G, jobs, "4", 1, 64,
		"threads for work that can block, and four times as many for looking up names; a change needs a restart"),
	OPT_BOOL(G, limit_loopback, "no", "per_source, rate and penalties are for clients of this machine too"),
	OPT_PATH(G, log, "stderr", log_words, "where log lines go; a file is opened again on reload"),
	OPT_ENUM(G, log_format, "text", log_formats, "form of a log line: name=value pairs or JSON"),
	OPT_ENUM(G, log_level, "info", log_levels, "least weight of what is logged"),
	OPT_UINT(G, logins, "10", 0, 200,
		 "logins that fail from one address (IPv6: /64) within `penalty`, at all services together, until it is not let in any "
		 "more; 0 = as many as it likes"),
	OPT_UINT(G, loops, "0", 0, 1024, "threads that run event loops; 0 = one per core; a change needs a restart"),
	OPT_BOOL(G, overload, "yes",
		 "when a service has seven eighths of `max`, or descriptors or memory are short, a quarter of first, auth, idle and "
		 "the time of min_rate must do"),
	OPT_NSEC(G, penalty, "10m", NSEC_PER_SEC, 365 * DAY,
		 "how long no service lets an address in that has crashed the server, or failed to log in too often"),
	OPT_PATH(G, people, NULL, NULL, "file of those who may log in; people in the data folder when not set"),
	OPT_UINT(G, reserve, "256", 0, 1000000,
		 "descriptors that no client gets; with reserve_service at most a quarter of all there are"),
	OPT_UINT(G, reserve_service, "64", 0, 1000000,
		 "descriptors that are kept for each service, whatever the others have"),
	OPT_BOOL(G, trace, "no", "every service is traced, as its own option `trace` does it"),
	OPT_STRING(
		G, user, NULL, 0, 64,
		"user that the processes which serve run as, when started as root; guichet when not set, or nobody where there is "
		"no such user; a change needs a restart"),
};

const struct option_table tables_guichet = OPTION_TABLE("guichet", guichet_rows, G, NULL);

/* ---- every service ---- */

#define S struct service_options

const char *const tables_models[] = { "iterative", "fork", "prefork", "thread", "pool", "symmetric", "event", NULL };
static const char *const families[] = { "any", "4", "6", NULL };

static const char *const ws_frames[] = { "binary", "text", NULL };

/* What a browser says of a page: https://example.org, or null (RFC 6454 section 6.1). */
static int check_origin(const char *word, struct buf *why)
{
	const char *host = strstr(word, "://");

	if (strcmp(word, "null") == 0 || (host && host != word && host[3] && !strpbrk(host + 3, "/?#@")))
		return 0;
	buf_add_excerpt(why, span_str(word));
	buf_adds(why, " is no origin: it is SCHEME://HOST or SCHEME://HOST:PORT with nothing behind it, or null");
	return -EINVAL;
}

static int check_ws_path(const char *word, struct buf *why)
{
	bool printable = true;

	for (const char *c = word; *c; c++)
		printable &= *c > ' ' && *c <= '~' && *c != '?' && *c != '#';
	if (word[0] == '/' && printable)
		return 0;
	buf_add_excerpt(why, span_str(word));
	buf_adds(why, " is no path: it begins with / and is printable ASCII without spaces, ? and #");
	return -EINVAL;
}

static const struct option service_rows[] = {
	OPT_NSEC(S, auth, "60s", 0, DAY,
		 "time until a client must have logged in, where the protocol knows of a login; 0 = no limit"),
	OPT_UINT(S, backlog, "4096", 1, 65535, "connections that may wait to be accepted; the system may allow fewer"),
	OPT_BOOL(S, enabled, "yes", "serve this section at all"),
	OPT_ENUM(S, family, "any", families, "IP version of addresses that do not name one"),
	OPT_NSEC(S, first, "10s", 0, DAY,
		 "time until a PROXY header must be there, a TLS or WebSocket handshake over, and the first message complete where the "
		 "protocol waits for one; 0 = no limit"),
	OPT_STRING(
		S, group, "main", 1, 31,
		"process that serves it: services of one group share one, and when it crashes only they are gone for a moment"),
	OPT_NSEC(S, idle, "10m", 0, 365 * DAY, "a conversation that is silent for so long is closed; 0 = never"),
	OPT_SIZE(S, input, "64K", 64, (uint64_t)1 << 30, "largest message held; a longer one ends the conversation"),
	OPT_STRING(S, interface, NULL, 0, 15, "takes only what comes in by this network interface, such as eth0"),
	OPT_NSEC(S, keepalive, "0", 0, 9 * HOUR,
		 "after so much silence the system asks a TCP client's system whether it is still there, and after twice as much "
		 "without an answer the connection is over; 0 = never asks"),
	OPT_NSEC(S, linger, "5s", 0, HOUR,
		 "how long a close waits for a peer that takes none of the last bytes, and then for it to close too"),
	OPT_ADDRS(S, listen, NULL, 0, 64, "where clients come in, see `guichet help addresses`"),
	OPT_BOOL(S, low_ports, "no", "answer datagrams that come from ports below 1024, where other servers are"),
	OPT_UINT(S, max, "0", 0, 0,
		 "connections at once; 0 = no limit; under model fork also requests by datagram, where 0 = 64 per core"),
	OPT_SIZE(
		S, min_rate, "1", 0, 1 << 30,
		"bytes a second that a client must send of a message it has begun, and read of what waits for it; 0 = no limit"),
	OPT_NSEC(S, min_rate_time, "60s", 10 * NSEC_PER_MSEC, HOUR, "time over which `min_rate` is taken"),
	OPT_MODE(S, mode, "0660", "permission bits of unix sockets, named pipes and message queues"),
	OPT_ENUM(S, model, "event", tables_models, "how clients are served, see `guichet help models`"),
	OPT_BOOL(
		S, nodelay, "yes",
		"send small packets to clients at once (TCP_NODELAY); what this server connects to always gets them so"),
	OPT_SIZE(S, output, "1M", 256 << 10, (uint64_t)1 << 32,
		 "bytes that may wait for a slow reader; past it the conversation ends"),
	OPT_STRING(S, owner, NULL, 0, 64,
		   "who owns unix sockets and named pipes, as USER, USER:GROUP or :GROUP, by name or number"),
	OPT_UINT(
		S, per_source, "100", 0, 60000,
		"connections at once of one address (IPv6: /64); 0 = no limit, loopback is free unless limit_loopback = yes"),
	OPT_STRING(S, protocol, NULL, 0, 48, "what is served; the section's name when not set"),
	OPT_BOOL(S, proxy, "no",
		 "each connection begins with a PROXY header (v1 or v2, as haproxy sends it), which says who the client is; "
		 "only proxies may be able to reach the addresses then"),
	OPT_UINT(S, queue, "64", 1, 65535,
		 "connections accepted under model pool that may wait for a worker; the next ones wait in the backlog"),
	OPT_UINT(S, rate, "20", 0, 1000000,
		 "new connections a second of one address (IPv6: /64), and as many at once; 0 = no limit, loopback is free "
		 "unless limit_loopback = yes"),
	OPT_SIZE(S, receive_buffer, "0", 0, 1 << 30,
		 "bytes of a client that the system keeps for us (SO_RCVBUF); 0 = as many as it likes"),
	OPT_BOOL(S, reuse, "no",
		 "lets other programs of the same user listen on the same TCP addresses, and the system share the clients out "
		 "(SO_REUSEPORT)"),
	OPT_SIZE(S, send_buffer, "0", 0, 1 << 30,
		 "bytes for a client that the system keeps until they are there (SO_SNDBUF); 0 = as many as it likes"),
	OPT_BOOL(
		S, trace, "no",
		"writes every conversation to the log, secrets masked: bytes as they come and as they are put out, which may be in "
		"several pieces (the first 256 bytes of each), and decoded by protocols that can; `guichet serve --trace` is for all "
		"services"),
	OPT_UINT(
		S, workers, "0", 0, 4096,
		"threads of the models pool and symmetric, processes of prefork, and so how many are served at once; 0 = four per core"),
	OPT_ENUM(S, ws_frames, "binary", ws_frames,
		 "kind of the WebSocket frames that are sent: as text, what is no UTF-8 is replaced by U+FFFD"),
	OPT_WORDS(
		S, ws_origins, NULL, 0, 64, check_origin,
		"from where the pages come that a browser may let use WebSocket, as https://example.org; all when not set"),
	OPT_WORDS(S, ws_path, NULL, 0, 64, check_ws_path,
		  "paths that a WebSocket client may ask for, without a query; any when not set"),
};

const struct option_table tables_service = OPTION_TABLE("service", service_rows, S, NULL);

/* ---- TLS ---- */

#define T struct tls_options

static const char *const certificate_words[] = { "auto", NULL };
static const char *const client_certificates[] = { "none", "optional", "required", NULL };
static const char *const tls_versions[] = { "1.2", "1.3", NULL };

int tables_sni_split(const char *word, struct span *ret_name, struct span *ret_certificate, struct span *ret_key)
{
	const char *equals = strchr(word, '=');
	const char *colon = equals ? strchr(equals, ':') : NULL;

	if (!colon || equals == word || colon == equals + 1 || colon[1] == '\0' || strchr(colon + 1, ':'))
		return -EINVAL;
	*ret_name = (struct span){ (const uint8_t *)word, (size_t)(equals - word) };
	*ret_certificate = (struct span){ (const uint8_t *)equals + 1, (size_t)(colon - equals) - 1 };
	*ret_key = span_str(colon + 1);
	return 0;
}

static int check_sni(const char *word, struct buf *why)
{
	struct span name, certificate, key;

	if (tables_sni_split(word, &name, &certificate, &key) == 0)
		return 0;
	buf_add_excerpt(why, span_str(word));
	buf_adds(why, " is not of the form NAME=CERTIFICATE:KEY");
	return -EINVAL;
}

/* RFC 7301 section 3.1: one byte counts a name's bytes. */
static int check_alpn(const char *word, struct buf *why)
{
	size_t n = strlen(word);

	if (n > 0 && n < 256)
		return 0;
	buf_addf(why, "a name has %zu bytes, 1 to 255", n);
	return -EINVAL;
}

static const struct option tls_rows[] = {
	OPT_WORDS(T, alpn, NULL, 0, 16, check_alpn,
		  "names of protocols that the TLS handshake may agree on (ALPN), best first"),
	OPT_PATH(T, certificate, "auto", certificate_words,
		 "PEM file with the certificate and its chain; auto = made once and kept"),
	OPT_PATH(T, client_ca, NULL, NULL, "PEM file with the authorities whose client certificates are taken"),
	OPT_ENUM(T, client_certificate, "none", client_certificates, "whether a client shows a certificate"),
	OPT_PATH(T, key, NULL, NULL, "PEM file with the private key; in the certificate's file when not set"),
	OPT_WORDS(T, sni, NULL, 0, 256, check_sni,
		  "further certificates by server name, NAME=CERTIFICATE:KEY each; *.NAME is every host below it"),
	OPT_ENUM(T, tls_min, "1.2", tls_versions, "oldest TLS version spoken"),
};

static int tls_check(const void *values, struct buf *why)
{
	const struct tls_options *o = values;

	if (o->key && strcmp(o->certificate, "auto") == 0) {
		buf_adds(why, "key: has no use with certificate = auto, which makes its own");
		return -EINVAL;
	}
	if (o->client_certificate != CLIENT_CERTIFICATE_NONE && !o->client_ca) {
		buf_adds(why, "client_certificate: needs client_ca, the authorities to check it against");
		return -EINVAL;
	}
	if (o->client_ca && o->client_certificate == CLIENT_CERTIFICATE_NONE) {
		buf_adds(why, "client_ca: has no use without client_certificate = optional or required");
		return -EINVAL;
	}
	return 0;
}

/* Adds one word of `sni` with its two paths seen from dir, quoted as the list needs it. */
static int resolve_sni_word(const char *word, const char *dir, struct buf *line, struct buf *list)
{
	struct span name, part[2];
	int err = tables_sni_split(word, &name, &part[0], &part[1]);

	if (err)
		return err;
	buf_reset(line);
	buf_add(line, name.p, name.n);
	for (unsigned i = 0; i < 2; i++) {
		char *path = mem_strndup((const char *)part[i].p, part[i].n);
		char *full = NULL;

		err = path ? str_path_from(dir, path, &full) : -ENOMEM;
		mem_free(path);
		if (err)
			return err;
		buf_addf(line, "%c%s", i == 0 ? '=' : ':', full);
		mem_free(full);
	}
	if (list->n > 0)
		buf_addc(list, ' ');
	str_add_word(list, buf_str(line));
	return line->err;
}

static int tls_resolve(void *values, const char *dir)
{
	struct tls_options *o = values;
	struct str_words words;
	BUF_AUTO struct buf line = BUF_INIT(SIZE_MAX - 1);
	BUF_AUTO struct buf list = BUF_INIT(SIZE_MAX - 1);
	int err = 0;

	for (size_t i = 0; i < o->sni.n && !err; i++)
		err = resolve_sni_word(o->sni.v[i], dir, &line, &list);
	if (!err)
		err = list.err;
	if (!err)
		err = str_split_words(buf_str(&list), o->sni.n, &words);
	if (err)
		return err;
	str_words_done(&o->sni);
	o->sni = words;
	return 0;
}

const struct option_table tables_tls = {
	.name = "tls",
	.rows = tls_rows,
	.n = sizeof(tls_rows) / sizeof(tls_rows[0]),
	.values_size = sizeof(T),
	.check = tls_check,
	.resolve = tls_resolve,
};
