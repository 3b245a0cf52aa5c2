/* access.c - see access.h. The lock is held for a few instructions, and taken once for a session and reload. */
#include "store/access.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/mem.h"

struct access {
	atomic_flag busy;
	_Atomic uint64_t generation;
	struct people *people;
	struct rules *rules;
	struct people_memory *memory;
};

static void lock(struct access *a)
{
	while (atomic_flag_test_and_set_explicit(&a->busy, memory_order_acquire))
		;
}

static void unlock(struct access *a)
{
	atomic_flag_clear_explicit(&a->busy, memory_order_release);
}

int access_new(struct access **ret)
{
	struct access *a = mem_zalloc(sizeof(*a));
	int r = a ? people_memory_new(&a->memory) : -ENOMEM;

	if (r < 0) {
		mem_free(a);
		return r;
	}
	atomic_flag_clear(&a->busy);
	atomic_init(&a->generation, 1);
	*ret = a;
	return 0;
}

void access_free(struct access **ap)
{
	struct access *a = *ap;

	if (!a)
		return;
	*ap = NULL;
	people_unref(a->people);
	rules_unref(a->rules);
	people_memory_free(&a->memory);
	mem_free(a);
}

void access_set(struct access *a, struct people *people, struct rules *rules)
{
	struct people *old_people;
	struct rules *old_rules;

	lock(a);
	old_people = a->people;
	old_rules = a->rules;
	a->people = people_ref(people);
	a->rules = rules_ref(rules);
	unlock(a);
	atomic_fetch_add_explicit(&a->generation, 1, memory_order_release);
	people_unref(old_people);
	rules_unref(old_rules);
}

uint64_t access_generation(const struct access *a)
{
	return a ? atomic_load_explicit(&a->generation, memory_order_acquire) : 0;
}

void access_get(struct access *a, struct people **ret_people, struct rules **ret_rules)
{
	if (a)
		lock(a);
	if (ret_people)
		*ret_people = a ? people_ref(a->people) : NULL;
	if (ret_rules)
		*ret_rules = a ? rules_ref(a->rules) : NULL;
	if (a)
		unlock(a);
}

struct people_memory *access_memory(const struct access *a)
{
	return a ? a->memory : NULL;
}
