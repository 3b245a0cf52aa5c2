/*
 * mqtt_json.h - JSON with the spacing, order and numbers of mosquitto_sub's %j and %J, so that what reads those reads
 * ours. Written into a buffer, whose `err` is looked at once, at the end.
 */
#pragma once
#include "base/buf.h"

struct mqtt_json {
	struct buf *b;
	bool pretty;    /* a line for each member, with tabs */
	bool some;      /* the innermost container has something in it */
	unsigned depth; /* containers that are open */
};

void mqtt_json_open(struct mqtt_json *j, char bracket);  /* { or [ */
void mqtt_json_close(struct mqtt_json *j, char bracket); /* } or ] */
void mqtt_json_key(struct mqtt_json *j, struct span name);
void mqtt_json_item(struct mqtt_json *j); /* before each value of an array */
void mqtt_json_string(struct mqtt_json *j, struct span text);
void mqtt_json_number(struct mqtt_json *j, uint32_t value);
void mqtt_json_null(struct mqtt_json *j);

/* One value out of JSON text, written again. -EINVAL: it is none, or 1000 containers deep; what was added is of no use. */
[[nodiscard]] int mqtt_json_copy(struct mqtt_json *j, struct span text);
