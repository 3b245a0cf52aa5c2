/* changes.h - what a reload changed, for the log: which services came, went, which of their options, rules and people are others now. */
#pragma once
#include "drive/server.h"

/* The options of a plan, its certificates, rules and people, without anything that is open or secret. */
struct changes;

/* A copy of what the plan says. 0 or -ENOMEM. */
[[nodiscard]] int changes_remember(const struct plan *p, struct changes **ret);
void changes_free(struct changes **c);

/* The options of [guichet] in it; live as long as it does. */
const struct guichet_options *changes_global(const struct changes *c);

struct rules *changes_rules(const struct changes *c); /* the section [rules], likewise; NULL: there is none */

/* Logs a line for each difference, but for sections that came or went, which the server tells; returns how many there are. */
size_t changes_log(const struct changes *before, const struct changes *now);
