/*
 * shelf.h - a small protocol that serves files, for tests of the file gateway: all calls of core/proto_file.h, one request after
 * the other on a connection. Option `root`: the folder.
 *
 *	GET NAME             > OK 5 "ETAG"\n and the bytes         GETIF "ETAG" NAME > SAME\n when it is still that one
 *	PART OFF N NAME      > OK N\n and so many bytes from there  PEEK OFF N NAME  the same, by io_read()
 *	PUT N NAME, NEW N NAME, ADD N NAME, and N bytes > OK N\n    PUTALL NAME      all up to the FIN
 *	SAY NAME TEXT        > OK N\n: by io_write()                DROP N NAME      takes N bytes and does not keep them
 *	STAT NAME            > OK file|folder|other SIZE\n          LIST NAME [FROM MOST] > NAME/ or NAME SIZE lines, then OK NEXT\n
 *	DEL, MKDIR, RMDIR NAME, MOVE, SWAP A B, HOME NAME > OK\n    (SWAP replaces; HOME makes it the root)
 *
 * A name is a word, or in quotes. What fails: ERR ENOENT\n. After a PUT that failed the connection ends, as its bytes may follow.
 */
#pragma once
#include "core/proto.h"

extern const struct proto shelf_proto;
