/*
 * record.h - a seqpacket socket as a stream. The kernel cuts off what of a record does not fit, and says 0 for an empty
 * record as for the end; a protocol must notice neither.
 */
#pragma once
#include <sys/types.h>

struct conn;

/* What is sent is cut into records of at most so much: other programs read into buffers of their own, many of 8 KiB. */
enum { RECORD_SEND = 4096 };

/*
 * As read(2): bytes in order, 0 only at the end, -1 and errno. What of a record does not fit into `room` stays for the next
 * call. After anything but EAGAIN there may be more.
 */
ssize_t record_read(struct conn *c, void *p, size_t room);
void record_free(struct conn *c); /* what waits for a next call */
