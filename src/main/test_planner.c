/* test_planner.c - from files and words to plans: what they hold, and every mistake with its line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fault.h"
#include "drive/files.h"
#include "layer/tls.h"
#include "main/control.h"
#include "main/planner.h"
#include "proto/protos.h"
#include "support/folder.h"

static void write_conf(const char *text)
{
	folder_put("t.conf", text);
}

/* What was made of one setup, with its problems as text in which DIR/ is left out. */
struct made {
	struct plan *plan;
	char text[4096];
	size_t problems;
};

static struct made make(const struct planner_setup *setup)
{
	struct conf_problems ps = {};
	struct made m = {};
	BUF_AUTO struct buf b;
	struct buf out;

	buf_init(&b, 65536);
	buf_init_fixed(&out, m.text, sizeof(m.text));
	assert_int_equal(planner_make(setup, &m.plan, &ps), 0);
	server_check(m.plan, &ps);
	conf_problems_sort(&ps);
	conf_problems_format(&ps, &b);
	m.problems = ps.n;
	for (const char *s = buf_str(&b); *s;) {
		size_t n = strlen(folder);

		if (strncmp(s, folder, n) == 0 && s[n] == '/') {
			s += n + 1;
		} else {
			buf_addc(&out, *s++);
		}
	}
	conf_problems_done(&ps);
	return m;
}

static struct made make_conf(const char *text)
{
	write_conf(text);
	return make(&(struct planner_setup){ .file = folder_conf, .dry = true });
}

/* The file has exactly these problems. */
static void check_problems(const char *text, const char *expect)
{
	struct made m = make_conf(text);

	assert_string_equal(m.text, expect);
	plan_free(&m.plan);
}

#define WORDS(...) ((const char *const[]){ __VA_ARGS__ })

static struct made make_words(const char *const *words, size_t n)
{
	return make(&(struct planner_setup){ .words = words, .n_words = n, .dry = true });
}

static void check_words(const char *const *words, size_t n, const char *expect)
{
	struct made m = make_words(words, n);

	assert_string_equal(m.text, expect);
	plan_free(&m.plan);
}

static const struct plan_service *find(const struct plan *p, const char *name)
{
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->services[i].name, name) == 0)
			return &p->services[i];
	fail_msg("no service %s", name);
	return NULL;
}

static const char *listens(const struct plan_service *s)
{
	static char text[1024];
	struct buf b;

	buf_init_fixed(&b, text, sizeof(text));
	addr_list_format(&s->common->listen, &b);
	return text;
}

static const char *dials(const struct plan_service *s)
{
	static char text[1024];
	struct buf b;

	buf_init_fixed(&b, text, sizeof(text));
	option_format(option_find(s->proto->options, "to"), s->options, &b);
	return text;
}

/* ---- files ---- */

static void test_file(void **state)
{
	struct made m = make_conf(
		"[guichet]\nloops = 3\n"
		"[echo]\nlisten = tcp:7007 udp:7007\n"
		"[shout]\nprotocol = echo\nlisten = tcp:8765 unix:shout.sock\nupper = yes\nmodel = thread\n");
	const struct plan_service *s;
	char expect[512];

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(m.plan->n, 2);
	assert_int_equal(m.plan->global->loops, 3);
	s = find(m.plan, "shout");
	assert_ptr_equal(s->proto, protos_find("echo"));
	assert_string_equal(s->file, folder_conf);
	assert_int_equal(s->line, 5);
	assert_int_equal(s->common->model, MODEL_THREAD);
	assert_null(s->tls);
	snprintf(expect, sizeof(expect), "tcp:8765 unix:%s/shout.sock", folder);
	assert_string_equal(listens(s), expect);
	snprintf(expect, sizeof(expect), "%s/", folder);
	assert_int_equal(strncmp(m.plan->global->data, expect, strlen(expect)), 0);
	plan_free(&m.plan);
}

static void test_unknown_names(void **state)
{
	(void)state;
	check_problems(
		"[ehco]\nlisten = tcp:7007\n",
		"t.conf:1: [ehco] is no protocol, did you mean \"echo\"? Or say which one it is: protocol = NAME\n");
	check_problems("[xyzzy]\nlisten = tcp:7007\n",
		       "t.conf:1: [xyzzy] is no protocol, say which one it is: protocol = NAME\n");
	check_problems("[shout]\nlisten = tcp:7007\nprotocol = ecko\n",
		       "t.conf:3: protocol: \"ecko\" is no protocol, did you mean \"echo\"?\n");
	check_problems(
		"[guichte]\nloops = 2\n",
		"t.conf:1: [guichte] is no protocol, did you mean \"guichet\"? Or say which one it is: protocol = NAME\n");
	check_problems("[echo]\nlisten = tcp:7007\nuper = yes\n",
		       "t.conf:3: unknown option \"uper\" in [echo], did you mean \"upper\"?\n");
	check_problems("[guichet]\nloop = 2\n[echo]\nlisten = tcp:7007\n",
		       "t.conf:2: unknown option \"loop\" in [guichet], did you mean \"loops\"?\n");
}

static void test_bad_values(void **state)
{
	(void)state;
	check_problems("[echo]\nlisten = tpc:7007\n",
		       "t.conf:2: listen: unknown transport \"tpc\", did you mean \"tcp\"?\n");
	check_problems("[echo]\nlisten = tcp:99999 upd:7 tcp:7\n",
		       "t.conf:2: listen: port \"99999\" is too large, 0 to 65535\n"
		       "t.conf:2: listen: unknown transport \"upd\", did you mean \"udp\"?\n");
	check_problems("[echo]\nlisten = tls:7\nuper = 1\nsni = other.test\n",
		       "t.conf:3: unknown option \"uper\" in [echo], did you mean \"upper\"?\n"
		       "t.conf:4: sni: \"other.test\" is not of the form NAME=CERTIFICATE:KEY\n");
	check_problems("[echo]\nlisten = tcp:70070\n", "t.conf:2: listen: port \"70070\" is too large, 0 to 65535\n");
	check_problems("[echo]\nlisten = tcp:7007\nupper = maybe\n", "t.conf:3: upper: \"maybe\" is not yes or no\n");
	check_problems("[echo]\nlisten = tcp:7007\n[daytime]\nlisten = tcp:7013\n[echo]\nupper = yes\n",
		       "t.conf:5: section [echo] comes twice, first at line 1\n");
	check_problems("[echo]\nlisten = tcp:7007\nlisten = tcp:7008\n",
		       "t.conf:3: listen: comes twice in [echo], first at line 2\n");
	check_problems("[relay]\nlisten = tcp:7000\n", "t.conf:1: to: must be set, as in: to = tcp:localhost:8080\n");
}

static void test_words_of_others(void **state)
{
	(void)state;
	check_problems(
		"[mqtt]\nlisten = tcp:1\nport = 1883\nallow_anonymous = true\npersistence = true\n",
		"t.conf:3: unknown option \"port\" in [mqtt]; here it is a part of listen, as in: listen = tcp:1883\n"
		"t.conf:4: unknown option \"allow_anonymous\" in [mqtt]; here it is a rule, as in: [rules] and deny = anonymous * topics:#\n"
		"t.conf:5: unknown option \"persistence\" in [mqtt]; here it is always so; where is data = FOLDER in [guichet]\n");
	check_problems(
		"[echo]\nlisten = tcp:1, tcp:2\n",
		"t.conf:2: listen: \"1,\" is not a port: a number, 0 to 65535, or a name of /etc/services; blanks stand "
		"between addresses, not commas\n");
}

static void test_no_address(void **state)
{
	(void)state;
	check_problems("[daytime]\n",
		       "t.conf:1: [daytime] listens nowhere, add for example: listen = tcp:7013 udp:7013\n");
	check_problems("[echo]\nupper = yes\nlisten =\n",
		       "t.conf:3: listen: no address, write for example: listen = tcp:7007 udp:7007\n");
	check_problems("[chargen]\n", "t.conf:1: [chargen] listens nowhere, add for example: listen = tcp:7019\n");
	check_problems("", "t.conf: nothing in it to serve; a service is a section, as in [echo]\n");
	check_problems("[guichet]\nloops = 1\n", "t.conf: no service is enabled\n");
	check_problems("[echo]\nlisten = tcp:7\nenabled = no\n", "t.conf: no service is enabled\n");
}

/* A service that says no to a model or a transport; the server's to find, and found with all the others. */
static void test_refused(void **state)
{
	struct made m = make_conf("[chat]\nlisten = tcp:7000\nmodel = thread\n");

	(void)state;
	assert_int_equal(m.problems, 1);
	assert_non_null(strstr(m.text, "t.conf:3: "));
	assert_non_null(strstr(m.text, "needs model event, because"));
	plan_free(&m.plan);
	m = make_conf("[chat]\n\nlisten = udp:7000\n");
	assert_int_equal(m.problems, 1);
	assert_non_null(strstr(m.text, "t.conf:3: "));
	assert_non_null(strstr(m.text, "it cannot be reached over udp"));
	plan_free(&m.plan);
}

static void test_all_at_once(void **state)
{
	struct made m = make_conf("[guichet]\n"
				  "loop = 3\n" /* 2 */
				  "[ehco]\n"   /* 3 */
				  "listen = tcp:7007\n"
				  "[echo]\n"            /* 5 */
				  "listen = tpc:7007\n" /* 6 */
				  "upper = maybe\n"     /* 7 */
				  "model = fork\n"
				  "[chat]\n" /* 9: model, transport */
				  "model = thread\n"
				  "listen = udp:7000\n"
				  "[echo]\n" /* 12 */
				  "banner = x\n"
				  "[daytime]\n" /* 14 */
				  "[time]\n"
				  "listen = tls:7443\n"
				  "certificate = no.pem\n" /* 17 */
				  "key = no.key\n");       /* 18 */
	static const unsigned lines[] = { 2, 3, 6, 7, 12, 14, 17, 18 };

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char start[32];

		snprintf(start, sizeof(start), "t.conf:%u: ", lines[i]);
		if (!strstr(m.text, start))
			fail_msg("no problem at line %u:\n%s", lines[i], m.text);
	}
	assert_int_equal(m.problems, 10);
	assert_non_null(strstr(m.text, "cannot read no.pem: No such file"));
	plan_free(&m.plan);
}

static void test_unreadable(void **state)
{
	struct made m = make(&(struct planner_setup){ .file = "/nonexistent/x.conf", .dry = true });

	(void)state;
	assert_string_equal(m.text, "/nonexistent/x.conf: cannot be read: No such file or directory\n");
	plan_free(&m.plan);
	m = make(&(struct planner_setup){ .file = "echo", .dry = true });
	assert_string_equal(
		m.text,
		"echo: cannot be read: No such file or directory; to serve the protocol say where: echo@tcp:7007\n");
	plan_free(&m.plan);
}

static void test_disabled(void **state)
{
	struct made m =
		make_conf("[echo]\nlisten = tcp:7007\n[daytime]\nenabled = no\n[time]\nenabled = no\nlisten = tpc:1\n");

	(void)state;
	assert_string_equal(m.text, "t.conf:7: listen: unknown transport \"tpc\", did you mean \"tcp\"?\n");
	assert_int_equal(m.plan->n, 1);
	plan_free(&m.plan);
}

/* ---- words ---- */

static void test_words(void **state)
{
	struct made m = make_words(WORDS("echo@tcp:7007", "echo@udp:7007,upper=yes", "x@tcp:1,protocol=daytime"), 3);

	(void)state;
	assert_string_equal(m.text, "");
	assert_int_equal(m.plan->n, 2);
	assert_string_equal(listens(find(m.plan, "echo")), "tcp:7007 udp:7007");
	assert_null(find(m.plan, "echo")->file);
	assert_ptr_equal(find(m.plan, "x")->proto, protos_find("daytime"));
	plan_free(&m.plan);
}

static void test_bad_words(void **state)
{
	(void)state;
	check_words(WORDS("ehco@tcp:7007"), 1, "ehco@tcp:7007: \"ehco\" is no protocol, did you mean \"echo\"?\n");
	check_words(WORDS("echo@tcp:7007,uper=yes"), 1,
		    "echo@tcp:7007,uper=yes: unknown option \"uper\" of echo, did you mean \"upper\"?\n");
	check_words(WORDS("echo@tcp:7007,upper=maybe"), 1,
		    "echo@tcp:7007,upper=maybe: upper: \"maybe\" is not yes or no\n");
	check_words(WORDS("echo@tls:7,sni=other.test"), 1,
		    "echo@tls:7,sni=other.test: sni: \"other.test\" is not of the form NAME=CERTIFICATE:KEY\n");
	check_words(WORDS("echo@tpc:7007"), 1, "echo@tpc:7007: unknown transport \"tpc\", did you mean \"tcp\"?\n");
	check_words(WORDS("echo@tcp:1,listen=tcp:2"), 1,
		    "echo@tcp:1,listen=tcp:2: listen: addresses come behind the @; repeat the word for another one\n");
	check_words(WORDS("relay@tcp:7000"), 1, "relay@tcp:7000: to: must be set, as in: to = tcp:localhost:8080\n");
	check_words(WORDS("echo@tcp:7,uper=1", "ehco@tcp:8"), 2,
		    "echo@tcp:7,uper=1: unknown option \"uper\" of echo, did you mean \"upper\"?\n"
		    "ehco@tcp:8: \"ehco\" is no protocol, did you mean \"echo\"?\n");
	check_words(WORDS("echo@"), 1, "echo@: no address behind the @, write SERVICE@ADDRESS as in echo@tcp:7007\n");
}

/* Rules across options hold for all words of a service together. */
static void test_words_together(void **state)
{
	(void)state;
	check_words(WORDS("relay@tcp:7000", "relay@tcp:7001,to=tcp:example.org:80"), 2, "");
}

static void test_words_and_file(void **state)
{
	struct made m;

	(void)state;
	write_conf("[echo]\nlisten = unix:a.sock\nupper = yes\n");
	m = make(&(struct planner_setup){ .file = folder_conf,
					  .words = WORDS("echo@unix:b.sock,model=thread", "time@tcp:7037"),
					  .n_words = 2,
					  .dry = true });
	assert_string_equal(m.text, "");
	assert_int_equal(m.plan->n, 2);
	/* a path of the file starts at the file, one of the command line where we are */
	assert_non_null(strstr(listens(find(m.plan, "echo")), "/a.sock unix:b.sock"));
	assert_int_equal(find(m.plan, "echo")->common->model, MODEL_THREAD);
	plan_free(&m.plan);
}

static void test_sets(void **state)
{
	struct made m;

	(void)state;
	write_conf("[guichet]\nloops = 1\n[echo]\nlisten = tcp:7007\n");
	m = make(&(struct planner_setup){
		.file = folder_conf, .sets = WORDS("loops=5", "data=here"), .n_sets = 2, .dry = true });
	assert_string_equal(m.text, "");
	assert_int_equal(m.plan->global->loops, 5);
	assert_string_equal(m.plan->global->data, "here");
	assert_string_equal(m.plan->global->control, "here/control.sock");
	plan_free(&m.plan);
	m = make(&(struct planner_setup){
		.file = folder_conf, .sets = WORDS("loop=5", "loops", "loops=x"), .n_sets = 3, .dry = true });
	assert_int_equal(m.problems, 3);
	assert_non_null(strstr(m.text, "loop=5: unknown option \"loop\", did you mean \"loops\"?\n"));
	assert_non_null(strstr(m.text, "loops: write NAME=VALUE"));
	assert_non_null(strstr(m.text, "loops=x: loops: \"x\" is not a number\n"));
	plan_free(&m.plan);
}

/* ---- nothing said ---- */

static void test_defaults(void **state)
{
	struct made m = make(&(struct planner_setup){ .dry = true });

	(void)state;
	assert_string_equal(m.text, "");
	assert_string_equal(listens(find(m.plan, "echo")), "tcp:7007 udp:7007");
	assert_string_equal(listens(find(m.plan, "chargen")), "tcp:7019");
	for (size_t i = 0; i < m.plan->n; i++) {
		const struct plan_service *s = &m.plan->services[i];

		assert_int_equal(s->proto->flags & P_OFF, 0);
		for (size_t j = 0; j < s->common->listen.n; j++) {
			assert_string_equal(s->common->listen.v[j].host, ""); /* which is loopback */
			assert_true(s->common->listen.v[j].port > 1023);
			for (size_t k = 0; k < i; k++)
				assert_false(
					addr_equal(&s->common->listen.v[j], &m.plan->services[k].common->listen.v[0]));
		}
	}
	plan_free(&m.plan);
}

/* ---- test mode ---- */

static void test_test_mode(void **state)
{
	struct made m;
	char expect[1024];

	(void)state;
	write_conf(
		"[guichet]\nlog = /nowhere/x.log\ncontrol = /nowhere/c\ndata = /nowhere\n"
		"[echo]\nlisten = tcp:*:7007 udp:example.org:echo tcp:[2001:db8::1]:9 tcp:192.0.2.1:9 unix:/run/e.sock\n"
		"[two]\nprotocol = echo\nlisten = unix:./e.sock\n"
		"[relay]\nlisten = tcp:1\nto = unix:./e.sock\n[other]\nprotocol = relay\nlisten = tcp:2\nto = unix:/run/x.sock\n");
	m = make(&(struct planner_setup){ .file = folder_conf, .test_data = folder, .dry = true });
	assert_string_equal(m.text, "");
	assert_string_equal(m.plan->global->data, folder);
	assert_string_equal(m.plan->global->log, "stderr");
	snprintf(expect, sizeof(expect), "%s/control.sock", folder);
	assert_string_equal(m.plan->global->control, expect);
	snprintf(expect, sizeof(expect), "tcp:0 udp:0 tcp:[::1]:0 tcp:127.0.0.1:0 unix:%s/0-4-e.sock", folder);
	assert_string_equal(listens(find(m.plan, "echo")), expect);
	snprintf(expect, sizeof(expect), "unix:%s/e.sock", folder);
	assert_string_equal(listens(find(m.plan, "two")), expect);
	assert_string_equal(dials(find(m.plan, "relay")), expect); /* one of ours is where it has moved to */
	assert_string_equal(dials(find(m.plan, "other")), "unix:/run/x.sock");
	plan_free(&m.plan);
	m = make(&(struct planner_setup){ .test_data = folder, .dry = true });
	assert_string_equal(m.text, "");
	assert_string_equal(listens(find(m.plan, "echo")), "tcp:0 udp:0");
	plan_free(&m.plan);

	/* what the command line says by name is done, test or not */
	m = make(&(struct planner_setup){ .file = folder_conf,
					  .test_data = folder,
					  .sets = WORDS("data=./keep", "log=./t.log"),
					  .n_sets = 2,
					  .dry = true });
	assert_string_equal(m.plan->global->data, "./keep");
	assert_string_equal(m.plan->global->log, "./t.log");
	snprintf(expect, sizeof(expect), "%s/control.sock", folder);
	assert_string_equal(m.plan->global->control, expect);
	plan_free(&m.plan);
}

/* ---- the control socket ---- */

static void test_control(void **state)
{
	char long_set[256] = "control=";
	struct control control = {};
	struct made m;

	(void)state;
	write_conf("[echo]\nlisten = tcp:7007\n");
	m = make(&(struct planner_setup){
		.file = folder_conf, .control = &control_proto, .control_state = &control, .dry = true });
	assert_string_equal(m.text, "");
	assert_int_equal(m.plan->n, 2);
	assert_true(m.plan->services[1].internal);
	assert_ptr_equal(m.plan->services[1].state, &control);
	assert_int_equal(m.plan->services[1].common->mode, 0600);
	plan_free(&m.plan);
	memset(long_set + strlen(long_set), 'x', 200);
	m = make(&(struct planner_setup){
		.file = folder_conf, .control = &control_proto, .dry = true, .sets = WORDS(long_set), .n_sets = 1 });
	assert_non_null(strstr(m.text, "too long for a unix socket, at most 107 bytes\n"));
	plan_free(&m.plan);
}

/* ---- certificates ---- */

static void test_auto_certificate(void **state)
{
	char data[300], crt[320], key[320];
	struct planner_setup setup = { .file = folder_conf };
	BUF_AUTO struct buf first, second;
	struct made m;
	struct stat st;

	(void)state;
	buf_init(&first, 65536);
	buf_init(&second, 65536);
	write_conf("[guichet]\ndata = d\n[echo]\nlisten = tls:7008\n");
	snprintf(data, sizeof(data), "%s/d", folder);
	snprintf(crt, sizeof(crt), "%s/auto.crt", data);
	snprintf(key, sizeof(key), "%s/auto.key", data);

	setup.dry = true;
	m = make(&setup);
	assert_string_equal(m.text, "");
	assert_int_equal(access(data, F_OK), -1); /* looking makes nothing */
	plan_free(&m.plan);

	setup.dry = false;
	m = make(&setup);
	assert_string_equal(m.text, "");
	assert_non_null(find(m.plan, "echo")->tls_ctx);
	assert_string_equal(m.plan->made, crt);
	plan_free(&m.plan);
	assert_int_equal(stat(data, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(files_read(crt, &first, NULL), 0);

	m = make(&setup); /* kept */
	assert_null(m.plan->made);
	plan_free(&m.plan);
	assert_int_equal(files_read(crt, &second, NULL), 0);
	assert_string_equal(buf_str(&first), buf_str(&second));

	assert_int_equal(unlink(key), 0); /* half of it is gone: told, not replaced */
	m = make(&setup);
	assert_int_equal(m.problems, 1);
	assert_non_null(strstr(m.text, "certificate: cannot read "));
	plan_free(&m.plan);
}

/* Odd, but no reason not to serve: in the order of the lines, with the problems or alone. */
static void test_warnings(void **state)
{
	char key[300], data[300];
	struct planner_setup setup = { .file = folder_conf };
	struct made m;

	(void)state;
	snprintf(data, sizeof(data), "%s/w", folder);
	snprintf(key, sizeof(key), "%s/auto.key", data);
	write_conf("[guichet]\ndata = w\n[echo]\nlisten = tls:7008\n");
	m = make(&setup);
	plan_free(&m.plan);
	assert_int_equal(chmod(key, 0644), 0);
	check_problems(
		"[echo]\nlisten = tls:7008\ncertificate = w/auto.crt\nkey = w/auto.key\nsni = x.test=w/auto.crt:w/auto.key\n"
		"[time]\nlisten = tcp:7037\nclient_ca = x\nclient_certificate = required\n",
		"t.conf:4: warning: key: the key in w/auto.key can be read by every user of this machine; chmod o-r it\n"
		"t.conf:5: warning: sni: the key in w/auto.key can be read by every user of this machine; chmod o-r it\n"
		"t.conf:5: warning: sni: certificate of x.test: w/auto.crt: it is for another name\n"
		"t.conf:8: warning: client_ca: has no use here: no address of the service begins with tls: or wss:\n"
		"t.conf:9: warning: client_certificate: has no use here: no address of the service begins with tls: or wss:\n");
	/* no key in it, so nothing that must be hidden */
	check_problems("[echo]\nlisten = tls:7008\ncertificate = w/auto.crt\n",
		       "t.conf:3: certificate: key: w/auto.crt: no PEM private key found\n");
	/* that address may have been meant to be the one that speaks it */
	check_problems("[echo]\nlisten = tls:99999\ncertificate = x\n",
		       "t.conf:2: listen: port \"99999\" is too large, 0 to 65535\n");
	check_words(
		WORDS("echo@tcp:1,certificate=x.pem"), 1,
		"echo@tcp:1,certificate=x.pem: warning: certificate: has no use here: no address of the service begins with tls: or wss:\n");
	assert_int_equal(chmod(key, 0600), 0);
	check_problems("[echo]\nlisten = tls:7008\ncertificate = w/auto.crt\nkey = w/auto.key\n", "");
}

/* Both files are named: which of the two is the old one is for the reader to see. */
static void test_wrong_pair(void **state)
{
	char names[4][300];
	BUF_AUTO struct buf crt = BUF_INIT(1 << 16), key = BUF_INIT(1 << 16);

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		snprintf(names[2 * i], sizeof(names[0]), "%s/%zu.crt", folder, i);
		snprintf(names[2 * i + 1], sizeof(names[0]), "%s/%zu.key", folder, i);
		buf_reset(&crt);
		buf_reset(&key);
		assert_int_equal(tls_auto_certificate(NULL, &crt, &key, time(NULL)), 0);
		assert_int_equal(files_write(names[2 * i], 0600, buf_span(&crt), NULL), 0);
		assert_int_equal(files_write(names[2 * i + 1], 0600, buf_span(&key), NULL), 0);
	}
	check_problems("[echo]\nlisten = tls:7008\ncertificate = 0.crt\nkey = 1.key\n",
		       "t.conf:4: key: 1.key: does not match the certificate 0.crt\n");
	check_problems("[echo]\nlisten = tls:7008\ncertificate = 0.crt\nkey = 0.key\nsni = localhost=1.crt:0.key\n",
		       "t.conf:5: sni: key of localhost: 0.key: does not match the certificate 1.crt\n");
}

static void test_bad_certificate(void **state)
{
	char pem[300];
	struct made m;

	(void)state;
	snprintf(pem, sizeof(pem), "%s/bad.pem", folder);
	assert_int_equal(files_write(pem, 0600, span_str("this is no certificate\n"), NULL), 0);
	m = make_conf("[echo]\nlisten = tls:7008\ncertificate = bad.pem\n");
	assert_int_equal(m.problems, 1);
	assert_non_null(strstr(m.text, "t.conf:3: certificate: "));
	plan_free(&m.plan);
	m = make_conf(
		"[echo]\nlisten = tls:7008\nsni = a.org=one.pem:two.key\nclient_ca = three.pem\nclient_certificate = required\n");
	assert_int_equal(m.problems, 3); /* both files of sni, and the authority */
	assert_non_null(strstr(m.text, "t.conf:3: sni: cannot read one.pem"));
	assert_non_null(strstr(m.text, "t.conf:4: client_ca: cannot read three.pem"));
	plan_free(&m.plan);
	check_problems("[echo]\nlisten = tls:7008\nclient_certificate = required\n",
		       "t.conf:3: client_certificate: needs client_ca, the authorities to check it against\n");
}

/* ---- memory and system calls that fail ---- */

static void test_faults(void **state)
{
	struct control control = {};

	(void)state;
	write_conf(
		"[guichet]\nloops = 3\n[echo]\nlisten = tcp:7007 unix:x.sock\nbanner = hello\n[x]\nprotocol = relay\n"
		"listen = tcp:1\nto = tcp:2\n[y]\nprotocol = time\nlisten = tcp:3\nenabled = no\n");
	for (unsigned long n = 1;; n++) {
		struct planner_setup setup = { .file = folder_conf,
					       .words = WORDS("echo@udp:1,upper=yes"),
					       .n_words = 1,
					       .dry = true,
					       .sets = WORDS("loops=2"),
					       .n_sets = 1,
					       .control = &control_proto,
					       .control_state = &control };
		struct conf_problems ps = {};
		struct plan *plan = NULL;
		int err;
		bool hit;

		fault_arm(FAULT_MEM, n, 0, false);
		err = planner_make(&setup, &plan, &ps);
		hit = fault_calls(FAULT_MEM) >= n;
		fault_arm(FAULT_MEM, 0, 0, false);
		/* never a plan that lacks something and says nothing about it */
		if (!hit)
			assert_true(err == 0 && conf_problems_none(&ps) && plan->n == 3);
		else
			assert_true(err == -ENOMEM || !conf_problems_none(&ps));
		conf_problems_done(&ps);
		plan_free(&plan);
		if (!hit)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_unknown_names),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_words_of_others),
		cmocka_unit_test(test_no_address),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_unreadable),
		cmocka_unit_test(test_disabled),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_bad_words),
		cmocka_unit_test(test_words_together),
		cmocka_unit_test(test_words_and_file),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_test_mode),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_auto_certificate),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_wrong_pair),
		cmocka_unit_test(test_bad_certificate),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, folder_set_up, folder_take_down);
}
