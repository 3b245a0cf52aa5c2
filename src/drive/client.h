/*
 * client.h - runs one protocol object as a client: no service, no listener, a private poll loop in the
 * calling thread. Every transport that a child can connect to is thereby a client's too.
 */
#pragma once
#include "base/addr.h"
#include "core/proto.h"

/* Can a client of this version connect to such an address, and be answered? */
bool client_has_transport(enum addr_transport t);

/*
 * Opens a session of `proto` without a transport of its own (EV_OPEN with arg, `options` as io->svc->options), and runs until
 * it ends by V_CLOSE or V_ABORT; it uses channels (CHILD_CONNECT, CHILD_STDIO) to talk. *ret_reason (may be NULL) is what it gave
 * to io_reason(), or NULL. 0, or -errno when it could not start; -ECANCELED when it ended by V_ABORT.
 */
[[nodiscard]] int client_run(const struct proto *proto, const void *options, struct blob *arg, const char **ret_reason);

/*
 * The same for one that has something to say before it goes: told to end by a signal, it gets EV_STOP and at most `grace`. The
 * program then ends by that signal all the same.
 */
[[nodiscard]] int client_run_until(const struct proto *proto, const void *options, nsec grace);
