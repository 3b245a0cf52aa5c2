/* test_command.c - command lines as people type them: the exit status, and what is said where. Nothing here serves. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "drive/files.h"
#include "main/command.h"
#include "support/folder.h"

static char outputs[2][300]; /* files: standard output, standard error */
static char conf[300];

static int make_dir(void **state)
{
	if (folder_set_up(state) < 0)
		return -1;
	snprintf(outputs[0], sizeof(outputs[0]), "%s/out", folder);
	snprintf(outputs[1], sizeof(outputs[1]), "%s/err", folder);
	snprintf(conf, sizeof(conf), "%s/t.conf", folder);
	return 0;
}

/* Runs the program with both outputs in files; returns its exit status. */
static int run(const char *const *words)
{
	char *argv[16] = { (char *)"guichet" };
	int argc = 1, kept[2], status;

	for (; words[argc - 1]; argc++)
		argv[argc] = (char *)words[argc - 1];
	fflush(stdout);
	fflush(stderr);
	for (int i = 0; i < 2; i++) {
		int fd = open(outputs[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		assert_true(fd >= 0);
		kept[i] = fcntl(STDOUT_FILENO + i, F_DUPFD_CLOEXEC, 10);
		dup2(fd, STDOUT_FILENO + i);
		close(fd);
	}
	status = command_main(argc, argv);
	fflush(stdout);
	fflush(stderr);
	for (int i = 0; i < 2; i++) {
		dup2(kept[i], STDOUT_FILENO + i);
		close(kept[i]);
	}
	return status;
}

/* What is in one of the files must have `expect`; NULL: it is empty. */
static void check_output(const char *path, const char *expect)
{
	BUF_AUTO struct buf b;

	buf_init(&b, 4 << 20);
	assert_int_equal(files_read(path, &b, NULL), 0);
	if (expect ? !strstr(buf_str(&b), expect) : b.n > 0)
		fail_msg("\"%s\" is not in:\n%s", expect ? expect : "nothing", buf_str(&b));
}

static void check(const char *const *words, int status, const char *out, const char *err)
{
	assert_int_equal(run(words), status);
	check_output(outputs[0], out);
	check_output(outputs[1], err);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })

static void test_program(void **state)
{
	(void)state;
	check(WORDS(), STATUS_USAGE, NULL, "Usage: guichet COMMAND");
	check(WORDS("--help"), STATUS_OK, "Usage: guichet COMMAND", NULL);
	check(WORDS("-h"), STATUS_OK, "Commands:", NULL);
	check(WORDS("--version"), STATUS_OK, "guichet " GUICHET_VERSION "\n", NULL);
	check(WORDS("sevre"), STATUS_USAGE, NULL, "guichet: unknown command \"sevre\", did you mean \"serve\"?\n");
	check(WORDS("xyzzy"), STATUS_USAGE, NULL, "guichet: unknown command \"xyzzy\"\nTry `guichet --help`.\n");
	check(WORDS("daytime"), STATUS_USAGE, NULL, "to serve it: guichet serve daytime@tcp:");
	for (const struct command *const *c = commands; *c; c++) {
		check(WORDS((*c)->name, "--help"), STATUS_OK, "Usage: guichet ", NULL);
		if (!args_has_letter((*c)->options, 'h')) /* pub and sub: the host */
			check(WORDS((*c)->name, "x", "-h"), STATUS_OK, "Usage: guichet ", NULL);
		check(WORDS((*c)->name, "--xyzzy"), STATUS_USAGE, NULL,
		      "guichet: unknown option \"--xyzzy\"\nTry `guichet ");
	}
}

static void test_options_of_mosquitto(void **state)
{
	(void)state;
	check(WORDS("pub", "--tls-version=tlsv1.2"), STATUS_USAGE, NULL,
	      "guichet: mosquitto has the option --tls-version, guichet pub has not\nTry `guichet pub --help`.\n");
	check(WORDS("sub", "-A", "127.0.0.1"), STATUS_USAGE, NULL,
	      "mosquitto has the option -A, guichet sub has not\n");
	check(WORDS("sub", "--psk-identity", "x"), STATUS_USAGE, NULL,
	      "mosquitto has the option --psk-identity, guichet sub");
	check(WORDS("pub", "--tls-nam", "x"), STATUS_USAGE, NULL,
	      "unknown option \"--tls-nam\", did you mean \"--tls-name\"?");
}

static void test_serve(void **state)
{
	(void)state;
	check(WORDS("serve", "a", "b"), STATUS_USAGE, NULL, "guichet: two configuration files, a and b; one is read\n");
	check(WORDS("serve", "--config", "a", "b"), STATUS_USAGE, NULL, "two configuration files");
	check(WORDS("serve", "--set"), STATUS_USAGE, NULL, "--set needs a value: --set NAME=VALUE");
	check(WORDS("serve", "--log", "xml", "--log-level", "loud", "echo@tcp:7007"), STATUS_USAGE, NULL,
	      "log_format=xml: log_format: \"xml\" is none of text, json\n");
	check(WORDS("serve", "/nonexistent.conf"), STATUS_USAGE, NULL,
	      "/nonexistent.conf: cannot be read: No such file or directory\n");
}

static void test_check(void **state)
{
	(void)state;
	check(WORDS("check"), STATUS_USAGE, NULL, "guichet: no file to check\n");
	check(WORDS("check", "/nonexistent.conf"), STATUS_USAGE, NULL, "cannot be read");
	assert_int_equal(files_write(conf, 0600, span_str("[echo]\nlisten = tcp:7007\n"), NULL), 0);
	check(WORDS("check", conf), STATUS_OK, "echo     echo      event  tcp:7007\n", NULL);
	check(WORDS("check", conf, "time@udp:7037"), STATUS_OK, "time     time      event  udp:7037\n", NULL);
	check(WORDS("check", conf, "time@udp"), STATUS_USAGE, NULL, "time@udp: ");
	assert_int_equal(files_write(conf, 0600, span_str("[ehco]\n[echo]\nlisten = tpc:1\n"), NULL), 0);
	check(WORDS("check", conf), STATUS_USAGE, NULL, "t.conf:1: [ehco] is no protocol");
	check_output(outputs[1], "t.conf:3: listen: unknown transport");
}

static void test_help(void **state)
{
	(void)state;
	check(WORDS("help"), STATUS_OK, "Services (guichet help SERVICE", NULL);
	check(WORDS("help", "echo"), STATUS_OK, "echo - ", NULL);
	check(WORDS("help", "echo", "upper"), STATUS_OK, "upper = yes|no\n", NULL);
	check(WORDS("help", "echo", "uper"), STATUS_USAGE, NULL, "did you mean \"upper\"?");
	check(WORDS("help", "serve"), STATUS_OK, "Usage: guichet serve ", NULL);
	check(WORDS("help", "addresses"), STATUS_OK, "tcp:[HOST:]PORT", NULL);
	check(WORDS("help", "idle"), STATUS_OK, "[every service] idle = TIME\n", NULL);
	check(WORDS("help", "models", "thread"), STATUS_OK, "thread", NULL);
	check(WORDS("help", "models", "thred"), STATUS_USAGE, NULL,
	      "guichet: no help on \"thred\" of models, did you mean \"thread\"?\n");
	check(WORDS("help", "addresses", "udp"), STATUS_OK, "udp:[HOST:]PORT", NULL);
	check(WORDS("help", "addresses", "upd"), STATUS_USAGE, NULL,
	      "no help on \"upd\" of addresses, did you mean \"udp\"?\n");
	check(WORDS("help", "tls", "sin"), STATUS_USAGE, NULL, "no help on \"sin\" of tls, did you mean \"sni\"?\n");
	check(WORDS("help", "options", "idle"), STATUS_OK, "idle = TIME\n", NULL);
	check(WORDS("help", "limits", "handshake-timeout"), STATUS_OK, "counter: ended_first, ...\n", NULL);
	check(WORDS("help", "limits", "reserve"), STATUS_OK, "option: reserve_service*\n", NULL);
	check(WORDS("help", "limits", "shake"), STATUS_USAGE, NULL, "no help on \"shake\" of limits\n");
	check(WORDS("help", "serve", "test"), STATUS_OK, "-t, --test\n  for tests: ", NULL);
	check(WORDS("help", "serve", "tets"), STATUS_USAGE, NULL,
	      "no help on \"tets\" of serve, did you mean \"test\"?\n");
	check(WORDS("help", "ehco", "upper"), STATUS_USAGE, NULL, "no help on \"ehco\", did you mean \"echo\"?\n");
	check(WORDS("help", "guichet", "loops"), STATUS_OK, "loops = NUMBER\n", NULL);
	check(WORDS("help", "ehco"), STATUS_USAGE, NULL, "guichet: no help on \"ehco\", did you mean \"echo\"?\n");
	check(WORDS("help", "a", "b", "c", "d"), STATUS_USAGE, NULL, "more than three words: a service");
	check(WORDS("help", "nomqtt", "b", "c"), STATUS_USAGE, NULL, "no help on \"nomqtt\"");
	check(WORDS("help", "store", "b", "c"), STATUS_USAGE, NULL, "\"c\" is one word too many");
	check(WORDS("help", "mqtt.bridge"), STATUS_OK, "[SERVICE.bridge.NAME] - connects", NULL);
	check(WORDS("help", "[mqtt.bridge.office]"), STATUS_OK, "[SERVICE.bridge.NAME] - connects", NULL);
	check(WORDS("help", "[echo]"), STATUS_OK, "echo - ", NULL);
	check(WORDS("help", "mqtt.birdge"), STATUS_USAGE, NULL, "did you mean \"bridge\"?");
	check(WORDS("help", "echo.conf"), STATUS_USAGE, NULL, "unknown option \"conf\"");
	check(WORDS("help", "mqtt", "bridge", "topics"), STATUS_OK, "PATTERN in|out|both", NULL);
	check(WORDS("help", "mqtt", "bridge", "topisc"), STATUS_USAGE, NULL,
	      "unknown option \"topisc\" of mqtt bridge, did you mean \"topics\"?");
	check(WORDS("help", "mqtt", "acl", "topics"), STATUS_USAGE, NULL, "mqtt has no sections \"acl\"");
	check(WORDS("help", "--man"), STATUS_OK, ".TH GUICHET 1", NULL);
}

static void test_connect(void **state)
{
	(void)state;
	check(WORDS("connect"), STATUS_USAGE, NULL, "guichet: no address to connect to\n");
	check(WORDS("connect", "localhost", "7007"), STATUS_USAGE, NULL, "write tcp:HOST:PORT as one word");
	check(WORDS("connect", "tpc:7007"), STATUS_USAGE, NULL, "did you mean \"tcp\"?");
	check(WORDS("connect", "tcp:*:7007"), STATUS_USAGE, NULL, "is every address; name one");
	check(WORDS("connect", "tcp:0"), STATUS_USAGE, NULL, "has port 0");
	check(WORDS("connect", "stdio:"), STATUS_USAGE, NULL, "not a place to connect to");
	check(WORDS("connect", "-w", "soon", "udp:7"), STATUS_USAGE, NULL, "--wait soon is no time");
	check(WORDS("connect", "--ca", "/nonexistent", "tls:7"), STATUS_USAGE, NULL, "--ca: cannot read /nonexistent");
	check(WORDS("connect", "--cert", "/nonexistent", "tls:7"), STATUS_USAGE, NULL,
	      "--cert: cannot read /nonexistent");
	check(WORDS("connect", "--cert", conf, "--key", "/nonexistent", "tls:7"), STATUS_USAGE, NULL,
	      "--key: cannot read /non");
	check(WORDS("connect", "--key", conf, "tls:7"), STATUS_USAGE, NULL, "--key without --cert");
	assert_int_equal(files_write(conf, 0600, span_str("no PEM\n"), NULL), 0);
	check(WORDS("connect", "--cert", conf, "tls:7"), STATUS_FAILED, NULL, "t.conf: no PEM certificate found\n");
	check(WORDS("connect", "ws://localhost:7007/"), STATUS_USAGE, NULL,
	      "guichet: ws://localhost:7007/: the form is ws:[HOST:]PORT[/TARGET], without \"//\"\n");
	check(WORDS("connect", "fifo:/nonexistent/x"), STATUS_FAILED, NULL, "No such file or directory");
	check(WORDS("connect", "mq:/guichet-nonexistent"), STATUS_FAILED, NULL, "No such file or directory");
	check(WORDS("connect", "unixgram:/nonexistent/x"), STATUS_FAILED, NULL, "No such file or directory");
	check(WORDS("connect", "unixseq:/nonexistent/x"), STATUS_FAILED, NULL, "No such file or directory");
	check(WORDS("connect", "unix:/nonexistent/x"), STATUS_FAILED, NULL,
	      "guichet: cannot connect to unix:/nonexistent/x: No such file or directory\n");
}

static void test_stats(void **state)
{
	(void)state;
	check(WORDS("stats", "--control", "/nonexistent/c"), STATUS_FAILED, NULL,
	      "guichet: there is no /nonexistent/c; ");
	check(WORDS("stats", "--control", folder), STATUS_FAILED, NULL, "/control.sock; ");
	check(WORDS("stats", "c"), STATUS_USAGE, NULL, "--control c?");
	check(WORDS("reload", "--control", "/nonexistent/c"), STATUS_FAILED, NULL, "there is no /nonexistent/c");
	check(WORDS("reload", "c"), STATUS_USAGE, NULL, "--control c?");
	check(WORDS("stats", "--watch", "0"), STATUS_USAGE, NULL,
	      "--watch 0 is no number of seconds, nor a time as 500ms");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_program), cmocka_unit_test(test_options_of_mosquitto),
		cmocka_unit_test(test_serve),   cmocka_unit_test(test_check),
		cmocka_unit_test(test_help),    cmocka_unit_test(test_connect),
		cmocka_unit_test(test_stats),
	};

	return cmocka_run_group_tests(tests, make_dir, folder_take_down);
}
