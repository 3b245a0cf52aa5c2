/* web.c - a service that is reached by WebSocket: its options, and what its protocol says of itself, as layer/ws.h wants them. */
#include <errno.h>

#include "drive/server_priv.h"
#include "layer/ws.h"

static bool is_web(const struct service *v)
{
	const struct addr_list *l = &v->plan.common->listen;

	for (size_t i = 0; i < l->n; i++)
		if (addr_flags(&l->v[i]) & ADDR_F_WEB)
			return true;
	return false;
}

int web_open(struct service *v, struct conf_problems *ps)
{
	const struct service_options *c = v->plan.common;
	const struct proto *proto = v->plan.proto;
	bool binary = proto->flags & P_BINARY;
	struct ws_setup setup = {
		.service = v->plan.name,
		.binary = binary,
		.text = c->ws_frames == WS_FRAMES_TEXT && !binary,
		.paths = c->ws_path,
		.origins = c->ws_origins,
		.subprotocols = proto->subprotocols,
		.subprotocol = proto->name,
	};
	int r;

	if (!is_web(v))
		return 0;
	r = ws_ctx_new(&setup, &v->ws);
	if (r == -EIO)
		service_problem(&v->plan, v->plan.listen_line, ps, "no WebSocket: OpenSSL has no SHA-1 here");
	return r;
}
