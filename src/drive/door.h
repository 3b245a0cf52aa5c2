/*
 * door.h - an open socket on its way from the process that has bound it to the one that serves it: the monitor has the rights
 * to bind, a worker has none. See docs/design/processes.md.
 */
#pragma once
#include "conf/conf.h"
#include "drive/net/netaddr.h"

struct plan_service;
struct server;

struct door {
	char service[CONF_NAME_MAX + 1];
	uint32_t number; /* of the socket: the same one has it in every plan */
	uint32_t nth;    /* of the sockets of one datagram address */
	bool tls, ws;    /* what comes in speaks it */
	bool spare;      /* told to nobody */
	struct netaddr at;
	int fd, dir; /* dir: of a named pipe, its folder; else -1 */
};

struct doors {
	struct door *v; /* their descriptors are the taker's, who sets to -1 those that it has taken over */
	size_t n;
};

/*
 * For another process: each door of the services that it wants, of the plan that is prepared, or else of the one that is served.
 * It was mended (listener_mend), and its descriptors are lent. 0, or what fn said.
 */
typedef bool door_wants(const struct plan_service *p, const void *arg);
typedef int door_fn(const struct door *d, void *arg);
[[nodiscard]] int server_each_door(const struct server *s, door_wants *wants, door_fn *fn, void *arg);

void doors_done(struct doors *d); /* closes what nobody took, and frees */
