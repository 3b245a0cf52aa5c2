/* mqtt-pingpong: one message there and back through the broker, beside a stream that goes as fast as it can.
 *
 * Two clients: what one publishes the other answers, so that a round trip is two passages. They and the stream share
 * one loop; so what is measured has our own share in it too: a turn of that loop, twice.
 */
#include "load_mqtt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const topics[] = { "ping", "pong" };

struct game {
	struct mqtt_client c[2]; /* the first one serves, the other answers */
	const struct options *o;
	uint64_t end, served;
	uint64_t *took;
	unsigned n;
	bool over;
};

static void hit(struct game *g, unsigned side)
{
	const uint8_t head[] = { MQTT_PUBLISH << 4, 0, 0, 4 };
	uint8_t *to = mqtt_room(&g->c[side], sizeof head + 4 + (g->o->v5 ? 1 : 0) + 8);

	memcpy(to, head, sizeof head);
	to[1] = (uint8_t)(2 + 4 + (g->o->v5 ? 1 : 0) + 8);
	memcpy(to + sizeof head, topics[side], 4);
	if (g->o->v5)
		to[8] = 0;
	memcpy(to + to[1] + 2 - 8, &g->served, 8);
	mqtt_flush(&g->c[side]);
}

static void serve(struct game *g)
{
	g->served = now_ns();
	g->over = g->served >= g->end || g->n == g->o->count;
	if (!g->over)
		hit(g, 0);
}

static void hear(struct mqtt_client *c, const struct mqtt_packet *p)
{
	struct game *g = c->of;
	unsigned side = c == &g->c[1];

	if (p->type != MQTT_PUBLISH || p->n < 14 || memcmp(p->body + 2, topics[!side], 4) != 0 ||
	    memcmp(p->body + p->n - 8, &g->served, 8) != 0)
		die("not what was played: type %u, %zu bytes", p->type, p->n);
	if (side) {
		hit(g, 1);
		return;
	}
	g->took[g->n++] = now_ns() - g->served;
	serve(g);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

void load_mqtt_pingpong(const struct options *o)
{
	struct mqtt_stream *s = mqtt_stream_new(o);
	struct game g = { .o = o, .took = calloc(o->count, sizeof *g.took) };
	uint64_t now;

	if (!g.took)
		die("out of memory");
	for (unsigned i = 0; i < 2; i++) {
		g.c[i].hear = hear;
		g.c[i].of = &g;
		mqtt_open(&g.c[i], o, o->pubs + o->subs + i, true, mqtt_stream_epoll(s));
		mqtt_subscribe(&g.c[i], o, topics[!i], 0);
	}
	load_ready(o);
	now = now_ns();
	g.end = now + (uint64_t)(o->seconds * 1e9);
	mqtt_stream_go(s, now, g.end);
	serve(&g);
	while (mqtt_stream_turn(s) || !g.over)
		;
	if (!g.n)
		die("not one round trip");
	qsort(g.took, g.n, sizeof *g.took, by_value);
	printf("{\"round_trips\": %u, \"pingpong_p50_us\": %.1f, \"pingpong_p99_us\": %.1f, \"pingpong_max_us\": %.1f, ",
	       g.n, (double)g.took[g.n / 2] / 1e3, (double)g.took[g.n * 99ull / 100] / 1e3,
	       (double)g.took[g.n - 1] / 1e3);
	mqtt_stream_print(s);
	printf("}\n");
}
