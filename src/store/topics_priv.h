/*
 * topics_priv.h - what the files of the store of messages share.
 *
 * Locks, the outer one first: subs_lock; then `turns` and within it orphans_lock, or `lock` (publishers store what is for one that is
 * nobody's while they read the index); within `lock`, retained_lock (a will that is due is handed over with what is retained, under the
 * former). Inside of any: the store's own (keep.h), as `lock` and retained_lock have it, who write records.
 */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "store/topics.h"

/* How a member was when it was last looked at. */
enum share_state {
	SHARE_READY, /* or is to be looked at */
	SHARE_AWAY,
	SHARE_FULL, /* connected or not */
	SHARE_STATES
};

/* The group of a shared subscription: its members take turns. In the index for all. */
struct share {
	struct entry entry;
	struct topic_link link;            /* in topics.shares; its n is the size of `group` */
	struct list members[SHARE_STATES]; /* of sub.in_share; the first one is next; behind `turns` */
	uint32_t n;
	uint8_t group[];
};

struct topics {
	struct topic_key key;
	pthread_mutex_t lock;   /* the register, and everybody who is nobody's */
	struct topic_map names; /* of subscriber.link; a reference each */
	struct list all;        /* the same */
	uint64_t serial;
	size_t kept_n; /* in the register, of those that are kept */

	pthread_rwlock_t subs_lock;
	struct filters *subs; /* the index for all */
	struct topic_map
		shares; /* in it, by group and filter: a filter may have any number, and of other subscribers too */
	pthread_mutex_t turns; /* whose turn it is, and who was put aside: publishers have the index for reading only */
	_Atomic uint32_t subs_n;
	_Atomic uint32_t subscriptions; /* in all indexes */
	_Atomic uint32_t watchers;      /* of these, to what is the server's own */

	pthread_mutex_t orphans_lock;
	struct orphans *_Atomic orphans; /* a moment later they are taken */
	bool over;                       /* nobody is given anything */

	pthread_mutex_t retained_lock;
	struct names *retained;
	struct heap retained_ends; /* of retained.ends */
	size_t retained_bytes;
	size_t retained_own;              /* of them, below $SYS: not limited */
	struct keep_batch retained_batch; /* in the order of the lock, whoever retains */
	uint64_t retained_position;       /* of what was handed over last */

	struct topics_disk disk; /* keep NULL: there is none */
};

void topics_retained_done(struct topics *t); /* topics_retained.c */

/* The end of one, in this order: nobody finds it any more; then, when it is `closed`, its shares' others have what it leaves. */
void topics_unsubscribe_all(struct topics *t, struct filters *ix, struct subscriber *s); /* topics_subs.c */
void topics_give_up_shares(struct topics *t, struct subscriber *s);                      /* topics_shares.c */

struct span sub_filter(const struct sub *sub); /* topics_subs.c */

/* topics_shares.c. The index for all is locked: for writing to join and to leave, else for reading, with `turns`. */
struct span share_group(const struct share *g);
struct share *share_find(const struct topics *t, struct span group, struct span filter); /* or NULL */
struct sub *share_member(struct topics *t, const struct share *g,
			 const struct subscriber *s);                                  /* or NULL; locks `turns` */
[[nodiscard]] int share_join(struct topics *t, struct sub *sub, const struct wish *w); /* 0 or -ENOMEM */
void share_leave(struct topics *t, struct sub *sub);                                   /* the last one ends it */
bool sub_has_room(const struct sub *sub);
struct sub *share_turn(struct share *g);      /* whose it is */
struct sub *share_take_turn(struct share *g); /* the same, and then it is the next one's */
void share_remember(struct subscriber *s,
		    const struct sub *sub); /* in its `groups`; without memory nobody gets what comes by it */

[[nodiscard]] int topics_restore(struct topics *t, const struct keep_session *past, uint64_t expires, uint64_t will_at,
				 struct subscriber **ret); /* topics.c; nobody's, not counted. 0 or -ENOMEM */

/* topics_orphans.c. The first: `of` has left it, and its references go over; false: memory is out. */
bool topics_orphans_add(struct topics *t, const struct subscriber *of, const struct orphan *o);
void topics_orphans_done(struct topics *t);
