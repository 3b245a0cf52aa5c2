/*
 * test_disk.h - a disk for a broker over the memory driver. It tells nobody that something is on it until disk_flush(), so a test sees
 * what waits for that. Retained messages are not written.
 */
#pragma once
#include "proto/mqtt/test_talk.h"
#include "support/keeper.h"

[[maybe_unused]] static void disk_open(struct keeper *k, struct world *w)
{
	keeper_init_fast(k);
	keeper_open(k);
	keeper_start(k);
	talk_service(w)->keep = k->k;
}

/* All that was written is on it, and who waits for that looks again. */
[[maybe_unused]] static void disk_flush(struct keeper *k, struct world *w)
{
	keeper_session(k, keep_new_id(k->k), "the last one");
	keeper_submit(k);
	memdrive_shard_post(w->drive, MQTT_COMMITTED, NULL);
}

/* And the broker. */
[[maybe_unused]] static void disk_close(struct keeper *k, struct world *w)
{
	talk_service(w)->keep = NULL;
	world_close(w);
	keeper_done(k);
}
