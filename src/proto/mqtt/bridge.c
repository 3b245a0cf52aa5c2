/*
 * bridge.c - who is to be reached and when, the kept session on this side, and what log and $SYS tell of it: the shard's side of
 * the bridges whose names fall to its loop. See bridge.h.
 */
#include "proto/mqtt/bridge.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"

enum { TEXT = 1024 };

#define OWNER 2 /* of subscribers: those of clients are 0 or odd, so no client can have the name of one */

/* ---- the log: nobody above could tell ---- */

static bool log_line(struct log_line *l, enum log_level level, const char *event, const struct bridge *b,
		     const struct io *io)
{
	if (!log_begin(l, level, event))
		return false;
	log_str(l, "service", io->svc->name);
	log_str(l, "bridge", b->name);
	log_str(l, "to", b->setup.address);
	return true;
}

/* Once for each reason, however often it is tried. */
static void tell_down(struct bridge *b, const struct io *io, const char *why)
{
	struct log_line l;

	if (!far_is_news(&b->far, why) || !log_line(&l, LOG_WARN, "bridge-down", b, io))
		return;
	log_str(&l, "reason", why);
	if (b->itself)
		log_str(&l, "text", "`to` leads back to this very broker: name the other one, or take the section out");
	log_end(&l);
}

static void tell_up(const struct bridge *b, const struct io *io)
{
	struct log_line l;

	if (log_line(&l, LOG_INFO, "bridge-up", b, io))
		log_end(&l);
}

void bridge_refused(const struct bridge *b, const struct io *io, struct span filter, uint8_t code)
{
	struct log_line l;

	if (!log_line(&l, LOG_WARN, "bridge-refused", b, io))
		return;
	log_bytes(&l, "filter", filter.p, filter.n);
	log_str(&l, "reason", mqtt_reason_name(code));
	log_end(&l);
}

/* ---- a bridge to ourselves ---- */

/* Nobody else can say it; for all loops the same. */
void bridge_token(const struct io *io, char token[BRIDGE_TOKEN])
{
	uint64_t secret = topic_hash(&mqtt_service(io)->key, span_str(BRIDGE_PROPERTY));

	snprintf(token, BRIDGE_TOKEN, "%016llx", (unsigned long long)secret);
}

static char *client_id_of(const struct svc *svc, const char *name, const struct bridge_options *o)
{
	BUF_AUTO struct buf text = BUF_INIT(4 * TEXT);
	char *ret;

	if (o->client_id && *o->client_id)
		return mem_strdup(o->client_id);
	if (svc->host)
		buf_addf(&text, "%s.", svc->host);
	buf_addf(&text, "%s.%s", svc->name, name);
	return buf_take(&text, &ret) == 0 ? ret : NULL;
}

/* 5.0: it shows our token. 3.x: it is a bridge, and has the name of one of ours. */
static bool shows_token(const struct io *io, const struct mqtt_connect *c)
{
	char token[BRIDGE_TOKEN];
	struct span at = c->props.raw;
	struct mqtt_user u;

	bridge_token(io, token);
	while (mqtt_user_next(&at, &u))
		if (span_is(u.name, BRIDGE_PROPERTY))
			return span_is(u.value, token);
	return false;
}

static bool has_name_of_ours(const struct io *io, const struct mqtt_connect *c)
{
	const struct option_parts *parts = &mqtt_options(io)->bridge;
	bool found = false;

	for (size_t i = 0; i < parts->n && !found; i++) {
		char *id = client_id_of(io->svc, parts->v[i].name, parts->v[i].values);

		found = id && span_is(c->client_id, id);
		mem_free(id);
	}
	return found;
}

static uint64_t mark_of(const struct io *io, struct span client_id)
{
	return topic_hash(&mqtt_service(io)->key, client_id) | 1;
}

bool mqtt_bridge_owns(struct span name)
{
	return span_starts(name, MQTT_OURS);
}

bool mqtt_bridge_is_ours(const struct io *io, const struct mqtt_connect *c)
{
	bool ours = false;

	if (!mqtt_options(io)->bridge.n)
		return false;
	if (c->version == MQTT_5)
		ours = shows_token(io, c);
	else if (c->from_bridge)
		ours = has_name_of_ours(io, c);
	if (ours)
		atomic_store(&mqtt_service(io)->met, mark_of(io, c->client_id));
	return ours;
}

bool bridge_met_itself(const struct bridge *b, const struct io *io)
{
	return atomic_load(&mqtt_service(io)->met) == mark_of(io, span_str(b->client_id));
}

/* ---- $SYS, here ---- */

void bridge_state_topic(const struct bridge *b, struct buf *out)
{
	buf_addf(out, "$SYS/broker/connection/%s/state", b->client_id);
}

void bridge_tell_state(const struct bridge *b, struct io *io, bool up)
{
	BUF_AUTO struct buf topic = BUF_INIT(2 * TEXT);
	struct message_birth birth = { .payload = span_str(up ? "1" : "0"), .retain = true };

	if (!b->setup.o->notify)
		return;
	bridge_state_topic(b, &topic);
	birth.topic = buf_span(&topic);
	if (!topic.err)
		(void)mqtt_announce(io, message_new(&birth));
}

/* ---- the session on this side ---- */

/* Without a user of ours its topics are all that it is limited by. */
int bridge_view(const struct bridge *b, const struct io *io, struct topics_access *a, uint32_t *ret_generation)
{
	struct rules_who who = { .client = span_str(b->local_name), .local = true };
	uint64_t generation = access_generation(io->svc->access);
	const struct person *person = NULL;
	struct rules_view *view = NULL;
	struct people *people = NULL;
	struct rules *rules = NULL;
	int r = 0;

	if (b->setup.o->local_user && io->svc->access)
		access_get(io->svc->access, &people, &rules);
	if (people)
		person = people_find(people, span_str(b->setup.o->local_user));
	if (b->setup.o->local_user && (!person || person->disabled))
		r = -EACCES;
	if (person) {
		who.user = span_str(person->name);
		who.groups = &person->groups;
	}
	if (r == 0)
		r = rules_view_new(rules, &who, &view);
	people_unref(people);
	rules_unref(rules);
	if (r < 0)
		return r;
	topics_access_set(a, view);
	*ret_generation = (uint32_t)generation;
	return 0;
}

static void bridge_leave(struct io *io, struct subscriber *s)
{
	(void)mqtt_kept_left(io, s, UINT64_MAX, UINT64_MAX);
	topics_leave(mqtt_service(io)->topics, s, UINT64_MAX, UINT64_MAX);
	subscriber_unref(s);
}

int bridge_claim(const struct bridge *b, struct io *io, struct subscriber **ret)
{
	const struct claim claim = {
		.name = span_str(b->local_name),
		.where = io->self,
		.home = port_here(io->svc->port, io),
		.owner = OWNER,
	};
	struct subscriber *old;
	uint64_t where;
	bool present;
	struct subscriber *s;
	int r = topics_claim(mqtt_service(io)->topics, &claim, &s, &present, &where, &old);

	if (r < 0)
		return r; /* there is no old one: nothing is clean */
	if (present)
		mqtt_alarm_off(io, s);
	(void)topics_stay(mqtt_service(io)->topics, s, SIZE_MAX);
	topics_own(mqtt_service(io)->topics, s, OWNER);
	s->expiry = UINT32_MAX; /* as long as it is configured */
	r = mqtt_kept_session(io, s);
	if (r < 0)
		bridge_leave(io, s);
	else
		*ret = s;
	return r;
}

static bool still_wanted(const struct bridge *b, const struct sub *sub)
{
	struct span filter = filter_text(sub->entry.at.filter);

	for (size_t i = 0; i < b->setup.map.n; i++)
		if (b->setup.map.v[i].way & BRIDGE_OUT && span_same(b->setup.map.v[i].local_filter, filter))
			return true;
	return false;
}

/* What it was subscribed to by options that are no more in force. After the new ones: nothing may be missed in between. */
static void give_up_others(const struct bridge *b, struct io *io, struct topics *t, struct subscriber *s)
{
	const struct span no_group = {};
	struct list *next;

	for (struct list *n = s->subs.next; n != &s->subs; n = next) {
		struct sub *sub = list_entry(n, struct sub, mine);

		next = n->next;
		if (still_wanted(b, sub))
			continue;
		(void)mqtt_kept_unsub(io, s, no_group, filter_text(sub->entry.at.filter));
		topics_unsubscribe(t, NULL, sub);
	}
}

static int subscribe(const struct bridge *b, struct io *io, struct subscriber *s)
{
	struct mqtt_shard *shard = io->shard;
	struct topics *t = mqtt_service(io)->topics;
	struct topics_access access = {};
	uint32_t generation;
	int r = bridge_view(b, io, &access, &generation);

	for (size_t i = 0; i < b->setup.map.n && r >= 0; i++) {
		const struct bridge_topic *topic = &b->setup.map.v[i];
		const struct wish w = {
			.filter = topic->local_filter, .qos = topic->qos, .no_local = true, .as_published = true
		};

		if (topic->way & BRIDGE_OUT)
			r = topics_subscribe(t, shard->heard, s, &access, &w, UINT32_MAX);
		if (r >= 0 && topic->way & BRIDGE_OUT)
			r = mqtt_kept_sub(io, s, w.group, w.filter);
	}
	topics_access_done(&access);
	if (r >= 0)
		give_up_others(b, io, t, s);
	return r < 0 ? r : 0;
}

/* From now on what is to go out waits, whether there is a connection or not. */
static int prepare(struct bridge *b, struct io *io)
{
	struct subscriber *s;
	int r = bridge_claim(b, io, &s);

	if (r < 0)
		return r;
	r = subscribe(b, io, s);
	bridge_leave(io, s);
	if (r == 0)
		b->changed = false;
	return r;
}

/* It is configured no more, and neither is what waits for it. */
static void end_session(const struct bridge *b, struct io *io)
{
	struct mqtt_shard *shard = io->shard;
	struct subscriber *s;

	if (bridge_claim(b, io, &s) < 0)
		return;
	topics_end(mqtt_service(io)->topics, shard->heard, s);
	mqtt_end_session(io, s);
	subscriber_unref(s);
}

/* ---- trying ---- */

static const char *word_of(int r)
{
	switch (r) {
	case -ENOMEM:
		return "out-of-memory";
	case -EACCES:
		return "local-user-denied";
	case -EBUSY:
		return "name-in-use";
	default:
		return "bridge-failed";
	}
}

static void wait_for(struct bridge *b, struct io *io)
{
	far_wait(&b->far, io->now, b->setup.o->retry);
	if (b->itself) /* no other try will change that */
		b->far.due = io->now + b->setup.o->retry;
}

static int dial(struct bridge *b, struct io *io)
{
	const struct span tag = { (const uint8_t *)&b->tag, sizeof(b->tag) };

	return far_dial(io, b->tag, &mqtt_bridge_proto, b->setup.address, b->setup.trust, tag);
}

static void try(struct bridge *b, struct io *io)
{
	int r = b->changed ? prepare(b, io) : 0;

	b->far.due = 0;
	if (r == 0)
		r = dial(b, io);
	if (r == 0) {
		b->dialled = true;
		b->itself = false;
		b->why = NULL;
		return;
	}
	tell_down(b, io, word_of(r));
	wait_for(b, io);
}

static void set_timer(struct mqtt_shard *shard, struct io *io)
{
	nsec first = 0;

	for (struct list *n = shard->bridges.next; n != &shard->bridges; n = n->next) {
		const struct bridge *b = list_entry(n, struct bridge, node);

		if (b->far.due && (!first || b->far.due < first))
			first = b->far.due;
	}
	if (shard->look_again && (!first || shard->look_again < first))
		first = shard->look_again;
	io_timer(io, MQTT_SHARD_BRIDGE, shard->stopping ? 0 : first);
}

void mqtt_bridges_due(struct mqtt_shard *shard, struct io *io)
{
	if (shard->look_again && shard->look_again <= io->now) {
		mqtt_bridges_look(shard, io);
		return;
	}
	for (struct list *n = shard->bridges.next; n != &shard->bridges; n = n->next) {
		struct bridge *b = list_entry(n, struct bridge, node);

		if (b->far.due && b->far.due <= io->now && !shard->stopping)
			try(b, io);
	}
	set_timer(shard, io);
}

/* ---- up and down ---- */

struct bridge *bridge_by_tag(const struct mqtt_shard *shard, uint32_t tag)
{
	for (struct list *n = shard->bridges.next; n != &shard->bridges; n = n->next)
		if (list_entry(n, struct bridge, node)->tag == tag)
			return list_entry(n, struct bridge, node);
	return NULL;
}

void bridge_is_up(struct bridge *b, struct io *io)
{
	b->up = true;
	far_up(&b->far, io->now);
	io_count(io, MQTT_BRIDGED, 1);
	tell_up(b, io);
	bridge_tell_state(b, io, true);
}

static void bridge_free(struct bridge *b)
{
	list_del(&b->node);
	bridge_setup_done(&b->setup);
	buf_done(&b->topic);
	mem_free(b->name);
	mem_free(b->client_id);
	mem_free(b->local_name);
	mem_free(b);
}

/* An older version is tried at once: that it was not understood is no failure. */
static bool speak_simpler(struct bridge *b)
{
	static const uint8_t next[TONGUES] = {
		[TONGUE_5] = TONGUE_311_BRIDGE,
		[TONGUE_311_BRIDGE] = TONGUE_311,
		[TONGUE_31_BRIDGE] = TONGUE_31,
	};

	if (!next[b->tongue] || (b->tongue == TONGUE_5 && b->setup.o->version != BRIDGE_AUTO))
		return false;
	b->tongue = next[b->tongue];
	return true;
}

static void choose_tongue(struct bridge *b)
{
	static const uint8_t first[] = {
		[BRIDGE_AUTO] = TONGUE_5, [BRIDGE_5] = TONGUE_5, [BRIDGE_311] = TONGUE_311_BRIDGE, [BRIDGE_31] = TONGUE_31_BRIDGE
	};

	b->tongue = first[b->setup.o->version];
}

static void went_down(struct bridge *b, struct io *io, const struct ev *ev, bool stopping)
{
	bool was_up = b->up, simpler = b->mute && speak_simpler(b);

	b->dialled = b->up = b->mute = false;
	if (was_up)
		bridge_tell_state(b, io, false);
	if (simpler) {
		b->far.due = io->now;
		return;
	}
	if (!b->wanted || b->changed || stopping) /* as it was told to */
		return;
	io_count(io, MQTT_BRIDGE_FAILED, 1);
	tell_down(b, io, far_why(ev, b->why));
	if (was_up)
		far_down(&b->far, io->now);
	else
		choose_tongue(b);
	wait_for(b, io);
}

void mqtt_bridges_gone(struct mqtt_shard *shard, struct io *io, const struct ev *ev)
{
	struct bridge *b = bridge_by_tag(shard, ev->tag);

	if (!b)
		return;
	went_down(b, io, ev, shard->stopping);
	if (shard->stopping)
		return;
	if (!b->wanted) {
		end_session(b, io);
		bridge_free(b);
		shard->look_again = io->now; /* another one may wait for its name */
	} else if (b->changed) {
		b->far.due = io->now;
		b->far.failures = 0;
	}
	mqtt_bridges_due(shard, io);
}

/* ---- what the options say ---- */

static char *local_name_of(const char *name)
{
	BUF_AUTO struct buf text = BUF_INIT(TEXT);
	char *ret;

	buf_addf(&text, MQTT_OURS "%s", name);
	return buf_take(&text, &ret) == 0 ? ret : NULL;
}

static int set_up(struct bridge *b, const struct io *io, const struct bridge_options *o)
{
	BUF_AUTO struct buf why = BUF_INIT(TEXT);
	struct bridge_setup setup;
	char *client_id = client_id_of(io->svc, b->name, o);
	int r = client_id ? bridge_setup_make(o, &setup, &why) : -ENOMEM;

	if (r < 0) {
		mem_free(client_id);
		return r;
	}
	mem_free(b->client_id);
	b->client_id = client_id;
	bridge_setup_done(&b->setup);
	b->setup = setup;
	return 0;
}

static struct bridge *add(struct mqtt_shard *shard, struct io *io, const struct option_part *part)
{
	struct bridge *b = mem_zalloc(sizeof(*b));

	if (!b)
		return NULL;
	list_init(&b->node);
	buf_init(&b->topic, 2 * UINT16_MAX);
	b->name = mem_strdup(part->name);
	b->local_name = local_name_of(part->name);
	if (!b->name || !b->local_name || set_up(b, io, part->values) < 0) {
		bridge_free(b);
		return NULL;
	}
	b->tag = ++shard->bridge_tags;
	b->changed = b->wanted = true;
	b->far.due = io->now;
	choose_tongue(b);
	list_add(&shard->bridges, &b->node);
	bridge_tell_state(b, io, false);
	return b;
}

static int look_at(struct bridge *b, struct io *io, const struct bridge_options *o)
{
	int r;

	b->wanted = true;
	if (option_values_equal(&bridge_table, o, b->setup.o))
		return 0;
	r = set_up(b, io, o);
	if (r < 0)
		return r;
	b->changed = true;
	b->far.failures = 0;
	choose_tongue(b);
	if (b->dialled)
		io_end(io, b->tag);
	else
		b->far.due = io->now;
	return 0;
}

static struct bridge *by_name(const struct mqtt_shard *shard, const char *name)
{
	for (struct list *n = shard->bridges.next; n != &shard->bridges; n = n->next)
		if (strcmp(list_entry(n, struct bridge, node)->name, name) == 0)
			return list_entry(n, struct bridge, node);
	return NULL;
}

/* The same loop for the same name, through all reloads. */
static bool is_here(const struct mqtt_shard *shard, const struct io *io, const char *name)
{
	return topic_hash(&mqtt_service(io)->key, span_str(name)) % shard->loops == port_here(io->svc->port, io);
}

static void drop_unwanted(struct mqtt_shard *shard, struct io *io)
{
	struct list *next;

	for (struct list *n = shard->bridges.next; n != &shard->bridges; n = next) {
		struct bridge *b = list_entry(n, struct bridge, node);

		next = n->next;
		if (b->wanted)
			continue;
		b->far.due = 0;
		if (b->dialled) {
			io_end(io, b->tag); /* and the rest when it is gone */
			continue;
		}
		end_session(b, io);
		bridge_free(b);
	}
}

void mqtt_bridges_look(struct mqtt_shard *shard, struct io *io)
{
	const struct option_parts *parts = &mqtt_options(io)->bridge;

	shard->look_again = 0;
	for (struct list *n = shard->bridges.next; n != &shard->bridges; n = n->next)
		list_entry(n, struct bridge, node)->wanted = false;
	for (size_t i = 0; i < parts->n && shard->loops; i++) {
		const struct option_part *part = &parts->v[i];
		struct bridge *b = is_here(shard, io, part->name) ? by_name(shard, part->name) : NULL;
		bool failed = false;

		if (b)
			failed = look_at(b, io, part->values) < 0;
		else if (is_here(shard, io, part->name))
			failed = !add(shard, io, part);
		if (failed)
			shard->look_again = io->now + SEC;
	}
	drop_unwanted(shard, io);
	mqtt_bridges_due(shard, io);
}

bool mqtt_bridge_left(const struct io *io, const struct subscriber *s)
{
	const struct option_parts *parts = &mqtt_options(io)->bridge;
	const size_t prefix = strlen(MQTT_OURS);
	struct span name = subscriber_name(s);

	if (s->owner != OWNER || name.n < prefix)
		return false;
	name = (struct span){ name.p + prefix, name.n - prefix };
	for (size_t i = 0; i < parts->n; i++)
		if (span_is(name, parts->v[i].name))
			return false;
	return true;
}

void mqtt_bridges_open(struct mqtt_shard *shard, struct io *io)
{
	list_init(&shard->bridges);
	mqtt_bridges_look(shard, io);
}

void mqtt_bridges_stop(struct mqtt_shard *shard)
{
	shard->stopping = true;
}

void mqtt_bridges_done(struct mqtt_shard *shard)
{
	while (shard->bridges.next && !list_empty(&shard->bridges))
		bridge_free(list_entry(shard->bridges.next, struct bridge, node));
}
