/* planner_words.c - services from words of the command line: new ones, or more of what the file has. */
#include <errno.h>

#include "base/addr.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/option.h"
#include "main/planner_priv.h"
#include "proto/protos.h"

enum { ADDRESSES_MAX = 64 }; /* of a service, as tables.c has it */

static int set_word_option(struct planner *p, const struct plan_service *s, const struct word *w,
			   const struct word_option *o)
{
	struct conf_target targets[PLANNER_TARGETS];
	size_t n = planner_targets(s, targets);
	char text[PLANNER_SENTENCE];
	struct str_closest c = str_closest_start(o->name);
	struct buf why;
	int err = 0;

	buf_init_fixed(&why, text, sizeof(text));
	if (strcmp(o->name, "listen") == 0) {
		conf_problem(p->ps, w->text, 0, "listen: addresses come behind the @; repeat the word for another one");
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		const struct option *row = option_find(targets[i].table, o->name);

		option_offer_names(targets[i].table, &c);
		if (!row)
			continue;
		err = option_set_row(row, targets[i].values, o->value, &why);
		if (err && err != -ENOMEM)
			conf_problem(p->ps, w->text, 0, "%s", text);
		return err == -ENOMEM ? err : 0;
	}
	buf_adds(&why, "unknown option ");
	buf_add_excerpt(&why, span_str(o->name));
	buf_addf(&why, " of %s", s->proto->name);
	str_add_hint(&why, c.best);
	conf_problem(p->ps, w->text, 0, "%s", text);
	return 0;
}

/* One more address; the list is parsed again as a whole, which finds two that want the same port. */
static int add_address(struct planner *p, struct plan_service *s, const struct word *w)
{
	struct addr_list both = {};
	char text[PLANNER_SENTENCE];
	struct buf why;
	BUF_AUTO struct buf b;
	int err;

	buf_init(&b, (size_t)1 << 20);
	buf_init_fixed(&why, text, sizeof(text));
	addr_list_format(&s->common->listen, &b);
	if (b.n > 0)
		buf_addc(&b, ' ');
	str_add_word(&b, w->address);
	err = b.err ? b.err : addr_list_parse(buf_str(&b), ADDRESSES_MAX, &both, &why);
	if (err == -ENOMEM)
		return err;
	if (err) {
		conf_problem(p->ps, w->text, 0, "%s", text);
		return 0;
	}
	addr_list_done(&s->common->listen);
	s->common->listen = both;
	return 0;
}

static const struct proto *proto_of_word(struct planner *p, const struct word *w)
{
	const char *name = w->service;
	const struct proto *proto;
	char text[PLANNER_SENTENCE];
	struct buf why;

	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->options[i].name, "protocol") == 0)
			name = w->options[i].value;
	proto = protos_find(name);
	if (proto)
		return proto;
	buf_init_fixed(&why, text, sizeof(text));
	buf_add_excerpt(&why, span_str(name));
	buf_addf(&why, " is no protocol%s", p->conf ? " and no section of the file" : "");
	planner_nearest(name, NULL, &why);
	conf_problem(p->ps, w->text, 0, "%s", text);
	return NULL;
}

static int take_word(struct planner *p, const struct word *w)
{
	struct plan_service *s = planner_find(p, w->service);
	int err;

	if (!s) {
		const struct proto *proto = proto_of_word(p, w);

		if (!proto)
			return 0;
		s = planner_add(p, w->service, proto, NULL);
		if (!s)
			return -ENOMEM;
	}
	err = add_address(p, s, w);
	for (size_t i = 0; i < w->n && !err; i++)
		err = set_word_option(p, s, w, &w->options[i]);
	return err;
}

/* The rules across options, for services that words made or changed; what the file says was checked with it. */
static int check_worded(struct planner *p)
{
	for (size_t i = 0; i < p->n_words; i++) {
		struct plan_service *s = planner_find(p, p->words[i].service);
		struct conf_target targets[PLANNER_TARGETS];
		size_t n = s ? planner_targets(s, targets) : 0;

		for (size_t j = 0; j < n; j++) {
			char text[PLANNER_SENTENCE];
			struct buf why;
			int err;

			buf_init_fixed(&why, text, sizeof(text));
			err = option_values_check(targets[j].table, targets[j].values, &why);
			if (err == -ENOMEM)
				return err;
			if (err)
				conf_problem(p->ps, p->words[i].text, 0, "%s", text);
		}
	}
	return 0;
}

int planner_take_words(struct planner *p)
{
	int err = 0;

	p->words = mem_zalloc((p->setup->n_words + 1) * sizeof(*p->words));
	if (!p->words)
		return -ENOMEM;
	for (size_t i = 0; i < p->setup->n_words && !err; i++) {
		struct word *w = &p->words[p->n_words];
		char text[PLANNER_SENTENCE];
		struct buf why;

		buf_init_fixed(&why, text, sizeof(text));
		err = word_parse(p->setup->words[i], w, &why);
		if (!err)
			p->n_words++;
		else if (err != -ENOMEM)
			conf_problem(p->ps, p->setup->words[i], 0, "%s", text);
		if (err == -EINVAL)
			err = 0;
	}
	for (size_t i = 0; i < p->n_words && !err; i++)
		err = take_word(p, &p->words[i]);
	if (!err && conf_problems_none(p->ps))
		err = check_worded(p);
	return err;
}

bool planner_was_worded(const struct planner *p, const char *name)
{
	for (size_t i = 0; i < p->n_words; i++)
		if (strcmp(p->words[i].service, name) == 0)
			return true;
	return false;
}
