/*
 * ask.h - one line to a stream service, and all that it answers until it ends: what `guichet stats` does with the control
 * socket.
 */
#pragma once
#include "base/buf.h"
#include "core/proto.h"

/*
 * Connects, sends the line, adds the answer to `ret` (at most ret->max bytes) until the other side ends. `address` is as in
 * a configuration, with an absolute or relative path. 0; or -errno and a sentence in `why`: -ENOENT and -ECONNREFUSED mean
 * that nobody is there. Waits for `patience` at most.
 */
[[nodiscard]] int ask(const char *address, const char *line, nsec patience, struct buf *ret, struct buf *why);
