/*
 * toy.h - small protocols and layers for the tests and fuzzers of the core. Every step of a toy protocol first writes what it
 * saw into one log, then does what the test's function says.
 *
 *	toy_reset(NULL);                          the default function: takes all input, closes at EOF
 *	struct memconn *c = ...;
 *	memconn_sends(c, "hello");
 *	assert_log("open data:5");                and forgets it
 *
 * Words of the log: open data:N (N unread bytes; data:N! when EOF is known) dgram:N eof eof:-ERR room timer:SLOT
 * done:TAG:ERR bound:TAG gone:TAG:ERR msg:N layer stop reload fini; before it `2.` for toy2_proto, `s.` for a shard, and `c7.` when
 * it is about channel 7.
 */
#pragma once
#include "base/buf.h"
#include "core/file.h"
#include "core/layer.h"
#include "core/proto_child.h"

/* ---- protocols ---- */

typedef enum verdict toy_fn(const struct ev *ev, struct io *io);

extern const struct proto toy_proto;       /* does toy.fn */
extern const struct proto toy2_proto;      /* does toy.fn2: what toy becomes, or its child */
extern const struct proto toy_full_proto;  /* toy_proto with P_READ_WHILE_FULL */
extern const struct proto toy_shard_proto; /* toy_proto with a shard that does toy.shard */

/* self of all of them; zeroed at birth. */
struct toy_self {
	unsigned steps;
	uint64_t n; /* the test's */
};

extern struct toy {
	toy_fn *fn, *fn2, *shard;
	toy_fn *fini;          /* ev is NULL */
	struct toy_self *self; /* of the step that runs */
	struct buf log;
	bool quiet;      /* write no log */
	bool exits;      /* how a command ended, too: gone:TAG:0/STATUS or gone:TAG:0/signal N */
	int live_layers; /* args of toy layers that nobody freed yet */
	uint64_t x[4];   /* the test's */
} toy;

/* Forgets everything; fn NULL: toy_take. */
void toy_reset(toy_fn *fn);
void toy_done(void);

enum verdict toy_take(const struct ev *ev,
		      struct io *io); /* takes all input; V_CLOSE at the EOF of its own connection */
enum verdict toy_echo(const struct ev *ev,
		      struct io *io); /* and says it again, as much as there is room for; FIN for FIN */

/* The io that this event is about: the session's own or the channel's. */
struct io *toy_io(const struct ev *ev, struct io *io);

void assert_log_is(const char *want, const char *file, int line);
#define assert_log(want) assert_log_is(want, __FILE__, __LINE__)

/* ---- jobs, mail, files ---- */

struct toy_job {
	struct job job;
	int err;           /* what run() gives */
	int *runs, *drops; /* counted; NULL */
};
struct job *toy_job(int err, int *runs, int *drops); /* NULL: -ENOMEM */

/* A file of n bytes, byte i = toy_byte(i); pread gives at most `most` at once and ends at `end`. One reference. NULL: -ENOMEM */
struct file *toy_file(size_t n, size_t most, size_t end, int *closes);
uint8_t toy_byte(size_t i);

struct mail *toy_mail(const char *text); /* a blob; NULL: -ENOMEM */

/* ---- layers ---- */

/*
 * xor: a confidential layer with a handshake: the client says 'H' and a key byte, the server answers 'h'; from then on every
 * byte is xored with the key. It has no end of its own. A first byte other than 'H' is refused with "bad-hello" and the byte 'X'
 * to the peer. arg: toy_layer_arg(), or NULL.
 */
extern const struct layer toy_xor;
extern const struct layer toy_xor_client; /* the other side: key 0x5a */

/*
 * frame: 'd' LEN16 BYTES is data, 'c' the clean end, 'p' a ping that is answered by 'q'; anything else fails with "bad-frame"
 * after 'e' was sent. No handshake. With arg->ping every so often 'p' is sent.
 */
extern const struct layer toy_frame;

/* eat: swallows all output, passes input. */
extern const struct layer toy_eat;

struct toy_layer_arg {
	nsec ping;
	int open_err; /* open() fails with it */
};
struct toy_layer_arg *toy_layer_arg(nsec ping, int open_err); /* NULL: -ENOMEM */

/* The other side's: bytes as these layers would send them, appended; and xor in place. */
void toy_frame_add(struct buf *to, const void *p, size_t n);
void toy_xor_in_place(void *p, size_t n, uint8_t key);
/* Takes the payload of 'd' frames out of bytes; other frames are kept as their letter. */
void toy_unframe(struct span wire, struct buf *payload);
