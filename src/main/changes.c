/* changes.c - see changes.h. */
#include "main/changes.h"

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "conf/conf.h"
#include "conf/option.h"
#include "conf/tables.h"
#include "layer/tls.h"
#include "store/people.h"
#include "store/rules.h"
#include "store/topic_hash.h"

enum {
	VALUE = 512, /* bytes of a value in the log */
	PERSON = PEOPLE_LINE_MAX,
};

struct kept {
	const struct option_table *table;
	void *values;
};

enum { COMMON, TLS, OWN, KINDS };

struct kept_service {
	char *name;
	const struct proto *proto;
	struct kept kept[KINDS];
	struct tls_ctx *tls; /* NULL: it speaks no TLS */
};

/* Somebody, without what could be tried passwords against. */
struct kept_person {
	char *name;
	uint64_t mark; /* of all that is known of him */
};

struct kept_people {
	struct kept_person *v; /* by their names */
	size_t n;
	bool asked; /* there is a service that asks who somebody is; that nobody is known, or that there is no file, is an answer */
};

struct changes {
	struct kept global;
	struct rules *rules; /* a reference */
	struct kept_people people;
	size_t n;
	struct kept_service v[];
};

static int keep(struct kept *k, const struct option_table *table, const void *values)
{
	k->table = table;
	return table && values ? option_values_copy(table, values, &k->values) : 0;
}

static int keep_service(struct kept_service *k, const struct plan_service *s)
{
	k->proto = s->proto;
	k->tls = tls_ctx_ref(s->tls_ctx);
	k->name = mem_strdup(s->name);
	if (!k->name || keep(&k->kept[COMMON], &tables_service, s->common) < 0 ||
	    keep(&k->kept[TLS], &tables_tls, s->tls) < 0 || keep(&k->kept[OWN], s->proto->options, s->options) < 0)
		return -ENOMEM;
	return 0;
}

static void add_words(struct buf *b, const struct str_words *w)
{
	for (size_t i = 0; i < w->n; i++)
		buf_add(b, w->v[i], strlen(w->v[i]) + 1);
	buf_addc(b, '\n');
}

static int keep_person(struct kept_person *k, const struct person *who)
{
	static const struct topic_key key;
	BUF_AUTO struct buf all = BUF_INIT(PERSON);

	buf_addf(&all, "%s\n%s\n%d\n", who->hash ? who->hash : "", who->scram ? who->scram : "", who->disabled);
	add_words(&all, &who->groups);
	add_words(&all, &who->certificates);
	k->mark = topic_hash(&key, buf_span(&all));
	if (all.p)
		explicit_bzero(all.p, all.cap);
	k->name = mem_strdup(who->name);
	return k->name && !all.err ? 0 : -ENOMEM;
}

static bool asks_for_people(const struct plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->services[i].proto->store)
			return true;
	return false;
}

static int keep_people(struct kept_people *k, const struct people *people, bool asked)
{
	size_t n = people_count(people);
	int err = 0;

	k->asked = asked;
	k->v = mem_zalloc((n + 1) * sizeof(*k->v));
	if (!k->v)
		return -ENOMEM;
	for (; k->n < n && !err; k->n++)
		err = keep_person(&k->v[k->n], people_at(people, k->n));
	return err;
}

int changes_remember(const struct plan *p, struct changes **ret)
{
	struct changes *c = mem_zalloc(sizeof(*c) + p->n * sizeof(c->v[0]));
	int err = c ? keep(&c->global, &tables_guichet, p->global) : -ENOMEM;

	if (c)
		c->rules = rules_ref(p->rules);
	if (!err)
		err = keep_people(&c->people, p->people, asks_for_people(p));
	for (size_t i = 0; i < p->n && !err; i++)
		if (!p->services[i].internal) /* nobody wrote that one */
			err = keep_service(&c->v[c->n++], &p->services[i]);
	if (err) {
		changes_free(&c);
		return err;
	}
	*ret = c;
	return 0;
}

static void drop(struct kept *k)
{
	if (k->table)
		option_values_free(k->table, &k->values);
}

void changes_free(struct changes **cp)
{
	struct changes *c = *cp;

	if (!c)
		return;
	drop(&c->global);
	rules_unref(c->rules);
	for (size_t i = 0; i < c->people.n; i++)
		mem_free(c->people.v[i].name);
	mem_free(c->people.v);
	for (size_t i = 0; i < c->n; i++) {
		for (size_t j = 0; j < KINDS; j++)
			drop(&c->v[i].kept[j]);
		tls_ctx_unref(c->v[i].tls);
		mem_free(c->v[i].name);
	}
	mem_free(c);
	*cp = NULL;
}

const struct guichet_options *changes_global(const struct changes *c)
{
	return c->global.values;
}

struct rules *changes_rules(const struct changes *c)
{
	return c->rules;
}

static const struct kept_service *find(const struct changes *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(c->v[i].name, name) == 0)
			return &c->v[i];
	return NULL;
}

static void log_value(struct log_line *l, const char *key, const struct option *row, const void *values)
{
	char text[VALUE];
	struct buf b;

	buf_init_fixed(&b, text, sizeof(text));
	option_format(row, values, &b);
	log_str(l, key, text);
}

/* Where the control socket is follows from `data`, unless somebody said otherwise. */
static bool is_usual_control(const struct guichet_options *g)
{
	char *usual;
	bool same;

	if (!g->control)
		return true; /* there is none */
	if (str_path_from(g->data, "control.sock", &usual) < 0)
		return false;
	same = strcmp(usual, g->control) == 0;
	mem_free(usual);
	return same;
}

/* What follows from another option is not told once more. */
static bool is_derived(const struct option *row, const struct kept *before, const struct kept *now)
{
	return now->table == &tables_guichet && strcmp(row->name, "control") == 0 && is_usual_control(before->values) &&
	       is_usual_control(now->values);
}

/* `of` is the section that it is in, behind the service's: `bridge.office`; "": the service's own. */
static void log_change(const char *service, const char *of, const struct option *row, const void *before,
		       const void *now)
{
	char name[3 * CONF_NAME_MAX];
	struct log_line l;

	if (!log_begin(&l, LOG_INFO, "option-changed"))
		return;
	snprintf(name, sizeof(name), "%s%s%s", of, *of ? "." : "", row->name);
	log_str(&l, "service", service);
	log_str(&l, "option", name);
	log_value(&l, "from", row, before);
	log_value(&l, "to", row, now);
	log_end(&l);
}

static const struct option_part *find_part(const struct option_parts *parts, const char *name)
{
	for (size_t i = 0; i < parts->n; i++)
		if (strcmp(parts->v[i].name, name) == 0)
			return &parts->v[i];
	return NULL;
}

static void log_part(const char *service, const struct option *row, const char *part, const char *text)
{
	char section[2 * CONF_NAME_MAX];
	struct log_line l;

	if (!log_begin(&l, LOG_INFO, "option-changed"))
		return;
	snprintf(section, sizeof(section), "%s.%s", row->name, part);
	log_str(&l, "service", service);
	log_str(&l, "option", section);
	log_str(&l, "text", text);
	log_end(&l);
}

/* One section of a service that is there before and now: each of its options. */
static size_t compare_part(const char *service, const struct option *row, const struct option_part *before,
			   const struct option_part *now)
{
	char section[2 * CONF_NAME_MAX];
	size_t n = 0;

	snprintf(section, sizeof(section), "%s.%s", row->name, now->name);
	for (size_t i = 0; i < row->part->n; i++) {
		const struct option *one = &row->part->rows[i];

		if (option_row_equal(one, before->values, now->values))
			continue;
		log_change(service, section, one, before->values, now->values);
		n++;
	}
	return n;
}

static size_t compare_parts(const char *service, const struct option *row, const void *before, const void *now)
{
	const struct option_parts *a = (const void *)((const char *)before + row->offset);
	const struct option_parts *b = (const void *)((const char *)now + row->offset);
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++) {
		const struct option_part *other = find_part(b, a->v[i].name);

		if (other) {
			n += compare_part(service, row, &a->v[i], other);
		} else {
			log_part(service, row, a->v[i].name, "removed");
			n++;
		}
	}
	for (size_t i = 0; i < b->n; i++) {
		if (find_part(a, b->v[i].name))
			continue;
		log_part(service, row, b->v[i].name, "added");
		n++;
	}
	return n;
}

/* Every option of one table that has another value now. */
static size_t compare(const char *service, const struct kept *before, const struct kept *now)
{
	size_t n = 0;

	if (!before->values || !now->values) /* TLS options came with an address, or went: `listen` tells of it */
		return 0;
	for (size_t i = 0; i < now->table->n; i++) {
		const struct option *row = &now->table->rows[i];

		if (option_row_equal(row, before->values, now->values) || is_derived(row, before, now))
			continue;
		if (row->part) {
			n += compare_parts(service, row, before->values, now->values);
			continue;
		}
		log_change(service, "", row, before->values, now->values);
		n++;
	}
	return n;
}

/* The file of certificate i: 0 is the service's own, others are those of `sni`. */
static void log_certificate_file(struct log_line *l, const struct tls_options *o, const char *data, size_t i)
{
	struct span name, crt, key;
	char *path;

	if (i > 0) {
		if (tables_sni_split(o->sni.v[i - 1], &name, &crt, &key) == 0)
			log_bytes(l, "file", crt.p, crt.n);
	} else if (strcmp(o->certificate, "auto") != 0) {
		log_str(l, "file", o->certificate);
	} else if (str_path_from(data, "auto.crt", &path) == 0) {
		log_str(l, "file", path);
		mem_free(path);
	}
}

static void log_certificate(const struct kept_service *k, const char *data, size_t i)
{
	char not_after[TLS_NOT_AFTER];
	struct log_line l;

	if (!log_begin(&l, LOG_INFO, "certificate-changed"))
		return;
	tls_ctx_not_after(k->tls, i, not_after);
	log_str(&l, "service", k->name);
	log_certificate_file(&l, k->kept[TLS].values, data, i);
	log_str(&l, "not_after", not_after);
	log_end(&l);
}

/* Certificates that are others now, though the configuration names the same files. */
static size_t compare_certificates(const struct kept_service *before, const struct kept_service *now, const char *data)
{
	const struct tls_options *a = before->kept[TLS].values, *b = now->kept[TLS].values;
	size_t n = 0;

	if (!before->tls || !now->tls || strcmp(a->certificate, b->certificate) != 0 ||
	    !str_words_equal(&a->sni, &b->sni))
		return 0;
	for (size_t i = 0; i <= b->sni.n; i++) {
		if (tls_ctx_same_identity(before->tls, now->tls, i))
			continue;
		log_certificate(now, data, i);
		n++;
	}
	return n;
}

/* ---- who may do what ---- */

static size_t compare_rules(const struct rules *before, const struct rules *now)
{
	struct log_line l;

	if (rules_same(before, now))
		return 0;
	if (log_begin(&l, LOG_INFO, "rules-changed")) {
		log_uint(&l, "rules", rules_count(now));
		log_end(&l);
	}
	return 1;
}

struct turnover {
	size_t added, changed, removed;
};

/* Both are in the order of names, as people_at() has them. */
static struct turnover turnover_of(const struct kept_people *a, const struct kept_people *b)
{
	struct turnover t = {};
	size_t i = 0, j = 0;

	while (i < a->n || j < b->n) {
		int order = i == a->n ? 1 : j == b->n ? -1 : strcmp(a->v[i].name, b->v[j].name);

		t.removed += order < 0;
		t.added += order > 0;
		t.changed += order == 0 && a->v[i].mark != b->v[j].mark;
		i += order <= 0;
		j += order >= 0;
	}
	return t;
}

/* The file was moved away, or is empty: then whoever comes is let in without a name, as where there never was one. */
static void log_nobody(const struct guichet_options *g)
{
	char *usual = NULL;
	struct log_line l;

	if (!log_begin(&l, LOG_WARN, "people-none"))
		return;
	if (g->people || str_path_from(g->data, "people", &usual) == 0)
		log_str(&l, "file", g->people ? g->people : usual);
	log_str(&l, "text", "nobody is in it any more: names and passwords are not looked at");
	log_end(&l);
	mem_free(usual);
}

static size_t compare_people(const struct kept_people *before, const struct kept_people *now,
			     const struct guichet_options *g)
{
	struct turnover t;
	struct log_line l;
	size_t n;

	if (!before->asked || !now->asked) /* the first service that asks for them, or the last, has come or gone */
		return 0;
	t = turnover_of(before, now);
	n = t.added + t.changed + t.removed;
	if (n && log_begin(&l, LOG_INFO, "people-changed")) {
		log_uint(&l, "added", t.added);
		log_uint(&l, "changed", t.changed);
		log_uint(&l, "removed", t.removed);
		log_end(&l);
	}
	if (before->n && !now->n)
		log_nobody(g);
	return n;
}

size_t changes_log(const struct changes *before, const struct changes *now)
{
	size_t n = compare("guichet", &before->global, &now->global) + compare_rules(before->rules, now->rules) +
		   compare_people(&before->people, &now->people, changes_global(now));

	for (size_t i = 0; i < before->n; i++) {
		const struct kept_service *other = find(now, before->v[i].name);

		n += !other || other->proto != before->v[i].proto;
	}
	for (size_t i = 0; i < now->n; i++) {
		const struct kept_service *k = &now->v[i], *other = find(before, k->name);

		if (!other || other->proto != k->proto) {
			n++;
			continue;
		}
		for (size_t j = 0; j < KINDS; j++)
			n += compare(k->name, &other->kept[j], &k->kept[j]);
		n += compare_certificates(other, k, changes_global(now)->data);
	}
	return n;
}
