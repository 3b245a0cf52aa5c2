/*
 * topic_map.c - see topic_map.h. Bucket i holds the hashes that end in the bits of i; while the table is between two
 * powers of two, the lower buckets up to `buckets - half` are already split in two and the others are not.
 */
#include "store/topic_map.h"

#include <errno.h>

#include "base/mem.h"

enum { PAGE = 512 };

static struct topic_link **bucket(const struct topic_map *m, uint32_t i)
{
	return &m->pages[i / PAGE][i % PAGE];
}

static struct topic_link **bucket_of(const struct topic_map *m, uint32_t hash)
{
	uint32_t i = hash & (2 * m->half - 1);

	return bucket(m, i < m->buckets ? i : i & (m->half - 1));
}

static int add_page(struct topic_map *m)
{
	struct topic_link **page;

	if (m->n_pages == m->cap_pages) {
		uint32_t cap = m->cap_pages ? 2 * m->cap_pages : 8;
		struct topic_link ***pages = mem_realloc(m->pages, cap * sizeof(struct topic_link **));

		if (!pages)
			return -ENOMEM;
		m->pages = pages;
		m->cap_pages = cap;
	}
	page = mem_zalloc(PAGE * sizeof(*page));
	if (!page)
		return -ENOMEM;
	m->pages[m->n_pages++] = page;
	return 0;
}

/* One bucket more: the lower one that has its hashes is split. Without memory it stays as it is. */
static void grow(struct topic_map *m)
{
	struct topic_link **low, **high, *l;

	if (m->buckets == m->n_pages * PAGE && add_page(m) < 0)
		return;
	if (m->buckets == 2 * m->half)
		m->half *= 2;
	low = bucket(m, m->buckets - m->half);
	high = bucket(m, m->buckets);
	m->buckets++;
	/* cppcheck-suppress uninitvar ; a page is born as zeroes */
	while ((l = *low)) {
		if (l->hash & m->half) {
			*low = l->next;
			l->next = *high;
			*high = l;
		} else {
			low = &l->next;
		}
	}
}

/* One bucket less: what is in it goes back. */
static void shrink(struct topic_map *m)
{
	struct topic_link **low;

	m->buckets--;
	if (m->buckets < m->half)
		m->half /= 2;
	low = bucket(m, m->buckets - m->half);
	while (*low)
		low = &(*low)->next;
	*low = *bucket(m, m->buckets);
	*bucket(m, m->buckets) = NULL;
	if (m->buckets % PAGE == 0)
		mem_free(m->pages[--m->n_pages]);
}

void topic_map_done(struct topic_map *m)
{
	while (m->n_pages)
		mem_free(m->pages[--m->n_pages]);
	mem_free(m->pages);
	*m = (struct topic_map){};
}

int topic_map_open(struct topic_map *m)
{
	if (m->buckets)
		return 0;
	if (add_page(m) < 0)
		return -ENOMEM;
	m->buckets = m->half = PAGE;
	return 0;
}

int topic_map_add(struct topic_map *m, struct topic_link *link)
{
	struct topic_link **at;

	if (topic_map_open(m) < 0)
		return -ENOMEM;
	if (m->n >= m->buckets)
		grow(m);
	at = bucket_of(m, link->hash);
	link->next = *at;
	*at = link;
	m->n++;
	return 0;
}

void topic_map_del(struct topic_map *m, struct topic_link *link)
{
	struct topic_link **at = bucket_of(m, link->hash);

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	m->n--;
	/* two for one, so that the table keeps up with what is left */
	for (int i = 0; i < 2 && m->buckets > PAGE && m->n < m->buckets / 2; i++)
		shrink(m);
}

struct topic_link *topic_map_first(const struct topic_map *m, uint32_t hash)
{
	return m->n ? *bucket_of(m, hash) : NULL;
}
