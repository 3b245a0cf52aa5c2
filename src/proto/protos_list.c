/* protos_list.c - the array of protos.h, alone in its file: the program of tests/toys has one of its own. */
#include "proto/protos.h"

#define X(name) &name##_proto,
const struct proto *const protos[] = { PROTOS(X) NULL };
#undef X
