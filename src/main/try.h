/* try.h - a command that talks to a service, for people to copy. */
#pragma once
#include "base/addr.h"
#include "core/proto.h"

/*
 * Adds a shell command for this protocol at this address as it is bound: `nc 127.0.0.1 7007`. Nothing when there is no simple one.
 * `program` is how guichet was called: it need not be in the PATH. With `login` who says nothing about himself gets nothing there.
 */
void try_command(const char *program, const struct proto *proto, const struct addr_text *a, bool login, struct buf *b);
