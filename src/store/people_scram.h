/*
 * people_scram.h - SCRAM-SHA-256 (RFC 5802, RFC 7677): what is stored of a password, and the server's side of an exchange. Pure
 * but for random numbers. No channel binding: `n,,` and `y,,` only. Passwords are taken as the UTF-8 that they are, without
 * SASLprep (RFC 4013), which changes nothing in ASCII.
 */
#pragma once
#include "store/people.h"

enum {
	PEOPLE_SCRAM_ITERATIONS =
		65536,          /* RFC 7677 wants at least 4096; who steals the file tries as many for each guess */
	PEOPLE_SCRAM_SALT = 32, /* bytes, the most of one */
	PEOPLE_SCRAM_MESSAGE = 1024, /* bytes of a client's message */
};

/* SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY, in base64 (RFC 5803). */
struct people_verifier {
	unsigned iterations;
	uint8_t salt[PEOPLE_SCRAM_SALT];
	size_t salt_n;
	uint8_t stored[32], server[32];
};

/* Of a password. A slow hash: for a job. 0 or -EIO. */
[[nodiscard]] int people_verifier_make(struct span password, struct span salt, unsigned iterations,
				       struct people_verifier *ret);
[[nodiscard]] int people_verifier_new(struct span password,
				      struct buf *ret); /* with a new salt, as text. 0 or -errno */
[[nodiscard]] int people_verifier_parse(const char *text, struct people_verifier *ret); /* 0 or -EINVAL */
void people_verifier_format(const struct people_verifier *v, struct buf *b);

/* An exchange. Holds the set of people until it is freed. */
struct people_scram;

/*
 * The client's first message; `ret` gets the answer to it. Also a user that there is not, or who has no verifier, gets one, with
 * a salt that is always the same for his name; he fails at the end, like a wrong password. -EINVAL: the message is malformed, or wants
 * what we have not: nothing was made. -ENOMEM, -EIO. nonce: of the server, NULL: a random one; tests give theirs.
 */
[[nodiscard]] int people_scram_first(const struct people_memory *m, struct people *p, struct span message,
				     const char *nonce, struct people_scram **ret_exchange, struct buf *ret);

/*
 * The client's second one. 0: it knows the password, and is *ret_who; `ret` gets the last message of ours. -EACCES: it does not.
 * -EINVAL: malformed. Once.
 */
[[nodiscard]] int people_scram_final(struct people_scram *x, struct span message, const struct person **ret_who,
				     struct buf *ret);
struct span people_scram_user(const struct people_scram *x); /* as the client says */
void people_scram_free(struct people_scram **x);
