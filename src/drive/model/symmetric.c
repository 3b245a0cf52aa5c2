/*
 * symmetric.c - model symmetric: N threads, made beforehand, and each of them accepts. It is leader and follower without a
 * leader: whoever is idle waits for all sockets, the kernel wakes one, and while that one serves another one accepts. There
 * is no queue but the backlog, and no hand-over to another thread, which is what it saves against pool.
 */
#include "drive/model/crew.h"

const struct model model_symmetric = { .name = "symmetric", .workers = crew_wish, .accepts = true, .take = crew_take };
