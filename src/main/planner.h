/*
 * planner.h - from a configuration file and a command line to a plan (drive/server.h). Reads and checks, listens nowhere.
 *
 * Everything that can be found wrong is found in one go and told as `FILE:LINE: text`; what stands in a word of the command
 * line is told with that word instead of a file.
 */
#pragma once
#include "conf/conf.h"
#include "drive/server.h"

struct kit;

/* A descriptor that whoever started us has opened for us (sd_listen_fds(3)). */
struct planner_socket {
	int fd;
	const char *name; /* of the section that it is for; "" = of the next one that none is named after */
};

struct planner_setup {
	const char *file; /* NULL = none. Must outlive the plan, as all strings here */
	const char *const
		*words; /* SERVICE@ADDRESS[,OPTION=VALUE]..., words.h. With no file and no words: every ready service */
	size_t n_words;
	const char *const *sets; /* NAME=VALUE of [guichet], stronger than the file */
	size_t n_sets;
	const struct planner_socket *sockets;
	size_t n_sockets;
	const char *test_data; /* test mode: the folder for everything; loopback and port 0 everywhere. NULL = no test */
	bool dry;              /* for `check`: make no folder and no certificate */
	bool look_up; /* for `check`: hosts that services connect to, too; takes as long as the name servers do */
	const struct kit *from; /* read files from this, and ask the system nothing; NULL: from the disk */
	struct kit *into;       /* note what was read; NULL: do not */
	/* Only services that it says true of are in the plan; NULL: all are. */
	bool (*wants)(const struct plan_service *s, const void *arg);
	const void *wants_arg;
	const struct proto *control; /* the control service, and its state; NULL = none */
	void *control_state;
};

/*
 * *ret has what was understood: serve it only when there are no problems. 0 with a plan, or -ENOMEM.
 * Services that are not enabled are checked and then left out.
 */
[[nodiscard]] int planner_make(const struct planner_setup *setup, struct plan **ret, struct conf_problems *ps);

/*
 * Is there nothing in it but standard input, or a conversation that has begun already? There may be many such servers at once,
 * in any folder: they get neither a data folder nor a control socket.
 */
bool planner_is_errand(const struct plan *plan);
/* Is there a conversation that has begun already? No other process could take it over. */
bool planner_has_begun(const struct plan *plan);

/*
 * Adds where a protocol is served when nobody says otherwise, as text: tcp:7007 udp:7007. The port is the classic one, 7000
 * higher when it is below 1024, because no ports below that are to be had without being root.
 */
void planner_usual_addresses(const struct proto *proto, struct buf *b);
