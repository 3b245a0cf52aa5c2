/* trust.c - TLS for connections that a protocol opens: the calls of core/proto_child.h. */
#include <errno.h>
#include <string.h>

#include "base/addr.h"
#include "base/mem.h"
#include "core/proto_child.h"
#include "layer/tls.h"

struct trust {
	struct tls_ctx *ctx;
};

int trust_new(const struct trust_setup *setup, struct trust **ret, struct buf *why)
{
	const struct tls_setup tls = {
		.client = true,
		.ca = setup->ca,
		.insecure = setup->insecure,
		.id = { .certificate = setup->certificate, .key = setup->key.n ? setup->key : setup->certificate },
	};
	struct trust *t = mem_zalloc(sizeof(*t));
	BUF_AUTO struct buf said = BUF_INIT(1024);
	int r = t ? tls_ctx_new(&tls, &t->ctx, &said) : -ENOMEM;

	if (r < 0) {
		buf_adds(why, r == -ENOMEM ? strerror(ENOMEM) : buf_str(&said));
		mem_free(t);
		return r;
	}
	*ret = t;
	return 0;
}

void trust_free(struct trust **tp)
{
	struct trust *t = *tp;

	if (!t)
		return;
	*tp = NULL;
	tls_ctx_unref(t->ctx);
	mem_free(t);
}

int trust_child(struct trust *t, struct child *c)
{
	struct addr_text to;
	int r = addr_parse(c->address, &to, NULL);

	if (r < 0)
		return r;
	c->layer = &tls_client_layer;
	c->layer_arg = tls_arg_new(t->ctx, *to.host ? to.host : "localhost");
	if (c->layer_arg)
		return 0;
	c->layer = NULL;
	return -ENOMEM;
}
