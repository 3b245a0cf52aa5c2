/* protos.c - see protos.h. */
#include "proto/protos.h"

#include <errno.h>

#include "conf/option.h"

const struct proto *protos_find(const char *name)
{
	for (const struct proto *const *p = protos; *p; p++) {
		if (strcmp((*p)->name, name) == 0)
			return *p;
	}
	return NULL;
}

/* Small letters and digits: it is a section of the configuration, a word of the command line, a file name. */
static bool is_name(const char *s)
{
	if (!s || *s < 'a' || *s > 'z')
		return false;
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789")] == '\0';
}

static bool is_line(const char *s)
{
	return s && *s && !strchr(s, '\n');
}

static bool counters_sound(const struct proto_counter *v)
{
	size_t n = 0;

	for (; v && v[n].name; n++) {
		if (!is_line(v[n].help) ||
		    v[n].name[strspn(v[n].name, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0')
			return false;
		for (size_t i = 0; i < n; i++) {
			if (strcmp(v[i].name, v[n].name) == 0)
				return false;
		}
	}
	return n <= PROTO_COUNTERS;
}

/* What is wrong with it, or NULL. */
static const char *fault_of(const struct proto *p)
{
	if (p->abi != PROTO_ABI)
		return "was built for another version of core/proto.h";
	if (!is_name(p->name))
		return "needs a name of small letters and digits";
	if (!is_line(p->summary))
		return "needs a summary of one line";
	if (!p->step)
		return "needs a step";
	if (!(p->flags & (P_STREAM | P_DGRAM)))
		return "needs P_STREAM or P_DGRAM";
	if (p->flags & (P_DGRAM_OFF | P_SMALL | P_PEERS) && !(p->flags & P_DGRAM))
		return "has a flag that only P_DGRAM gives a meaning";
	if (p->flags & P_DGRAM && !(p->flags & P_SMALL) == !(p->flags & P_PEERS))
		return "needs P_SMALL or P_PEERS with P_DGRAM: one of them, core/proto.h says which";
	if (!(p->flags & P_SHARED) != !is_line(p->needs))
		return "needs P_SHARED and the sentence in `needs` together";
	if (p->shard_size && !p->shard)
		return "needs a shard() for its shard_size";
	if (!p->svc_open && p->svc_close)
		return "needs a svc_open() for its svc_close()";
	if (!counters_sound(p->counters))
		return "needs counters with different names of small letters, digits and _, a line about each, and not more than PROTO_COUNTERS";
	return NULL;
}

int protos_check_one(const struct proto *p, struct buf *ret_why)
{
	const char *fault = fault_of(p);

	if (fault) {
		buf_addf(ret_why, "protocol %s %s", p->name ? p->name : "without a name", fault);
		return -EINVAL;
	}
	return p->options ? option_table_check(p->options, ret_why) : 0;
}

/* ---- all of them ---- */

/* Is it among the services of `guichet serve` without a file? */
static bool is_default(const struct proto *p)
{
	return !(p->flags & P_OFF);
}

static bool share_addresses(const struct proto *a, const struct proto *b)
{
	return is_default(a) && is_default(b) && a->port == b->port && a->flags & b->flags & (P_STREAM | P_DGRAM);
}

/* What is wrong with v[i] beside those before it; false: nothing. */
static bool is_misplaced(const struct proto *const *v, size_t i, struct buf *why)
{
	const struct proto *p = v[i];

	if (i && strcmp(v[i - 1]->name, p->name) >= 0) {
		buf_addf(why, "protocol %s is not sorted by name in PROTOS (proto/protos.h), or is there twice",
			 p->name);
		return true;
	}
	for (size_t j = 0; j < i; j++) {
		if (!share_addresses(v[j], p))
			continue;
		if (p->port == 0)
			buf_addf(why, "protocol %s needs a port or P_OFF, or else %s does: only one may have neither",
				 p->name, v[j]->name);
		else
			buf_addf(why, "protocol %s has the port of %s; one of them needs P_OFF", p->name, v[j]->name);
		return true;
	}
	return false;
}

int protos_check_all(const struct proto *const *v, struct buf *ret_why)
{
	for (size_t i = 0; v[i]; i++) {
		int r = protos_check_one(v[i], ret_why);

		if (r < 0)
			return r;
		if (is_misplaced(v, i, ret_why))
			return -EINVAL;
	}
	return 0;
}

int protos_check(struct buf *ret_why)
{
	return protos_check_all(protos, ret_why);
}
