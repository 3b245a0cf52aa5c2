/*
 * secret.h - a password from whoever sits there: asked on the terminal, without echo, or the first line of standard input.
 * Never from the command line, where everybody can read it.
 */
#pragma once
#include "base/buf.h"

/*
 * Asked twice, until both are the same (three times at most), and it may be used (people_check_password()). Into `ret`, reset first;
 * the caller overwrites it: secret_done(). 0; -ENOTTY there is no terminal; -ECANCELED interrupted, or never the same; -EINVAL; -errno;
 * always with a sentence in `why`.
 */
[[nodiscard]] int secret_ask(const char *whose, struct buf *ret, struct buf *why);
/* Before anything is begun: is there a terminal? 0, or -ENOTTY with a sentence. */
[[nodiscard]] int secret_can_ask(struct buf *why);
[[nodiscard]] int secret_read(int fd, struct buf *ret, struct buf *why); /* a line of it, without its end */
void secret_done(struct buf *b);
