/* addr_ip.c - the text forms of IPv4 and IPv6 addresses, told apart from names without inet_pton() and its header. */
#include <string.h>

#include "base/addr.h"
#include "base/str.h"

/* Four decimal bytes with dots; nothing of what inet_aton() takes besides. */
static bool parse_ipv4(const char *s, uint8_t ret[4])
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned v = 0, n = 0;

		if (i > 0 && *s++ != '.')
			return false;
		for (; str_is_digit(*s) && n < 4; n++)
			v = v * 10 + (unsigned)(*s++ - '0');
		/* A leading zero is octal to some and decimal to others: refused. */
		if (n == 0 || n > 3 || v > 255 || (n > 1 && v < (n == 2 ? 10u : 100u)))
			return false;
		ret[i] = (uint8_t)v;
	}
	return *s == '\0';
}

static int hex_digit(char c)
{
	c = str_lower(c);
	if (str_is_digit(c))
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One to four hexadecimal digits at *at. */
static bool take_group(const char **at, uint16_t *ret)
{
	unsigned v = 0, n = 0;

	for (; n < 4 && hex_digit(**at) >= 0; n++)
		v = v << 4 | (unsigned)hex_digit(*(*at)++);
	*ret = (uint16_t)v;
	return n > 0 && hex_digit(**at) < 0;
}

static bool is_zone(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] > '~' || strchr("%[]/:", s[i]))
			return false;
	return n > 0 && n < 16; /* IFNAMSIZ */
}

/* Moves the n groups behind the `::` at `gap` to the end, zeros between. False when the number of groups is wrong. */
static bool close_gap(uint16_t g[8], unsigned n, int gap)
{
	unsigned behind;

	if (gap < 0)
		return n == 8;
	if (n > 7)
		return false;
	behind = n - (unsigned)gap;
	memmove(g + 8 - behind, g + gap, behind * sizeof(*g));
	memset(g + gap, 0, (8 - n) * sizeof(*g));
	return true;
}

/* The text form of RFC 4291 section 2.2, with a zone (RFC 4007 section 11) allowed behind. */
static bool parse_ipv6(const char *s, uint16_t ret[8])
{
	uint16_t g[8] = {};
	unsigned n = 0;
	int gap = -1;

	if (s[0] == ':' && s[1] == ':') {
		gap = 0;
		s += 2;
	}
	while (*s && *s != '%') {
		uint8_t v4[4];
		char tail[16] = "";
		size_t len = strcspn(s, ":%");

		if (n <= 6 && len < sizeof(tail) && memchr(s, '.', len)) {
			memcpy(tail, s, len);
			if (!parse_ipv4(tail, v4) || s[len] == ':')
				return false;
			g[n++] = (uint16_t)(v4[0] << 8 | v4[1]);
			g[n++] = (uint16_t)(v4[2] << 8 | v4[3]);
			s += len;
			break;
		}
		if (n == 8 || !take_group(&s, &g[n]))
			return false;
		n++;
		if (*s != ':')
			break;
		s++;
		if (*s == ':') {
			if (gap >= 0)
				return false;
			gap = (int)n;
			s++;
		} else if (*s == '\0' || *s == '%') {
			return false;
		}
	}
	if (*s && !(*s == '%' && is_zone(s + 1)))
		return false;
	if (!close_gap(g, n, gap))
		return false;
	memcpy(ret, g, sizeof(g));
	return true;
}

bool addr_is_ipv4(const char *s)
{
	uint8_t bytes[4];

	return parse_ipv4(s, bytes);
}

bool addr_is_ipv6(const char *s)
{
	uint16_t groups[8];

	return parse_ipv6(s, groups);
}

bool addr_ipv4_bytes(const char *s, uint8_t ret[static 4])
{
	uint8_t b[4];

	if (!parse_ipv4(s, b))
		return false;
	memcpy(ret, b, sizeof(b));
	return true;
}

bool addr_ipv6_bytes(const char *s, uint8_t ret[static 16])
{
	uint16_t groups[8];

	if (strchr(s, '%') || !parse_ipv6(s, groups))
		return false;
	for (unsigned i = 0; i < 8; i++) {
		ret[2 * i] = (uint8_t)(groups[i] >> 8);
		ret[2 * i + 1] = (uint8_t)groups[i];
	}
	return true;
}
