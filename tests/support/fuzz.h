/*
 * fuzz.h - conversations made by a fuzzer, over the memory driver. A target is a few lines:
 *
 *	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
 *	{
 *		static const char *const names[] = { "names", "yes", NULL, NULL };
 *
 *		fuzz_talk(&chat_proto, (const char *const *const[]){ NULL, names }, 2, data, size);
 *		return 0;
 *	}
 *
 * The first four bytes: which set of options; how many bytes a read and a write move (0 = all); which allocation fails (0 = none);
 * how many clients, and whether they are slow. The rest is what the first client says, but for byte 255, after which
 * one more byte says: 0 the next client speaks; 1 it ends its direction; 2 its connection breaks; 3 a second passes; 4 it
 * reads again, 500 bytes more; 5 the server drains; 6 the next far side of a channel speaks; 7 a datagram with what follows,
 * up to the next 255; anything else is said, byte 255 too.
 *
 * What is wrong aborts: a sanitizer's finding, a world that does not come to rest, a queue past its limit. Sets of options
 * that the service refuses end the program at once. Seeds begin with the four bytes too and lie in tests/corpus/NAME.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct proto;

void fuzz_talk(const struct proto *proto, const char *const *const *sets, size_t n_sets, const uint8_t *data,
	       size_t size);
