/* mqtt: publishers and subscribers, all of them ours, and every message is accounted for.
 *
 * A message says who published it, which one of his it is and when; the rest is of the pattern. So each subscriber
 * knows what must come next from each publisher: a gap is a loss, an old number is a duplicate or out of order. At
 * most `flight` messages are on their way at once, shared out among the publishers (or they take turns):
 * published, and not yet with everybody who hears them (or, with QoS 1 and 2, not yet acknowledged). So no queue
 * in the server need be longer than that: this measures how fast it hands on, not what it does with those who are
 * slow. Each turn's new messages of a publisher are one write.
 */
#define _GNU_SOURCE
#include "load_mqtt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { STAMP = 16, HEAD = 64, FEW = 64, BUCKETS = 64 * 8, LOSSY_WAIT_MS = 300 };

/* What every message begins with. */
struct stamp {
	uint32_t publisher, number;
	uint64_t at;
};

struct publisher {
	struct mqtt_client c; /* first */
	struct mqtt_stream *s;
	unsigned index;
	uint32_t sent, settled; /* messages: published; with all who hear them */
	uint32_t acked;         /* of QoS 1: by PUBACK; of QoS 2: by PUBCOMP */
	uint32_t received;      /* of QoS 2: by PUBREC */
	uint32_t *reached;      /* [number % window] subscribers that have it */
	uint8_t (*heads)[HEAD]; /* by topic: a packet up to its identifier or payload */
	size_t head_n;
	size_t topic_at, topic_n;
	bool turn; /* it is in s->turns */
};

struct subscriber {
	struct mqtt_client c; /* first */
	struct mqtt_stream *s;
	unsigned index;
	uint32_t *next; /* by publisher: the number that must come */
	unsigned quiet; /* QoS 2: received, not released */
};

struct mqtt_stream {
	const struct options *o;
	int ep;
	struct publisher *pubs;
	struct subscriber *subs;
	struct publisher **turns; /* who may publish now, maybe */
	unsigned turns_n;
	unsigned window;  /* of each publisher */
	uint32_t out;     /* messages that are not settled */
	unsigned next;    /* publisher whose turn it is, with --turns */
	unsigned hearers; /* subscribers of each publisher */
	uint64_t begin, end, over, now;
	uint32_t most; /* messages of each publisher; for the proof before the run, else without limit */
	uint64_t deliveries, before, lost, late;
	uint64_t took[BUCKETS]; /* by logarithm: deliveries that took so long */
};

/* ---- times: eight buckets for each power of two ---- */

static unsigned bucket_of(uint64_t ns)
{
	unsigned log = 63 - (unsigned)__builtin_clzll(ns | 8);

	return log * 8 + (unsigned)(ns >> (log - 3) & 7);
}

static double percentile_us(const struct mqtt_stream *s, unsigned percent)
{
	uint64_t n = 0, seen = 0;
	unsigned i = 0;

	for (unsigned k = 0; k < BUCKETS; k++)
		n += s->took[k];
	while (i < BUCKETS - 1 && (seen += s->took[i]) * 100 < n * percent)
		i++;
	return (double)(8 + i % 8) * (double)(1ull << (i / 8)) / 8e3;
}

/* ---- publishing ---- */

static uint32_t leave_of(const struct publisher *p)
{
	const struct mqtt_stream *s = p->s;
	uint32_t done = s->o->qos && (int32_t)(p->acked - p->settled) < 0 ? p->acked : p->settled;
	uint32_t until = done + s->window;

	if (s->over)
		return 0;
	if ((int32_t)(until - s->most) > 0)
		until = s->most;
	return (int32_t)(until - p->sent) > 0 ? until - p->sent : 0;
}

/* At the end of this turn he is asked whether he has something to say. */
static void wants(struct publisher *p)
{
	if (!p->turn)
		p->s->turns[p->s->turns_n++] = p;
	p->turn = true;
}

static uint16_t id_of(uint32_t number)
{
	return (uint16_t)(number % UINT16_MAX + 1);
}

static void put_message(struct publisher *p, uint32_t number)
{
	const struct options *o = p->s->o;
	size_t n = p->head_n;
	uint8_t *to = mqtt_room(&p->c, n + (o->qos ? 2 : 0) + (o->v5 ? 1 : 0) + o->size);
	const struct stamp stamp = { p->index, number, p->s->now };

	memcpy(to, p->heads[number % o->topics], n);
	to += n;
	if (o->qos) {
		*to++ = (uint8_t)(id_of(number) >> 8);
		*to++ = (uint8_t)id_of(number);
	}
	if (o->v5)
		*to++ = 0;
	memcpy(to, &stamp, STAMP);
	memcpy(to + STAMP, pattern(number), o->size - STAMP);
}

static void publish(struct publisher *p, uint32_t most)
{
	uint32_t leave = leave_of(p);

	leave = leave < most ? leave : most;
	p->turn = false;
	p->s->out += leave;
	for (; leave; leave--)
		put_message(p, p->sent++);
	mqtt_flush(&p->c);
}

/* Who may; with --turns the next one, all that is free. */
static void publish_all(struct mqtt_stream *s)
{
	for (unsigned i = 0; i < s->turns_n; i++)
		publish(s->turns[i], s->o->turns && s->most > 1 ? 0 : UINT32_MAX);
	s->turns_n = 0;
	if (!s->o->turns || s->most == 1 || s->out >= s->o->flight)
		return;
	publish(&s->pubs[s->next], s->o->flight - s->out);
	s->next = (s->next + 1) % s->o->pubs;
}

static void be_acked(struct publisher *p, const struct mqtt_packet *packet, uint32_t *count)
{
	uint16_t id = mqtt_acked(packet);

	if (*count == p->sent || id != id_of(*count))
		die("acknowledgement %u of %u where that of %u was due", packet->type, id, id_of(*count));
	++*count;
}

/* Acknowledgements come in the order of what they acknowledge [MQTT-4.6.0-2], [-3]. */
static void hear_publisher(struct mqtt_client *c, const struct mqtt_packet *packet)
{
	struct publisher *p = (struct publisher *)c;
	unsigned qos = p->s->o->qos;

	if (packet->type == MQTT_PUBREC && qos == 2) {
		be_acked(p, packet, &p->received);
		mqtt_put_id(mqtt_room(c, 4), MQTT_PUBREL, mqtt_acked(packet));
	} else if ((packet->type == MQTT_PUBACK && qos == 1) || (packet->type == MQTT_PUBCOMP && qos == 2)) {
		be_acked(p, packet, &p->acked);
	} else {
		die("a publisher got a packet of type %u", packet->type);
	}
	wants(p);
}

/* ---- hearing ---- */

static void settle(struct publisher *p, uint32_t number)
{
	struct mqtt_stream *s = p->s;

	if (number - p->settled >= s->window || ++p->reached[number % s->window] < s->hearers)
		return;
	/* Mostly it is the first that is out; with losses others may have been complete before it. */
	while (p->settled != p->sent && p->reached[p->settled % s->window] >= s->hearers) {
		p->reached[p->settled++ % s->window] = 0;
		s->out--;
	}
	wants(p);
}

/* Counts what is not as it must be, unless that is an error. */
static void misfit(struct subscriber *r, const struct publisher *p, uint32_t number)
{
	int32_t gap = (int32_t)(number - r->next[p->index]);
	struct mqtt_stream *s = r->s;

	if (!s->o->lossy)
		die("subscriber %u got message %u of publisher %u where %u was due: %s", r->index, number, p->index,
		    r->next[p->index], gap > 0 ? "some were lost" : "double, or out of order");
	if (gap < 0) {
		s->late++;
		return;
	}
	s->lost += (uint32_t)gap;
	while (r->next[p->index] != number)
		settle(&s->pubs[p->index], r->next[p->index]++);
}

static void check_message(struct subscriber *r, const struct mqtt_packet *packet, const uint8_t *payload, size_t n)
{
	const struct mqtt_stream *s = r->s;
	const struct options *o = s->o;
	const struct publisher *p;
	struct stamp stamp;

	if (n != o->size)
		die("a message of %zu bytes instead of %zu", n, o->size);
	memcpy(&stamp, payload, STAMP);
	if (stamp.publisher >= o->pubs || (o->pairs && stamp.publisher != r->index))
		die("subscriber %u got a message that it does not want", r->index);
	p = &s->pubs[stamp.publisher];
	if (memcmp(packet->body, p->heads[stamp.number % o->topics] + p->topic_at, p->topic_n) != 0)
		die("a message of another topic than it was published to");
	if (memcmp(payload + STAMP, pattern(stamp.number), n - STAMP) != 0)
		die("wrong bytes in message %u of publisher %u", stamp.number, stamp.publisher);
}

static void take_message(struct subscriber *r, const uint8_t *payload)
{
	struct mqtt_stream *s = r->s;
	struct publisher *p;
	struct stamp stamp;

	memcpy(&stamp, payload, STAMP);
	p = &s->pubs[stamp.publisher];
	s->deliveries++;
	s->took[bucket_of(s->now - stamp.at)]++;
	if (stamp.number != r->next[p->index]) {
		misfit(r, p, stamp.number);
		if ((int32_t)(stamp.number - r->next[p->index]) < 0)
			return;
	}
	r->next[p->index]++;
	settle(p, stamp.number);
}

static size_t properties(const struct mqtt_packet *packet, size_t at)
{
	size_t n = 0;

	for (unsigned shift = 0; at < packet->n; shift += 7) {
		n |= (size_t)(packet->body[at] & 0x7f) << shift;
		if (!(packet->body[at++] & 0x80))
			break;
	}
	return at + n;
}

static void hear_message(struct subscriber *r, const struct mqtt_packet *packet)
{
	size_t at = packet->n < 2 ? 2 : 2u + (size_t)(packet->body[0] << 8 | packet->body[1]);
	unsigned qos = packet->flags >> 1 & 3;
	const uint8_t *id = packet->body + at;

	at += qos ? 2 : 0;
	if (r->s->o->v5)
		at = properties(packet, at);
	if (at > packet->n)
		die("a message that is shorter than its topic");
	if (qos != r->s->o->qos || (packet->flags & 8))
		die("a message with other flags: 0x%x", packet->flags);
	check_message(r, packet, packet->body + at, packet->n - at);
	take_message(r, packet->body + at);
	if (!qos)
		return;
	mqtt_put_id(mqtt_room(&r->c, 4), qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, (uint16_t)(id[0] << 8 | id[1]));
	r->quiet += qos == 2;
}

static void hear_subscriber(struct mqtt_client *c, const struct mqtt_packet *packet)
{
	struct subscriber *r = (struct subscriber *)c;

	if (packet->type == MQTT_PUBLISH) {
		hear_message(r, packet);
	} else if (packet->type == MQTT_PUBREL && r->quiet) {
		mqtt_put_id(mqtt_room(c, 4), MQTT_PUBCOMP, mqtt_acked(packet));
		r->quiet--;
	} else {
		die("a subscriber got a packet of type %u", packet->type);
	}
}

/* ---- before the run ---- */

static void make_heads(struct publisher *p)
{
	const struct options *o = p->s->o;
	char topic[32];

	for (unsigned k = 0; k < o->topics; k++) {
		uint8_t *to = p->heads[k];
		int n = o->topics > 1 ? snprintf(topic, sizeof topic, "bench/%04u/%04u", p->index, k)
				      : snprintf(topic, sizeof topic, "bench/%04u", p->index);

		*to++ = (uint8_t)(MQTT_PUBLISH << 4 | o->qos << 1);
		to += mqtt_put_length(to, 2u + (size_t)n + (o->qos ? 2 : 0) + (o->v5 ? 1 : 0) + o->size);
		p->topic_at = (size_t)(to - p->heads[k]);
		p->topic_n = 2u + (size_t)n;
		*to++ = 0;
		*to++ = (uint8_t)n;
		memcpy(to, topic, (size_t)n);
		p->head_n = (size_t)(to - p->heads[k]) + (size_t)n;
	}
}

static void open_publisher(struct mqtt_stream *s, unsigned i)
{
	struct publisher *p = &s->pubs[i];

	*p = (struct publisher){ .c.hear = hear_publisher, .s = s, .index = i };
	p->reached = calloc(s->window, sizeof *p->reached);
	p->heads = calloc(s->o->topics, sizeof *p->heads);
	if (!p->reached || !p->heads)
		die("out of memory");
	make_heads(p);
	mqtt_open(&p->c, s->o, i, true, s->ep);
}

/* Each publisher by his own topic, or all at once when there are many. */
static void open_subscriber(struct mqtt_stream *s, unsigned i)
{
	const struct options *o = s->o;
	struct subscriber *r = &s->subs[i];
	char filter[32];

	*r = (struct subscriber){ .c.hear = hear_subscriber, .s = s, .index = i };
	r->next = calloc(o->pubs, sizeof *r->next);
	if (!r->next)
		die("out of memory");
	mqtt_open(&r->c, o, o->pubs + i, !o->kept, s->ep);
	for (unsigned k = o->pairs ? i : 0; k < (o->pairs ? i + 1 : o->pubs <= FEW ? o->pubs : 0); k++) {
		snprintf(filter, sizeof filter, o->topics > 1 ? "bench/%04u/+" : "bench/%04u", k);
		mqtt_subscribe(&r->c, o, filter, o->qos);
	}
	if (!o->pairs && o->pubs > FEW)
		mqtt_subscribe(&r->c, o, "bench/#", o->qos);
}

struct mqtt_stream *mqtt_stream_new(const struct options *o)
{
	struct mqtt_stream *s = calloc(1, sizeof *s);

	if (!s || !(s->pubs = calloc(o->pubs, sizeof *s->pubs)) || !(s->subs = calloc(o->subs, sizeof *s->subs)) ||
	    !(s->turns = calloc(o->pubs, sizeof(struct publisher *))))
		die("out of memory");
	if (o->size < STAMP || o->qos > 2 || !o->topics || o->topics > 10000 || !o->pubs || o->pubs > 10000)
		die("a message has at least %d bytes, QoS is 0 to 2, publishers and topics 1 to 10000", STAMP);
	if (o->pairs && o->pubs != o->subs)
		die("pairs need as many publishers as subscribers");
	s->o = o;
	s->window = o->turns ? o->flight : o->flight > o->pubs ? o->flight / o->pubs : 1;
	if (!s->window || s->window > 60000)
		die("packet identifiers are not enough for this window");
	s->hearers = o->pairs ? 1 : o->subs;
	s->ep = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < o->subs; i++)
		open_subscriber(s, i);
	for (unsigned i = 0; i < o->pubs; i++)
		open_publisher(s, i);
	/* The proof that it serves: one message of each publisher comes to all that hear him. */
	s->most = 1;
	mqtt_stream_go(s, now_ns(), 0);
	while (mqtt_stream_turn(s))
		;
	return s;
}

int mqtt_stream_epoll(const struct mqtt_stream *s)
{
	return s->ep;
}

/* ---- the run ---- */

/* `end` 0: it ends when everybody has published `most`, which the next call takes away. */
void mqtt_stream_go(struct mqtt_stream *s, uint64_t now, uint64_t end)
{
	if (end)
		s->most = UINT32_MAX / 2;
	s->before = s->deliveries;
	memset(s->took, 0, sizeof s->took);
	s->begin = s->now = now;
	s->end = end;
	for (unsigned i = 0; i < s->o->pubs; i++)
		wants(&s->pubs[i]);
	publish_all(s);
}

static bool all_came(const struct mqtt_stream *s)
{
	for (unsigned i = 0; i < s->o->pubs; i++) {
		const struct publisher *p = &s->pubs[i];

		if (p->settled != p->sent || (s->o->qos && p->acked != p->sent))
			return false;
	}
	for (unsigned i = 0; i < s->o->subs; i++)
		if (s->subs[i].quiet)
			return false;
	return true;
}

/* Nothing comes. With losses allowed, what is out is given up, and counted by who gets the next one, or at the end. */
static void give_up(struct mqtt_stream *s)
{
	if (!s->o->lossy)
		die("nothing came for five seconds: messages were lost");
	for (unsigned i = 0; i < s->o->pubs; i++) {
		struct publisher *p = &s->pubs[i];

		memset(p->reached, 0, s->window * sizeof *p->reached);
		p->settled = p->acked = p->received = p->sent;
		wants(p);
	}
	s->out = 0;
	for (unsigned i = 0; i < s->o->subs; i++)
		s->subs[i].quiet = 0;
}

bool mqtt_stream_turn(struct mqtt_stream *s)
{
	struct epoll_event ready[256];
	int n;

	n = epoll_wait(s->ep, ready, 256, s->o->lossy ? LOSSY_WAIT_MS : 5000);
	s->now = now_ns();
	if (n <= 0)
		give_up(s);
	for (int i = 0; i < n; i++) {
		struct mqtt_client *c = ready[i].data.ptr;

		if (ready[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLERR))
			mqtt_read(c, ready[i].events & (EPOLLRDHUP | EPOLLERR));
		mqtt_flush(c);
	}
	if (!s->over && s->end && s->now >= s->end)
		s->over = s->now;
	publish_all(s);
	return (s->end && !s->over) || !all_came(s);
}

static uint64_t missing(const struct mqtt_stream *s)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < s->o->subs; i++)
		for (unsigned k = s->o->pairs ? i : 0; k < (s->o->pairs ? i + 1 : s->o->pubs); k++)
			n += s->pubs[k].sent - s->subs[i].next[k];
	return n;
}

void mqtt_stream_print(const struct mqtt_stream *s)
{
	double elapsed = (double)(now_ns() - s->begin) / 1e9;
	uint64_t messages = 0, deliveries = s->deliveries - s->before;

	for (unsigned i = 0; i < s->o->pubs; i++)
		messages += s->pubs[i].sent - 1; /* but for the one of the proof */
	printf("\"messages\": %llu, \"deliveries\": %llu, \"seconds\": %.6f, \"per_second\": %.0f, \"lost\": %llu, "
	       "\"late\": %llu, \"p50_us\": %.1f, \"p99_us\": %.1f",
	       (unsigned long long)messages, (unsigned long long)deliveries, elapsed, (double)deliveries / elapsed,
	       (unsigned long long)(s->lost + missing(s)), (unsigned long long)s->late, percentile_us(s, 50),
	       percentile_us(s, 99));
}

void load_mqtt(const struct options *o)
{
	struct mqtt_stream *s = mqtt_stream_new(o);
	uint64_t now;

	load_ready(o);
	now = now_ns();
	mqtt_stream_go(s, now, now + (uint64_t)(o->seconds * 1e9));
	while (mqtt_stream_turn(s))
		;
	printf("{");
	mqtt_stream_print(s);
	printf("}\n");
}
