/*
 * limits.c - see limits.h. Each field is one atomic number, and the order in which a call changes them is such that at any
 * moment the worst that a death leaves behind is a count under the number of the dead one, or an empty slot.
 */
#include "drive/net/limits.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "drive/sys.h"

enum {
	PROBES = 16, /* places that a source may be at */
	TRIES = 4,   /* when a place changed hands under us */
};

/* ---- who it is ---- */

static uint64_t first_bytes(const uint8_t *b, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | b[i];
	return v;
}

static struct limits_source of_ip4(const uint8_t *b)
{
	return (struct limits_source){ .net = first_bytes(b, 4), .family = 4, .loopback = b[0] == 127 };
}

static struct limits_source of_ip6(const uint8_t *b)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff }, one[16] = { [15] = 1 };

	if (memcmp(b, mapped, sizeof(mapped)) == 0)
		return of_ip4(b + 12);
	return (struct limits_source){ .net = first_bytes(b, 8), .family = 6, .loopback = !memcmp(b, one, 16) };
}

struct limits_source limits_of_bytes(const uint8_t *b, unsigned n)
{
	return n == 4 ? of_ip4(b) : n == 16 ? of_ip6(b) : (struct limits_source){};
}

struct limits_source limits_of_peer(const struct peer *p)
{
	if (!p || (p->kind != PEER_IP4 && p->kind != PEER_IP6))
		return (struct limits_source){};
	return limits_of_bytes(p->b, p->n);
}

struct limits_source limits_of_route(const struct route *r)
{
	sa_family_t family;

	if (r->n < sizeof(struct sockaddr_in))
		return (struct limits_source){};
	memcpy(&family, r->sa, sizeof(family));
	if (family == AF_INET)
		return of_ip4(r->sa + offsetof(struct sockaddr_in, sin_addr));
	if (family == AF_INET6 && r->n >= sizeof(struct sockaddr_in6))
		return of_ip6(r->sa + offsetof(struct sockaddr_in6, sin6_addr));
	return (struct limits_source){};
}

/* ---- keys ---- */

static void sip_rounds(uint64_t v[static 4], unsigned n)
{
#define ROTL(x, b) ((x) << (b) | (x) >> (64 - (b)))
	while (n-- > 0) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = ROTL(v[1], 13) ^ v[0];
		v[3] = ROTL(v[3], 16) ^ v[2];
		v[0] = ROTL(v[0], 32) + v[3];
		v[2] += v[1];
		v[3] = ROTL(v[3], 21) ^ v[0];
		v[1] = ROTL(v[1], 17) ^ v[2];
		v[2] = ROTL(v[2], 32);
	}
#undef ROTL
}

/*
 * SipHash-1-3 of two words. It stands for the source in the table: an address and a service do not fit one atomic word, and two
 * sources that have the same one by chance (one in 2^64) would only share their limits.
 */
static uint64_t key_of(const struct limits *t, uint64_t a, uint64_t b)
{
	uint64_t v[4] = { t->key[0] ^ 0x736f6d6570736575u, t->key[1] ^ 0x646f72616e646f6du,
			  t->key[0] ^ 0x6c7967656e657261u, t->key[1] ^ 0x7465646279746573u };
	const uint64_t word[3] = { a, b, (uint64_t)16 << 56 };

	for (unsigned i = 0; i < 3; i++) {
		v[3] ^= word[i];
		sip_rounds(v, 1);
		v[0] ^= word[i];
	}
	v[2] ^= 0xff;
	sip_rounds(v, 3);

	uint64_t key = v[0] ^ v[1] ^ v[2] ^ v[3];

	return key ? key : 1;
}

static uint64_t place_key(const struct limits *t, uint32_t what, const struct limits_source *src)
{
	return key_of(t, (uint64_t)src->family << 32 | what, src->net);
}

/* By double hashing, because places next to each other share no cache line either. The sizes are powers of two. */
static uint64_t nth_place(uint64_t key, unsigned i)
{
	return key + i * (key >> 32 | 1);
}

/* ---- the table ---- */

int limits_init(struct limits *t)
{
	if (sys_getrandom(t->key, sizeof(t->key), 0) == sizeof(t->key))
		return 0;
	return errno ? -errno : -EIO;
}

static unsigned held(struct limits_slot *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LIMITS_OWNERS; i++)
		n += atomic_load(&s->open[i]);
	return n;
}

/* Nothing is open and all tokens are there: it says what no entry says. */
static bool is_idle(struct limits_slot *s, nsec now)
{
	return atomic_load_explicit(&s->since, memory_order_relaxed) + SEC <= now && held(s) == 0;
}

/* Makes an idle slot free. Who counts itself in just then sees that the key is gone, or we see that it was counted. */
static bool vacate(struct limits_slot *s, uint64_t old)
{
	uint64_t none = 0;

	if (!atomic_compare_exchange_strong(&s->key, &old, 0))
		return false;
	if (held(s) == 0)
		return true;
	atomic_compare_exchange_strong(&s->key, &none, old);
	return false;
}

static bool claim(struct limits_slot *s, uint64_t key)
{
	uint64_t was = 0;

	return atomic_compare_exchange_strong(&s->key, &was, key) || was == key;
}

/* Its slot, an unused one, or NULL: all that it may have are taken. */
static struct limits_slot *slot_for(struct limits *t, uint64_t key, nsec now)
{
	struct limits_slot *s;

	for (unsigned i = 0; i < PROBES; i++) {
		s = &t->slots[nth_place(key, i) % LIMITS_SLOTS];

		uint64_t k = atomic_load(&s->key);

		if (k == key)
			return s;
		if (k == 0 && claim(s, key)) /* nobody was ever put behind it */
			return s;
	}
	for (unsigned i = 0; i < PROBES; i++) {
		s = &t->slots[nth_place(key, i) % LIMITS_SLOTS];
		if (is_idle(s, now) && vacate(s, atomic_load(&s->key)) && claim(s, key))
			return s;
	}
	return NULL;
}

/* As guard_allow(): a token that is taken makes `since` one interval later. */
static bool take_token(struct limits_slot *s, nsec now, unsigned rate)
{
	uint64_t each = rate ? SEC / rate : 0, old = atomic_load_explicit(&s->since, memory_order_relaxed), first;

	if (!each)
		return true;
	do {
		first = now >= SEC && old < now - SEC ? now - SEC : old;
		if (first + each > now)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&s->since, &old, first + each, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

/* Never below nothing: somebody may give back a ticket of a process that is buried already. */
static void release(struct limits_slot *s, unsigned owner)
{
	uint16_t n = atomic_load(&s->open[owner]);

	while (n && !atomic_compare_exchange_weak(&s->open[owner], &n, (uint16_t)(n - 1)))
		;
}

/* It is counted first and judged then, so that two who come at once cannot both be the last one. */
static enum limits_verdict judge(struct limits_slot *s, unsigned owner, const struct limits_rule *rule, nsec now)
{
	enum limits_verdict v = LIMITS_OK;

	if (rule->per_source && held(s) > rule->per_source)
		v = LIMITS_PER_SOURCE;
	else if (!take_token(s, now, rule->rate))
		v = LIMITS_RATE;
	if (v != LIMITS_OK && rule->per_source)
		release(s, owner);
	return v;
}

enum limits_verdict limits_enter(struct limits *t, unsigned owner, const struct limits_rule *rule,
				 const struct limits_source *src, nsec now, uint32_t *ret_ticket)
{
	uint64_t key;

	assert(owner < LIMITS_OWNERS);
	*ret_ticket = 0;
	if (!src->family || (!rule->per_source && !rule->rate))
		return LIMITS_OK;
	key = place_key(t, rule->service, src);
	for (int i = 0; i < TRIES; i++) {
		struct limits_slot *s = slot_for(t, key, now);
		enum limits_verdict v;

		if (!s)
			continue; /* perhaps somebody just took it */
		if (rule->per_source)
			atomic_fetch_add(&s->open[owner], 1);
		if (atomic_load(&s->key) != key) {
			if (rule->per_source)
				release(s, owner);
			continue;
		}
		v = judge(s, owner, rule, now);
		if (v == LIMITS_OK && rule->per_source)
			*ret_ticket = (uint32_t)(s - t->slots) + 1;
		return v;
	}
	return LIMITS_FULL;
}

void limits_leave(struct limits *t, unsigned owner, uint32_t ticket)
{
	if (ticket && ticket <= LIMITS_SLOTS) /* it may come from where others write too */
		release(&t->slots[ticket - 1], owner);
}

void limits_drop(struct limits *t, unsigned owner)
{
	for (unsigned i = 0; i < LIMITS_SLOTS; i++)
		if (atomic_load_explicit(&t->slots[i].open[owner], memory_order_relaxed))
			atomic_store(&t->slots[i].open[owner], 0);
}

/* ---- penalties ---- */

/*
 * Both numbers of an entry carry a part of its key. So one that is written just when the entry goes to another source means
 * nothing there, and nobody pays for somebody else.
 */
enum { TAG_BITS = 16, COUNT_BITS = 8, COUNT_MAX = (1 << COUNT_BITS) - 1 };

static uint64_t tag_of(uint64_t key)
{
	return key >> (64 - TAG_BITS);
}

static uint64_t to_ms(nsec at)
{
	return at / MSEC + (at % MSEC != 0);
}

/* until: ms | tag. 0: never. */
static nsec until_of(uint64_t word, uint64_t key)
{
	return word % (1 << TAG_BITS) == tag_of(key) ? (word >> TAG_BITS) * MSEC : 0;
}

/* strikes: when they are forgotten in ms | tag | how many. */
static uint64_t strikes_of(uint64_t word, uint64_t key, nsec now)
{
	uint64_t ms = word >> (TAG_BITS + COUNT_BITS);

	if ((word >> COUNT_BITS) % (1 << TAG_BITS) != tag_of(key) || ms * MSEC <= now)
		return 0;
	return word & COUNT_MAX;
}

/* When it may be forgotten. */
static nsec end_of(struct limits_penalty *p)
{
	uint64_t key = atomic_load(&p->key), strikes = atomic_load(&p->strikes);
	nsec until = until_of(atomic_load(&p->until), key), forgotten;

	forgotten = strikes_of(strikes, key, 0) ? (strikes >> (TAG_BITS + COUNT_BITS)) * MSEC : 0;
	return until > forgotten ? until : forgotten;
}

static struct limits_penalty *find_penalty(struct limits *t, uint64_t key)
{
	for (unsigned i = 0; i < PROBES; i++) {
		struct limits_penalty *p = &t->penalties[nth_place(key, i) % LIMITS_PENALTIES];

		if (atomic_load(&p->key) == key)
			return p;
	}
	return NULL;
}

/* The one that ends first. */
static struct limits_penalty *least_of(struct limits *t, uint64_t key)
{
	struct limits_penalty *least = NULL;

	for (unsigned i = 0; i < PROBES; i++) {
		struct limits_penalty *p = &t->penalties[nth_place(key, i) % LIMITS_PENALTIES];

		if (!least || end_of(p) < end_of(least))
			least = p;
	}
	return least;
}

/* Its entry, or a new one in place of another. NULL: others were quicker each time. */
static struct limits_penalty *make_penalty(struct limits *t, uint64_t key)
{
	struct limits_penalty *p = find_penalty(t, key);

	for (int i = 0; !p && i < TRIES; i++) {
		uint64_t old;

		p = least_of(t, key);
		old = atomic_load(&p->key);
		if (old != key && !atomic_compare_exchange_strong(&p->key, &old, key))
			p = find_penalty(t, key);
	}
	return p;
}

static void raise_to(_Atomic uint64_t *at, uint64_t to)
{
	uint64_t old = atomic_load(at);

	while (old < to && !atomic_compare_exchange_weak(at, &old, to))
		;
}

void limits_penalise(struct limits *t, const struct limits_source *src, nsec until)
{
	uint64_t key = place_key(t, 0, src), ms = to_ms(until), old;
	struct limits_penalty *p = src->family ? make_penalty(t, key) : NULL;

	if (!p)
		return;
	old = atomic_load(&p->until);
	while (until_of(old, key) < ms * MSEC &&
	       !atomic_compare_exchange_weak(&p->until, &old, ms << TAG_BITS | tag_of(key)))
		;
	raise_to(&t->latest, ms * MSEC);
}

bool limits_is_penalised(struct limits *t, const struct limits_source *src, nsec now)
{
	struct limits_penalty *p;
	uint64_t key;

	if (!src->family || atomic_load_explicit(&t->latest, memory_order_relaxed) <= now)
		return false;
	key = place_key(t, 0, src);
	p = find_penalty(t, key);
	return p && until_of(atomic_load(&p->until), key) > now;
}

bool limits_strike(struct limits *t, enum limits_deed deed, const struct limits_source *src, nsec now, unsigned most,
		   nsec within, nsec penalty)
{
	uint64_t key = place_key(t, (uint32_t)deed, src), old, next, n;
	struct limits_penalty *p = src->family ? make_penalty(t, key) : NULL;

	if (!p)
		return false;
	old = atomic_load(&p->strikes);
	do {
		uint64_t before = strikes_of(old, key, now);
		uint64_t end = before ? old >> (TAG_BITS + COUNT_BITS) : to_ms(now + within);

		n = before + 1;
		next = (end << TAG_BITS | tag_of(key)) << COUNT_BITS | (n < COUNT_MAX ? n : COUNT_MAX);
		if (n >= most)
			next = 0; /* it pays for them, and begins anew */
	} while (!atomic_compare_exchange_weak(&p->strikes, &old, next));
	if (n < most)
		return false;
	limits_penalise(t, src, now + penalty);
	return true;
}
