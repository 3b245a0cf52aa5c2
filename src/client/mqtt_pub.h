/* mqtt_pub.h - publishes what it is given, or each line of standard input, and ends when the broker has all of it. */
#pragma once
#include "client/mqtt_link.h"

/* Borrowed for the run; goes into mqtt_link_run() with mqtt_pub_proto. */
struct mqtt_pub {
	struct mqtt_publish message; /* topic, QoS, retain, properties; the payload comes from below */
	struct blob *payload;        /* NULL = an empty one */
	bool lines;                  /* instead: standard input, a message each */
	unsigned window;             /* messages of QoS 1 and 2 that may wait for their end; 1 to 65535 */
	uint64_t repeat;             /* how many times the payload goes out, at least 1 */
	nsec delay;                  /* between two of them */
};

extern const struct proto mqtt_pub_proto;
