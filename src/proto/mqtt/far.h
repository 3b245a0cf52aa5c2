/*
 * far.h - another broker that we connect to ourselves: what bridges (bridge.h) and other doors (topic_client.h) share. Which addresses
 * can be dialled, when it is tried again, and what the log is told of it.
 */
#pragma once
#include "conf/option.h"
#include "core/proto_child.h"
#include "proto/mqtt/props.h"

#define FAR_OPEN_BY (30 * SEC)   /* for the connection, and TLS */
#define FAR_ANSWER_BY (30 * SEC) /* for CONNACK */

enum { FAR_TOLD = 160 };

struct far {
	unsigned failures;   /* in a row */
	nsec due;            /* when to try next; 0: it is not waiting */
	nsec since;          /* it was let in */
	char told[FAR_TOLD]; /* why it is down, as the log knows; empty: it does not */
};

/* What is wrong with the place itself, behind the address; NULL: nothing. */
const char *far_fault(const struct addr_text *to);
/* What is wrong with whom it logs in as, an option's name and a sentence; NULL: nothing. */
const char *far_login_fault(const char *user, const struct option_file *password);
struct span far_password(
	const struct option_file *f); /* the file's content without its line's end; lives as long as that */

/*
 * Seconds after which it is asked whether it is there: what it says in its CONNACK (Server Keep Alive), but never more than `own`. It may
 * want to hear nothing, or once a day; what is lost with a connection that nobody has ended is ours.
 */
uint16_t far_keep_alive(const struct mqtt_props *connack, uint16_t own);

/* A child that connects to `address`; `arg` is for its EV_OPEN. 0 or -ENOMEM; all else comes with EV_GONE. */
[[nodiscard]] int far_dial(struct io *io, uint32_t tag, const struct proto *p, const char *address, struct trust *trust,
			   struct span arg);

bool far_is_news(struct far *f,
		 const char *why); /* it is down, and the log does not know of this reason yet: it does now */
void far_up(struct far *f, nsec now);
void far_down(struct far *f, nsec now); /* it was up: one that has lasted is no failure */
void far_wait(struct far *f, nsec now, nsec longest);

/* Why it has ended: what the system says, else `why`, the connection's own word, which may be NULL. */
const char *far_why(const struct ev *gone, const char *why);
