/* fuzz_talk.c - what a worker makes of a message that calls itself a door, and the monitor of one with problems. */
#include <stdlib.h>

#include "main/talk.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct chan_msg m;
	struct conf_problems ps = {};
	struct door d;

	if (n > CHAN_BODY)
		return 0;
	chan_msg_init(&m, TALK_DOOR, 1);
	memcpy(m.body, p, n);
	m.n = (uint32_t)n;
	if (talk_get_door(&m, &d) == 0)
		abort(); /* there was no descriptor in it */
	(void)!talk_get_problems(&m, &ps);
	conf_problems_done(&ps);
	return 0;
}
