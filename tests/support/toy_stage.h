/*
 * toy_stage.h - what most tests of the core begin with: a world of a toy protocol (toy.h), its client, and what that client will
 * send. The names are short because every line of these tests says them.
 *
 *	start(toy_echo, NULL);
 *	memconn_sends(c, "hello");
 *	assert_out(c, "hello");
 *	assert_ended(MEM_OPEN, "");
 *
 * Each test ends with stop(), as its teardown.
 */
#pragma once
#include "base/buf.h"
#include "core/session.h"
#include "drive/mem.h"
#include "support/toy.h"

extern struct memdrive *w;
extern struct memconn *c;
extern struct buf wire; /* bytes that send_wire() sends */

#define STAGE_BYTES (1 << 20)
extern const uint8_t *bytes; /* STAGE_BYTES of them, byte i = toy_byte(i); made by start_world() */

/* `setup` may be NULL; without a protocol it is toy_proto. */
void start_world(toy_fn *fn, const struct mem_setup *setup);
void start(toy_fn *fn, const struct mem_setup *setup);     /* and a client */
void start_layered(toy_fn *fn, const struct layer *layer); /* and a client whose listener pushes this layer */
int stop(void **state);                                    /* fails when a layer was left behind */

/* ---- steps that more than one file needs; toy.h has toy_take and toy_echo ---- */

enum verdict take_none(const struct ev *ev, struct io *io); /* and closes at EOF */
enum verdict fill(const struct ev *ev, struct io *io);      /* writes `bytes` whenever there is room, takes all input */
enum verdict see_secure(const struct ev *ev, struct io *io); /* toy_echo, and x[0] = io->secure */

/* ---- what came, and how it ended ---- */

void assert_ended(enum mem_end how, const char *reason);

/* Exactly this since the last look; forgets it. */
#define assert_out(conn, text) \
	do { \
		assert_true(span_is(memconn_out(conn), text)); \
		memconn_take(conn, SIZE_MAX); \
	} while (0)

/* ---- for the layers ---- */

enum { KEY = 0x21 };

void hello(void);             /* the xor layer's, into `wire` */
void scramble(size_t from);   /* `wire` from here on, as the xor layer makes it */
void send_wire(size_t piece); /* memconn_send() of all of it */

/* Exactly these bytes came, NULs among them; forgets them. */
#define assert_wire(text) \
	do { \
		struct span got_ = memconn_out(c); \
		assert_int_equal(got_.n, sizeof(text) - 1); \
		assert_memory_equal(got_.p, text, got_.n); \
		memconn_take(c, SIZE_MAX); \
	} while (0)

/* What came is the frames of `text`; other frames as their letters. */
void assert_frames(const char *text);
