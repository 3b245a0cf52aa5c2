/* cmd_user.c - `guichet user`: who may log in. One file, changed as a whole; the password is never a word of the command line. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "main/command.h"
#include "main/people_file.h"
#include "main/secret.h"
#include "main/text.h"
#include "store/people_scram.h"

enum { OUTPUT_MAX = 64 << 20, SAID = 1 << 14, SECRET = PEOPLE_PASSWORD_MAX + 8 };

enum {
	OPT_CERTIFICATE,
	OPT_DISABLE,
	OPT_ENABLE,
	OPT_GENERATE,
	OPT_GROUPS,
	OPT_JSON,
	OPT_NO_PASSWORD,
	OPT_NO_SCRAM,
	OPT_PEOPLE,
	OPT_STDIN,
};

static const struct args_option options[] = {
	[OPT_CERTIFICATE] = { "certificate", 0, "SUBJECT",
			      "who shows a client certificate with this subject is this user, as in CN=alice,O=Home; may come several "
			      "times; empty takes them all away" },
	[OPT_DISABLE] = { "disable", 0, NULL, "does not let the user in any more" },
	[OPT_ENABLE] = { "enable", 0, NULL, "lets the user in again" },
	[OPT_GENERATE] = { "generate", 0, NULL,
			   "makes a password of 26 letters and digits, and prints it and nothing else to standard output: for devices. Nobody can guess it, so looking at it "
			   "need not be slow, and thousands of them can come back at once" },
	[OPT_GROUPS] = { "groups", 'g', "A,B", "the groups of the user, all of them; empty: none" },
	[OPT_JSON] = { "json", 0, NULL, "lists as JSON" },
	[OPT_NO_PASSWORD] = { "no-password", 0, NULL, "no password is right: for users with a certificate" },
	[OPT_NO_SCRAM] = { "no-scram", 0, NULL,
			   "keeps the hash only, and nothing for SCRAM-SHA-256, which is cheaper to try passwords against for who has "
			   "stolen the file" },
	[OPT_PEOPLE] = { "people", 0, "PATH",
			 "the file of people, or the data folder that it is in; ./guichet-data when not set" },
	[OPT_STDIN] = { "stdin", 0, NULL, "reads the password from the first line of standard input" },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet user add alice --groups staff,iot", "asks for her password, twice" },
	{ "guichet user passwd alice --stdin < secret.txt", "in a script" },
	{ "guichet user add sensor8 --generate", "a device: prints the password that it is to have" },
	{ "guichet user set alice --disable", "she does not get in any more, after the next reload" },
	{ "guichet user add sensor7 --no-password --certificate CN=sensor7,O=Home", "by a client certificate only" },
	{ "guichet user list --people /var/lib/guichet", "of a system service" },
	COMMAND_EXAMPLES_END,
};

struct asked {
	const char *what, *name, *people, *groups;
	const char *certificates[PEOPLE_CERTIFICATES];
	size_t n_certificates;
	bool given[OPT_STDIN + 1];
};

/* ---- the command line ---- */

static int take(void *arg, int what, const char *value)
{
	struct asked *a = arg;

	if (what == ARGS_WORD) {
		if (a->what && a->name)
			return command_misused(&user_command, "\"%s\" is one word too many", value);
		*(a->what ? &a->name : &a->what) = value;
		return STATUS_OK;
	}
	a->given[what] = true;
	if (what == OPT_PEOPLE)
		a->people = value;
	if (what == OPT_GROUPS)
		a->groups = value;
	if (what == OPT_CERTIFICATE && a->n_certificates == PEOPLE_CERTIFICATES)
		return command_misused(&user_command, "more than %d certificates", PEOPLE_CERTIFICATES);
	if (what == OPT_CERTIFICATE && *value && !strchr(value, '='))
		return command_misused(&user_command, "--certificate %s is no subject, as CN=alice,O=Home is one",
				       value);
	if (what == OPT_CERTIFICATE)
		a->certificates[a->n_certificates++] = value;
	return STATUS_OK;
}

/* ---- changing one ---- */

static int failure(const struct buf *why, int err)
{
	text_error("%s", why->n ? buf_str(why) : strerror(-err));
	return STATUS_FAILED;
}

/* A list with commas, as words. */
static int split_groups(const char *list, struct str_words *ret)
{
	BUF_AUTO struct buf words = BUF_INIT(SAID);

	while (*list) {
		BUF_AUTO struct buf one = BUF_INIT(SAID);
		size_t n = strcspn(list, ",");

		buf_add(&one, list, n);
		str_add_word(&words, buf_str(&one));
		buf_addc(&words, ' ');
		list += n + (list[n] == ',');
	}
	return words.err ? words.err : str_split_words(buf_str(&words), SIZE_MAX, ret);
}

static int join_certificates(const struct asked *a, struct str_words *ret)
{
	BUF_AUTO struct buf words = BUF_INIT(SAID + PEOPLE_CERTIFICATES * PEOPLE_TEXT);

	for (size_t i = 0; i < a->n_certificates; i++) {
		if (!*a->certificates[i])
			continue;
		str_add_word(&words, a->certificates[i]);
		buf_addc(&words, ' ');
	}
	return words.err ? words.err : str_split_words(buf_str(&words), SIZE_MAX, ret);
}

/* What stands in one person while it is changed: texts of our own, put over those of the old one. */
struct change {
	struct person as; /* borrows */
	struct str_words groups, certificates;
	struct buf hash, scram;
	struct buf made; /* a password that nobody knows yet */
};

static void change_begin(struct change *c, const struct asked *a, const struct person *old)
{
	*c = (struct change){};
	buf_init(&c->hash, PEOPLE_TEXT);
	buf_init(&c->scram, PEOPLE_TEXT);
	buf_init(&c->made, SECRET);
	if (old)
		c->as = *old;
	c->as.name = (char *)(uintptr_t)a->name;
}

static void change_done(struct change *c)
{
	str_words_done(&c->groups);
	str_words_done(&c->certificates);
	buf_done(&c->hash);
	buf_done(&c->scram);
	secret_done(&c->made);
}

static int change_words(struct change *c, const struct asked *a, struct buf *why)
{
	int err = 0;

	if (a->given[OPT_DISABLE] || a->given[OPT_ENABLE])
		c->as.disabled = a->given[OPT_DISABLE];
	if (a->groups) {
		err = split_groups(a->groups, &c->groups);
		c->as.groups = c->groups;
	}
	if (a->n_certificates && !err) {
		err = join_certificates(a, &c->certificates);
		c->as.certificates = c->certificates;
	}
	if (err)
		buf_adds(why, err == -EMSGSIZE ? "these are too many groups or certificates" : strerror(-err));
	return err;
}

static int change_password(struct change *c, const struct asked *a, struct buf *why)
{
	struct buf secret = BUF_INIT(SECRET);
	int err = 0;

	if (a->given[OPT_NO_PASSWORD]) {
		c->as.hash = c->as.scram = NULL;
		return 0;
	}
	if (a->given[OPT_GENERATE])
		err = people_generate(&secret, &c->hash);
	else if (a->given[OPT_STDIN])
		err = secret_read(STDIN_FILENO, &secret, why);
	else
		err = secret_ask(a->name, &secret, why);
	if (!err && a->given[OPT_GENERATE])
		buf_add(&c->made, secret.p, secret.n);
	if (!err && !a->given[OPT_GENERATE])
		err = people_hash(buf_span(&secret), &c->hash);
	if (!err && !a->given[OPT_NO_SCRAM])
		err = people_verifier_new(buf_span(&secret), &c->scram);
	secret_done(&secret);
	if (err)
		return err;
	c->as.hash = c->hash.p;
	c->as.scram = a->given[OPT_NO_SCRAM] ? NULL : c->scram.p;
	return 0;
}

static int save(const struct people_file *f, const char *what, const struct asked *a)
{
	BUF_AUTO struct buf why = BUF_INIT(SAID);
	int err = people_file_save(f, &why);

	if (err)
		return failure(&why, err);
	/* with --generate standard output is the password's */
	fprintf(a->given[OPT_GENERATE] ? stderr : stdout,
		"%s %s in %s%s; a guichet that runs learns it by `guichet reload`\n", what, a->name, f->path,
		f->missing ? ", a new file" : "");
	return fflush(stdout) == 0 ? STATUS_OK : STATUS_FAILED;
}

/* The lock is held while the password is typed: who changes the same file meanwhile waits. */
static int change(struct people_file *f, const struct asked *a, const struct person *old, bool password,
		  const char *done)
{
	BUF_AUTO struct buf why = BUF_INIT(SAID);
	struct change c;
	int err, status;

	change_begin(&c, a, old);
	err = change_words(&c, a, &why);
	if (!err && password)
		err = change_password(&c, a, &why);
	if (!err)
		err = people_put(f->people, &c.as, &why);
	status = err ? failure(&why, err) : save(f, done, a);
	if (status == STATUS_OK && c.made.n) {
		printf("%s\n", buf_str(&c.made));
		status = fflush(stdout) == 0 ? STATUS_OK : STATUS_FAILED;
	}
	change_done(&c);
	return status;
}

/* ---- verbs ---- */

static int unknown_user(const struct people_file *f, const char *name)
{
	BUF_AUTO struct buf b = BUF_INIT(SAID);
	struct str_closest c = str_closest_start(name);

	for (size_t i = 0; i < people_count(f->people); i++)
		str_closest_offer(&c, people_at(f->people, i)->name);
	buf_adds(&b, "there is no user ");
	buf_add_excerpt(&b, span_str(name));
	buf_addf(&b, " in %s", f->path);
	str_add_hint(&b, c.best);
	text_error("%s", buf_str(&b));
	return STATUS_FAILED;
}

/* A name may come from elsewhere, as one of mosquitto or of a certificate, so it is not refused. */
static void warn_of_name(const char *name)
{
	if (name[strcspn(name, "/+#")])
		text_error(
			"warning: rules with %%u allow nothing to %s, and deny what they deny to anybody: a name with / + or # in it is no "
			"level of a topic",
			name);
}

static int run_add(struct people_file *f, const struct asked *a)
{
	int status;

	if (!people_find(f->people, span_str(a->name))) {
		status = change(f, a, NULL, true, "added");
		if (status == STATUS_OK)
			warn_of_name(a->name);
		return status;
	}
	text_error("%s is there already; `guichet user passwd %s` changes the password, `guichet user set %s` the rest",
		   a->name, a->name, a->name);
	return STATUS_FAILED;
}

static int run_passwd(struct people_file *f, const struct asked *a)
{
	const struct person *old = people_find(f->people, span_str(a->name));

	return old ? change(f, a, old, true, "changed the password of") : unknown_user(f, a->name);
}

static int run_set(struct people_file *f, const struct asked *a)
{
	const struct person *old = people_find(f->people, span_str(a->name));

	return old ? change(f, a, old, a->given[OPT_NO_PASSWORD], "changed") : unknown_user(f, a->name);
}

static int run_del(struct people_file *f, const struct asked *a)
{
	return people_remove(f->people, a->name) ? save(f, "removed", a) : unknown_user(f, a->name);
}

static void add_list(struct buf *b, const struct str_words *w)
{
	for (size_t i = 0; i < w->n; i++)
		buf_addf(b, "%s%s", i ? "," : "", w->v[i]);
}

static void add_ways(struct buf *b, const struct person *who)
{
	buf_adds(b, who->disabled ? "disabled" : "");
	if (who->hash)
		buf_addf(b, "%spassword%s", b->n ? " " : "",
			 people_hash_is_ours(who->hash) ? "" : " (hash of mosquitto)");
	if (who->scram)
		buf_addf(b, "%sscram", b->n ? " " : "");
	if (who->certificates.n)
		buf_addf(b, "%scertificate", b->n ? " " : "");
	if (!b->n)
		buf_adds(b, "none");
}

static void list_table(const struct people *p, struct buf *b)
{
	struct text_table t = {};

	text_table_add(&t, (const char *[]){ "USER", "GROUPS", "LOGS IN BY", NULL });
	for (size_t i = 0; i < people_count(p); i++) {
		BUF_AUTO struct buf groups = BUF_INIT(SAID);
		BUF_AUTO struct buf ways = BUF_INIT(SAID);
		const struct person *who = people_at(p, i);

		add_list(&groups, &who->groups);
		add_ways(&ways, who);
		text_table_add(&t,
			       (const char *[]){ who->name, groups.n ? buf_str(&groups) : "-", buf_str(&ways), NULL });
	}
	text_table_format(&t, text_style_of(stdout), b);
	text_table_done(&t);
}

static void json_words(struct buf *b, const char *name, const struct str_words *w)
{
	buf_addf(b, ",\"%s\":[", name);
	for (size_t i = 0; i < w->n; i++) {
		buf_adds(b, i ? "," : "");
		buf_add_json(b, span_str(w->v[i]));
	}
	buf_addc(b, ']');
}

static void list_json(const struct people *p, struct buf *b)
{
	buf_addc(b, '[');
	for (size_t i = 0; i < people_count(p); i++) {
		const struct person *who = people_at(p, i);

		buf_addf(b, "%s{\"name\":", i ? "," : "");
		buf_add_json(b, span_str(who->name));
		json_words(b, "groups", &who->groups);
		json_words(b, "certificates", &who->certificates);
		buf_addf(b, ",\"password\":%s,\"scram\":%s,\"disabled\":%s}", who->hash ? "true" : "false",
			 who->scram ? "true" : "false", who->disabled ? "true" : "false");
	}
	buf_adds(b, "]\n");
}

static int run_list(struct people_file *f, const struct asked *a)
{
	BUF_AUTO struct buf b = BUF_INIT(OUTPUT_MAX);

	if (a->given[OPT_JSON])
		list_json(f->people, &b);
	else if (people_count(f->people))
		list_table(f->people, &b);
	else
		buf_addf(&b, f->missing ? "there is no file %s yet, so there are no users\n" : "nobody is in %s\n",
			 f->path);
	return text_print(stdout, &b) < 0 ? STATUS_FAILED : STATUS_OK;
}

/* ---- which one ---- */

static const struct verb {
	const char *name;
	bool named, changes;
	int (*run)(struct people_file *f, const struct asked *a);
	unsigned options; /* that it takes besides --people, a bit each */
} verbs[] = {
	{ "add", true, true, run_add,
	  1 << OPT_CERTIFICATE | 1 << OPT_DISABLE | 1 << OPT_GENERATE | 1 << OPT_GROUPS | 1 << OPT_NO_PASSWORD |
		  1 << OPT_NO_SCRAM | 1 << OPT_STDIN },
	{ "passwd", true, true, run_passwd, 1 << OPT_GENERATE | 1 << OPT_NO_SCRAM | 1 << OPT_STDIN },
	{ "set", true, true, run_set,
	  1 << OPT_CERTIFICATE | 1 << OPT_DISABLE | 1 << OPT_ENABLE | 1 << OPT_GROUPS | 1 << OPT_NO_PASSWORD },
	{ "del", true, true, run_del, 0 },
	{ "list", false, false, run_list, 1 << OPT_JSON },
};

static const struct verb *find_verb(const char *name, const char **ret_nearest)
{
	struct str_closest c = str_closest_start(name);

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		str_closest_offer(&c, verbs[i].name);
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	*ret_nearest = c.best;
	return NULL;
}

static int check_options(const struct verb *v, const struct asked *a)
{
	for (int i = 0; options[i].name; i++)
		if (a->given[i] && i != OPT_PEOPLE && !(v->options >> i & 1))
			return command_misused(&user_command, "`user %s` has no use for --%s", v->name,
					       options[i].name);
	if (a->given[OPT_GENERATE] && (a->given[OPT_STDIN] || a->given[OPT_NO_PASSWORD]))
		return command_misused(&user_command, "--generate or --%s?",
				       a->given[OPT_STDIN] ? "stdin" : "no-password");
	if (a->given[OPT_DISABLE] && a->given[OPT_ENABLE])
		return command_misused(&user_command, "--enable or --disable?");
	return STATUS_OK;
}

static int check_something(const struct verb *v, const struct asked *a)
{
	if (v->run != run_set || a->given[OPT_CERTIFICATE] || a->given[OPT_DISABLE] || a->given[OPT_ENABLE] ||
	    a->given[OPT_GROUPS] || a->given[OPT_NO_PASSWORD])
		return STATUS_OK;
	return command_misused(&user_command, "`user set` needs what is to be changed, as --groups A,B");
}

static int check_name(const struct verb *v, const struct asked *a)
{
	BUF_AUTO struct buf why = BUF_INIT(SAID);

	if (v->named && !a->name)
		return command_misused(&user_command, "`user %s` needs the name of a user", v->name);
	if (!v->named && a->name)
		return command_misused(&user_command, "\"%s\" is one word too many", a->name);
	if (v->named && people_check_name(span_str(a->name), &why) < 0)
		return command_misused(&user_command, "%s", buf_str(&why));
	return STATUS_OK;
}

/* Who cannot be asked for a password is told before there is a lock, or a folder. */
static int check_terminal(const struct verb *v, const struct asked *a)
{
	BUF_AUTO struct buf why = BUF_INIT(SAID);
	bool asks = v->run == run_add || v->run == run_passwd;
	int err;

	if (!asks || a->given[OPT_STDIN] || a->given[OPT_GENERATE] || a->given[OPT_NO_PASSWORD])
		return STATUS_OK;
	err = secret_can_ask(&why);
	return err ? failure(&why, err) : STATUS_OK;
}

static int run_verb(const struct verb *v, const struct asked *a)
{
	BUF_AUTO struct buf why = BUF_INIT(1 << 20);
	struct people_file f;
	int err = people_file_open(a->people, v->changes, &f, &why), status;

	if (err) {
		status = failure(&why, err);
	} else {
		if (why.n)
			text_error("%s", buf_str(&why));
		status = v->run(&f, a);
	}
	people_file_close(&f);
	return status;
}

static int run(int argc, char **argv)
{
	struct asked a = {};
	const char *nearest = NULL;
	int status = command_each(&user_command, argc, argv, take, &a);
	const struct verb *v;

	if (status != STATUS_OK)
		return status;
	if (!a.what)
		return command_misused(&user_command, "add, passwd, set, del or list?");
	v = find_verb(a.what, &nearest);
	if (!v) {
		BUF_AUTO struct buf b = BUF_INIT(SAID);

		buf_add_excerpt(&b, span_str(a.what));
		buf_adds(&b, " is none of add, passwd, set, del and list");
		str_add_hint(&b, nearest);
		return command_misused(&user_command, "%s", buf_str(&b));
	}
	status = check_options(v, &a);
	if (status == STATUS_OK)
		status = check_name(v, &a);
	if (status == STATUS_OK)
		status = check_something(v, &a);
	if (status == STATUS_OK)
		status = check_terminal(v, &a);
	return status == STATUS_OK ? run_verb(v, &a) : status;
}

const struct command user_command = {
	.name = "user",
	.summary = "who may log in: adds, changes, removes and lists users",
	.synopsis = "add NAME [--groups A,B] [--stdin|--generate] [OPTION...]\n"
		    "passwd NAME [--stdin|--generate] [OPTION...]\n"
		    "set NAME [--groups A,B] [--disable|--enable] [OPTION...]\n"
		    "del NAME\n"
		    "list [--json]",
	.text = "Changes the file of people, `people` in the data folder, which all services share. The password is asked for on "
		"the terminal, twice, or comes from standard input; the file has its hash (yescrypt), and a verifier for "
		"SCRAM-SHA-256. A guichet that runs reads the file again by `guichet reload`. What a user may do is in the section "
		"[rules] of the configuration.",
	.options = options,
	.examples = examples,
	.run = run,
};
