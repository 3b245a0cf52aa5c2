/*
 * test_user.c - `guichet user` and `guichet import`: what they say, what they leave in the file, and a disk that fails at each
 * call: the file is then the old one or the new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "drive/files.h"
#include "main/command.h"
#include "main/import.h"
#include "main/people_file.h"
#include "main/secret.h"
#include "store/people_scram.h"
#include "store/rules.h"
#include "support/folder.h"

static char outputs[2][300]; /* files: standard output, standard error */
static char people[300];

static int make_dir(void **state)
{
	if (folder_set_up(state) < 0)
		return -1;
	snprintf(outputs[0], sizeof(outputs[0]), "%s/out", folder);
	snprintf(outputs[1], sizeof(outputs[1]), "%s/err", folder);
	snprintf(people, sizeof(people), "%s/people", folder);
	return 0;
}

static int no_file(void **state)
{
	(void)state;
	(void)unlink(people);
	return 0;
}

/* ---- running it ---- */

static void swap(int fd, const char *path, int flags, int *kept)
{
	int file = open(path, flags | O_CLOEXEC, 0600);

	assert_true(file >= 0);
	*kept = fcntl(fd, F_DUPFD_CLOEXEC, 10);
	dup2(file, fd);
	close(file);
}

static int run(const char *input, const char *const *words)
{
	char *argv[24] = { (char *)"guichet" };
	int argc = 1, kept[3], status;

	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)(uintptr_t)words[argc - 1];
	folder_put("in", input);
	fflush(stdout);
	fflush(stderr);
	swap(STDIN_FILENO, folder_path("in"), O_RDONLY, &kept[0]);
	for (int i = 0; i < 2; i++)
		swap(STDOUT_FILENO + i, outputs[i], O_WRONLY | O_CREAT | O_TRUNC, &kept[1 + i]);
	status = command_main(argc, argv);
	fflush(stdout);
	fflush(stderr);
	for (int i = 0; i < 3; i++) {
		dup2(kept[i], i);
		close(kept[i]);
	}
	return status;
}

static void check_output(const char *path, const char *expect)
{
	BUF_AUTO struct buf b = BUF_INIT(4 << 20);

	assert_int_equal(files_read(path, &b, NULL), 0);
	if (expect ? !strstr(buf_str(&b), expect) : b.n > 0)
		fail_msg("\"%s\" is not in:\n%s", expect ? expect : "nothing", buf_str(&b));
}

/* With --people at the end. */
static void user(const char *input, const char *const *words, int status, const char *out, const char *err)
{
	const char *all[24] = { "user" };
	int n = 1;

	for (; *words; words++)
		all[n++] = *words;
	all[n++] = "--people";
	all[n++] = people;
	assert_int_equal(run(input, all), status);
	check_output(outputs[0], out);
	check_output(outputs[1], err);
}
#define WORDS(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static struct people *set(void)
{
	BUF_AUTO struct buf b = BUF_INIT(PEOPLE_FILE_MAX);
	struct people *p;

	assert_int_equal(files_read(people, &b, NULL), 0);
	assert_int_equal(people_parse(buf_span(&b), &p, NULL, NULL), 0);
	assert_int_equal(people_damaged(p), 0);
	return p;
}

static bool lets_in(const char *name, const char *password)
{
	struct people_answer a = {};
	struct people_memory *m;
	struct people *p = set();
	bool in;

	assert_int_equal(people_memory_new(&m), 0);
	assert_int_equal(people_verify(m, p, span_str(name), span_str(password), 1, &a), 0);
	in = a.who != NULL;
	people_memory_free(&m);
	people_unref(p);
	return in;
}

/* ---- user ---- */

static void a_life(void **state)
{
	struct stat st;
	struct people *p;

	(void)state;
	user("", WORDS("list"), STATUS_OK, "there is no file ", NULL);
	user("secret\nmore\n", WORDS("add", "alice", "--groups", "staff,iot", "--stdin"), STATUS_OK, ", a new file; ",
	     NULL);
	user("", WORDS("set", "alice", "--certificate", "alice"), STATUS_USAGE, NULL,
	     "--certificate alice is no subject, as CN=alice,O=Home is one\n");
	assert_int_equal(stat(people, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(lets_in("alice", "secret"));
	p = set();
	assert_non_null(people_at(p, 0)->scram);
	assert_true(person_is_in(people_at(p, 0), "iot"));
	people_unref(p);
	user("other\r\n", WORDS("passwd", "alice", "--stdin", "--no-scram"), STATUS_OK, "changed the password of alice",
	     NULL);
	assert_false(lets_in("alice", "secret"));
	assert_true(lets_in("alice", "other"));
	p = set();
	assert_null(people_at(p, 0)->scram);
	assert_true(person_is_in(people_at(p, 0), "staff")); /* the rest stays */
	people_unref(p);
	user("", WORDS("set", "alice", "--disable", "--groups", "", "--certificate", "CN=a,O=b"), STATUS_OK,
	     "changed alice", NULL);
	assert_false(lets_in("alice", "other"));
	user("", WORDS("list"), STATUS_OK, "alice  -       disabled password certificate\n", NULL);
	user("", WORDS("set", "alice", "--enable"), STATUS_OK, "changed alice", NULL);
	assert_true(lets_in("alice", "other"));
	user("", WORDS("add", "sensor", "--no-password"), STATUS_OK, "added sensor", NULL);
	user("", WORDS("list", "--json"), STATUS_OK,
	     "[{\"name\":\"alice\",\"groups\":[],\"certificates\":[\"CN=a,O=b\"],\"password\":true,\"scram\":false,"
	     "\"disabled\":false},{\"name\":\"sensor\",",
	     NULL);
	user("", WORDS("del", "sensor"), STATUS_OK, "removed sensor", NULL);
	user("", WORDS("del", "sensor"), STATUS_FAILED, NULL, "there is no user \"sensor\" in ");
	user("", WORDS("set", "alice"), STATUS_USAGE, NULL, "`user set` needs what is to be changed, as --groups A,B");
	user("", WORDS("del", "alice"), STATUS_OK, "removed alice", NULL);
	user("", WORDS("list"), STATUS_OK, "nobody is in ", NULL);
}

static void a_name_that_is_no_level(void **state)
{
	static const char *const names[] = { "a/b", "a+", "a#" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		user("", WORDS("add", names[i], "--no-password"), STATUS_OK, "added",
		     "warning: rules with %u allow nothing to a");
	user("", WORDS("add", "a.b-c", "--no-password"), STATUS_OK, "added", NULL);
}

/* A device's: another one each time, and what is printed is what lets it in. */
static void a_password_that_is_made(void **state)
{
	char old[64] = "x";

	(void)state;
	for (int i = 0; i < 2; i++) {
		BUF_AUTO struct buf b = BUF_INIT(1 << 16);
		struct people *p;
		char made[64] = "";

		user("", WORDS(i ? "passwd" : "add", "sensor", "--generate"), STATUS_OK, "\n", "sensor in ");
		assert_int_equal(files_read(outputs[0], &b, NULL), 0);
		assert_int_equal(sscanf(buf_str(&b), "%63s", made), 1);
		assert_int_equal(b.n, 27);
		assert_int_equal(strlen(made), 26);
		assert_true(lets_in("sensor", made));
		assert_false(lets_in("sensor", old));
		memcpy(old, made, sizeof(old));
		p = set();
		assert_true(people_hash_is_ours(people_at(p, 0)->hash));
		assert_non_null(people_at(p, 0)->scram);
		people_unref(p);
	}
	user("", WORDS("list"), STATUS_OK, "password scram", NULL);
	user("", WORDS("add", "x", "--generate", "--stdin"), STATUS_USAGE, NULL, "--generate or --stdin?");
	user("", WORDS("set", "sensor", "--generate"), STATUS_USAGE, NULL, "`user set` has no use for --generate");
}

static void mistakes(void **state)
{
	(void)state;
	user("", WORDS(), STATUS_USAGE, NULL, "add, passwd, set, del or list?");
	user("", WORDS("ad", "x"), STATUS_USAGE, NULL,
	     "\"ad\" is none of add, passwd, set, del and list, did you mean \"add\"?");
	user("", WORDS("add"), STATUS_USAGE, NULL, "`user add` needs the name of a user");
	user("", WORDS("add", "a", "secret"), STATUS_USAGE, NULL, "\"secret\" is one word too many");
	user("", WORDS("list", "a"), STATUS_USAGE, NULL, "\"a\" is one word too many");
	user("", WORDS("add", "@a", "--stdin"), STATUS_USAGE, NULL, "\"@a\" is no name");
	user("", WORDS("del", "a", "--stdin"), STATUS_USAGE, NULL, "`user del` has no use for --stdin");
	user("\n", WORDS("add", "a", "--stdin"), STATUS_FAILED, NULL, "an empty password cannot be used");
	user("", WORDS("add", "a", "--stdin"), STATUS_FAILED, NULL, "an empty password cannot be used");
	user("x\n", WORDS("add", "a", "--stdin", "--groups", "x,@y"), STATUS_FAILED, NULL, "\"@y\" is no name");
	assert_int_equal(access(people, F_OK), -1); /* nothing came of it */
	user("x\n", WORDS("add", "alice", "--stdin"), STATUS_OK, "added", NULL);
	user("x\n", WORDS("add", "alice", "--stdin"), STATUS_FAILED, NULL, "alice is there already");
	user("x\n", WORDS("passwd", "alcie", "--stdin"), STATUS_FAILED, NULL, "did you mean \"alice\"?");
	assert_int_equal(run("", WORDS("user", "list", "--people", "/nonexistent/people")), STATUS_FAILED);
	assert_int_equal(run("x\n", WORDS("user", "add", "a", "--stdin", "--people", "/nonexistent/people")),
			 STATUS_FAILED);
	check_output(outputs[1],
		     "cannot look for the file of people in the folder /nonexistent: No such file or directory");
}

static void a_damaged_file_is_not_written_over(void **state)
{
	static const char text[] = "alice disabled\nbob nonsense\n";
	BUF_AUTO struct buf b = BUF_INIT(4096);

	(void)state;
	folder_put("people", text);
	user("x\n", WORDS("add", "carl", "--stdin"), STATUS_FAILED, NULL,
	     "people:2: unknown word \"nonsense\"\nnothing was changed");
	assert_int_equal(files_read(people, &b, NULL), 0);
	assert_string_equal(buf_str(&b), text);
	user("", WORDS("list"), STATUS_OK, "alice", "people:2: unknown word \"nonsense\"");
}

#ifdef GUICHET_FAULTS
/* The disk is full, or fails, or the machine goes down: one call after the other. */
static void a_disk_that_fails(void **state)
{
	bool done = false;

	(void)state;
	user("", WORDS("add", "alice", "--no-password"), STATUS_OK, "added", NULL);
	for (unsigned long n = 1; !done && n < 100; n++) {
		BUF_AUTO struct buf why = BUF_INIT(4096);
		struct people_file f;
		struct people *p;
		int r;

		fault_arm(FAULT_SYS, n, ENOSPC, false);
		r = people_file_open(people, true, &f, &why);
		if (r == 0)
			r = people_put(f.people, &(struct person){ .name = (char *)"bob" }, &why);
		if (r == 0)
			r = people_file_save(&f, &why);
		done = fault_calls(FAULT_SYS) < n;
		fault_arm(FAULT_SYS, 0, 0, false);
		people_file_close(&f);
		assert_true(r == 0 || r == -ENOSPC);
		assert_true(r == 0 || strstr(buf_str(&why), "No space left on device"));
		p = set();
		assert_int_equal(people_count(p), r == 0 ? 2 : 1);
		people_unref(p);
		if (r == 0)
			user("", WORDS("del", "bob"), STATUS_OK, "removed", NULL);
	}
	assert_true(done);
}

static void without_memory(void **state)
{
	bool done = false;

	(void)state;
	for (unsigned long n = 1; !done && n < 1000; n++) {
		BUF_AUTO struct buf why = BUF_INIT(4096);
		struct people_file f;
		int r;

		fault_arm(FAULT_MEM, n, 0, false);
		r = people_file_open(people, true, &f, &why);
		if (r == 0)
			r = people_file_save(&f, &why);
		done = fault_calls(FAULT_MEM) < n;
		fault_arm(FAULT_MEM, 0, 0, false);
		people_file_close(&f);
		assert_true(r <= 0);
	}
	assert_true(done);
}
#endif

/* ---- import ---- */

/* As mosquitto_passwd 2.0 has written it. */
static const char passwd[] =
	"alice:$7$101$9sMiQH1gquO69Wes$LM6N8+fGwv4+9T6kIRp/YIPsFvJ1ZWx9smQhvds/Q+1PcEK60BjeNzOa/GgqzrIOVxWtwJBAqrGvS++OHEi/eg==\n"
	"bob:$6$OysEZj5TGA4nsaps$kg49JrfRxR3NjKbcEXF9Q2Zum6HSDMXeZDU0JpX0U0kuhUn+3rBeBYKh9BZosUTPiOZszXJUoH/oWU3nflmIBw==\n"
	"carol smith:$7$101$F9/g3H71Nlj1F99v$ZfhH+TdYZW6wcLndzQs53NnlN6ySQ5y9C6gNm1JThkgQtMyFY+vgxJo/9lsZfDkno0/S4NcF3ykp44A20YeQ0w==\n";

static void users_of_mosquitto(void **state)
{
	char path[300];

	(void)state;
	folder_put("passwd", passwd);
	snprintf(path, sizeof(path), "%s/passwd", folder);
	assert_int_equal(run("", WORDS("import", "mosquitto-passwd", path, "--people", people)), STATUS_OK);
	check_output(outputs[0], "3 users added to ");
	assert_true(lets_in("alice", "secret"));
	assert_true(lets_in("bob", "secret"));
	assert_true(lets_in("carol smith", "pass word"));
	assert_false(lets_in("carol smith", "secret"));
	user("", WORDS("list"), STATUS_OK, "password (hash of mosquitto)", NULL);
	folder_put(
		"passwd",
		"zed:$7$101$9sMiQH1gquO69Wes$LM6N8+fGwv4+9T6kIRp/YIPsFvJ1ZWx9smQhvds/Q+1PcEK60BjeNzOa/GgqzrIOVxWtwJBAqrGvS++OHEi/eg==\n");
	assert_int_equal(run("", WORDS("import", "mosquitto-passwd", path, "--people", people)), STATUS_OK);
	check_output(outputs[0], "1 user added to ");
	folder_put("passwd", "alice:$7$x\ndora:plain\n\ne:$y$abc$def\nnothing\nf:$7$101$9sMi\n");
	assert_int_equal(run("", WORDS("import", "mosquitto-passwd", path, "--people", people)), STATUS_FAILED);
	check_output(outputs[0], "0 users added to ");
	check_output(outputs[1], "passwd:1: \"alice\" is there already: left as it is\n");
	check_output(outputs[1], "passwd:2: \"dora\" has no hash of mosquitto's");
	check_output(outputs[1], "passwd:4: \"e\" has no hash of mosquitto's");
	check_output(outputs[1], "passwd:5: this is not NAME:HASH\n");
	check_output(outputs[1],
		     "passwd:6: the hash of \"f\" is damaged: make the password anew with `guichet user add`\n");
	folder_put("passwd", "\nuser a\ntopic b\ntopic c\n");
	assert_int_equal(run("", WORDS("import", "mosquitto-passwd", path, "--people", people)), STATUS_FAILED);
	check_output(
		outputs[1],
		"passwd:2: this is not NAME:HASH, and 2 other lines are not either; is it a password file of mosquitto?\n");
	assert_true(lets_in("alice", "secret"));
	assert_int_equal(run("", WORDS("import", "mosquitto-passwd")), STATUS_USAGE);
	assert_int_equal(run("", WORDS("import", "x", "y")), STATUS_USAGE);
	assert_int_equal(run("", WORDS("import", "mosquitto-acl", "/nonexistent")), STATUS_FAILED);
}

static void hear(void *arg, unsigned line, const char *text)
{
	buf_addf(arg, "%u: %s\n", line, text);
}

static void check_acl(const char *theirs, const char *ours, const char *said)
{
	BUF_AUTO struct buf out = BUF_INIT(65536), heard = BUF_INIT(65536);
	struct import_count n = {};

	assert_int_equal(import_mosquitto_acl(span_str(theirs), &out, &n, hear, &heard), 0);
	assert_string_equal(buf_str(&out), ours);
	assert_string_equal(buf_str(&heard), said);
}

static void rules_of_mosquitto(void **state)
{
	(void)state;
	check_acl("", "[rules]\n", "");
	check_acl("# comment\n"
		  "topic read $SYS/#\n"
		  "\n"
		  "user alice\n"
		  "topic foo/#\n"
		  "topic deny foo/secret\n"
		  "topic write two words\n"
		  "pattern read home/%u/%c/#\n"
		  "pattern deny home/%u/100%\n"
		  "  user bob\r\n"
		  "\ttopic  readwrite  100%/%u\n"
		  "topic read\n"
		  "user alice\n"
		  "topic deny bar\n",
		  "[rules]\n"
		  "allow = anonymous read topics:$SYS/#\n"
		  "deny = alice * topics:foo/secret\n"
		  "deny = alice * topics:bar\n"
		  "allow = alice * topics:foo/#\n"
		  "allow = alice write \"topics:two words\"\n"
		  "allow = bob * topics:100%%/%%u\n"
		  "allow = bob * topics:read\n"
		  "deny = * * topics:home/%u/100%%\n"
		  "allow = * read topics:home/%u/%c/#\n",
		  "");
	check_acl(
		"topic frob x\ntopic x y\npattern frob z\ntopic read two words\n",
		"[rules]\nallow = anonymous read \"topics:two words\"\n",
		"1: \"frob\" is none of read, write, readwrite and deny\n2: \"x\" is none of read, write, readwrite and "
		"deny\n3: \"frob\" is none of read, write, readwrite and deny\n");
	check_acl("topic a#\nuser \ntopic b\nuser @c\ntopic d\nnonsense\ntopic\n", "[rules]\n",
		  "1: \"a#\" is no pattern: + stands for a whole level, # for all levels that follow, at the end\n"
		  "2: \"\" is no name: it is empty\n4: \"@c\" is no name: it may not begin with @ # $ or +\n"
		  "6: this is no line of user, topic or pattern\n7: this is no line of user, topic or pattern\n");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, no_file)
	const struct CMUnitTest tests[] = {
		T(a_life),
		T(a_name_that_is_no_level),
		T(a_password_that_is_made),
		T(mistakes),
		T(a_damaged_file_is_not_written_over),
#ifdef GUICHET_FAULTS
		T(a_disk_that_fails),
		T(without_memory),
#endif
		T(users_of_mosquitto),
		T(rules_of_mosquitto),
	};

	return cmocka_run_group_tests(tests, make_dir, folder_take_down);
}
