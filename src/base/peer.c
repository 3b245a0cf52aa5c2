/* peer.c - see peer.h. */
#include "base/peer.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static bool fits(const struct peer *p, size_t n)
{
	return p && p->n == n && atomic_load_explicit(&p->refs, memory_order_acquire) == 1;
}

struct peer *peer_again(struct peer *old, enum peer_kind kind, const void *b, size_t n, uint16_t port, uint32_t scope)
{
	struct peer *p = fits(old, n) ? old : NULL;

	if (!p)
		peer_unref(old);
	if (!p && n <= UINT16_MAX)
		p = mem_alloc(sizeof(*p) + n);
	if (!p)
		return NULL;
	atomic_init(&p->refs, 1);
	p->kind = (uint8_t)kind;
	p->port = port;
	p->n = (uint16_t)n;
	p->scope = scope;
	if (n)
		memcpy(p->b, b, n);
	return p;
}

struct peer *peer_new(enum peer_kind kind, const void *b, size_t n, uint16_t port, uint32_t scope)
{
	return peer_again(NULL, kind, b, n, port, scope);
}

struct peer *peer_copy(const struct peer *p)
{
	return p ? peer_new((enum peer_kind)p->kind, p->b, p->n, p->port, p->scope) : NULL;
}

struct peer *peer_ref(const struct peer *p)
{
	struct peer *own = (struct peer *)(uintptr_t)p; /* the count is the only part that changes */

	if (own)
		atomic_fetch_add_explicit(&own->refs, 1, memory_order_relaxed);
	return own;
}

void peer_unref(const struct peer *p)
{
	struct peer *own = (struct peer *)(uintptr_t)p;

	if (own && atomic_fetch_sub_explicit(&own->refs, 1, memory_order_acq_rel) == 1)
		mem_free(own);
}

static bool is_mapped(const struct peer *p)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	return p->kind == PEER_IP6 && memcmp(p->b, prefix, sizeof(prefix)) == 0;
}

/* The bytes that name the host: an IPv4 address is the same whether it came mapped into IPv6 or not. */
static void host_bytes(const struct peer *p, const uint8_t **ret_b, size_t *ret_n)
{
	bool mapped = is_mapped(p);

	*ret_b = mapped ? p->b + 12 : p->b;
	*ret_n = mapped ? 4 : p->n;
}

/* RFC 5952: lower case, the longest run of two or more zero groups becomes "::". */
static size_t ip6_text(const uint8_t *b, char *out, size_t size)
{
	int best = -1, best_n = 1;
	size_t len = 0;

	for (int i = 0; i < 8; i++) {
		int n = 0;

		while (i + n < 8 && b[2 * (i + n)] == 0 && b[2 * (i + n) + 1] == 0)
			n++;
		if (n > best_n) {
			best = i;
			best_n = n;
		}
	}
	for (int i = 0; i < 8; i++) {
		if (i == best) {
			len += (size_t)snprintf(out + len, size - len, "::");
			i += best_n - 1;
			continue;
		}
		bool colon = i > 0 && i != best + best_n;

		if (best < 0)
			colon = i > 0;
		len += (size_t)snprintf(out + len, size - len, colon ? ":%x" : "%x",
					(unsigned)(b[2 * i] << 8 | b[2 * i + 1]));
	}
	return len;
}

static size_t name_text(const struct peer *p, char *out, size_t size)
{
	size_t len = 0;

	if (p->n == 0)
		return (size_t)snprintf(out, size, "unix");
	for (size_t i = 0; i < p->n && len + 1 < size; i++) {
		uint8_t c = p->b[i];

		if (i == 0 && c == 0)
			c = '@'; /* how everybody writes an abstract address */
		out[len++] = c > ' ' && c < 127 ? (char)c : '?';
	}
	out[len] = '\0';
	return len;
}

static size_t host_text(const struct peer *p, bool brackets, char *out, size_t size)
{
	const uint8_t *b;
	size_t n;

	if (!p || p->kind == PEER_NONE)
		return (size_t)snprintf(out, size, "-");
	if (p->kind == PEER_UNIX || p->kind == PEER_NAME)
		return name_text(p, out, size);
	host_bytes(p, &b, &n);
	if (n == 4)
		return (size_t)snprintf(out, size, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);

	size_t len = 0;

	if (brackets)
		out[len++] = '[';
	len += ip6_text(b, out + len, size - len);
	if (p->scope)
		len += (size_t)snprintf(out + len, size - len, "%%%u", p->scope);
	if (brackets)
		out[len++] = ']';
	out[len] = '\0';
	return len;
}

const char *peer_text(const struct peer *p, char buf[static PEER_TEXT])
{
	size_t len = host_text(p, true, buf, PEER_TEXT - 8);

	if (p && (p->kind == PEER_IP4 || p->kind == PEER_IP6))
		snprintf(buf + len, PEER_TEXT - len, ":%u", p->port);
	return buf;
}

const char *peer_host(const struct peer *p, char buf[static PEER_TEXT])
{
	host_text(p, false, buf, PEER_TEXT);
	return buf;
}

static enum peer_kind host_kind(const struct peer *p)
{
	return is_mapped(p) ? PEER_IP4 : (enum peer_kind)p->kind;
}

bool peer_same_host(const struct peer *a, const struct peer *b)
{
	const uint8_t *ab, *bb;
	size_t an, bn;

	if (!a || !b)
		return a == b;
	if (host_kind(a) != host_kind(b))
		return false; /* a path of four bytes is no IPv4 address */
	host_bytes(a, &ab, &an);
	host_bytes(b, &bb, &bn);
	return an == bn && (an == 0 || memcmp(ab, bb, an) == 0);
}
