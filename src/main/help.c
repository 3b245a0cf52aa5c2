/* help.c - pages on protocols, options, addresses and models; see help.h. */
#include "main/help.h"

#include <errno.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/wrap.h"
#include "conf/option.h"
#include "drive/server.h"
#include "main/planner.h"
#include "main/text.h"
#include "proto/protos.h"

/* ---- protocols ---- */

enum { COUNTER_COLUMN = 28 }; /* where what one counts stands, as what an option does */

static void add_sentences(const struct proto *p, struct buf *b)
{
	bool stream = p->flags & P_STREAM, dgram = p->flags & P_DGRAM;

	buf_addf(b, "It is spoken over %s.",
		 stream && dgram ? "streams and datagrams"
		 : stream        ? "streams"
				 : "datagrams");
	if (p->port)
		buf_addf(b, " The classic port is %u.", p->port);
	if (p->flags & P_OFF)
		buf_adds(b, " It is served only where a section or the command line asks for it.");
	else if (p->flags & P_DGRAM_OFF)
		buf_adds(b, " Datagrams are answered only where a section or the command line asks for it.");
	if (p->flags & P_SHARED)
		buf_addf(b, " It runs under model event only, because %s.", p->needs);
}

static void add_counters(const struct proto *p, struct buf *b)
{
	if (!p->counters || !p->counters[0].name)
		return;
	buf_adds(b, "\nCounters of its own in `guichet stats`:\n");
	for (const struct proto_counter *c = p->counters; c->name; c++) {
		buf_addf(b, "  %-*s", COUNTER_COLUMN - 2, c->name);
		wrap_add(b, c->help, COUNTER_COLUMN, COUNTER_COLUMN);
		buf_addc(b, '\n');
	}
}

/* What must be set stands in the example: it can be copied as it is. */
static void add_required(const struct proto *p, struct buf *b)
{
	for (size_t i = 0; p->options && i < p->options->n; i++) {
		if (!option_is_required(&p->options->rows[i]))
			continue;
		buf_addf(b, "\n  %s = ", p->options->rows[i].name);
		option_add_example(&p->options->rows[i], b);
	}
}

void help_proto(const struct proto *p, struct buf *b)
{
	BUF_AUTO struct buf text;

	buf_init(&text, 4096);
	add_sentences(p, &text);
	buf_addf(b, "%s - %s", p->name, p->summary);
	if (p->doc)
		buf_addf(b, " (%s)", p->doc);
	buf_adds(b, "\n\n");
	wrap_add(b, buf_str(&text), 0, 0);
	buf_adds(b, "\n\nIn a configuration:\n");
	buf_addf(b, "  [%s]\n  listen = ", p->name);
	planner_usual_addresses(p, b);
	add_required(p, b);
	buf_adds(b, "\n\nOptions:\n");
	if (p->options && p->options->n)
		option_help_table(p->options, b);
	else
		buf_adds(b, "  none of its own\n");
	buf_adds(b, "Options of every service: guichet help options. TLS: guichet help tls.\n");
	if (p->store)
		buf_adds(b, "Who may do what: guichet help rules. Users: guichet help user.\n"
			    "What is kept: guichet help store.\n");
	add_counters(p, b);
}

int help_option(const struct proto *p, const char *name, struct buf *b)
{
	const struct option_table *const tables[] = { p->options, &tables_service, &tables_tls };
	struct str_closest c = str_closest_start(name);

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		const struct option *row = tables[i] ? option_find(tables[i], name) : NULL;

		if (row) {
			option_help_row(row, b);
			return 0;
		}
		if (tables[i])
			option_offer_names(tables[i], &c);
	}
	buf_adds(b, "unknown option ");
	buf_add_excerpt(b, span_str(name));
	buf_addf(b, " of %s", p->name);
	str_add_hint(b, c.best);
	return -ENOENT;
}

int help_part_option(const struct proto *p, const char *part, const char *name, struct buf *b)
{
	const struct option *section = p->options ? option_find(p->options, part) : NULL, *row = NULL;
	struct str_closest c = str_closest_start(name);

	if (!section || section->type != OPTION_PARTS) {
		buf_addf(b, "%s has no sections ", p->name);
		buf_add_excerpt(b, span_str(part));
		return -ENOENT;
	}
	row = option_find(section->part, name);
	if (row) {
		option_help_row(row, b);
		return 0;
	}
	option_offer_names(section->part, &c);
	buf_adds(b, "unknown option ");
	buf_add_excerpt(b, span_str(name));
	buf_addf(b, " of %s %s", p->name, section->name);
	str_add_hint(b, c.best);
	return -ENOENT;
}

int help_unknown(const char *word, const char *page, const char *nearest, struct buf *b)
{
	buf_adds(b, "no help on ");
	buf_add_excerpt(b, span_str(word));
	buf_addf(b, " of %s", page);
	str_add_hint(b, nearest);
	return -ENOENT;
}

void help_services(struct buf *b)
{
	for (const struct proto *const *p = protos; *p; p++) {
		BUF_AUTO struct buf text = BUF_INIT(1000);

		buf_addf(&text, "%s%s%s%s", (*p)->summary, (*p)->doc ? " (" : "", (*p)->doc ? (*p)->doc : "",
			 (*p)->doc ? ")" : "");
		buf_addf(b, "  %-10s", (*p)->name);
		wrap_add(b, buf_str(&text), 12, 12);
		buf_addc(b, '\n');
	}
}

/* ---- addresses ---- */

static void add_addresses(struct buf *b)
{
	struct text_table t = { .wrap = true };

	wrap_add(b,
		 "An address is TRANSPORT:REST. The same words are used everywhere: `listen =` in a section, SERVICE@ADDRESS on the "
		 "command line, and `guichet connect ADDRESS`.",
		 0, 0);
	buf_adds(b, "\n\n");
	text_table_add(&t, (const char *[]){ "FORM", "SERVED", "WHAT IT IS", NULL });
	for (enum addr_transport i = 0; i < ADDR_TRANSPORTS; i++)
		text_table_add(&t, (const char *[]){ addr_kinds[i].form, server_has_transport(i) ? "yes" : "not yet",
						     addr_kinds[i].help, NULL });
	text_table_format(&t, (struct text_style){ "", "", "" }, b);
	text_table_done(&t);
	buf_addc(b, '\n');
	wrap_add(
		b,
		"No HOST is loopback, in both families: this machine only. * is every address: think about who can reach it, "
		"then write it. A HOST may be a name; an IPv6 address stands in brackets. PORT is a number or a name of "
		"/etc/services; 0 lets the system pick one, which is printed and reported. A relative PATH starts at the "
		"configuration file.\n\n"
		"  listen = tcp:7007 udp:7007        this machine, both families\n"
		"  listen = tcp:192.168.1.10:7007    one address of this machine\n"
		"  listen = tcp:*:7007               everybody who can reach this machine\n"
		"  listen = tcp:[::1]:echo           IPv6, the port by its name\n"
		"  listen = unix:./echo.sock         a socket beside the file; see `mode`\n"
		"  listen = stdio:                   what inetd, systemd (Accept=yes), ssh give\n"
		"  listen = fd:3                     a socket that somebody has opened for us\n"
		"  listen = tls:7008                 with a certificate, see guichet help tls\n"
		"  listen = ws:7009 wss:7010         WebSocket; see `ws_path`, `ws_origins`\n\n"
		"Sockets that systemd hands over (LISTEN_FDS) are found by themselves: FileDescriptorName is the name of a "
		"section; one without goes to the section where its address is written, or else to the next one in order. A "
		"server whose only client is on standard input ends with it, and one that inetd waits for ends after "
		"`exit_idle`.",
		0, 0);
	buf_addc(b, '\n');
}

static int find_address(const char *word, struct buf *b)
{
	struct str_closest c = str_closest_start(word);

	for (enum addr_transport i = 0; i < ADDR_TRANSPORTS; i++) {
		const struct addr_kind *k = &addr_kinds[i];

		str_closest_offer(&c, k->name);
		if (strcmp(k->name, word) != 0)
			continue;
		buf_addf(b, "%s\n  ", k->form);
		wrap_add(b, k->help, 2, 2);
		buf_adds(b, server_has_transport(i) ? "\n" : "\n  not served by this version\n");
		return 0;
	}
	return help_unknown(word, "addresses", c.best, b);
}

/* ---- models ---- */

static const struct {
	const char *workers, *each, *accepts;
} models[MODELS] = {
	[MODEL_ITERATIVE] = { "one", "1", "the worker" },
	[MODEL_FORK] = { "a process per client", "1", "a watcher" },
	[MODEL_PREFORK] = { "N processes", "1", "each worker" },
	[MODEL_THREAD] = { "a thread per client", "1", "a watcher" },
	[MODEL_POOL] = { "N threads", "1", "a watcher, for a bounded queue" },
	[MODEL_SYMMETRIC] = { "N threads", "1", "each worker" },
	[MODEL_EVENT] = { "N threads", "many", "each worker's event loop" },
};

static void add_models(struct buf *b)
{
	struct text_table t = {};

	wrap_add(
		b,
		"A model is how the clients of a service are served: how many workers there are, how many connections each has "
		"at once, and who accepts. One word chooses it, for each service by itself: model = thread. The default is "
		"event. A service that cannot run under a model says why when it is checked. Datagrams have workers of their own under "
		"iterative, fork (a child for each) and pool; under the others event loops answer them, and a service that has "
		"nothing but datagrams is refused there. fork and prefork need processes of their own, so not --single.",
		0, 0);
	buf_adds(b, "\n\n");
	text_table_add(&t, (const char *[]){ "MODEL", "WORKERS", "EACH HAS", "WHO ACCEPTS", NULL });
	for (enum tables_model m = 0; m < MODELS; m++)
		text_table_add(&t, (const char *[]){ tables_models[m], models[m].workers, models[m].each,
						     models[m].accepts, NULL });
	text_table_format(&t, (struct text_style){ "", "", "" }, b);
	text_table_done(&t);
	buf_adds(b, "\nN is the option workers of the service, for event the option loops of [guichet].\n");
}

static int find_model(const char *word, struct buf *b)
{
	struct str_closest c = str_closest_start(word);

	for (enum tables_model m = 0; m < MODELS; m++) {
		str_closest_offer(&c, tables_models[m]);
		if (strcmp(tables_models[m], word) != 0)
			continue;
		buf_addf(b, "model = %s\n  workers: %s\n  connections each has at once: %s\n  who accepts: %s\n", word,
			 models[m].workers, models[m].each, models[m].accepts);
		return 0;
	}
	return help_unknown(word, "models", c.best, b);
}

/* ---- common options ---- */

static int find_option(const struct option_table *t, const char *page, const char *word, struct buf *b)
{
	const struct option *row = option_find(t, word);
	struct str_closest c = str_closest_start(word);

	if (row) {
		option_help_row(row, b);
		return 0;
	}
	option_offer_names(t, &c);
	return help_unknown(word, page, c.best, b);
}

static int find_service_option(const char *word, struct buf *b)
{
	return find_option(&tables_service, "options", word, b);
}

static int find_tls_option(const char *word, struct buf *b)
{
	return find_option(&tables_tls, "tls", word, b);
}

static int find_guichet_option(const char *word, struct buf *b)
{
	return find_option(&tables_guichet, "guichet", word, b);
}

static void add_service_options(struct buf *b)
{
	buf_adds(b, "Options of every service, in its section or behind SERVICE@ADDRESS:\n");
	option_help_table(&tables_service, b);
}

static void add_tls_options(struct buf *b)
{
	wrap_add(
		b,
		"A service speaks TLS at its addresses that begin with tls:. Without any option a self-signed certificate is made "
		"on the first start and kept in the data folder as auto.crt and auto.key; clients that are to trust it "
		"are given auto.crt. Certificates are read again on reload.",
		0, 0);
	buf_adds(b, "\n\nOptions:\n");
	option_help_table(&tables_tls, b);
}

static void add_guichet_options(struct buf *b)
{
	wrap_add(b,
		 "Options of the section [guichet], which is about the program and not about a service; on the command line of "
		 "`guichet serve` they are --set NAME=VALUE:",
		 0, 0);
	buf_addc(b, '\n');
	option_help_table(&tables_guichet, b);
}

/* ---- limits ---- */

/* By what they are against, since the options are sorted by name elsewhere. `guichet stats` and the log have the other two. */
static const struct {
	const char *against, *options, *counter, *reason;
} limits[] = {
	{ "too many at once", "max", "refused_max", "max" },
	{ "many of one address", "per_source", "refused_per_source", "per-source" },
	{ "many new ones of it", "rate", "refused_rate", "rate" },
	{ "who crashed us", "crashes*, penalty*", "refused_penalty", "penalty" },
	{ "guessing passwords", "logins*, penalty*", "logins_failed", "logins, penalty" },
	{ "what others need", "reserve_service*", "refused_reserve", "reserve" },
	{ "no descriptors left", "fds*, reserve*", "paused_fds", "out-of-descriptors" },
	{ "all workers busy", "workers, queue", "queue_full", "they wait" },
	{ "a slow beginning", "first", "ended_first, ...", "first, handshake-timeout" },
	{ "no login", "auth", "ended_auth", "auth" },
	{ "silence", "idle", "ended_idle", "idle" },
	{ "dripping", "min_rate", "ended_slow", "too-slow" },
	{ "over such a time", "min_rate_time", "ended_slow", "too-slow" },
	{ "an endless message", "input", "ended_input", "input-limit" },
	{ "who does not read", "output", "ended_output", "output-limit" },
	{ "an unanswered close", "linger", "", "not-read" },
	{ "forged datagrams", "dgram_rate*", "dropped_rate", "" },
	{ "long answers to them", "dgram_reply*", "dropped_size", "" },
};

static void add_limits(struct buf *b)
{
	struct text_table t = { .wrap = true };

	wrap_add(
		b,
		"What a service does not put up with: the option that says how much, the counter in `guichet stats`, and the reason "
		"in the log. Those with a star are options of [guichet], the others the service's own; `guichet help options` and `guichet help "
		"guichet` have their defaults, and 0 switches a limit off. Clients of this machine are free of per_source, rate "
		"and penalty unless limit_loopback = yes.",
		0, 0);
	buf_adds(b, "\n\n");
	text_table_add(&t, (const char *[]){ "AGAINST", "OPTION", "COUNTER", "REASON", NULL });
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		text_table_add(&t, (const char *[]){ limits[i].against, limits[i].options, limits[i].counter,
						     limits[i].reason, NULL });
	text_table_format(&t, (struct text_style){ "", "", "" }, b);
	text_table_done(&t);
}

/* Some places of the table have several: "crashes*, penalty*", "first, handshake-timeout". */
static bool has_word(const char *place, const char *word)
{
	static const char between[] = "*, ";
	size_t n;

	for (; *place; place += n + strspn(place + n, between)) {
		n = strcspn(place, between);
		if (n && n == strlen(word) && memcmp(place, word, n) == 0)
			return true;
	}
	return false;
}

/* A reason of the log, a counter or an option: the first line that it is in. */
static int find_limit(const char *word, struct buf *b)
{
	struct str_closest c = str_closest_start(word);

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		str_closest_offer(&c, limits[i].reason);
		str_closest_offer(&c, limits[i].counter);
		if (!has_word(limits[i].reason, word) && !has_word(limits[i].counter, word) &&
		    !has_word(limits[i].options, word))
			continue;
		buf_addf(b, "%s\n  against: %s\n  option: %s\n  counter: %s\n  reason in the log: %s\n", word,
			 limits[i].against, limits[i].options, limits[i].counter, limits[i].reason);
		return 0;
	}
	return help_unknown(word, "limits", c.best, b);
}

const struct help_topic help_topics[] = {
	{ "addresses", "how to write where a service listens", add_addresses, find_address },
	{ "guichet", "options of the section [guichet]", add_guichet_options, find_guichet_option },
	{ "limits", "what is refused, ended or dropped, and by which option", add_limits, find_limit },
	{ "models", "ways to serve many clients at once", add_models, find_model },
	{ "options", "options that every service has", add_service_options, find_service_option },
	{ "rules", "who may do what: the section [rules]", help_rules, help_rules_word },
	{ "tls", "certificates, and options of TLS", add_tls_options, find_tls_option },
	{},
};
