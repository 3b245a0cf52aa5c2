/*
 * planner.h - from a configuration file and a command line to a plan (drive/server.h). Reads and checks, listens nowhere.
 *
 * Everything that can be found wrong is found in one go and told as `FILE:LINE: text`; what stands in a word of the command
 * line is told with that word instead of a file.
 */
#pragma once
#include "conf/conf.h"
#include "drive/server.h"

struct planner_setup {
	const char *file; /* NULL = none. Must outlive the plan, as all strings here */
	char *const *words; /* SERVICE@ADDRESS[,OPTION=VALUE]..., words.h. With no file and no words: every ready service */
	size_t n_words;
	char *const *sets;  /* NAME=VALUE of [guichet], stronger than the file */
	size_t n_sets;
	const char *test_data; /* test mode: the folder for everything; loopback and port 0 everywhere. NULL = no test */
	bool dry;              /* for `check`: make no folder and no certificate */
	const struct proto *control; /* the control service, and its state; NULL = none */
	void *control_state;
};

/*
 * *ret has what was understood: serve it only when there are no problems. 0 with a plan, or -ENOMEM.
 * Services that are not enabled are checked and then left out.
 */
[[nodiscard]] int planner_make(const struct planner_setup *setup, struct plan **ret, struct conf_problems *ps);

/* The port that stands for a protocol's classic one where no root is needed: 7000 more when it is below 1024; 0 = it has none. */
unsigned planner_port(const struct proto *proto);
