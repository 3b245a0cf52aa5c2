/* fuzz_chat.c - a room full of people who say anything, with and without names. */
#include "proto/protos.h"
#include "support/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { "names", "yes", NULL, NULL };

	fuzz_talk(&chat_proto, (const char *const *const[]){ NULL, names }, 2, data, size);
	return 0;
}
