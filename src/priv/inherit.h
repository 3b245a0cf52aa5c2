/*
 * inherit.h - the libraries that are not handed on by fork(). A process that is forked for one client costs mostly its mappings,
 * which are copied and undone; half of them are of libraries that only those have a use for who read a configuration, talk to
 * systemd or speak TLS. And what is not there is of no use to an intruder.
 */
#pragma once
#include <stdbool.h>

/*
 * For a process that forks, and looks up no name and no user from now on (which modules do that need who knows what), nor do its
 * children. They have the program, the C library and, with `openssl`, that one; what else is loaded is an address that faults. May be
 * called again, with the same. Nothing is changed where it cannot be, nor in a build with a sanitizer, which wants to see all.
 *
 * Those that this process itself has no use for any more are unmapped; true: it must not end by exit(), which would call them.
 */
bool inherit_libraries(bool openssl);

/*
 * Once, when that is done and what the process needs is there: what it writes to, which lies in many pieces (the data of the program and
 * of each library, what is behind these without a file, what the loader has asked for between two libraries), becomes one mapping
 * wherever nothing else is between. Each piece less is one less to copy and to undo. For a process with one thread.
 */
void inherit_in_one(void);

/*
 * Pages of the heap that nobody uses go back, since each is one more to hand on. And the system writes no more into this thread which
 * CPU it is on (rseq(2)): that would be a page to copy in each child, and nobody here asks.
 */
void inherit_less(void);
