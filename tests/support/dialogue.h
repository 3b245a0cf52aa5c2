/*
 * dialogue.h - conversations written down, and replayed: src/proto/NAME/cases/X.txt. Here they run over the memory driver,
 * cut into pieces of every size; tests/e2e/test_dialogues.py replays the same files over real transports under every model.
 *
 * A file is lines. First what it needs:
 *
 *	# anything                 a comment; empty lines do not count either
 *	option NAME = VALUE        of the service, as in the configuration
 *	wall SECONDS               the time of day that the service is told; over a network this file is then left out
 *	clients N                  N connections, called a, b, c ...; the service has accepted all of them before the first
 *	                           line below. Default 1
 *	loops 1                    the service must run in one loop (here it always does)
 *	far                        an address waits for a connection of the service; the option `to` is set to it, and who
 *	                           connects there is called z
 *	dgram                      datagrams: each `<` is one, and each `>` is one that comes back
 *
 * Then what happens, in this order:
 *
 *	< TEXT                     the client sends these bytes
 *	> TEXT                     the client gets exactly these bytes, whatever pieces they come in
 *	. eof                      the client sends its FIN, and goes on reading
 *	. closed                   the server has sent its FIN, and nothing before it that was not expected
 *	. silence                  nothing comes (over a network: for a moment)
 *
 * A letter before `<`, `>` or `.` says which client (`b> hello\n`); none is a. A number after `<` or `>` repeats the text:
 * `<65536 a`. In TEXT \n \r \t \\ \xHH are what they are in C; everything else, blanks too, stands for itself, and a
 * line end is not part of it. At the end of the file no client may have got a byte that was not expected.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proto;

enum {
	DIALOGUE_OPTIONS = 8,
	DIALOGUE_CLIENTS = 8,
	DIALOGUE_FAR = DIALOGUE_CLIENTS, /* the number of z */
};

enum dialogue_kind { DIALOGUE_SEND, DIALOGUE_EXPECT, DIALOGUE_EOF, DIALOGUE_CLOSED, DIALOGUE_SILENCE };

struct dialogue_step {
	enum dialogue_kind kind;
	unsigned client; /* 0 = a; DIALOGUE_FAR = z */
	unsigned line;   /* in the file */
	uint8_t *p;      /* SEND, EXPECT: n bytes */
	size_t n;
};

struct dialogue {
	char path[256];
	struct {
		char *name, *value;
	} option[DIALOGUE_OPTIONS];
	size_t options;
	int64_t wall;
	unsigned clients;
	bool far, dgram;
	struct dialogue_step *v;
	size_t n;
};

/* Reads a file; a mistake in it fails the running test with its name and line. */
struct dialogue *dialogue_load(const char *path);
void dialogue_free(struct dialogue **d);

/* One dialogue with all that the clients send, and all that the server writes, in pieces of at most `piece` bytes. */
void dialogue_replay(const struct dialogue *d, const struct proto *proto, size_t piece);

/* Every *.txt of a folder, in pieces of 1, 2, 3 ... bytes, and then larger ones up to the longest text. At least one file. */
void dialogue_replay_folder(const char *folder, const struct proto *proto);

/*
 * Every *.txt of a folder with each allocation failing in its turn: nothing is expected then but that nothing crashes or leaks.
 * Before that it must go as it is written with none failing.
 */
void dialogue_fail_folder(const char *folder, const struct proto *proto);
