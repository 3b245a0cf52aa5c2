/*
 * fuzz_people.c - people from any text: what is read can be written and read back the same, what was left out is counted; and messages
 * of SCRAM to a set of them. The text ends at the first byte 0; what follows are the messages of a client, one behind each 0.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/people_priv.h"
#include "store/people_scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct people_memory *m;

static void require(bool what)
{
	if (!what)
		abort();
}

static void write_back(struct people *p)
{
	BUF_AUTO struct buf a = BUF_INIT(1 << 20), b = BUF_INIT(1 << 20);
	struct people *q;

	people_format(p, &a);
	if (a.err)
		return;
	require(people_parse(buf_span(&a), &q, NULL, NULL) == 0);
	require(people_damaged(q) == 0 && people_count(q) == people_count(p));
	people_format(q, &b);
	require(a.n == b.n && memcmp(a.p, b.p, a.n) == 0);
	people_unref(q);
}

static void look(const struct people *p)
{
	for (size_t i = 0; i < people_count(p); i++) {
		const struct person *who = people_at(p, i);

		require(people_check_name(span_str(who->name), NULL) == 0);
		require(people_find(p, span_str(who->name)) == who);
		for (size_t k = 0; k < who->certificates.n; k++)
			(void)people_by_certificate(p, who->certificates.v[k]);
		(void)people_recall(m, p, span_str(who->name), span_str("secret"), 1);
	}
}

static struct span next_message(const uint8_t **data, size_t *size)
{
	const uint8_t *end = *size ? memchr(*data, 0, *size) : NULL;
	struct span s = { *data, end ? (size_t)(end - *data) : *size };

	*data += s.n + (end != NULL);
	*size -= s.n + (end != NULL);
	return s;
}

/* Nobody knows a proof by chance. */
static void talk(struct people *p, const uint8_t *data, size_t size)
{
	while (size > 0) {
		struct span first = next_message(&data, &size), last = next_message(&data, &size);
		BUF_AUTO struct buf b = BUF_INIT(4096);
		const struct person *who;
		struct people_scram *x;

		if (people_scram_first(m, p, first, "NONCE", &x, &b) < 0)
			continue;
		require(people_scram_final(x, last, &who, &b) < 0);
		people_scram_free(&x);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = next_message(&data, &size);
	struct people *p;

	if (!m)
		require(people_memory_new(&m) == 0);
	require(people_parse(text, &p, NULL, NULL) == 0);
	look(p);
	talk(p, data, size);
	write_back(p);
	people_unref(p);
	return 0;
}
