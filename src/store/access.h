/*
 * access.h - the people and the rules that are in force in this process, and what it remembers of logins. There is one for all
 * services, and it stays when a reload puts others in force. The access NULL has no people and no rules.
 */
#pragma once
#include "store/people.h"
#include "store/rules.h"

struct access;

[[nodiscard]] int access_new(struct access **ret); /* nobody, and no rules. 0 or -errno */
void access_free(struct access **a);

/* Puts these in force; takes references of its own. One thread. */
void access_set(struct access *a, struct people *people, struct rules *rules);

/* Grows each time that other ones are in force. Any thread; costs a load. */
uint64_t access_generation(const struct access *a);

/* References to what is in force (either may be NULL, and is then not wanted). Any thread. */
void access_get(struct access *a, struct people **ret_people, struct rules **ret_rules);
struct people_memory *access_memory(const struct access *a); /* NULL: access is NULL */
