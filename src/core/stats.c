/* stats.c - the table of stats.h as data. */
#include "core/stats.h"

static const struct {
	const char *name, *help;
} rows[] = {
#define X(id, name, help) { #name, help },
	STATS(X)
#undef X
};

const char *stat_name(enum counter which)
{
	return rows[which].name;
}

const char *stat_help(enum counter which)
{
	return rows[which].help;
}
