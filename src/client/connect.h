/*
 * connect.h - a conversation between a terminal (standard input and output) and a service: what is typed goes out, what
 * comes is printed. The end of the input is handed on and the service may go on answering; its end is the end.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "client/dial.h"

struct connect_setup {
	struct dial_setup dial;
	/* for datagrams: a line of input is one; after the end of the input so long (ns) for a last answer */
	uint64_t wait;
	/* what happens meanwhile: `connected to 127.0.0.1:7007`; NULL = nobody wants to know */
	void (*say)(const char *text);
};

/*
 * Returns when the conversation is over: 0; or -errno with a sentence in `why`: cannot connect to tcp:localhost:7777:
 * Connection refused (tried ::1, 127.0.0.1).
 */
[[nodiscard]] int connect_run(const struct connect_setup *setup, struct buf *why);
