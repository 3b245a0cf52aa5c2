/*
 * pool.c - model pool: N threads, made beforehand; the main loop accepts and hands over through a bounded queue, as
 * producer and consumers. N are served at once, and the next ones wait in the queue (option queue): accepted, but nobody
 * has read from them yet. When it is full, accepting pauses until a worker takes the first out of it, and the others wait
 * in the backlog. Who is idle takes the next, so a client that talks for long is in nobody's way as long as there are
 * more workers.
 */
#include "drive/model/crew.h"

const struct model model_pool = { .name = "pool", .dgram = true, .workers = crew_wish, .take = crew_take };
