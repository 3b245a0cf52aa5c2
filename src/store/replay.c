/* replay.c - see replay.h. */
#include "store/replay.h"

#include <errno.h>

#include "base/mem.h"

struct span replay_filter(const struct replay *r)
{
	return (struct span){ r->cursor.bytes, r->cursor.filter_n };
}

const struct replay *replay_find(const struct replay *all, struct span filter)
{
	while (all && !span_same(replay_filter(all), filter))
		all = all->next;
	return all;
}

static void drop(struct replay **at)
{
	struct replay *r = *at;

	*at = r->next;
	names_cursor_close(&r->cursor);
	mem_free(r);
}

void replay_drop(struct replay **all, struct span filter)
{
	while (*all && !span_same(replay_filter(*all), filter))
		all = &(*all)->next;
	if (*all)
		drop(all);
}

void replay_drop_all(struct replay **all)
{
	while (*all)
		drop(all);
}

int replay_add(struct replay **all, struct span filter, struct replay **ret)
{
	struct replay *r = mem_zalloc(sizeof(*r));

	if (!r || names_cursor_open(&r->cursor, filter) < 0) {
		mem_free(r);
		return -ENOMEM;
	}
	replay_drop(all, filter);
	while (*all)
		all = &(*all)->next;
	*all = *ret = r;
	return 0;
}
