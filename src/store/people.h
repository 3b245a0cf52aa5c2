/*
 * people.h - who may log in: names, salted hashes, groups, certificates. A set of people is read from one text (the file
 * `people` of the data folder) and never changes once it is shared; a reload makes another one. No file is opened here.
 *
 * The text has a line for each:
 *
 *	alice hash=$y$j9T$... scram=SCRAM-SHA-256$65536:...$...:... groups=staff,iot certificate=CN=alice disabled crc=1f2e3d4c
 *
 * Words are quoted as in base/str.h. Only the name must be there. `crc` is the CRC32C of what stands before it, in hex: who
 * changes a line by hand takes it off. Empty lines and those that begin with # are skipped. A line that is damaged lets nobody
 * in: it is told and left out, and all others count.
 */
#pragma once
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum {
	PEOPLE_FILE_MAX = 16 << 20,
	PEOPLE_LINE_MAX = 16 << 10, /* bytes of a line */
	PEOPLE_NAME_MAX = 128,      /* bytes of the name of a user or a group */
	PEOPLE_PASSWORD_MAX = 256,  /* bytes; a longer one is never right */
	PEOPLE_GROUPS = 64,         /* of one user */
	PEOPLE_CERTIFICATES = 16,   /* of one user */
	PEOPLE_TEXT = 1024,         /* bytes of a certificate's subject, and of a hash */
};

/* Borrowed from the set that it is in. */
struct person {
	char *name;
	char *hash;                    /* people_hash.c knows which there are; NULL: no password is right */
	char *scram;                   /* a verifier, people_scram.h; NULL: none */
	struct str_words groups;       /* their names, without @ */
	struct str_words certificates; /* subjects as RFC 2253 writes them */
	bool disabled;                 /* does not get in, whatever is right */
	unsigned line;                 /* in the text; 0: not from there */
};

struct people;

/* What is wrong in which line: one sentence, no full stop. */
typedef void people_tell(void *arg, unsigned line, const char *text);

/*
 * From a text. 0 with all whose lines are whole; -EFBIG above PEOPLE_FILE_MAX, or -ENOMEM. `tell` (NULL: nobody) hears of
 * every line that was left out, and people_damaged() says how many they are: who writes the set back loses them.
 */
[[nodiscard]] int people_parse(struct span text, struct people **ret, people_tell *tell, void *arg);
[[nodiscard]] int people_new(struct people **ret); /* nobody. 0 or -ENOMEM */
size_t people_damaged(const struct people *p);

/* References, from any thread; NULL is fine. The set is freed with the last one. */
struct people *people_ref(struct people *p);
void people_unref(struct people *p);

/* ---- reading; any thread. NULL is a set of nobody ---- */

size_t people_count(const struct people *p);
const struct person *people_at(const struct people *p, size_t i);           /* in the order of their names */
const struct person *people_find(const struct people *p, struct span name); /* NULL: there is no such one */
bool person_is_in(const struct person *who, const char *group);

/*
 * Whose certificate is it? Whoever has this subject (as RFC 2253 writes it) among his certificates; else, if the subject has just
 * one CN, the user of that name, unless he has certificates of his own: then he has said which ones. NULL: nobody's, or his who is
 * disabled.
 */
const struct person *people_by_certificate(const struct people *p, const char *subject);

/* ---- changing; only before anybody else has it ---- */

/*
 * Adds a copy of *like, or puts it in the place of the one with its name. 0, -ENOMEM, or -EINVAL with a sentence in `why`:
 * then the set is as it was.
 */
[[nodiscard]] int people_put(struct people *p, const struct person *like, struct buf *why);
bool people_remove(struct people *p, const char *name); /* false: there is no such one */
void people_format(const struct people *p, struct buf *b);

/*
 * May a user or a group be called so? 0, or -EINVAL with a sentence in `why` (may be NULL). Text without controls, : or , that
 * does not begin with @ # $ or + nor begin or end with a space; not `*` and not `anonymous`, which mean others in rules.
 */
[[nodiscard]] int people_check_name(struct span name, struct buf *why);

/* ---- hashes: slow on purpose; any thread ---- */

/* Is it text, not empty and not too long? 0, or -EINVAL with a sentence. */
[[nodiscard]] int people_check_password(struct span password, struct buf *why);

/* A new yescrypt hash with a salt of its own, into `ret` (reset first). 0 or -errno. */
[[nodiscard]] int people_hash(struct span password, struct buf *ret);

/*
 * A new password of 130 bits, and a hash of it that is quick to look at (both reset first): for devices, thousands of which may come at
 * once. Nobody guesses such a password, however quick his tries are; so there is no such hash of one that somebody has chosen. 0 or -errno.
 */
[[nodiscard]] int people_generate(struct buf *ret_password, struct buf *ret_hash);

/*
 * Do we know this kind? Those of libcrypt ($y$ $gy$ $7$ $2b$ $2y$ $2a$ $6$ $5$), and mosquitto's two with `{mosquitto}` in front,
 * because they look like others of libcrypt's: {mosquitto}$7$ITERATIONS$SALT$HASH is PBKDF2 with SHA-512, {mosquitto}$6$SALT$HASH
 * one round of SHA-512. {made}$6$SALT$HASH is the same, of a password of people_generate().
 */
#define PEOPLE_MOSQUITTO "{mosquitto}"
#define PEOPLE_MADE "{made}"
bool people_hash_known(const char *hash);
bool people_hash_is_ours(
	const char *
		hash); /* as people_hash() and people_generate() make them; others are to be replaced when there is a chance */

/* ---- logging in; any thread ---- */

/* What a process remembers of logins, and the key that it does it with. One for each process, made when it begins. */
struct people_memory;
[[nodiscard]] int people_memory_new(struct people_memory **ret); /* 0 or -errno */
void people_memory_free(struct people_memory **m);
void people_memory_key(const struct people_memory *m, struct span what, uint8_t ret[static 32]); /* HMAC of it */

/*
 * Was this password right for this user within the last ten minutes? Then his entry, else NULL: ask people_verify(), in a job. A
 * changed password and a disabled user are not remembered. Takes a microsecond or two. `now` is in nanoseconds.
 */
const struct person *people_recall(const struct people_memory *m, const struct people *p, struct span user,
				   struct span password, uint64_t now);

struct people_answer {
	const struct person *who; /* the password is his, and he may log in; NULL: it is not */
	bool upgrade;             /* his hash is not people_hash_is_ours() */
	unsigned hashed;          /* slow hashes that were computed: always one */
};

/*
 * Is it right? Takes as long as a slow hash does (20 ms here; of mosquitto's, and of people_generate(), next to nothing), also for a
 * user that there is not, or who has no password or is disabled: then it is computed for nothing, of the kind and cost that some other
 * user has, always the same one. What was right is remembered. 0; -ENOMEM or -EIO when it could not be computed: nobody logs in.
 */
[[nodiscard]] int people_verify(struct people_memory *m, const struct people *p, struct span user, struct span password,
				uint64_t now, struct people_answer *ret);
