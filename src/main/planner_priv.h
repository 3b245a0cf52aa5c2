/* planner_priv.h - what the files of the planner share. */
#pragma once
#include "main/planner.h"
#include "main/words.h"

enum {
	PLANNER_SENTENCE = 1024, /* bytes of a problem */
	PLANNER_TARGETS = 3,     /* tables that a section's options may be in */
};

struct planner {
	const struct planner_setup *setup;
	struct plan *plan;
	struct conf *conf;  /* NULL without a file */
	char *dir;          /* of the file */
	struct word *words; /* those that could be taken apart */
	size_t n_words;
	const struct conf_section **origins; /* of each service of the plan; NULL = the command line */
	size_t n_origins;
	bool errand; /* planner_is_errand() */
	struct conf_problems *ps;
};

/* ---- planner.c ---- */

/* A problem of service s: `text` begins with the name of an option, whose line is looked for. */
void planner_problem(struct planner *p, const struct plan_service *s, const char *text);
void planner_warning(struct planner *p, const struct plan_service *s, const char *text);

/* Adds `, did you mean "echo"?`, from all protocols and one more word (NULL: none). */
void planner_nearest(const char *name, const char *more, struct buf *b);

/* A service with default options at the end of the plan, or NULL: memory is out. Pointers to earlier ones die. */
struct plan_service *planner_add(struct planner *p, const char *name, const struct proto *proto,
				 const struct conf_section *origin);
struct plan_service *planner_find(struct planner *p, const char *name); /* NULL: there is none */

/* Where its options may be: its protocol's own come first. Returns how many. */
size_t planner_targets(const struct plan_service *s, struct conf_target targets[PLANNER_TARGETS]);

/* ---- planner_file.c, planner_words.c: 0 or -ENOMEM ---- */

[[nodiscard]] int planner_take_file(struct planner *p);
[[nodiscard]] int planner_take_words(struct planner *p);
bool planner_was_worded(const struct planner *p, const char *name); /* a word names this service */

/* ---- planner_parts.c ---- */

/* Is it a section of a service, [SERVICE.KIND.NAME]? One that says a protocol is a service, whatever it is called. */
bool planner_is_part(const struct conf_section *section);
/* When all services of the file are there. 0 or -ENOMEM. */
[[nodiscard]] int planner_take_part(struct planner *p, const struct conf_section *section);
/* What is in the files that the service's own options name, when file and command line have been taken. 0 or -ENOMEM. */
[[nodiscard]] int planner_read_files(struct planner *p, const struct plan_service *s);

/* ---- planner_given.c: 0 or -ENOMEM ---- */

[[nodiscard]] int planner_take_sockets(struct planner *p);

/* ---- planner_access.c: 0 or -ENOMEM ---- */

[[nodiscard]] int planner_take_rules(struct planner *p, const struct conf_section *section);
/* When all services are known: who may log in, and is it said what they may do? */
[[nodiscard]] int planner_finish_access(struct planner *p);

/* ---- planner_dials.c: when all services and their addresses are known ---- */

void planner_check_dials(struct planner *p, const struct plan_service *s);
void planner_check_users(struct planner *p, const struct plan_service *s); /* when people are known, too */

/* ---- planner_test.c ---- */

void planner_move(struct planner *p, struct plan_service *s);

/* ---- certs.c ---- */

/*
 * The TLS context of one service, from its options and the files that they name. What there is to say goes to tell(): a
 * sentence that begins with the option's name, or the path of a certificate that was made. After a problem *ret is
 * untouched. 0 or -ENOMEM.
 */
enum certs_what { CERTS_PROBLEM, CERTS_WARNING, CERTS_MADE };
struct certs_setup {
	const struct tls_options *options; /* its paths are resolved */
	const char *data;                  /* where the certificate `auto` is kept */
	const struct kit *from;            /* as in struct planner_setup */
	struct kit *into;
	bool dry; /* make nothing: as long as there is no certificate `auto` there is no context either */
	void (*tell)(void *arg, enum certs_what what, const char *text);
	void *arg;
};
[[nodiscard]] int certs_context(const struct certs_setup *setup, struct tls_ctx **ret);
