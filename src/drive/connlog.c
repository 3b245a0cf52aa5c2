/*
 * connlog.c - the lines of a session's life. A normal one is told at level debug; one that erred at info, with the word
 * that fail2ban can match: reason=... peer=ADDRESS; when too many err, some of them as the normal ones. The fields and their order are
 * part of the interface.
 */
#include <errno.h>

#include "base/log.h"
#include "base/peer.h"
#include "drive/admit.h"
#include "drive/loop_priv.h"
#include "drive/net/netaddr.h"

static void head_fields(struct log_line *line, const struct sess *s)
{
	char text[PEER_TEXT];

	log_hex(line, "session", s->id);
	log_str(line, "service", s->lane->svc->name);
	if (s->peer)
		log_str(line, "peer", peer_text(s->peer, text));
}

/* As it calls itself, and as who it has logged in: what a peer says, so behind all else. */
static void name_fields(struct log_line *line, const struct sess *s)
{
	struct span name = sess_client(s);

	if (name.n)
		log_bytes(line, "client", name.p, name.n);
	if (sess_user(s))
		log_str(line, "user", sess_user(s));
}

/* Apart, so that a session of which nothing is told needs no room for a line: a page of stack. */
[[gnu::noinline]] static void tell_opened(const struct conn *c)
{
	struct log_line line;

	if (!log_begin(&line, LOG_DEBUG, "opened"))
		return;
	head_fields(&line, &c->s);
	log_end(&line);
}

void connlog_open(const struct conn *c)
{
	if (log_wanted(LOG_DEBUG, "opened"))
		tell_opened(c);
}

void connlog_login(struct host *h, struct sess *s, const struct who *who)
{
	struct span name = sess_client(s);
	struct log_line line;

	(void)h;
	if (!log_begin(&line, LOG_DEBUG, "login"))
		return;
	head_fields(&line, s);
	log_str(&line, "user", who->user);
	if (name.n)
		log_bytes(&line, "client", name.p, name.n);
	log_end(&line);
}

static void tls_fields(struct log_line *line, const struct sess *s)
{
	struct layer_info info;

	if (!sess_layer_info(s, &info))
		return;
	log_str(line, "tls", info.version);
	log_str(line, "server_name", info.server_name);
	log_str(line, "certificate", info.certificate);
}

/* true: somebody should read of it. Of a connection that we have made, who asked for it is told, and says what there is to say. */
static bool is_news(const struct conn *c)
{
	if (!c->s.reason || c->refused || (c->kin && c->kin->parent))
		return false;
	if (admit_may_log_end(c->s.lane))
		return true;
	list_entry(c->s.host, struct loop, host)->untold = true;
	return false;
}

[[gnu::noinline]] static void tell_closed(const struct conn *c, enum log_level level, nsec now, int err)
{
	const struct sess *s = &c->s;
	const char *reason = s->reason;
	struct log_line line;

	if (!log_begin(&line, level, "closed"))
		return;
	head_fields(&line, s);
	log_str(&line, "reason", reason ? reason : "done");
	if (err && err != -ECANCELED && !reason)
		log_errno(&line, err);
	log_uint(&line, "in", s->bytes_in);
	log_uint(&line, "out", s->bytes_out);
	log_seconds(&line, "seconds", now - c->opened);
	tls_fields(&line, s);
	name_fields(&line, s);
	log_end(&line);
}

void connlog_close(const struct conn *c, nsec now, int err)
{
	enum log_level level;

	if (c->src.kind != SRC_CONN || !c->s.proto)
		return;
	level = is_news(c) ? LOG_INFO : LOG_DEBUG;
	if (log_wanted(level, "closed"))
		tell_closed(c, level, now, err);
}

/* Who it was about may be another session of this loop than the one that found out. */
static void whose_fields(struct log_line *line, const struct sess *s)
{
	char text[PEER_TEXT];

	log_hex(line, "session", s->id);
	if (s->peer)
		log_str(line, "peer", peer_text(s->peer, text));
	if (sess_user(s))
		log_str(line, "user", sess_user(s));
}

void connlog_limit(struct host *h, struct sess *s, const struct limited *what)
{
	const struct conn *c = what->session ? loop_find_conn(list_entry(h, struct loop, host), what->session) : NULL;
	struct log_line line;

	if (!log_begin(&line, LOG_WARN, "limit"))
		return;
	log_str(&line, "service", s->lane->svc->name);
	log_str(&line, "reason", what->reason);
	if (what->client.n)
		log_bytes(&line, "client", what->client.p, what->client.n);
	log_uint(&line, "count", what->count);
	if (c)
		whose_fields(&line, &c->s);
	if (what->topic.n)
		log_bytes(&line, "topic", what->topic.p, what->topic.n);
	log_end(&line);
}

/* A socket for datagrams has a session for all who write to it: the peer is that of the datagram. */
static void peer_of_route(struct log_line *line, const struct route *r)
{
	struct sockaddr_storage sa = {};
	const struct peer *p = r->name;
	char text[PEER_TEXT];

	if (!p && r->n) {
		memcpy(&sa, r->sa, r->n);
		p = netaddr_peer((const struct sockaddr *)&sa, r->n);
	} else {
		peer_ref(p);
	}
	if (p)
		log_str(line, "peer", peer_text(p, text));
	peer_unref(p);
}

static bool trace_begin(struct log_line *line, const struct sess *s, const struct route *route, enum note_dir dir)
{
	if (!log_begin(line, LOG_INFO, "trace"))
		return false;
	head_fields(line, s);
	if (!s->peer && route)
		peer_of_route(line, route);
	log_str(line, "dir", dir == NOTE_IN ? "in" : "out");
	return true;
}

void connlog_note(struct host *h, struct sess *s, enum note_dir dir, const char *text)
{
	struct log_line line;

	if (!trace_begin(&line, s, h->route, dir))
		return;
	log_str(&line, "note", text);
	log_end(&line);
}

void connlog_tap(struct host *h, struct sess *s, enum note_dir dir, struct span raw, const struct route *route,
		 bool secret)
{
	struct log_line line;

	(void)h;
	if (!trace_begin(&line, s, route, dir))
		return;
	log_uint(&line, "bytes", raw.n);
	if (secret)
		log_str(&line, "raw", "(secret)");
	else
		log_bytes(&line, "raw", raw.p, raw.n < 256 ? raw.n : 256);
	log_end(&line);
}
