/* bridge_options.c - a section [SERVICE.bridge.NAME]: its options, and what is made of them. See bridge.h. */
#include <errno.h>

#include "base/mem.h"
#include "proto/mqtt/bridge.h"

enum { PEM_MAX = 1 << 20, PASSWORD_MAX = 65535, TEXT_MAX = 60000 };

static const char *const versions[] = {
	[BRIDGE_AUTO] = "auto", [BRIDGE_5] = "5", [BRIDGE_311] = "3.1.1", [BRIDGE_31] = "3.1", NULL
};

#define O struct bridge_options
static const struct option rows[] = {
	OPT_FILE(O, ca, PEM_MAX,
		 "trusts who has a certificate from these authorities (PEM); without it those of the system"),
	OPT_FILE(O, certificate, PEM_MAX, "shows this certificate (PEM) to a broker that asks for one"),
	OPT_BOOL(O, clean, "no", "begins anew each time: the other side keeps nothing for us while we are away"),
	OPT_STRING(O, client_id, NULL, 0, 1024,
		   "is known there by this name, which nobody else may have; without it HOST.SERVICE.NAME"),
	OPT_BOOL(O, insecure, "no", "takes any certificate, so that anybody in between can read and change everything"),
	OPT_UINT(O, keepalive, "60", 1, 65535, "seconds of silence before it asks whether the other side is there"),
	OPT_SECRET(O, key, PEM_MAX, "the key of the certificate (PEM); without it the certificate's file has it too"),
	OPT_STRING(O, local_user, NULL, 0, 256,
		   "publishes and hears on this side what the rules allow to this user; without it all that topics say"),
	OPT_BOOL(O, notify, "yes", "tells both sides whether it is connected: $SYS/broker/connection/CLIENT_ID/state"),
	OPT_SECRET(O, password, PASSWORD_MAX, "the file with the password for the other side"),
	OPT_NSEC(O, retry, "1m", NSEC_PER_SEC, 24 * 3600 * NSEC_PER_SEC,
		 "the longest pause between two tries; the first is one second"),
	{ .name = "to",
	  .type = OPTION_ADDRS,
	  .offset = OPTION_AT_(O, to, struct addr_list),
	  .min = 1,
	  .max = 1,
	  .speaks = "mqtt",
	  .example = "tcp:broker.example:1883",
	  .help = "connects to this broker" },
	OPT_TEXT(O, topics, 1, TEXT_MAX, "sensors/# out 1",
		 "what goes over it, a line each: PATTERN in|out|both QOS LOCAL-PREFIX REMOTE-PREFIX; what is left out is out, 0 and "
		 "no prefix"),
	OPT_STRING(O, user, NULL, 0, 1024, "logs in there under this name"),
	OPT_ENUM(O, version, "auto", versions, "of MQTT; auto tries 5, then 3.1.1"),
};
#undef O

static const char about[] =
	"The service is a client of another broker there, and passes messages on:\n\n"
	"  [mqtt.bridge.office]\n"
	"  to = tcp:192.0.2.20:1883\n"
	"  topics = sensors/# out 1 \"\" house1/\n"
	"    commands/# in 1 \"\" house1/\n"
	"    chat/# both\n\n"
	"Each line of topics is PATTERN WAY QOS LOCAL-PREFIX REMOTE-PREFIX. WAY is out (what is published here goes there), in (what is "
	"published there comes here) or both. The prefixes stand before the pattern on either side, \"\" is none: what is "
	"sensors/t9 here is house1/sensors/t9 there. A line with nothing but a pattern is out, with QoS 0 and no prefixes. The "
	"first line that fits counts. $SYS and guichet/ are each server's own and go over no bridge.\n\n"
	"Here a bridge may do what its topics say, and with local_user what the rules allow to that user. There the rules must allow "
	"its user to publish (out) and to subscribe (in) under the names there, and to publish its state, if `notify` is yes. If "
	"that is a guichet, and the user is house1:\n\n"
	"  [rules]\n"
	"  allow = house1 * topics:house1/#\n"
	"  allow = house1 * topics:chat/#\n"
	"  allow = house1 write topics:$SYS/broker/connection/+/state\n\n"
	"While there is no connection, what goes out with QoS 1 or 2 waits. The log says bridge-up, bridge-down and why, and "
	"bridge-refused for what may not be subscribed to there.";

/* ---- is it right? ---- */

static const char *fault_of_address(const struct addr_text *to)
{
	if (to->transport != ADDR_TCP && to->transport != ADDR_TLS)
		return "is not where a bridge can connect to: tcp:HOST:PORT, tls:HOST:PORT";
	return far_fault(to);
}

static int check_address(const struct bridge_options *o, struct buf *why)
{
	const struct addr_text *to = &o->to.v[0];
	const char *fault = fault_of_address(to);

	if (!fault)
		return 0;
	buf_adds(why, "to: ");
	addr_format(to, why);
	buf_addf(why, " %s", fault);
	return -EINVAL;
}

/* The name of an option that only TLS has a use for; NULL: none is set. */
static const char *tls_option(const struct bridge_options *o)
{
	return o->ca.path            ? "ca"
	       : o->certificate.path ? "certificate"
	       : o->key.path         ? "key"
	       : o->insecure         ? "insecure"
				     : NULL;
}

static int check_together(const struct bridge_options *o, struct buf *why)
{
	const char *option = tls_option(o), *fault = far_login_fault(o->user, &o->password);

	if (option && !addr_is_secure(&o->to.v[0])) {
		buf_addf(why, "%s: has no use here: `to` does not begin with tls:", option);
		return -EINVAL;
	}
	if (o->key.path && !o->certificate.path) {
		buf_adds(why, "key: needs a certificate");
		return -EINVAL;
	}
	if (o->notify && o->client_id && strpbrk(o->client_id, "+#")) {
		buf_adds(why,
			 "client_id: + and # cannot stand in the topic $SYS/broker/connection/CLIENT_ID/state; `notify = no` does "
			 "without it");
		return -EINVAL;
	}
	if (fault)
		buf_adds(why, fault);
	return fault ? -EINVAL : 0;
}

/* Each behind the option's name, with which line of it that is (conf.h). */
static void add_lines(const char *said, struct buf *why)
{
	for (const char *gap = ""; *said; gap = "\n") {
		size_t n = strcspn(said, "\n");

		buf_addf(why, "%stopics:%.*s", gap, (int)n, said);
		said += n + (said[n] == '\n');
	}
}

static int check_topics(const struct bridge_options *o, struct buf *why)
{
	BUF_AUTO struct buf said = BUF_INIT(4096);
	struct bridge_map map;
	int r = o->topics ? bridge_map_parse(o->topics, &map, &said) : 0;

	if (o->topics)
		bridge_map_done(&map);
	if (r == -EINVAL)
		add_lines(buf_str(&said), why);
	return r;
}

static int make_trust(const struct bridge_options *o, struct trust **ret, struct buf *why)
{
	const struct trust_setup setup = {
		.ca = o->ca.bytes,
		.certificate = o->certificate.bytes,
		.key = o->key.bytes,
		.insecure = o->insecure,
	};

	return trust_new(&setup, ret, why);
}

/* What is wrong with the content of a file, which it may be of: behind the option and the path. */
static void add_fault(const struct bridge_options *o, const char *said, struct buf *why)
{
	static const char *const names[] = { "ca", "certificate", "key" };
	const struct option_file *files[] = { &o->ca, &o->certificate, &o->key };
	size_t n = strcspn(said, ":"), which = o->ca.path ? 0 : 1;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (said[n] != ':' || strlen(names[i]) != n || memcmp(names[i], said, n) != 0)
			continue;
		which = i;
		said += n + 1 + strspn(said + n + 1, " ");
		break;
	}
	if (!files[which]->path) /* the key is in the certificate's file */
		which = 1;
	buf_addf(why, "%s: %s: %s", names[which], files[which]->path, said);
}

/* Of the files, once they are read. */
static int check_files(const struct bridge_options *o, struct buf *why)
{
	BUF_AUTO struct buf said = BUF_INIT(1024);
	struct trust *trust = NULL;
	int r;

	if (!o->ca.bytes.n && !o->certificate.bytes.n)
		return 0;
	r = make_trust(o, &trust, &said);
	trust_free(&trust);
	if (r == -EINVAL)
		add_fault(o, buf_str(&said), why);
	return r;
}

/* All that is wrong, a line each. */
static int check(const void *values, struct buf *why)
{
	static int (*const checks[])(const struct bridge_options *o, struct buf *why) = { check_address, check_together,
											  check_topics, check_files };
	int ret = 0;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
		BUF_AUTO struct buf said = BUF_INIT(8192);
		int r = checks[i](values, &said);

		if (r < 0 && r != -EINVAL)
			return r;
		if (r == 0)
			continue;
		buf_addf(why, "%s%s", ret ? "\n" : "", buf_str(&said));
		ret = r;
	}
	return ret;
}

const struct option_table bridge_table = {
	.name = "bridge",
	.about = about,
	.rows = rows,
	.n = sizeof(rows) / sizeof(rows[0]),
	.values_size = sizeof(struct bridge_options),
	.check = check,
};

/* ---- what is made of it ---- */

int bridge_setup_make(const struct bridge_options *o, struct bridge_setup *ret, struct buf *why)
{
	BUF_AUTO struct buf address = BUF_INIT(ADDR_TEXT_MAX + 1);
	struct bridge_setup s = {};
	void *mine = NULL;
	int r = option_values_copy(&bridge_table, o, &mine);

	if (r < 0)
		return r;
	s.o = mine;
	r = bridge_map_parse(s.o->topics, &s.map, why);
	addr_format(&o->to.v[0], &address);
	if (r == 0)
		r = buf_take(&address, &s.address);
	if (r == 0 && addr_is_secure(&o->to.v[0]))
		r = make_trust(o, &s.trust, why);
	if (r < 0)
		bridge_setup_done(&s);
	else
		*ret = s;
	return r;
}

void bridge_setup_done(struct bridge_setup *s)
{
	void *mine = s->o;

	option_values_free(&bridge_table, &mine);
	bridge_map_done(&s->map);
	trust_free(&s->trust);
	mem_free(s->address);
	*s = (struct bridge_setup){};
}
