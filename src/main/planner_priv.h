/* planner_priv.h - what planner.c and certs.c share. */
#pragma once
#include "main/planner.h"

/*
 * The TLS context of one service, from its options and the files that they name. `data` is where the certificate `auto` is
 * kept, `dir` where relative paths of `sni` start. Warnings go to the log. 0; -ENOMEM; or -EINVAL and a sentence in `why`
 * that begins with the option's name.
 */
struct certs_setup {
	const struct tls_options *options;
	const char *data, *dir;
	bool dry; /* make nothing: without files `auto` gives 0 and no context */
	const char *service; /* for warnings */
};
[[nodiscard]] int certs_context(const struct certs_setup *setup, struct tls_ctx **ret, struct buf *why);
