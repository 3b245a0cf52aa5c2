/* ready.h - what is told when everything listens: a table for people, a line of JSON for programs. */
#pragma once
#include "drive/server.h"
#include "main/text.h"

struct rules;

/* Every service, how it is served, where, and a command to try it: by these rules (store/rules.h; NULL: there are none). */
[[nodiscard]] int ready_table(const struct server *s, struct rules *rules, struct text_style style, struct buf *b);

/* The same of a plan that nobody serves, as it is written. */
[[nodiscard]] int ready_plan_table(const struct plan *p, struct text_style style, struct buf *b);

/* One object and a line end, as docs/design/test-mode.md has it; paths are absolute. 0 or -errno. */
struct ready_facts {
	const char *control, *data;
};
[[nodiscard]] int ready_json(const struct server *s, const struct ready_facts *facts, struct buf *b);
