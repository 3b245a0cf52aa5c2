/* mute.h - under inetd standard error is the client, who is not meant to read what we say of ourselves. */
#pragma once
#include <stdbool.h>

/* When standard error is the socket that standard input is, makes it /dev/null; was it? */
bool mute_stderr(void);

/* To the system's log: why a mute program cannot start. There is no log of ours yet. */
void mute_say(const char *text);
