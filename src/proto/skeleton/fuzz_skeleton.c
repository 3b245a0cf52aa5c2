/* fuzz_skeleton.c - whatever a client says; support/fuzz.h has what the bytes mean. */
#include "proto/protos.h"
#include "support/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const greeting[] = { "greeting", "hello", NULL, NULL };

	fuzz_talk(&skeleton_proto, (const char *const *const[]){ NULL, greeting }, 2, data, size);
	return 0;
}
