/*
 * world.h - a service over the memory driver (drive/mem.h) with its options given as text, as people write them.
 *
 *	struct world w;
 *	world_open(&w, &echo_proto, NULL, "upper", "yes", "until", "fin");
 *	struct memconn *c = world_client(&w);
 *	memconn_sends(c, "hello\n");
 *	assert_said(c, "HELLO\n");
 *	world_close(&w);
 *
 * All of it fails the running test when something is wrong, but for the world_try_* functions, which are for tests that make
 * allocations fail. A failed test may leave its world open: leaks are looked for only when all tests of the program passed.
 */
#pragma once
#include "base/buf.h"
#include "drive/mem.h"

struct world {
	struct memdrive *drive;
	void *options;
	const struct proto *proto;
};

/* `setup` may be NULL; its proto and options are set here. Then pairs of option and value. */
#define world_open(w, proto, setup, ...) \
	world_open_with(w, proto, setup, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL, NULL })
void world_open_with(struct world *w, const struct proto *proto, const struct mem_setup *setup,
		     const char *const *options);

/* The same, or -errno with a sentence; world_close() is right in either case. */
[[nodiscard]] int world_try_open(struct world *w, const struct proto *proto, const struct mem_setup *setup,
				 const char *const *options, struct buf *why);
void world_close(struct world *w);

struct memconn *world_client(struct world *w);

/* It got exactly this since the last look, and forgets it. */
void assert_said_span(struct memconn *c, struct span want);
#define assert_said(c, text) assert_said_span(c, (struct span){ (const uint8_t *)("" text), sizeof(text) - 1 })

/* The only datagram since the last look was this, to this address; forgets it. */
void assert_answered_span(struct memconn *socket, const char *to, struct span want);
#define assert_answered(socket, to, text) \
	assert_answered_span(socket, to, (struct span){ (const uint8_t *)("" text), sizeof(text) - 1 })

/* The service refuses these options, by their table or at its start, with a sentence that has `why` in it. */
#define assert_refused(proto, why, ...) \
	assert_refused_with(proto, why, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL, NULL })
void assert_refused_with(const struct proto *proto, const char *why, const char *const *options);

/*
 * Runs scene(arg) again and again, each time with the next allocation failing, until it got through with none failing. The scene
 * opens and closes its own world with world_try_open(), expects nothing of what comes, and leaves nothing behind: the
 * sanitizers watch. Does nothing in a build without GUICHET_FAULTS.
 */
void fail_each_allocation(void (*scene)(void *arg), void *arg);
