/*
 * fuzz_addr.c - any text is refused with a printable sentence, or is an address (or a list) whose canonical text reads
 * back as the same.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/addr.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Lines that may go to a terminal and into a log: at most so many, none of them empty. */
static void require_lines(const struct buf *why, size_t most)
{
	const uint8_t *p = (const uint8_t *)buf_str(why);
	size_t lines = 1;

	for (size_t i = 0; i < why->n; i++) {
		bool end = p[i] == '\n';

		lines += end;
		if ((p[i] < ' ' && !end) || p[i] == 0x7f || (end && (i == 0 || p[i - 1] == '\n' || i + 1 == why->n)))
			abort();
	}
	if (why->n == 0 || lines > most)
		abort();
}

static void require_sentence(const struct buf *why)
{
	require_lines(why, 1);
}

static void one(const char *text)
{
	BUF_AUTO struct buf b = BUF_INIT(4096);
	struct addr_text a, again;

	if (addr_parse(text, &a, &b) != 0) {
		require_sentence(&b);
		return;
	}
	if (b.n > 0)
		abort();
	addr_format(&a, &b);
	if (b.err || addr_parse(buf_str(&b), &again, NULL) != 0 || !addr_equal(&a, &again))
		abort();
	buf_reset(&b);
	if (addr_rebase(&a, "/etc/guichet", &b) != 0)
		require_sentence(&b);
}

static void list(const char *text)
{
	BUF_AUTO struct buf b = BUF_INIT(1 << 16);
	struct addr_list l, again;

	if (addr_list_parse(text, 8, &l, &b) != 0) {
		require_lines(&b, SIZE_MAX); /* one for each word that is wrong */
		return;
	}
	addr_list_format(&l, &b);
	if (b.err || addr_list_parse(buf_str(&b), 8, &again, NULL) != 0 || !addr_list_equal(&l, &again))
		abort();
	addr_list_done(&l);
	addr_list_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_strndup((const char *)data, size);

	if (!text)
		return 0;
	one(text);
	list(text);
	mem_free(text);
	return 0;
}
