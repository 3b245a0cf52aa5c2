/*
 * ws_head.c - see ws.h: the handshake, RFC 6455 section 4. The request must be one that can be read in one way only, because what stands
 * behind it are frames; whoever is refused is told in words, since it is often a person who typed the port into a browser.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/random.h"
#include "layer/ws_priv.h"

/* The answer to the key in `ret`, ended by NUL (4.2.2). 0, -ENOMEM. */
static int make_accept(const struct ws_ctx *c, struct span key, char ret[static WS_ACCEPT + 1])
{
	static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint8_t text[WS_KEY + sizeof(guid) - 1], digest[EVP_MAX_MD_SIZE];
	unsigned n;

	memcpy(text, key.p, WS_KEY);
	memcpy(text + WS_KEY, guid, sizeof(guid) - 1);
	if (EVP_Digest(text, sizeof(text), digest, &n, c->sha1, NULL) != 1) {
		ERR_clear_error();
		return -ENOMEM;
	}
	EVP_EncodeBlock((uint8_t *)ret, digest, (int)n);
	return 0;
}

/* Base64 of 16 bytes. */
static bool is_key(struct span s)
{
	size_t i = 0;

	while (i < s.n && (str_is_alnum((char)s.p[i]) || s.p[i] == '+' || s.p[i] == '/'))
		i++;
	return s.n == WS_KEY && i == WS_KEY - 2 && s.p[i] == '=' && s.p[i + 1] == '=';
}

static int say(struct layer_io *lio, const struct buf *b)
{
	return b->err ? b->err : layer_down(lio, b->p, b->n);
}

/* ---- the server ---- */

/* Why a request is refused. */
struct refusal {
	unsigned status;
	const char *why;  /* the reason for the log */
	const char *more; /* fields */
	const char *text; /* for people */
};

static const struct refusal
	malformed = { 400, "ws: malformed request", "", "The request is malformed." },
	target_long = { 414, "ws: target too long", "", "The address is too long." },
	fields_long = { 431, "ws: fields too long", "", "The request has more header fields than are taken." },
	wrong_http = { 505, "ws: version of HTTP not spoken", "", "Only HTTP/1.1 is spoken here." },
	wrong_method = { 405, "ws: method is not GET", "Allow: GET\r\n", "Only GET is answered here." },
	no_upgrade = { 426, "ws: no upgrade asked for", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
		       "It is for programs; with a browser there is nothing to see." },
	wrong_version = { 426, "ws: version is not 13", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
			  "Only version 13 of WebSocket is spoken here." },
	no_connection = { 400, "ws: no Connection: upgrade", "", "The request has no \"Connection: upgrade\"." },
	wrong_key = { 400, "ws: no right key", "", "The request has no right Sec-WebSocket-Key." },
	with_body = { 400, "ws: request with a body", "", "The request has a body." },
	wrong_path = { 404, "ws: path not served", "", "There is nothing under this path." },
	wrong_origin = { 403, "ws: origin not allowed", "", "Pages from where you come may not use it." },
	no_subprotocol = { 400, "ws: no shared subprotocol", "", "None of the subprotocols asked for is served here." };

/* It ends with the answer. */
static int refuse(struct ws *w, const struct refusal *f, bool bodiless, struct layer_io *lio)
{
	BUF_AUTO struct buf text = BUF_INIT(1024), b = BUF_INIT(2048);
	int r;

	buf_addf(&text, "This is a WebSocket port, of the service %s of a Guichet. %s\n", w->ctx->name, f->text);
	buf_addf(&b,
		 "HTTP/1.1 %u %s\r\nConnection: %sclose\r\n%sContent-Type: text/plain; charset=utf-8\r\n"
		 "X-Content-Type-Options: nosniff\r\nContent-Length: %zu\r\n\r\n",
		 f->status, http_reason(f->status), f->status == 426 ? "upgrade, " : "", f->more, text.n);
	if (!bodiless)
		buf_add(&b, text.p, text.n);
	w->why = f->why;
	r = text.err ? text.err : say(lio, &b);
	return r < 0 ? r : -EPROTO;
}

static bool is_one_of(struct span s, const struct str_words *words, bool any_case)
{
	for (size_t i = 0; i < words->n; i++)
		if (any_case ? http_same(s, words->v[i]) : span_is(s, words->v[i]))
			return true;
	return words->n == 0;
}

static struct span without_query(struct span s)
{
	const uint8_t *mark = memchr(s.p, '?', s.n);

	return mark ? (struct span){ s.p, (size_t)(mark - s.p) } : s;
}

static const char *our_subprotocol(const struct ws_ctx *c, struct span s)
{
	for (const char *const *name = c->subprotocols; name && *name; name++)
		if (span_is(s, *name))
			return *name;
	return NULL;
}

/* The first of the client's that is ours; false: it wants others only, or the list is none. */
static bool choose_subprotocol(struct ws *w, const struct http_head *h)
{
	struct http_list l = { .head = h, .name = "Sec-WebSocket-Protocol" };
	struct span s;
	bool any = false;
	int r;

	while ((r = http_list_next(&l, &s)) > 0) {
		any = true;
		if (!http_is_token(s))
			return false;
		if (!w->subprotocol)
			w->subprotocol = our_subprotocol(w->ctx, s);
	}
	return r == 0 && (!any || w->subprotocol);
}

/* One without an origin does not come from a page. */
static bool origin_allowed(const struct ws_ctx *c, const struct http_head *h)
{
	struct span origin;
	unsigned n = http_find(h, "Origin", &origin);

	return c->origins.n == 0 || n == 0 || (n == 1 && is_one_of(origin, &c->origins, true));
}

/* NULL: it is a handshake that we like (4.2.1). */
static const struct refusal *judge(struct ws *w, const struct http_head *h)
{
	struct span version = {}, key = {};
	struct http_body body;

	if (!span_is(h->method, "GET"))
		return &wrong_method;
	if (http_body(h, &body) < 0 || body.length || body.kind == HTTP_BODY_CHUNKED)
		return &with_body;
	if (h->minor == 0 || !http_list_has(h, "Upgrade", "websocket"))
		return &no_upgrade;
	if (!http_list_has(h, "Connection", "upgrade"))
		return &no_connection;
	if (http_find(h, "Sec-WebSocket-Version", &version) != 1 || !span_is(version, "13"))
		return &wrong_version;
	if (http_find(h, "Sec-WebSocket-Key", &key) != 1 || !is_key(key))
		return &wrong_key;
	if (!is_one_of(without_query(h->path), &w->ctx->paths, false))
		return &wrong_path;
	if (!origin_allowed(w->ctx, h))
		return &wrong_origin;
	return choose_subprotocol(w, h) ? NULL : &no_subprotocol;
}

static int welcome(struct ws *w, const struct http_head *h, struct layer_io *lio)
{
	BUF_AUTO struct buf b = BUF_INIT(1024);
	char accept[WS_ACCEPT + 1];
	struct span key = {};
	int r;

	http_find(h, "Sec-WebSocket-Key", &key);
	w->path = mem_strndup((const char *)h->path.p, h->path.n);
	r = w->path ? make_accept(w->ctx, key, accept) : -ENOMEM;
	if (r < 0)
		return r;
	buf_addf(&b,
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Accept: %s\r\n",
		 accept);
	if (w->subprotocol)
		buf_addf(&b, "Sec-WebSocket-Protocol: %s\r\n", w->subprotocol);
	buf_adds(&b, "\r\n");
	r = say(lio, &b);
	w->up = r == 0;
	return r;
}

static const struct refusal *refusal_of(int err)
{
	switch (http_status(err)) {
	case 414:
		return &target_long;
	case 431:
		return &fields_long;
	case 505:
		return &wrong_http;
	default:
		return &malformed;
	}
}

ssize_t ws_serve(struct ws *w, struct span raw, struct layer_io *lio)
{
	struct http_head h;
	ssize_t n = http_head_read(&w->hand->head, raw, &h);
	const struct refusal *f;
	int r;

	if (n == 0 && raw.n)
		w->why = "ws: request not complete";
	if (n == 0)
		return 0;
	f = n < 0 ? refusal_of((int)n) : judge(w, &h);
	r = f ? refuse(w, f, n > 0 && span_is(h.method, "HEAD"), lio) : welcome(w, &h, lio);
	return r < 0 ? r : n;
}

/* ---- the client ---- */

int ws_ask(struct ws *w, struct layer_io *lio)
{
	BUF_AUTO struct buf b = BUF_INIT(4096);
	uint8_t random[16];

	if (random_fill(random, sizeof(random)) < 0) {
		w->why = "ws: no random numbers";
		return -EIO;
	}
	EVP_EncodeBlock((uint8_t *)w->hand->key, random, sizeof(random));
	w->hand->head.response = true;
	buf_addf(&b,
		 "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
		 "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n",
		 w->ctx->target, w->ctx->name, w->hand->key);
	for (const char *const *name = w->ctx->subprotocols; name && *name; name++)
		buf_addf(&b, "%s%s", name == w->ctx->subprotocols ? "Sec-WebSocket-Protocol: " : ", ", *name);
	buf_adds(&b, w->ctx->subprotocols && *w->ctx->subprotocols ? "\r\n\r\n" : "\r\n");
	return say(lio, &b);
}

static ssize_t unwanted(struct ws *w, const char *why)
{
	w->why = why;
	return -EPROTO;
}

/* "ws: server answered 404 Not Found": its number, and our words for it. */
static ssize_t not_welcome(struct ws *w, unsigned status)
{
	char text[80];

	snprintf(text, sizeof(text), "ws: server answered %u %s", status, http_reason(status));
	w->why_text = mem_strdup(text);
	return unwanted(w, w->why_text ? w->why_text : "ws: server refused");
}

/* At most one, and of those that we offered; a server may take none (4.1). */
static bool take_subprotocol(struct ws *w, const struct http_head *h)
{
	struct span s;
	unsigned n = http_find(h, "Sec-WebSocket-Protocol", &s);

	if (n == 1)
		w->subprotocol = our_subprotocol(w->ctx, s);
	return n == 0 || w->subprotocol;
}

static ssize_t take_answer(struct ws *w, const struct http_head *h)
{
	char accept[WS_ACCEPT + 1];
	struct span s = {};

	if (h->status != 101)
		return not_welcome(w, h->status);
	if (h->minor == 0 || !http_list_has(h, "Upgrade", "websocket") || !http_list_has(h, "Connection", "upgrade"))
		return unwanted(w, "ws: server upgraded to something else");
	if (make_accept(w->ctx, span_str(w->hand->key), accept) < 0)
		return -ENOMEM;
	if (http_find(h, "Sec-WebSocket-Accept", &s) != 1 || !span_is(s, accept))
		return unwanted(w, "ws: server accepted something else");
	if (http_find(h, "Sec-WebSocket-Extensions", NULL))
		return unwanted(w, "ws: server chose an extension that was not offered");
	if (!take_subprotocol(w, h))
		return unwanted(w, "ws: server chose a subprotocol that was not offered");
	w->path = mem_strdup(w->ctx->target);
	w->up = w->path;
	return w->up ? 0 : -ENOMEM;
}

ssize_t ws_hear(struct ws *w, struct span raw)
{
	struct http_head h;
	ssize_t n = http_head_read(&w->hand->head, raw, &h), r;

	if (n == 0 && raw.n)
		w->why = "ws: answer not complete";
	if (n == 0)
		return 0;
	if (n < 0)
		return unwanted(w, "ws: malformed answer");
	r = take_answer(w, &h);
	return r < 0 ? r : n;
}
