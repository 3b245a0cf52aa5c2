/* named.h - listeners that are no sockets: a named pipe (fifo.h), a message queue (queue.h). For listener.c. */
#pragma once
#include "base/buf.h"
#include "drive/net/owner.h"

struct listener;
struct netaddr;

/* Opens what ln->at names, and sets fd, local and born. 0 or -errno, perhaps with a sentence; named_close() in either case. */
[[nodiscard]] int named_open(struct listener *ln, struct buf *why);
/* The same for what another process has opened: ln->fd is its; `dir`, the folder of a pipe, is ours from now on. */
[[nodiscard]] int named_take(struct listener *ln, int dir);
int named_dir(const struct listener *ln); /* this folder, as long as it is open; -1: it has none */
[[nodiscard]] int named_give(const struct listener *ln, const struct owner *to); /* 0 or -errno */
void named_close(struct listener *ln); /* and removes the name, unless ln->taken */
