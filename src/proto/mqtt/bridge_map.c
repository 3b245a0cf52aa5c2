/* bridge_map.c - see bridge_map.h. */
#include "proto/mqtt/bridge_map.h"

#include <errno.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "store/topic.h"

enum { WORDS = 5, LINE_MAX_BYTES = 1 << 16 };

static const char *const ways[] = { [BRIDGE_IN] = "in", [BRIDGE_OUT] = "out", [BRIDGE_BOTH] = "both" };

/* ---- one line ---- */

static int take_way(struct bridge_topic *t, const char *word, struct buf *why)
{
	for (unsigned i = BRIDGE_IN; i <= BRIDGE_BOTH; i++) {
		if (strcmp(word, ways[i]) != 0)
			continue;
		t->way = (uint8_t)i;
		return 0;
	}
	buf_add_excerpt(why, span_str(word));
	buf_adds(why, " is none of in, out, both");
	return -EINVAL;
}

static int take_qos(struct bridge_topic *t, const char *word, struct buf *why)
{
	if (word[0] >= '0' && word[0] <= '2' && !word[1]) {
		t->qos = (uint8_t)(word[0] - '0');
		return 0;
	}
	buf_add_excerpt(why, span_str(word));
	buf_adds(why, " is no QoS: 0, 1 or 2");
	return -EINVAL;
}

/* A prefix goes in front of names and filters alike. */
static int take_prefix(struct span *ret, const char *word, struct buf *why)
{
	*ret = span_str(word);
	if (!strpbrk(word, "+#"))
		return 0;
	buf_add_excerpt(why, *ret);
	buf_adds(why, " has a + or #, which a prefix cannot have");
	return -EINVAL;
}

/* Both filters lie one behind the other. */
static int join(struct bridge_topic *t, struct span pattern)
{
	size_t local_n = t->local.n + pattern.n, remote_n = t->remote.n + pattern.n;
	char *p = t->filters = mem_alloc(local_n + remote_n + 1);

	if (!p)
		return -ENOMEM;
	t->local_filter = (struct span){ (const uint8_t *)p, local_n };
	t->remote_filter = (struct span){ (const uint8_t *)p + local_n, remote_n };
	for (unsigned i = 0; i < 2; i++) {
		struct span prefix = i ? t->remote : t->local;

		if (prefix.n)
			memcpy(p, prefix.p, prefix.n);
		p += prefix.n;
		if (pattern.n)
			memcpy(p, pattern.p, pattern.n);
		p += pattern.n;
	}
	return 0;
}

static int check_filter(struct span filter, struct buf *why)
{
	if (utf8_is_text(filter) && topic_check_filter(filter, TOPIC_LEVELS_MAX) == 0 &&
	    !span_starts(filter, "$share/"))
		return 0;
	buf_add_excerpt(why, filter);
	buf_adds(why, " is no topic filter");
	return -EINVAL;
}

/* What a server tells of itself, under either name, is nobody else's to publish: it would be lost on the way. */
static int check_own(const struct bridge_topic *t, struct buf *why)
{
	if (span_starts(t->local_filter, "$SYS") || span_starts(t->remote_filter, "$SYS"))
		buf_adds(why, "what is below $SYS is each server's own");
	else if (topic_is_own(t->local_filter) || topic_is_own(t->remote_filter))
		buf_adds(why, "what is below guichet/ is what the server itself tells; it cannot go over a bridge");
	else
		return 0;
	return -EINVAL;
}

static int take_words(struct bridge_topic *t, struct buf *why)
{
	char **v = t->words.v;
	size_t n = t->words.n;
	int r = 0;

	t->way = BRIDGE_OUT;
	if (n > 1)
		r = take_way(t, v[1], why);
	if (r == 0 && n > 2)
		r = take_qos(t, v[2], why);
	if (r == 0 && n > 3)
		r = take_prefix(&t->local, v[3], why);
	if (r == 0 && n > 4)
		r = take_prefix(&t->remote, v[4], why);
	if (r == 0)
		r = join(t, span_str(v[0]));
	if (r == 0)
		r = check_own(t, why);
	if (r == 0)
		r = check_filter(t->local_filter, why);
	if (r == 0)
		r = check_filter(t->remote_filter, why);
	return r;
}

static int take_line(struct bridge_topic *t, struct span line, struct buf *why)
{
	BUF_AUTO struct buf text = BUF_INIT(LINE_MAX_BYTES);
	int r;

	buf_add(&text, line.p, line.n);
	if (text.err)
		return text.err;
	r = str_split_words(buf_str(&text), WORDS, &t->words);
	if (r == -EINVAL)
		buf_adds(why, "a quote is not closed, or a backslash stands at the end");
	if (r == -E2BIG)
		buf_adds(why, "more than five words in a line: PATTERN in|out|both QOS LOCAL-PREFIX REMOTE-PREFIX");
	if (r < 0)
		return r == -E2BIG ? -EINVAL : r;
	return t->words.n ? take_words(t, why) : 0;
}

/* ---- all of them ---- */

static void topic_done(struct bridge_topic *t)
{
	str_words_done(&t->words);
	mem_free(t->filters);
	*t = (struct bridge_topic){};
}

void bridge_map_done(struct bridge_map *m)
{
	for (size_t i = 0; i < m->n; i++)
		topic_done(&m->v[i]);
	mem_free(m->v);
	*m = (struct bridge_map){};
}

static int add_line(struct bridge_map *m, unsigned number, struct span line, struct buf *why)
{
	struct bridge_topic *v = mem_realloc(m->v, (m->n + 1) * sizeof(*v)), *t;
	size_t said = why->n;
	int r;

	if (!v)
		return -ENOMEM;
	m->v = v;
	t = &v[m->n++];
	*t = (struct bridge_topic){};
	buf_addf(why, "%s%u: ", said ? "\n" : "", number);
	r = take_line(t, line, why);
	if (r == 0)
		buf_cut(why, said);
	if (r < 0 || !t->words.n) {
		topic_done(t);
		m->n--;
	}
	return r;
}

int bridge_map_parse(const char *text, struct bridge_map *ret, struct buf *why)
{
	unsigned number = 0;
	int r = 0;

	*ret = (struct bridge_map){};
	while (*text) {
		size_t n = strcspn(text, "\n");
		int line = add_line(ret, ++number, (struct span){ (const uint8_t *)text, n }, why);

		if (line == -ENOMEM)
			return line;
		r = r ? r : line;
		text += n + (text[n] == '\n');
	}
	return r;
}

int bridge_map_topic(const struct bridge_map *m, enum bridge_way way, struct span topic, struct buf *out)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct bridge_topic *t = &m->v[i];
		struct span from = way == BRIDGE_OUT ? t->local : t->remote,
			    to = way == BRIDGE_OUT ? t->remote : t->local;
		struct span filter = way == BRIDGE_OUT ? t->local_filter : t->remote_filter;

		if (!(t->way & way) || topic.n < from.n || !topic_matches(filter, topic))
			continue;
		buf_reset(out);
		buf_add(out, to.p, to.n);
		buf_add(out, topic.p + from.n, topic.n - from.n);
		return out->err;
	}
	return -ENOENT;
}
