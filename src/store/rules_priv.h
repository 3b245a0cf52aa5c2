/* rules_priv.h - what the files of rules.h share: rules.c (the list, and lines), rules_view.c (who asks). */
#pragma once
#include <stdatomic.h>

#include "store/rules.h"

enum rules_whom { WHOM_ALL, WHOM_ANONYMOUS, WHOM_USER, WHOM_GROUP };

/* A filter; of one without wildcards in its beginning that part is looked at first. */
struct rule_text {
	const uint8_t *p;
	uint32_t n;
	uint32_t prefix; /* bytes that every name it matches begins with */
};

struct rule {
	bool allow;
	bool fills; /* %u or %c is in it */
	uint8_t verbs;
	enum rules_whom whom;
	enum rules_store store;
	char *who;     /* a user or a group */
	char *pattern; /* as written, when it fills */
	char *filter; /* when it does not: filled already. When it does and denies: `+` in every level that names somebody */
	struct rule_text text; /* of the filter */
};

struct rules {
	_Atomic unsigned refs;
	size_t n, cap;
	struct rule *v;
};

struct rule_text rule_text_of(struct span filter);
