/*
 * asks.h - a protocol whose clients log in and ask what they may: a line `USER PASSWORD` is answered with in, wrong, barred or failed,
 * `read NAME` and `write NAME` with yes, no, or gone (he is nobody any more). Of the store topics.
 */
#pragma once
#include "core/proto.h"

extern const struct proto asks_proto;
