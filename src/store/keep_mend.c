/* keep_mend.c - a new file, with what is sound in another one. See keep_priv.h. */
#include <errno.h>

#include "store/keep_priv.h"
#include "store/keep_sys.h"

enum { ROWS = 4096 }; /* of one transaction, at most */

static int put_head(MDB_txn *txn, MDB_dbi dbi)
{
	struct keep_work w = { .txn = txn, .dbi = dbi };
	struct keep_batch b = {};
	int r = keep_put_head(&b) < 0 ? ENOMEM : keep_apply(&w, &b);

	keep_batch_done(&b);
	return r;
}

struct source {
	struct walk walk;
	struct keep_parts parts;
	keep_props *props;
};

/* Good rows, as many as a transaction takes. 1: there may be more; 0, or the error of LMDB. */
static int copy_some(MDB_cursor *c, struct source *from, int *ret_more)
{
	struct span key, value;
	struct keep_row row;
	size_t bytes = 0;
	int r = 0;

	*ret_more = 1;
	for (unsigned i = 0; i < ROWS && bytes < 64 << 20 && r == 0; i++) {
		*ret_more = keep_parts_next(&from->parts, &from->walk, &key, &value);
		if (*ret_more != 1)
			return *ret_more < 0 ? -*ret_more : 0;
		if (keep_row(key, value, from->props, &row) < 0 || row.kind == KEEP_ROW_HEAD ||
		    row.kind == KEEP_ROW_GONE)
			continue;
		r = keep_put_parts(c, key, value, (struct span){}, true);
		bytes += value.n;
	}
	return r;
}

static int copy(MDB_txn *txn, MDB_dbi dbi, struct source *from, int *ret_more)
{
	MDB_cursor *c;
	int r = mdb_cursor_open(txn, dbi, &c);

	if (r)
		return r;
	r = copy_some(c, from, ret_more);
	mdb_cursor_close(c);
	return r;
}

static int transact(MDB_env *env, MDB_dbi dbi, struct source *from, int *ret_more)
{
	MDB_txn *txn;
	int r = mdb_txn_begin(env, NULL, 0, &txn);

	if (r)
		return keep_errno(r);
	r = from ? copy(txn, dbi, from, ret_more) : put_head(txn, dbi);
	if (r)
		mdb_txn_abort(txn);
	else
		r = mdb_txn_commit(txn);
	return keep_errno(r);
}

static int copy_all(MDB_env *env, MDB_dbi dbi, int from, keep_props *props)
{
	struct source s = { .props = props };
	int r = walk_open(from, &s.walk), more = 1;

	if (r == 0)
		walk_rows(&s.walk);
	while (r == 0 && more == 1)
		r = transact(env, dbi, &s, &more);
	walk_done(&s.walk);
	keep_parts_done(&s.parts);
	return r == -EBADMSG ? 0 : r; /* nothing to be found there */
}

int keep_make(const char *path, int from, const struct keep_setup *setup)
{
	MDB_env *env;
	MDB_dbi dbi;
	int r, fd, more;

	if (sys_unlink(path) < 0 && errno != ENOENT)
		return -errno;
	r = keep_env(path, setup->limit, &env, &dbi);
	if (r < 0)
		return r;
	r = transact(env, dbi, NULL, &more);
	if (r == 0 && from >= 0)
		r = copy_all(env, dbi, from, setup->props);
	if (r == 0)
		r = keep_errno(mdb_env_sync(env, 1));
	if (r == 0 && (mdb_env_get_fd(env, &fd) || sys_fsync(fd) < 0))
		r = -errno;
	mdb_env_close(env);
	if (r < 0)
		sys_unlink(path);
	return r;
}
