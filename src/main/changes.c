/* changes.c - see changes.h. */
#include "main/changes.h"

#include <errno.h>

#include "base/log.h"
#include "base/mem.h"

enum { VALUE = 512 }; /* bytes of a value in the log */

struct kept {
	const struct option_table *table;
	void *values;
};

enum { COMMON, TLS, OWN, KINDS };

struct kept_service {
	char *name;
	const struct proto *proto;
	struct kept kept[KINDS];
};

struct changes {
	struct kept global;
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
	k->name = mem_strdup(s->name);
	if (!k->name || keep(&k->kept[COMMON], &tables_service, s->common) < 0 ||
	    keep(&k->kept[TLS], &tables_tls, s->tls) < 0 || keep(&k->kept[OWN], s->proto->options, s->options) < 0)
		return -ENOMEM;
	return 0;
}

int changes_remember(const struct plan *p, struct changes **ret)
{
	struct changes *c = mem_zalloc(sizeof(*c) + p->n * sizeof(c->v[0]));
	int err = c ? keep(&c->global, &tables_guichet, p->global) : -ENOMEM;

	for (size_t i = 0; i < p->n && !err; i++) {
		c->n = i + 1;
		err = keep_service(&c->v[i], &p->services[i]);
	}
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
	for (size_t i = 0; i < c->n; i++) {
		for (size_t j = 0; j < KINDS; j++)
			drop(&c->v[i].kept[j]);
		mem_free(c->v[i].name);
	}
	mem_free(c);
	*cp = NULL;
}

const struct guichet_options *changes_global(const struct changes *c)
{
	return c->global.values;
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

/* Every option of one table that has another value now. */
static size_t compare(const char *service, const struct kept *before, const struct kept *now)
{
	size_t n = 0;

	if (!before->values || !now->values) /* TLS options came with an address, or went: `listen` tells of it */
		return 0;
	for (size_t i = 0; i < now->table->n; i++) {
		const struct option *row = &now->table->rows[i];
		struct log_line l;

		if (option_row_equal(row, before->values, now->values))
			continue;
		n++;
		if (!log_begin(&l, LOG_INFO, "option-changed"))
			continue;
		log_str(&l, "service", service);
		log_str(&l, "option", row->name);
		log_value(&l, "from", row, before->values);
		log_value(&l, "to", row, now->values);
		log_end(&l);
	}
	return n;
}

static void log_service(const char *event, const char *name)
{
	struct log_line l;

	if (!log_begin(&l, LOG_INFO, event))
		return;
	log_str(&l, "service", name);
	log_end(&l);
}

size_t changes_log(const struct changes *before, const struct changes *now)
{
	size_t n = compare("guichet", &before->global, &now->global);

	for (size_t i = 0; i < before->n; i++) {
		const struct kept_service *other = find(now, before->v[i].name);

		if (other && other->proto == before->v[i].proto)
			continue;
		log_service("service-removed", before->v[i].name);
		n++;
	}
	for (size_t i = 0; i < now->n; i++) {
		const struct kept_service *k = &now->v[i], *other = find(before, k->name);

		if (!other || other->proto != k->proto) {
			log_service("service-added", k->name);
			n++;
			continue;
		}
		for (size_t j = 0; j < KINDS; j++)
			n += compare(k->name, &other->kept[j], &k->kept[j]);
	}
	return n;
}
