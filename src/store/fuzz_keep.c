/*
 * fuzz_keep.c - the durable store, from bytes that nobody has written. The first byte says what the rest is:
 *	even  a row: size of the key, key, value; its checksum is made to fit, so that its form is what is tried
 *	odd   changes to a sound file: a page, an offset (two bytes), a new byte; the file is then opened, read, mended
 *	      when it must be, written by LMDB and read again
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/mem.h"
#include "store/keep_priv.h"

enum { PAGES = 64, SESSIONS = 3, MESSAGES = 120, ROW = 4096 };

static char dir[64], file[96];
static uint8_t image[PAGES * 4096];
static size_t image_n;

/* ---- a sound file ---- */

static void put_all(struct keep *k)
{
	struct keep_batch b = {};
	char text[3000];
	bool bad = false;

	memset(text, 'x', sizeof(text));
	for (uint64_t i = 1; i <= MESSAGES; i++) {
		const struct keep_message m = { .topic = { (const uint8_t *)text, 3 + i % 9 },
						.payload = { (const uint8_t *)text, i % 30 ? i : sizeof(text) } };
		const struct keep_waiter w[2] = { { .session = 1, .qos = 1 }, { .session = 2, .qos = 2 } };
		const struct keep_session s = { .id = i, .name = span_str("name") };

		bad |= i <= SESSIONS && (keep_put_session(&b, &s) < 0 || keep_await(&b, i, 9) < 0);
		bad |= keep_put_message(&b, 100 + i, &m, w, 1 + i % 2) < 0 || keep_retain(&b, &m) < 0;
		bad |= i > 9 && i % 2 && keep_done(&b, 100 + i - 9, 1) < 0;
		if (i % 10 == 0)
			(void)keep_submit(k, &b);
	}
	if (bad)
		abort();
	keep_batch_done(&b);
}

static struct keep *open_store(void)
{
	const struct keep_setup setup = { .dir = dir, .limit = KEEP_LIMIT_MIN };
	struct keep *k;

	if (keep_open(&setup, &k, NULL) < 0)
		abort();
	return k;
}

static void start(struct keep *k, struct keep_found *found)
{
	if (keep_start(k, found, NULL) < 0)
		abort();
}

static void make_image(void)
{
	struct keep_found found;
	struct keep *k;
	FILE *f;

	snprintf(dir, sizeof(dir), "%s/guichet-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (!mkdtemp(dir))
		abort();
	snprintf(file, sizeof(file), "%s/store.mdb", dir);
	k = open_store();
	start(k, &found);
	put_all(k);
	keep_close(&k);
	f = fopen(file, "re");
	if (!f)
		abort();
	image_n = fread(image, 4096, PAGES, f) * 4096;
	fclose(f);
}

static void clean(void)
{
	static const char *const names[] = { "store.mdb", "store.new", "damaged-1.mdb", "lock" };
	char path[200];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
}

static void clean_up(void)
{
	clean();
	rmdir(dir);
}

/* ---- a row ---- */

static void try_row(const uint8_t *p, size_t n)
{
	static uint8_t value[ROW];
	struct span key;
	struct keep_row row;
	uint32_t sum;

	if (n < 1 || n - 1 < p[0] % KEEP_KEY || n > ROW - KEEP_SUM)
		return;
	key = (struct span){ p + 1, p[0] % KEEP_KEY };
	n -= 1 + key.n;
	if (n)
		memcpy(value + KEEP_SUM, key.p + key.n, n);
	sum = crc32c(crc32c(0, key.p, key.n), value + KEEP_SUM, n);
	memcpy(value, &sum, KEEP_SUM);
	if (keep_row(key, (struct span){ value, KEEP_SUM + n }, NULL, &row) < 0)
		return;
	if (row.kind == KEEP_MESSAGE) {
		struct keep_raw_waiter w;

		while (row.waiters.n && keep_row_waiter(&row.waiters, &w))
			row.n_waiters--;
		if (row.n_waiters)
			abort();
	}
}

/* ---- a file ---- */

static uint64_t read_all(struct keep *k)
{
	struct keep_record r;
	uint64_t n = 0;
	int got;

	while ((got = keep_next(k, &r)) == 1)
		n += r.kind == KEEP_MESSAGE ? 1000 : 1;
	if (got < 0)
		abort();
	return n;
}

static void put_file(const uint8_t *changes, size_t n)
{
	static uint8_t copy[sizeof(image)];
	FILE *f = fopen(file, "we");

	memcpy(copy, image, image_n);
	for (; n >= 4; changes += 4, n -= 4)
		copy[((size_t)changes[0] * 4096 + (size_t)(changes[1] << 8 | changes[2]) % 4096) % image_n] =
			changes[3];
	if (!f || fwrite(copy, 1, image_n, f) != image_n || fclose(f) != 0)
		abort();
}

static void try_file(const uint8_t *p, size_t n)
{
	struct keep_found found;
	struct keep_batch b = {};
	struct keep *k;
	uint64_t had;

	put_file(p, n);
	k = open_store();
	had = read_all(k);
	start(k, &found);
	if (keep_await(&b, 1, 77) < 0 || keep_done(&b, 101, 1) < 0 || keep_release(&b, 1, 77) < 0)
		abort();
	(void)keep_submit(k, &b);
	keep_close(&k);
	keep_batch_done(&b);
	k = open_store();
	if (read_all(k) > had)
		abort();
	if (keep_judge(k, &found) < 0 || found.damaged)
		abort();
	keep_close(&k);
	clean();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (!image_n) {
		make_image();
		atexit(clean_up);
	}
	if (n < 1)
		return 0;
	if (p[0] & 1)
		try_file(p + 1, n - 1);
	else
		try_row(p + 1, n - 1);
	return 0;
}
