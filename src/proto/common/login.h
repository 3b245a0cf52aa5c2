/*
 * login.h - how a protocol lets somebody log in with a password, and learns what he may do. The people and rules are those of
 * io->svc->access.
 *
 *	r = login_begin(io, TAG_LOGIN, user, password);
 *	if (r == LOGIN_WAIT)                  a slow hash is computed in a job
 *		io_hold(io, true);
 *	...
 *	case EV_DONE:                         of TAG_LOGIN
 *		io_hold(io, false);
 *		r = login_end(io, ev);
 *
 * and afterwards, for whoever is allowed in: login_view(). io->who is the new one from the next step on.
 */
#pragma once
#include "core/proto.h"
#include "store/access.h"

enum login {
	LOGIN_IN,     /* he is: io_who() was said */
	LOGIN_WAIT,   /* EV_DONE with the tag comes */
	LOGIN_WRONG,  /* the password is not his, or he is nobody; io_login_failed() was said */
	LOGIN_BARRED, /* the same, and the conversation should end: there were too many of these */
	LOGIN_FAILED, /* it could not be found out (memory is out, it was cancelled); nobody's fault */
};

/* The spans are copied. LOGIN_IN at once for whom the process remembers; *ret_proof is for login_view() then. */
[[nodiscard]] enum login login_begin(struct io *io, uint32_t tag, struct span user, struct span password,
				     uint32_t *ret_proof);
[[nodiscard]] enum login login_end(struct io *io, const struct ev *ev, uint32_t *ret_proof);

/* Of an exchange that the protocol has had itself (SCRAM): he is in, with the password that had this proof then; he is not. */
uint32_t login_proof(const struct person *who);
void login_take(struct io *io, struct span user, uint32_t proof);
[[nodiscard]] enum login login_refuse(struct io *io, struct span user);

/* Who has logged in, perhaps in this very step. */
struct login_who {
	struct span user; /* empty: io->who */
	uint32_t proof;   /* of `user` */
};

/* Who the peer is: `as`, or by his certificate; and what he may. */
struct login_view {
	struct rules_view *rules;    /* yours */
	uint64_t generation;         /* what access_generation() must still be, or it is to be found out anew */
	struct people *people;       /* a reference of yours, or NULL */
	const struct person *person; /* one of these; NULL: nobody in particular */
};

/*
 * `client` is what %c is. 0; -ENOMEM; -EACCES: who has logged in is nobody any more, must not, or has another password by now (a
 * reload): the conversation should end. Of a failure there is nothing to give back.
 */
[[nodiscard]] int login_view(const struct io *io, struct login_who as, struct span client, struct login_view *ret);

/* The same number whenever it is the same user, in every process: odd, at most INT64_MAX; of nobody 0. */
uint64_t login_owner(const struct person *who);
