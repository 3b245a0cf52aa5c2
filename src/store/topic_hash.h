/*
 * topic_hash.h - a hash of bytes under a secret key: who does not know the key cannot choose texts that collide.
 * SipHash-1-3.
 */
#pragma once
#include "base/span.h"

struct topic_key {
	uint64_t k[2]; /* random, made once for a process */
};

uint64_t topic_hash(const struct topic_key *key, struct span text);
