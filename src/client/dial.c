/* dial.c - see dial.h. */
#include "client/dial.h"

#include <errno.h>

#include "base/buf.h"
#include "layer/ws.h"

static int make_tls(struct dial *d, struct buf *why)
{
	const struct dial_setup *s = d->setup;
	char text[512];
	struct buf said;
	int err;

	if (!addr_is_secure(s->to))
		return 0;
	buf_init_fixed(&said, text, sizeof(text));
	err = tls_ctx_new(&(struct tls_setup){ .client = true, .ca = s->ca, .insecure = s->insecure, .id = s->id },
			  &d->tls, &said);
	if (err)
		buf_addf(why, "cannot speak TLS: %s", err == -ENOMEM ? strerror(ENOMEM) : text);
	return err;
}

/* Host: as in the address; what is its scheme's own port is not said (RFC 9110 4.2.1). */
static void add_host(const struct addr_text *to, struct buf *b)
{
	bool v6 = addr_is_ipv6(to->host);

	buf_addf(b, "%s%s%s", v6 ? "[" : "", *to->host ? to->host : "localhost", v6 ? "]" : "");
	if (to->port >= 0 && to->port != (addr_is_secure(to) ? 443 : 80))
		buf_addf(b, ":%d", to->port);
}

static int make_ws(struct dial *d, struct buf *why)
{
	const struct addr_text *to = d->setup->to;
	char host[ADDR_HOST_MAX + 16];
	struct buf b;
	int err;

	if (!(addr_flags(to) & ADDR_F_WEB))
		return 0;
	buf_init_fixed(&b, host, sizeof(host));
	add_host(to, &b);
	err = ws_ctx_new(&(struct ws_setup){ .client = true,
					     .host = host,
					     .target = to->path,
					     .subprotocol = d->setup->subprotocol },
			 &d->ws);
	if (err)
		buf_addf(why, "cannot speak WebSocket: %s", strerror(-err));
	return err;
}

int dial_init(struct dial *d, const struct dial_setup *setup, struct buf *why)
{
	struct buf b;
	int err;

	*d = (struct dial){ .setup = setup };
	buf_init_fixed(&b, d->address, sizeof(d->address));
	addr_format(setup->to, &b);
	err = make_tls(d, why);
	return err ? err : make_ws(d, why);
}

void dial_done(struct dial *d)
{
	tls_ctx_unref(d->tls);
	ws_ctx_unref(d->ws);
	d->tls = NULL;
	d->ws = NULL;
}

int dial_child(const struct dial *d, struct child *ret)
{
	const char *host = *d->setup->to->host ? d->setup->to->host : "localhost";

	*ret = (struct child){ .kind = CHILD_CONNECT, .address = d->address };
	if (!d->tls)
		return 0;
	ret->layer = &tls_client_layer;
	ret->layer_arg = tls_arg_new(d->tls, d->setup->name ? d->setup->name : host);
	return ret->layer_arg ? 0 : -ENOMEM;
}

const char *dial_meaning(const struct dial *d, int err, const char *why)
{
	if (why && strcmp(why, "gone-in-handshake") == 0)
		return "it ended the TLS handshake; does it speak TLS there?";
	if (why && strcmp(why, "handshake-timeout") == 0)
		return "it does not answer the TLS handshake; does it speak TLS there?";
	if (why && strcmp(why, "ws: no answer") == 0)
		return "ws: no answer; does it speak WebSocket there?";
	if (why)
		return why;
	if (err == -ENOENT && addr_is_net(d->setup->to))
		return "there is no such service name in /etc/services";
	if (err == -ENXIO && addr_is_net(d->setup->to))
		return "there is no such host";
	return strerror(-err);
}
