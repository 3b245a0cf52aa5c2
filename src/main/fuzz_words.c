/* fuzz_words.c - any word of the command line is taken apart or refused with a sentence, and its parts are in it. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "main/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = mem_strndup((const char *)data, size);
	char said[512];
	struct buf why;
	struct word w;

	if (!text)
		return 0;
	buf_init_fixed(&why, said, sizeof(said));
	if (word_parse(text, &w, &why) < 0) {
		assert(why.n > 0);
	} else {
		assert(*w.service && *w.address);
		for (size_t i = 0; i < w.n; i++) {
			assert(*w.options[i].name);
			assert(strstr(text, w.options[i].value));
		}
		word_done(&w);
	}
	mem_free(text);
	return 0;
}
