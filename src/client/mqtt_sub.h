/* mqtt_sub.h - subscribes, and prints what comes. */
#pragma once
#include "client/mqtt_link.h"
#include "client/mqtt_print.h"

/* Borrowed for the run; goes into mqtt_link_run() with mqtt_sub_proto. */
struct mqtt_sub_setup {
	const char *const *topics, *const *unsubscribe, *const *filter_out; /* checked */
	size_t topics_n, unsubscribe_n, filter_out_n;
	uint8_t qos, options; /* options: of SUBSCRIBE, in the place of its byte, without the QoS */
	struct mqtt_props subscribe_props, unsubscribe_props;
	struct mqtt_style style;
	uint64_t count;  /* messages to print, then it ends; 0 = no end */
	nsec time;       /* and it ends so long after it was connected; 0 = no end */
	unsigned chance; /* of 10,000 messages so many are printed; 10000 = all */
	bool exit_after, no_retain, retained_only, remove_retained;
};

extern const struct proto mqtt_sub_proto;
