/* toy_layer.c - the layers of toy.h. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "support/toy.h"

enum { FRAME_HEAD = 3, FRAME_MAX = 16 << 10, CLIENT_KEY = 0x5a };

struct toy_layer_arg *toy_layer_arg(nsec ping, int open_err)
{
	struct toy_layer_arg *a = mem_zalloc(sizeof(*a));

	if (!a)
		return NULL;
	toy.live_layers++;
	*a = (struct toy_layer_arg){ ping, open_err };
	return a;
}

static void drop_arg(void *arg)
{
	if (!arg)
		return;
	toy.live_layers--;
	mem_free(arg);
}

/* Both layers' self begins with it, so that one open and one fini do. */
struct common {
	struct toy_layer_arg *arg;
	const char *why;
};

static int keep_arg(struct common *c, void *arg)
{
	c->arg = arg;
	return c->arg ? c->arg->open_err : 0;
}

static const char *why(const void *self)
{
	return ((const struct common *)self)->why;
}

static void layer_fini(void *self)
{
	drop_arg(((struct common *)self)->arg);
}

/* ---- xor ---- */

struct xor {
	struct common c;
	bool up;
	uint8_t key;
};

static int xor_open(void *self, void *arg, struct layer_io *lio)
{
	(void)lio;
	return keep_arg(self, arg);
}

static int xor_client_open(void *self, void *arg, struct layer_io *lio)
{
	struct xor *x = self;
	int r = keep_arg(&x->c, arg);

	x->key = CLIENT_KEY;
	return r < 0 ? r : layer_down(lio, (const uint8_t[]){ 'H', CLIENT_KEY }, 2);
}

static int move(const struct xor *x, const uint8_t *p, size_t n, struct layer_io *lio,
		int to(struct layer_io *lio, const void *p, size_t n))
{
	uint8_t some[512];
	int r = 0;

	for (size_t k; n > 0 && r == 0; p += k, n -= k) {
		k = n < sizeof(some) ? n : sizeof(some);
		for (size_t i = 0; i < k; i++)
			some[i] = p[i] ^ x->key;
		r = to(lio, some, k);
	}
	return r;
}

/* How many bytes the handshake took, 0: more are needed, -errno. */
static ssize_t greet(struct xor *x, struct span raw, struct layer_io *lio)
{
	int r;

	if (raw.n == 0)
		return 0;
	if (*lio->handshakes <= 0)
		return -EAGAIN;
	if (raw.p[0] != 'H') {
		x->c.why = "bad-hello";
		r = layer_down(lio, "X", 1);
		return r < 0 ? r : -EPROTO;
	}
	if (raw.n < 2)
		return 0;
	--*lio->handshakes;
	x->key = raw.p[1];
	r = layer_down(lio, "h", 1);
	if (r < 0)
		return r;
	x->up = lio->is_up = true;
	return 2;
}

static ssize_t xor_decode(void *self, struct span raw, struct layer_io *lio)
{
	struct xor *x = self;
	int r;

	if (!x->up)
		return greet(x, raw, lio);
	r = move(x, raw.p, raw.n, lio, layer_up);
	return r < 0 ? r : (ssize_t)raw.n;
}

static ssize_t xor_client_decode(void *self, struct span raw, struct layer_io *lio)
{
	struct xor *x = self;

	if (x->up)
		return xor_decode(self, raw, lio);
	if (raw.n == 0)
		return 0;
	if (raw.p[0] != 'h') {
		x->c.why = "bad-hello";
		return -EPROTO;
	}
	x->up = lio->is_up = true;
	return 1;
}

static int xor_encode(void *self, const struct span *v, size_t n, struct layer_io *lio)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = move(self, v[i].p, v[i].n, lio, layer_down);
	return r;
}

const struct layer toy_xor = {
	.name = "xor",
	.confidential = true,
	.handshake = true,
	.ups = STAT_HANDSHAKES,
	.failures = STAT_HANDSHAKES_FAILED,
	.self_size = sizeof(struct xor),
	.open = xor_open,
	.drop_arg = drop_arg,
	.decode = xor_decode,
	.encode = xor_encode,
	.why = why,
	.fini = layer_fini,
};

const struct layer toy_xor_client = {
	.name = "xor",
	.confidential = true,
	.handshake = true,
	.ups = STAT_HANDSHAKES,
	.failures = STAT_HANDSHAKES_FAILED,
	.self_size = sizeof(struct xor),
	.open = xor_client_open,
	.drop_arg = drop_arg,
	.decode = xor_client_decode,
	.encode = xor_encode,
	.why = why,
	.fini = layer_fini,
};

void toy_xor_in_place(void *p, size_t n, uint8_t key)
{
	for (uint8_t *b = p; n > 0; n--)
		*b++ ^= key;
}

/* ---- frame ---- */

struct frame {
	struct common c;
	nsec due;
};

static int frame_open(void *self, void *arg, struct layer_io *lio)
{
	struct frame *f = self;
	int r = keep_arg(&f->c, arg);

	if (f->c.arg && f->c.arg->ping)
		f->due = lio->now + f->c.arg->ping;
	return r;
}

/* One frame; 0: it is not complete. */
static ssize_t one_frame(struct frame *f, struct span raw, struct layer_io *lio)
{
	size_t n;
	int r;

	switch (raw.p[0]) {
	case 'd':
		if (raw.n < FRAME_HEAD)
			return 0;
		n = (size_t)raw.p[1] << 8 | raw.p[2];
		if (raw.n < FRAME_HEAD + n)
			return 0;
		r = layer_up(lio, raw.p + FRAME_HEAD, n);
		return r < 0 ? r : (ssize_t)(FRAME_HEAD + n);
	case 'c':
		lio->clean_eof = true;
		return 1;
	case 'p':
		r = layer_down(lio, "q", 1);
		return r < 0 ? r : 1;
	case 'q':
		return 1;
	default:
		f->c.why = "bad-frame";
		r = layer_down(lio, "e", 1);
		return r < 0 ? r : -EPROTO;
	}
}

static ssize_t frame_decode(void *self, struct span raw, struct layer_io *lio)
{
	size_t took = 0;

	while (took < raw.n) {
		ssize_t r = one_frame(self, (struct span){ raw.p + took, raw.n - took }, lio);

		if (r < 0)
			return r;
		if (r == 0)
			break;
		took += (size_t)r;
	}
	return (ssize_t)took;
}

static int frame_encode(void *self, const struct span *v, size_t n, struct layer_io *lio)
{
	size_t total = 0;
	int r;

	(void)self;
	for (size_t i = 0; i < n; i++)
		total += v[i].n;
	if (total > FRAME_MAX)
		return -EMSGSIZE; /* the core promised not to */
	r = layer_down(lio, (const uint8_t[]){ 'd', (uint8_t)(total >> 8), (uint8_t)total }, FRAME_HEAD);
	for (size_t i = 0; i < n && r == 0; i++)
		r = layer_down(lio, v[i].p, v[i].n);
	return r;
}

static int frame_finish(void *self, struct layer_io *lio)
{
	(void)self;
	return layer_down(lio, "c", 1);
}

static nsec frame_due(const void *self)
{
	return ((const struct frame *)self)->due;
}

static int frame_tick(void *self, struct layer_io *lio)
{
	struct frame *f = self;

	f->due = lio->now + f->c.arg->ping;
	return layer_down(lio, "p", 1);
}

static void frame_info(const void *self, struct layer_info *ret)
{
	(void)self;
	ret->alpn = "frame";
	ret->certificate = "CN=frame";
}

const struct layer toy_frame = {
	.name = "frame",
	.self_size = sizeof(struct frame),
	.open = frame_open,
	.drop_arg = drop_arg,
	.decode = frame_decode,
	.encode = frame_encode,
	.finish = frame_finish,
	.due = frame_due,
	.tick = frame_tick,
	.info = frame_info,
	.why = why,
	.fini = layer_fini,
};

void toy_frame_add(struct buf *to, const void *p, size_t n)
{
	buf_addc(to, 'd');
	buf_addc(to, (char)(n >> 8));
	buf_addc(to, (char)n);
	buf_add(to, p, n);
}

void toy_unframe(struct span wire, struct buf *payload)
{
	while (wire.n > 0) {
		size_t skip = 1;

		if (wire.p[0] == 'd' && wire.n >= FRAME_HEAD) {
			size_t n = (size_t)wire.p[1] << 8 | wire.p[2];

			n = n < wire.n - FRAME_HEAD ? n : wire.n - FRAME_HEAD;
			buf_add(payload, wire.p + FRAME_HEAD, n);
			skip = FRAME_HEAD + n;
		} else {
			buf_addc(payload, (char)wire.p[0]);
		}
		wire.p += skip;
		wire.n -= skip;
	}
}

/* ---- eat ---- */

static int eat_open(void *self, void *arg, struct layer_io *lio)
{
	(void)lio;
	return keep_arg(self, arg);
}

static ssize_t eat_decode(void *self, struct span raw, struct layer_io *lio)
{
	int r = layer_up(lio, raw.p, raw.n);

	(void)self;
	return r < 0 ? r : (ssize_t)raw.n;
}

static int eat_encode(void *self, const struct span *v, size_t n, struct layer_io *lio)
{
	(void)self;
	(void)v;
	(void)n;
	(void)lio;
	return 0;
}

const struct layer toy_eat = {
	.name = "eat",
	.self_size = sizeof(struct common),
	.open = eat_open,
	.drop_arg = drop_arg,
	.decode = eat_decode,
	.encode = eat_encode,
	.fini = layer_fini,
};
