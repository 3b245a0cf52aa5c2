/* test_spawner.c - commands by the spawner: how they begin, how they end, and what is left of them: nothing. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "priv/spawn.h"
#include "priv/spawner.h"

enum { WAIT = 10000 /* ms; nothing takes so long */ };

static int root, ch;
static struct spawn_door door;
static pid_t spawner;
static struct chan_msg out, in;
static uint32_t serial;

static const struct spawn_user same = { SPAWN_SAME, SPAWN_SAME };

static int begin_with(const struct spawner_setup *setup)
{
	int r = spawner_start(setup, &root, &spawner);

	ch = door.fd = -1;
	if (r == 0)
		r = spawn_door(root, &same, 1, &door.fd);
	if (r == 0)
		r = spawn_open(&door, &ch);
	return r;
}

static int begin(void **state)
{
	(void)state;
	return begin_with(&(struct spawner_setup){});
}

/* The spawner ends by itself, with success, when its root does. */
static int end_root(void)
{
	int status;

	close(root);
	if (waitpid(spawner, &status, 0) != spawner)
		return -1;
	root = -1;
	return status;
}

static int end(void **state)
{
	int status = root >= 0 ? end_root() : 0;

	(void)state;
	chan_msg_done(&in);
	if (ch >= 0)
		close(ch);
	if (door.fd >= 0)
		close(door.fd);
	return status;
}

/* ---- asking and hearing ---- */

struct ask {
	int in, out, err;
	const char *dir;
	const char *const *envp;
	uint32_t grace;
	struct spawn_user user;
	bool other; /* `user` counts */
};

static bool may_be_gone; /* the spawner, of a failing call */

static uint32_t ask_argv(const struct ask *a, const char *const *argv)
{
	struct spawn_run r = {
		.path = argv[0],
		.argv = argv,
		.envp = a->envp,
		.dir = a->dir,
		.fds = { a->in ? a->in : -1, a->out ? a->out : -1, a->err ? a->err : -1 },
		.user = a->other ? a->user : same,
		.grace = a->grace ? a->grace : 2000,
	};

	chan_msg_init(&out, SPAWN_RUN, ++serial);
	assert_int_equal(spawn_put_run(&out, &r), 0);
	int sent = chan_send_wait(ch, &out, WAIT);

	assert_true(sent == 0 || (may_be_gone && sent == -EPIPE));
	return serial;
}

#define WITH(...) (&(struct ask){ __VA_ARGS__ })
#define ask(a, ...) ask_argv(a, (const char *const[]){ __VA_ARGS__, NULL })
#define run(...) ask(&(struct ask){}, __VA_ARGS__)

static pid_t hear_start(uint32_t of, int want)
{
	uint32_t pid;
	int err;

	assert_int_equal(chan_recv_wait(ch, &in, WAIT), 1);
	assert_int_equal(in.type, SPAWN_STARTED);
	assert_int_equal(in.serial, of);
	assert_int_equal(spawn_get_started(&in, &err, &pid), 0);
	assert_int_equal(err, want);
	return (pid_t)pid;
}

static void hear_end(uint32_t of, int want_status, int want_signal)
{
	int status, sig;

	assert_int_equal(chan_recv_wait(ch, &in, WAIT), 1);
	assert_int_equal(in.type, SPAWN_ENDED);
	assert_int_equal(in.serial, of);
	assert_int_equal(spawn_get_ended(&in, &status, &sig), 0);
	assert_int_equal(status, want_status);
	assert_int_equal(sig, want_signal);
}

static void say_stop(uint32_t of)
{
	chan_msg_init(&out, SPAWN_STOP, of);
	assert_int_equal(chan_send(ch, &out), 0);
}

/* Gone within the time; a zombie is not gone. */
static bool gone(pid_t pid)
{
	for (int i = 0; i < 2000; i++) {
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return true;
		usleep(10000);
	}
	return false;
}

/* All that a script says on its output. */
static const char *said_by(const char *script, const struct ask *how)
{
	static char text[8192];
	struct ask a = how ? *how : (struct ask){};
	size_t n = 0;
	ssize_t got;
	uint32_t s;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	a.out = p[1];
	s = ask(&a, "/bin/sh", "-c", script);
	close(p[1]);
	hear_start(s, 0);
	while ((got = read(p[0], text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	close(p[0]);
	hear_end(s, 0, 0);
	return text;
}

/* ---- how they end ---- */

static void an_end_has_its_status(void **state)
{
	uint32_t s = run("/bin/true");
	pid_t pid = hear_start(s, 0);

	(void)state;
	hear_end(s, 0, 0);
	assert_true(gone(pid));
	s = run("/bin/false");
	hear_start(s, 0);
	hear_end(s, 1, 0);
	s = run("/bin/sh", "-c", "exit 255");
	hear_start(s, 0);
	hear_end(s, 255, 0);
	s = run("/bin/sh", "-c", "kill -SEGV $$");
	hear_start(s, 0);
	hear_end(s, 0, SIGSEGV);
}

static void what_cannot_run_says_why(void **state)
{
	(void)state;
	hear_start(run("/nowhere/at/all"), -ENOENT);
	hear_start(run("/etc/passwd"), -EACCES);
	hear_start(run("/tmp"), -EACCES);
	hear_start(ask(WITH(.dir = "/nowhere"), "/bin/true"), -ENOENT);
	hear_start(ask(WITH(.dir = "/etc/passwd"), "/bin/true"), -ENOTDIR);
	an_end_has_its_status(state);
}

static void what_is_not_asked_at_all(void **state)
{
	static const char *const words[] = { "true", NULL }, *const none[] = { NULL };
	static const char *many[SPAWN_WORDS + 2];
	static char long_word[CHAN_BODY];
	struct spawn_run r = { .path = "bin/true", .argv = words, .fds = { -1, -1, -1 } };

	(void)state;
	chan_msg_init(&out, SPAWN_RUN, 1);
	assert_int_equal(spawn_put_run(&out, &r), -EINVAL);
	r.path = "/bin/true";
	r.argv = none;
	assert_int_equal(spawn_put_run(&out, &r), -EINVAL);
	r.argv = words;
	r.dir = "..";
	assert_int_equal(spawn_put_run(&out, &r), -EINVAL);
	r.dir = NULL;
	r.grace = SPAWN_GRACE + 1;
	assert_int_equal(spawn_put_run(&out, &r), -EINVAL);
	r.grace = 0;
	for (size_t i = 0; i <= SPAWN_WORDS; i++)
		many[i] = "x";
	r.envp = many;
	assert_int_equal(spawn_put_run(&out, &r), -E2BIG);
	many[SPAWN_WORDS] = NULL;
	assert_int_equal(spawn_put_run(&out, &r), 0);
	memset(long_word, 'x', sizeof(long_word) - 1);
	r.envp = (const char *const[]){ long_word, NULL };
	assert_int_equal(spawn_put_run(&out, &r), -E2BIG);
}

/* ---- how they begin ---- */

static void words_variables_and_folder(void **state)
{
	const struct ask a = {
		.dir = "/usr",
		.envp = (const char *const[]){ "A=1 2", "PATH=/usr/bin:/bin", NULL },
	};

	(void)state;
	assert_string_equal(said_by("echo \"$A\"; pwd; env | sort | grep -v '^_\\|^PWD'", &a),
			    "1 2\n/usr\nA=1 2\nPATH=/usr/bin:/bin\n");
	assert_string_equal(said_by("pwd", NULL), "/\n");
}

static void nothing_of_the_daemon_is_inherited(void **state)
{
	(void)state;
	assert_string_equal(said_by("exec ls /proc/self/fd", NULL), "0\n1\n2\n3\n"); /* 3 is the folder */
	assert_string_equal(said_by("grep -E 'Sig(Blk|Ign)' /proc/self/status | tr -d '\\t0\\n'", NULL),
			    "SigBlk:SigIgn:");
	assert_string_equal(said_by("ls -l /proc/self/fd/0 /proc/self/fd/2 | sed 's/.*-> //'", NULL),
			    "/dev/null\n/dev/null\n");
	assert_string_equal(said_by("test $(ps -o pgid= -p $$) = $$ && echo own", NULL), "own\n");
}

/* Neither by setuid nor by what ordinary programs never call. */
static void a_command_gains_no_rights(void **state)
{
	(void)state;
	assert_string_equal(said_by("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'", NULL),
			    "NoNewPrivs:1\nSeccomp:2\n");
}

static void bytes_go_through_as_they_are(void **state)
{
	int to[2], from[2];
	char text[6] = "";
	uint32_t s;

	(void)state;
	assert_int_equal(pipe2(to, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(pipe2(from, O_CLOEXEC | O_NONBLOCK), 0);
	s = ask(WITH(.in = to[0], .out = from[1]), "/bin/cat");
	hear_start(s, 0);
	assert_false(fcntl(to[0], F_GETFL) & O_NONBLOCK); /* cat takes EAGAIN for a mistake */
	assert_false(fcntl(from[1], F_GETFL) & O_NONBLOCK);
	close(to[0]);
	close(from[1]);
	assert_int_equal(write(to[1], "hello", 5), 5);
	assert_int_equal(poll(&(struct pollfd){ from[0], POLLIN, 0 }, 1, WAIT), 1);
	assert_int_equal(read(from[0], text, 5), 5);
	assert_string_equal(text, "hello");
	close(to[1]);
	hear_end(s, 0, 0);
	assert_int_equal(read(from[0], text, 5), 0);
	close(from[0]);
}

static void the_limit_of_descriptors_is_the_old_one(void **state)
{
	(void)state;
	assert_int_equal(end(NULL), 0);
	assert_int_equal(begin_with(&(struct spawner_setup){ .nofile = 77 }), 0);
	assert_string_equal(said_by("ulimit -n", NULL), "77\n");
}

static void users(void **state)
{
	const struct spawn_user nobody = { 65534, 65534 }, other = { 65533, 65534 };

	(void)state;
	close(ch);
	close(door.fd);
	assert_int_equal(spawn_door(root, &nobody, 1, &door.fd), 0);
	assert_int_equal(spawn_open(&door, &ch), 0);
	hear_start(run("/bin/true"), -EPERM); /* not as the spawner itself */
	hear_start(ask(WITH(.other = true, .user = other), "/bin/true"), -EPERM);
	hear_start(ask(WITH(.other = true, .user = { 0, 0 }), "/bin/true"), -EPERM);
	if (geteuid() != 0) {
		hear_start(ask(WITH(.other = true, .user = nobody), "/bin/true"), -EPERM);
		return;
	}
	assert_string_equal(said_by("id -ru; id -u; id -rg; id -G", &(struct ask){ .other = true, .user = nobody }),
			    "65534\n65534\n65534\n65534\n");
}

/* ---- stopping ---- */

static void a_stop_ends_the_group(void **state)
{
	uint32_t s;
	pid_t pid;
	int p[2];
	char text[32] = "";

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	s = ask(WITH(.out = p[1]), "/bin/sh", "-c", "sleep 1000 & echo $!; wait");
	pid = hear_start(s, 0);
	assert_true(read(p[0], text, sizeof(text) - 1) > 0);
	say_stop(s);
	hear_end(s, 0, SIGTERM);
	assert_true(gone(pid));
	assert_true(gone((pid_t)strtol(text, NULL, 10)));
	close(p[0]);
	close(p[1]);
	say_stop(s); /* it has ended already, or never was */
	say_stop(12345);
	an_end_has_its_status(state);
}

static void who_does_not_hear_is_killed(void **state)
{
	uint32_t s;
	int p[2];
	char c;

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	s = ask(WITH(.out = p[1], .grace = 50), "/bin/sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done");
	hear_start(s, 0);
	assert_int_equal(read(p[0], &c, 1), 1);
	say_stop(s);
	hear_end(s, 0, SIGKILL);
	close(p[0]);
	close(p[1]);
}

static void what_is_left_in_the_group_goes_too(void **state)
{
	pid_t pid = (pid_t)strtol(said_by("sleep 1000 >/dev/null & echo $!", NULL), NULL, 10);

	(void)state;
	assert_true(pid > 1 && gone(pid));
}

static void the_end_of_a_channel_ends_its_children(void **state)
{
	int other = ch, kept;
	pid_t mine, theirs;
	uint32_t s;

	(void)state;
	assert_int_equal(spawn_open(&door, &kept), 0);
	ch = kept;
	s = run("/bin/sleep", "1000");
	theirs = hear_start(s, 0);
	ch = other;
	mine = hear_start(run("/bin/sleep", "1000"), 0);
	close(ch);
	assert_true(gone(mine));
	assert_int_equal(kill(theirs, 0), 0);
	ch = kept;
	say_stop(s);
	hear_end(s, 0, SIGTERM);
}

static void the_end_of_the_root_ends_all(void **state)
{
	pid_t a = hear_start(ask(WITH(.grace = 50), "/bin/sh", "-c", "trap '' TERM; sleep 1000; sleep 1000"), 0);
	pid_t b = hear_start(run("/bin/sleep", "1000"), 0);

	(void)state;
	usleep(50000);
	assert_int_equal(end_root(), 0);
	assert_true(gone(a));
	assert_true(gone(b));
	assert_int_equal(chan_recv_wait(ch, &in, WAIT), 0);
}

static void they_die_with_a_spawner_that_is_killed(void **state)
{
	pid_t pid = hear_start(run("/bin/sleep", "1000"), 0);
	int status;

	(void)state;
	kill(spawner, SIGTERM); /* that it does not hear */
	usleep(20000);
	assert_int_equal(waitpid(spawner, &status, WNOHANG), 0);
	kill(spawner, SIGKILL);
	assert_int_equal(waitpid(spawner, &status, 0), spawner);
	assert_true(gone(pid));
	assert_int_equal(chan_recv_wait(ch, &in, WAIT), 0);
	close(root);
	root = -1;
}

/* ---- many, and too many ---- */

static void more_than_there_may_be(void **state)
{
	uint32_t a, b;

	(void)state;
	assert_int_equal(end(NULL), 0);
	assert_int_equal(begin_with(&(struct spawner_setup){ .most = 2 }), 0);
	a = run("/bin/sleep", "1000");
	hear_start(a, 0);
	b = run("/bin/sleep", "1000");
	hear_start(b, 0);
	hear_start(run("/bin/true"), -EAGAIN);
	say_stop(b);
	hear_end(b, 0, SIGTERM);
	an_end_has_its_status(state);
	say_stop(a);
	hear_end(a, 0, SIGTERM);
}

/* Nobody reads the answers for a while: none is lost. */
static void answers_are_owed(void **state)
{
	enum { N = 400 };
	static unsigned char started[N], ended[N];
	uint32_t first = serial + 1;

	(void)state;
	for (int i = 0; i < N; i++)
		run("/bin/true");
	usleep(300000);
	for (int i = 0; i < 2 * N; i++) {
		assert_int_equal(chan_recv_wait(ch, &in, WAIT), 1);
		assert_true(in.serial - first < N);
		if (in.type == SPAWN_STARTED)
			started[in.serial - first]++;
		else
			assert_int_equal(started[in.serial - first], 1); /* in this order */
		if (in.type == SPAWN_ENDED)
			ended[in.serial - first]++;
	}
	for (int i = 0; i < N; i++)
		assert_true(started[i] == 1 && ended[i] == 1);
	assert_int_equal(chan_recv_wait(ch, &in, 50), -ETIMEDOUT);
}

static size_t fds_of(pid_t pid)
{
	char path[64];
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void it_keeps_no_descriptor(void **state)
{
	size_t before;

	(void)state;
	an_end_has_its_status(state);
	before = fds_of(spawner);
	what_cannot_run_says_why(state);
	words_variables_and_folder(state);
	for (int i = 0; i < 20; i++)
		said_by("echo", NULL);
	assert_int_equal(fds_of(spawner), before);
}

/* ---- who says nonsense is not listened to, and nobody else is hurt ---- */

static void send_one(int fd, unsigned type, size_t n, bool with_fd)
{
	chan_msg_init(&out, type, 5);
	for (size_t i = 0; i < n; i++)
		chan_put_u8(&out, 0xff);
	if (with_fd)
		chan_put_fd(&out, root);
	assert_int_equal(chan_send(fd, &out), 0);
}

static void nonsense(void **state)
{
	static const struct {
		unsigned type;
		size_t n;
		bool fd;
	} to_channel[] = { { SPAWN_RUN, 0, false },     { SPAWN_RUN, 40, true },
			   { SPAWN_STOP, 1, false },    { SPAWN_STOP, 0, true },
			   { SPAWN_OPEN, 0, true },     { SPAWN_DOOR, 0, true },
			   { SPAWN_STARTED, 8, false }, { CHAN_TYPE(CHAN_SPAWN, 99), 0, false } },
	  to_door[] = {
		  { SPAWN_RUN, 0, false }, { SPAWN_OPEN, 0, false }, { SPAWN_OPEN, 1, true }, { SPAWN_DOOR, 0, true }
	  };
	int bad = -1;

	(void)state;
	for (size_t i = 0; i < sizeof(to_channel) / sizeof(to_channel[0]); i++) {
		assert_int_equal(spawn_open(&door, &bad), 0);
		send_one(bad, to_channel[i].type, to_channel[i].n, to_channel[i].fd);
		assert_int_equal(chan_recv_wait(bad, &in, WAIT), 0);
		close(bad);
	}
	for (size_t i = 0; i < sizeof(to_door) / sizeof(to_door[0]); i++) {
		assert_int_equal(spawn_door(root, &same, 1, &bad), 0);
		send_one(bad, to_door[i].type, to_door[i].n, to_door[i].fd);
		assert_int_equal(chan_recv_wait(bad, &in, WAIT), 0);
		close(bad);
	}
	assert_int_equal(spawn_door(root, &same, 1, &bad), 0);
	assert_int_equal(send(bad, "what?", 5, 0), 5);
	assert_int_equal(chan_recv_wait(bad, &in, WAIT), 0);
	close(bad);
	an_end_has_its_status(state);
}

/* ---- calls that fail ---- */

static void each_call_fails_once(void **state)
{
#ifdef GUICHET_FAULTS
	static const int errs[] = { EMFILE, ENOMEM };
	unsigned good = 0;

	(void)state;
	assert_int_equal(end(NULL), 0);
	for (unsigned long n = 1; n < 60; n++) {
		int err = errs[n % 2], r;
		uint32_t pid;

		fault_arm(FAULT_SYS, n, err, false); /* the spawner has the same count from its fork on */
		r = begin_with(&(struct spawner_setup){});
		fault_arm(FAULT_SYS, 0, 0, false);
		may_be_gone = true;
		if (r == 0) {
			uint32_t s = run("/bin/true");

			r = chan_recv_wait(ch, &in, WAIT);
			assert_true(r == 1 || r == 0);
			if (r == 1) {
				assert_int_equal(spawn_get_started(&in, &err, &pid), 0);
				good += err == 0;
				r = err == 0 ? chan_recv_wait(ch, &in, WAIT) : 0;
				assert_true(r == 0 || (r == 1 && in.type == SPAWN_ENDED && in.serial == s));
			}
		}
		(void)end(NULL); /* its status may be that it could not begin */
	}
	may_be_gone = false;
	assert_true(good > 20); /* the later ones are past all of them */
	assert_int_equal(begin(NULL), 0);
#else
	(void)state;
	skip();
#endif
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		T(an_end_has_its_status),
		T(what_cannot_run_says_why),
		T(what_is_not_asked_at_all),
		T(words_variables_and_folder),
		T(nothing_of_the_daemon_is_inherited),
		T(a_command_gains_no_rights),
		T(bytes_go_through_as_they_are),
		T(the_limit_of_descriptors_is_the_old_one),
		T(users),
		T(a_stop_ends_the_group),
		T(who_does_not_hear_is_killed),
		T(what_is_left_in_the_group_goes_too),
		T(the_end_of_a_channel_ends_its_children),
		T(the_end_of_the_root_ends_all),
		T(they_die_with_a_spawner_that_is_killed),
		T(more_than_there_may_be),
		T(answers_are_owed),
		T(it_keeps_no_descriptor),
		T(nonsense),
		T(each_call_fails_once),
	};

	sigaction(SIGPIPE, &(struct sigaction){ .sa_handler = SIG_IGN }, NULL);
	return cmocka_run_group_tests_name("spawner", tests, NULL, NULL);
}
