/* test_effects.c - what steps ask of a real loop: letters that want an answer get one whatever becomes of them, and jobs that are cancelled. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fault.h"
#include "base/mem.h"
#include "drive/loop_priv.h"
#include "support/toy.h"

enum { TAG = 9, NO_SUCH_LOOP = 4000 };

struct world {
	struct svc svc;
	_Atomic uint64_t stats[STAT_N];
	struct lane lane;
	struct loop *a, *b; /* NULL: none */
	sess_id asker, target;
};

static sess_id add(struct world *w, struct loop *l)
{
	sess_id id;

	assert_int_equal(loop_add_bare(l, &w->lane, NULL, &id), 0);
	loop_turn(l, 0);
	return id;
}

static struct loop *new_loop(bool many)
{
	struct loop *l;

	assert_int_equal(loop_new(&(struct loop_setup){ .many = many, .stop_fd = -1, .cut_fd = -1 }, &l), 0);
	return l;
}

static void begin(struct world *w, toy_fn *fn, bool many)
{
	toy_reset(fn);
	*w = (struct world){};
	w->svc = (struct svc){ .name = "toy", .proto = &toy_proto };
	w->svc.limits.input = w->svc.limits.output = 1 << 20;
	w->lane = (struct lane){ .svc = &w->svc, .stats = w->stats };
	w->a = new_loop(many);
	w->b = new_loop(true);
	w->asker = add(w, w->a);
	w->target = add(w, w->b);
	assert_log("open open");
}

static void end(struct world *w)
{
	loop_free(&w->a);
	loop_free(&w->b);
	toy_done();
}

/* ---- letters ---- */

static sess_id ask; /* whom */

static enum verdict ask_at_timer(const struct ev *ev, struct io *io)
{
	struct mail *m = ev->kind == EV_TIMER ? toy_mail("are you there?") : NULL;

	if (m)
		io_post(io, ask, TAG, m, POST_REPLY);
	toy.x[0] += ev->kind == EV_TIMER && m;
	toy.x[1] += ev->kind == EV_GONE && ev->tag == TAG && ev->err == -ESRCH;
	toy.x[2] += ev->kind == EV_MSG ? ev->mail.n : 0;
	return V_GO;
}

static void ask_now(struct world *w, sess_id whom)
{
	struct conn *c = loop_find_conn(w->a, w->asker);

	ask = whom;
	c->s.timer = 1;
	conn_arm(w->a, c);
	loop_turn(w->a, 0);
}

static void test_found(void **state)
{
	struct world w;

	(void)state;
	begin(&w, ask_at_timer, true);
	ask_now(&w, w.target);
	loop_turn(w.b, 0);
	loop_turn(w.b, 0);
	loop_turn(w.a, 0);
	assert_log("timer:0 msg:1");
	end(&w);
}

static void test_nobody(void **state)
{
	static const sess_id nobody[] = { 0, (sess_id)NO_SUCH_LOOP << 48 | 1 };
	struct world w;

	(void)state;
	begin(&w, ask_at_timer, true);
	for (size_t i = 0; i < sizeof(nobody) / sizeof(nobody[0]); i++) {
		ask_now(&w, nobody[i]);
		loop_turn(w.a, UINT64_MAX); /* does not sleep before it has come back */
		assert_log("timer:0 gone:9:-3");
	}
	ask_now(&w, w.target + 1);
	loop_turn(w.b, 0);
	loop_turn(w.a, 0);
	assert_log("timer:0 gone:9:-3");
	end(&w);
}

/* On its way when the loop ends, or later; or taken by a session that never had its turn. */
static void test_the_loop_ends(void **state)
{
	struct world w;

	(void)state;
	begin(&w, ask_at_timer, true);
	struct inbox *b = inbox_ref(loop_inbox(w.b));

	ask_now(&w, w.target);
	loop_free(&w.b);
	loop_turn(w.a, 0);
	assert_log("timer:0 fini gone:9:-3");

	struct post *p = post_letters(1);

	assert_non_null(p);
	p->v[0] = (struct letter_to){ w.target, { w.asker, TAG, 1, toy_mail("too late") }, 0 };
	p->letters.n = 1;
	inbox_push(b, p);
	loop_turn(w.a, 0);
	assert_log("gone:9:-3");
	inbox_unref(b);
	end(&w);

	begin(&w, ask_at_timer, true);
	ask_now(&w, w.target);
	assert_int_equal(sess_letter(&loop_find_conn(w.b, w.target)->s,
				     &(struct letter){ w.asker, TAG, 1, toy_mail("in the mailbox") }),
			 0);
	loop_free(&w.b);
	loop_turn(w.a, 0);
	loop_turn(w.a, 0);
	assert_log("timer:0 fini gone:9:-3 gone:9:-3");
	end(&w);
}

/* No answer could reach a loop that nobody can post to. */
static void test_from_a_private_loop(void **state)
{
	struct world w;

	(void)state;
	begin(&w, ask_at_timer, false);
	ask_now(&w, w.target);
	assert_log("timer:0 gone:9:-3");
	end(&w);
}

#ifdef GUICHET_FAULTS
/* Memory is out at each allocation in turn: it is told, or there is nobody any more whom to tell. */
static void test_no_memory(void **state)
{
	bool failed = true;

	(void)state;
	for (unsigned long n = 1; failed; n++) {
		struct world w;

		begin(&w, ask_at_timer, true);
		toy.quiet = true;
		fault_arm(FAULT_MEM, n, 0, false);
		ask_now(&w, w.target);
		for (int i = 0; i < 3; i++) {
			loop_turn(w.b, 0);
			loop_turn(w.a, 0);
		}
		failed = fault_calls(FAULT_MEM) >= n;
		fault_arm(FAULT_MEM, 0, 0, false);
		if (loop_find_conn(w.a, w.asker))
			assert_int_equal(toy.x[0], toy.x[1] + toy.x[2]);
		end(&w);
	}
}
#endif

/* ---- jobs ---- */

static int runs, drops;

static enum verdict cancel_one(const struct ev *ev, struct io *io)
{
	if (ev->kind != EV_TIMER)
		return V_GO;
	io_job(io, 1, toy_job(-EIO, &runs, &drops));
	io_job(io, 2, toy_job(-EIO, &runs, &drops));
	io_end(io, 1);
	return V_GO;
}

/* It ran when it was asked for; the answer is that of a job which was cancelled all the same. */
static void test_inline_job(void **state)
{
	struct world w;

	(void)state;
	runs = drops = 0;
	begin(&w, cancel_one, false);
	ask_now(&w, 0);
	loop_turn(w.a, 0);
	assert_log("timer:0 done:1:-125 done:2:-5");
	assert_int_equal(runs, 2);
	assert_int_equal(drops, 2);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),         cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_the_loop_ends), cmocka_unit_test(test_from_a_private_loop),
#ifdef GUICHET_FAULTS
		cmocka_unit_test(test_no_memory),
#endif
		cmocka_unit_test(test_inline_job),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
