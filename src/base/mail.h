/*
 * mail.h - an object that can be handed from one session to another, across threads too.
 * Embed it as the first member; whoever holds the pointer owns the object.
 */
#pragma once

struct mail {
	void (*drop)(struct mail *); /* frees the object when nobody is there to take it */
};

/* NULL is fine. */
static inline void mail_drop(struct mail *m)
{
	if (m)
		m->drop(m);
}
