/*
 * fuzz_conf.c - any bytes are read as a configuration and every section applied to the common tables. Problems are one
 * printable line each, within the file; values that were taken read back from their text.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "conf/conf.h"
#include "conf/tables.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_printable(const struct conf_problems *ps, unsigned lines)
{
	for (size_t i = 0; i < ps->n; i++) {
		if (ps->v[i].line > lines || ps->v[i].text[0] == '\0')
			abort();
		for (const char *s = ps->v[i].text; *s; s++)
			if ((*s >= 0 && *s < ' ') || *s == 0x7f)
				abort();
	}
}

/* Set each value again from its own text: it must come out as it was. */
static void read_back(const struct conf_target *t)
{
	void *copy;

	if (option_values_copy(t->table, t->values, &copy) != 0)
		return;
	for (size_t i = 0; i < t->table->n; i++) {
		BUF_AUTO struct buf text = BUF_INIT(1 << 20);
		const struct option *row = &t->table->rows[i];

		option_format(row, t->values, &text);
		if (text.err)
			abort();
		if (text.n > 0 && option_set_row(row, copy, buf_str(&text), NULL) != 0)
			abort();
		if (!option_row_equal(row, t->values, copy))
			abort();
	}
	option_values_free(t->table, &copy);
}

static void apply(const struct conf_section *s, struct conf_problems *ps)
{
	static const char *const skip[] = { "allow", "deny", NULL };
	struct conf_target t[] = { { &tables_service, NULL }, { &tables_tls, NULL }, { &tables_guichet, NULL } };
	const size_t n = sizeof(t) / sizeof(t[0]);
	BUF_AUTO struct buf why = BUF_INIT(4096);

	for (size_t i = 0; i < n; i++)
		if (option_values_new(t[i].table, &t[i].values) != 0)
			abort();
	if (conf_apply(s, t, n, skip, ps) != 0)
		abort();
	for (size_t i = 0; i < n; i++) {
		read_back(&t[i]);
		if (option_resolve(t[i].table, t[i].values, "/etc/guichet", &why) ==
		    -EINVAL) /* a value that was set is right */
			abort();
		option_values_free(t[i].table, &t[i].values);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_problems ps = {};
	struct conf *c = NULL;
	unsigned lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	if (conf_parse("fuzz", (struct span){ data, size }, &c, &ps) == 0)
		for (size_t i = 0; i < c->n && i < 20; i++)
			apply(&c->sections[i], &ps);
	conf_problems_sort(&ps);
	require_printable(&ps, lines);
	conf_problems_done(&ps);
	conf_free(&c);
	return 0;
}
