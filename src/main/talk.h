/*
 * talk.h - what the monitor and its workers say to each other, over a channel (priv/chan.h). The monitor asks, the worker answers
 * with the serial of the question; nobody asks twice before an answer. See docs/design/processes.md.
 *
 * A configuration is: BEGIN, a DOOR for each socket, then PREPARE; after YES, COMMIT or CANCEL.
 */
#pragma once
#include "conf/conf.h"
#include "drive/door.h"
#include "priv/chan.h"

enum talk {
	/* from the monitor */
	TALK_BEGIN = CHAN_TYPE(CHAN_WORKER, 0), /* doors will come; no answer */
	TALK_DOOR,                              /* a struct door, with its descriptors; no answer */
	TALK_PREPARE, /* the kit and the log, as descriptors; 1: to serve nothing any more. YES or NO */
	TALK_COMMIT,  /* DONE; a worker that cannot ends */
	TALK_CANCEL,  /* DONE */
	TALK_TELL,    /* server_tell(): DONE */
	TALK_SPAWNER, /* another one, as a descriptor; no answer */
	TALK_STOP,    /* finish what is begun: DONE when nobody new can come, then its end */
	TALK_CUT,     /* and do not wait any longer; no answer */
	/* from a worker */
	TALK_YES,
	TALK_NO, /* with problems */
	TALK_DONE,
};

void talk_put_door(struct chan_msg *m, const struct door *d);
/* Takes the descriptors out of the message. 0 or -EPROTO; then *ret has none. */
[[nodiscard]] int talk_get_door(struct chan_msg *m, struct door *ret);

void talk_put_problems(struct chan_msg *m, const struct conf_problems *ps); /* as many as fit */
[[nodiscard]] int talk_get_problems(const struct chan_msg *m, struct conf_problems *ps);
