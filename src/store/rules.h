/*
 * rules.h - who may do what: the section [rules], a list in which the first line that fits decides.
 *
 *	allow = @staff * topics:#
 *	deny  = * write topics:$SYS/#
 *	allow = * read topics:home/%u/#
 *
 * WHO is `*` (everybody), `anonymous` (who has not logged in), a user, or `@group`; VERB is read, write, list, admin or `*`; for
 * topics read is to subscribe and to receive, write to publish. The pattern is a topic filter (topic.h), in which %u is the user and
 * %c the client's own name, %% a percent sign, and no other byte follows a %; other stores have paths, and `/` parts their levels too. What no line fits is
 * denied.
 *
 * A list does not change once it is shared; a reload makes another one. The list NULL means that there is no section: then who is on
 * this machine may do everything, and nobody else anything.
 */
#pragma once
#include "base/buf.h"
#include "base/str.h"

enum {
	RULES_MAX = 1000,
	RULES_PATTERN_MAX = 1024, /* bytes */
};

enum rules_verb { RULES_READ = 1, RULES_WRITE = 2, RULES_LIST = 4, RULES_ADMIN = 8, RULES_ALL_VERBS = 15 };

/* Their names are rules_stores[], NULL-ended. */
enum rules_store {
	RULES_TOPICS,
	RULES_FILES,
	RULES_MAIL,
	RULES_POLLS,
	RULES_COORD,
	RULES_PEOPLE,
	RULES_STATS,
	RULES_EVENTS,
	RULES_STORES,
};
extern const char *const rules_stores[];

struct rules;

[[nodiscard]] int rules_new(struct rules **ret); /* without a line: everything is denied. 0 or -ENOMEM */

/*
 * Adds `WHO VERB STORE:PATTERN` at the end, words as in base/str.h; only before anybody else has the list. 0, -ENOMEM, or -EINVAL
 * with a sentence in `why`.
 */
[[nodiscard]] int rules_add(struct rules *r, bool allow, const char *line, struct buf *why);
size_t rules_count(const struct rules *r);
bool rules_mention(const struct rules *r, enum rules_store store); /* some line is about it */

/*
 * What a rule names: its store, and who it is about when that is one user or one group (else NULL); and whether it allows what cannot
 * be, to publish what is the server's own. Lives as long as the list.
 */
struct rules_about {
	enum rules_store store;
	bool vain;
	const char *user, *group;
};
struct rules_about rules_about(const struct rules *r, size_t i); /* below rules_count() */

bool rules_same(const struct rules *a, const struct rules *b); /* the same lines in the same order; NULL: no section */

/* References, from any thread; NULL is fine. */
struct rules *rules_ref(struct rules *r);
void rules_unref(struct rules *r);

/* ---- asking ---- */

/* Borrowed for the call. */
struct rules_who {
	struct span user;               /* empty: anonymous */
	const struct str_words *groups; /* without @; NULL: none */
	struct span client;             /* what %c is; may be empty */
	bool local;                     /* on this machine */
};

/*
 * The rules as one session sees them: those that are about it, with names filled in. Belongs to the session and is asked by one
 * thread at a time. One block of about 100 bytes, more for patterns with %. Holds a reference to the list.
 *
 * Somebody whose name cannot stand in a filter (it is empty, or has a / + # or NUL in it, or a $ where the filter begins) is
 * allowed nothing by a pattern with it, and denied whatever could stand in its place.
 */
struct rules_view;
[[nodiscard]] int rules_view_new(struct rules *r, const struct rules_who *who,
				 struct rules_view **ret); /* 0, -ENOMEM */
void rules_view_free(struct rules_view **v);
const struct rules *rules_view_of(const struct rules_view *v); /* another one is in force? make a new view */

/* May it? The view NULL may nothing. No allocation; with twenty rules 100 to 150 ns. */
bool rules_check(const struct rules_view *v, enum rules_verb verb, enum rules_store store, struct span name);

/* What of a filter may it? With RULES_PART each name is to be asked for; it may also be none of them after all. */
enum rules_share { RULES_NONE, RULES_PART, RULES_ALL };
enum rules_share rules_check_filter(const struct rules_view *v, enum rules_verb verb, enum rules_store store,
				    struct span filter);
