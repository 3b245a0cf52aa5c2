/* ws_ctx.c - see ws.h: what all connections of a service share. */
#include <errno.h>
#include <openssl/err.h>

#include "base/mem.h"
#include "layer/ws_priv.h"

static void done(struct ws_ctx *c)
{
	EVP_MD_free(c->sha1);
	str_words_done(&c->paths);
	str_words_done(&c->origins);
	mem_free(c->name);
	mem_free(c->target);
	mem_free(c);
}

static int copy(struct ws_ctx *c, const struct ws_setup *s)
{
	const char *name = s->client ? s->host : s->service, *target = s->target && *s->target ? s->target : "/";

	c->name = mem_strdup(name ? name : "");
	c->target = s->client ? mem_strdup(target) : NULL;
	if (!c->name || (s->client && !c->target))
		return -ENOMEM;
	if (str_words_copy(&s->paths, &c->paths) < 0 || str_words_copy(&s->origins, &c->origins) < 0)
		return -ENOMEM;
	return 0;
}

/* SHA-1 is looked up once, because every handshake needs it. */
static int fetch(struct ws_ctx *c)
{
	bool memory;

	c->sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
	if (c->sha1)
		return 0;
	memory = ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE;
	ERR_clear_error();
	return memory ? -ENOMEM : -EIO;
}

int ws_ctx_new(const struct ws_setup *setup, struct ws_ctx **ret)
{
	struct ws_ctx *c = mem_zalloc(sizeof(*c));
	int r = c ? copy(c, setup) : -ENOMEM;

	if (r == 0)
		r = fetch(c);
	if (r < 0) {
		if (c)
			done(c);
		return r;
	}
	c->refs = 1;
	c->client = setup->client;
	c->text = setup->text;
	c->binary = setup->binary;
	c->most = setup->most;
	c->one[0] = setup->subprotocol;
	c->subprotocols = setup->subprotocols ? setup->subprotocols : c->one;
	*ret = c;
	return 0;
}

struct ws_ctx *ws_ctx_ref(struct ws_ctx *ctx)
{
	if (ctx)
		atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
	return ctx;
}

void ws_ctx_unref(struct ws_ctx *ctx)
{
	if (ctx && atomic_fetch_sub_explicit(&ctx->refs, 1, memory_order_acq_rel) == 1)
		done(ctx);
}
