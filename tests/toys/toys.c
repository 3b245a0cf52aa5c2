/*
 * toys.c - the protocols of guichet-toys: the same program as guichet, with services that no user wants and that the mechanisms need
 * to be seen at work in real processes: one that falls on request, one that connects to others, one with a login, one that runs a command, one that serves files, one that asks people and rules.
 */
#include "proto/protos.h"
#include "support/asks.h"
#include "support/shelf.h"

extern const struct proto dials_proto, falls_proto, knocks_proto, runs_proto;

/* Sorted. The linker takes this for that of src/proto/protos_list.c. */
const struct proto *const protos[] = {
	&asks_proto, &chargen_proto, &chat_proto,     &daytime_proto, &dials_proto, &discard_proto,
	&echo_proto, &falls_proto,   &knocks_proto,   &mqtt_proto,    &qotd_proto,  &relay_proto,
	&runs_proto, &shelf_proto,   &skeleton_proto, &time_proto,    NULL,
};
