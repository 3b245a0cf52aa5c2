/*
 * people_file.h - the file of people, for the commands that change it. One of them at a time: the next one waits for the lock,
 * which is a file of its own beside it, because each change is a new file. A guichet that runs reads it when it reloads.
 */
#pragma once
#include <sys/types.h>

#include "base/buf.h"
#include "store/people.h"

struct people_file {
	char *path;
	struct people *people; /* nobody when there is no file yet; a reference */
	bool missing;          /* there is none */
	int lock;
	uid_t uid; /* whose it is to be; -1: ours */
	gid_t gid;
};

/*
 * `place` is the file, or the folder that it is in; NULL: ./guichet-data, which is made when it is missing and `change` is set.
 * 0; -errno with a sentence in `why`. A file that has a damaged line is told of (-EINVAL, a line of `why` for each) when it
 * is to be changed: what cannot be read would be lost. people_file_close() in either case.
 */
[[nodiscard]] int people_file_open(const char *place, bool change, struct people_file *ret, struct buf *why);

/* Whole or not at all, and on the disk. 0, or -errno with a sentence: then the file is as it was. */
[[nodiscard]] int people_file_save(const struct people_file *f, struct buf *why);
void people_file_close(struct people_file *f);
