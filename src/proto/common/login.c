/* login.c - see login.h. */
#include "proto/common/login.h"

#include <errno.h>

#include "base/crc.h"
#include "base/mem.h"
#include "store/topic_hash.h"

struct login_job {
	struct job job; /* first */
	struct people_memory *memory;
	struct people *people; /* a reference */
	nsec now;
	bool right;
	uint32_t proof; /* then: of what was right */
	size_t user, password;
	uint8_t text[]; /* one behind the other */
};

static struct span user_of(const struct login_job *j)
{
	return (struct span){ j->text, j->user };
}

static void drop(struct job *job)
{
	struct login_job *j = (struct login_job *)job;

	explicit_bzero(j->text, j->user + j->password);
	people_unref(j->people);
	mem_free(j);
}

/*
 * In any thread. Many clients may have the same name and password, and all come at once: who waited behind the first one need not have it
 * computed again.
 */
static void run(struct job *job)
{
	struct login_job *j = (struct login_job *)job;
	struct span password = { j->text + j->user, j->password };
	struct people_answer answer = {};

	answer.who = people_recall(j->memory, j->people, user_of(j), password, j->now);
	if (!answer.who)
		job->err = people_verify(j->memory, j->people, user_of(j), password, j->now, &answer);
	j->right = job->err == 0 && answer.who;
	if (j->right)
		j->proof = login_proof(answer.who);
}

static struct login_job *new_job(const struct io *io, struct people *people, struct span user, struct span password)
{
	struct login_job *j = mem_alloc(sizeof(*j) + user.n + password.n);

	if (!j)
		return NULL;
	*j = (struct login_job){ .job = { .run = run, .drop = drop },
				 .memory = access_memory(io->svc->access),
				 .people = people_ref(people),
				 .now = io->now,
				 .user = user.n,
				 .password = password.n };
	if (user.n)
		memcpy(j->text, user.p, user.n);
	if (password.n)
		memcpy(j->text + user.n, password.p, password.n);
	return j;
}

/* Another password has another salt, and so another hash. */
uint32_t login_proof(const struct person *who)
{
	uint32_t crc = who->hash ? crc32c(0, who->hash, strlen(who->hash)) : 0;

	return who->scram ? crc32c(crc, who->scram, strlen(who->scram)) : crc;
}

void login_take(struct io *io, struct span user, uint32_t proof)
{
	char name[PEOPLE_NAME_MAX + 1] = "";

	if (user.n == 0 || user.n >= sizeof(name))
		return;
	memcpy(name, user.p, user.n);
	io_who(io, &(struct who){ .how = WHO_PASSWORD, .user = name, .proof = proof });
}

enum login login_refuse(struct io *io, struct span user)
{
	return io_login_failed(io, user) ? LOGIN_BARRED : LOGIN_WRONG;
}

enum login login_begin(struct io *io, uint32_t tag, struct span user, struct span password, uint32_t *ret_proof)
{
	struct access *access = io->svc->access;
	enum login r = LOGIN_FAILED;
	const struct person *who;
	struct people *people;
	struct login_job *j;

	if (!access)
		return login_refuse(io, user); /* without people */
	access_get(access, &people, NULL);
	who = people_recall(access_memory(access), people, user, password, io->now);
	if (who) {
		*ret_proof = login_proof(who);
		login_take(io, user, *ret_proof);
		r = LOGIN_IN;
	} else {
		j = new_job(io, people, user, password);
		if (j) {
			io_job(io, tag, &j->job);
			r = LOGIN_WAIT;
		}
	}
	people_unref(people);
	return r;
}

enum login login_end(struct io *io, const struct ev *ev, uint32_t *ret_proof)
{
	const struct login_job *j = (const struct login_job *)ev->job;

	if (ev->err)
		return LOGIN_FAILED;
	if (!j->right)
		return login_refuse(io, user_of(j));
	*ret_proof = j->proof;
	login_take(io, user_of(j), j->proof);
	return LOGIN_IN;
}

/* ---- what he may ---- */

static bool is_local(const struct peer *p)
{
	static const uint8_t six[16] = { [15] = 1 }, mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (!p)
		return false;
	if (p->kind == PEER_IP4)
		return p->b[0] == 127;
	if (p->kind == PEER_IP6)
		return memcmp(p->b, six, sizeof(six)) == 0 ||
		       (memcmp(p->b, mapped, sizeof(mapped)) == 0 && p->b[12] == 127);
	return p->kind == PEER_UNIX || p->kind == PEER_NAME;
}

/* A reload may have come since he has shown his password, also while it was looked at. */
static bool may_stay(const struct person *p, uint32_t proof)
{
	return p && !p->disabled && login_proof(p) == proof;
}

static int find(const struct io *io, const struct people *people, struct login_who as, const struct person **ret)
{
	const struct who *who = io->who;

	if (as.user.n == 0 && who && who->how == WHO_PASSWORD && who->user)
		as = (struct login_who){ span_str(who->user), who->proof };
	if (as.user.n) {
		*ret = people_find(people, as.user);
		return may_stay(*ret, as.proof) ? 0 : -EACCES;
	}
	if (who && who->how == WHO_CERTIFICATE && who->user)
		*ret = people_by_certificate(people, who->user);
	return 0;
}

int login_view(const struct io *io, struct login_who as, struct span client, struct login_view *ret)
{
	struct rules_who asks = { .client = client, .local = is_local(io->peer) };
	struct rules *rules;
	int r;

	*ret = (struct login_view){ .generation = access_generation(
					    io->svc->access) }; /* first: newer rules are looked at twice */
	access_get(io->svc->access, &ret->people, &rules);
	r = find(io, ret->people, as, &ret->person);
	if (r == 0 && ret->person) {
		asks.user = span_str(ret->person->name);
		asks.groups = &ret->person->groups;
	}
	if (r == 0)
		r = rules_view_new(rules, &asks, &ret->rules);
	rules_unref(rules);
	if (r < 0) {
		people_unref(ret->people);
		*ret = (struct login_view){};
	}
	return r;
}

uint64_t login_owner(const struct person *who)
{
	static const struct topic_key same; /* in the next process: names of users are not for strangers to choose */

	return who ? topic_hash(&same, span_str(who->name)) >> 1 | 1 : 0;
}
