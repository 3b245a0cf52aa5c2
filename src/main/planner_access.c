/*
 * planner_access.c - who may log in, and do what: the file of people, the section [rules], and services that would be open to
 * everybody because nobody has thought of it.
 */
#include <errno.h>
#include <sys/stat.h>

#include "base/addr.h"
#include "base/mem.h"
#include "base/str.h"
#include "main/kit.h"
#include "main/planner_priv.h"
#include "store/people.h"
#include "store/rules.h"

/* ---- [rules] ---- */

enum { LINE_ALLOW, LINE_DENY };

static int take_rule(void *arg, size_t which, const char *value, struct buf *why)
{
	return rules_add(arg, which == LINE_ALLOW, value, why);
}

int planner_take_rules(struct planner *p, const struct conf_section *section)
{
	static const char *const names[] = { [LINE_ALLOW] = "allow", [LINE_DENY] = "deny", NULL };
	int err = rules_new(&p->plan->rules);

	return err ? err : conf_lines(section, names, take_rule, p->plan->rules, p->ps);
}

/* ---- addresses that others reach ---- */

static bool is_loopback(const struct addr_text *a)
{
	uint8_t ip[16];

	if (!addr_is_net(a) || !*a->host || strcmp(a->host, "localhost") == 0)
		return true; /* pipes, queues and unix sockets are on this machine */
	if (addr_ipv4_bytes(a->host, ip))
		return ip[0] == 127;
	if (addr_ipv6_bytes(a->host, ip)) {
		static const uint8_t loopback[16] = { [15] = 1 };

		return memcmp(ip, loopback, sizeof(ip)) == 0;
	}
	return false;
}

/* The first one, or NULL. */
static const struct addr_text *beyond_loopback(const struct plan_service *s)
{
	for (size_t i = 0; i < s->common->listen.n; i++)
		if (!is_loopback(&s->common->listen.v[i]))
			return &s->common->listen.v[i];
	return NULL;
}

static void check_open(struct planner *p, const struct plan_service *s)
{
	const struct addr_text *a = beyond_loopback(s);
	char text[PLANNER_SENTENCE];
	struct buf why;

	if (!a)
		return;
	buf_init_fixed(&why, text, sizeof(text));
	buf_addf(&why, "listen: [%s] would be reached from outside at ", s->name);
	addr_format(a, &why);
	buf_addf(&why,
		 ", and no rule says who may do what there: make users (`guichet user add NAME --groups house`), and let them in "
		 "by two lines: [rules] and allow = @house * %s:#; see `guichet help rules`",
		 s->proto->store);
	planner_problem(p, s, text);
}

static bool is_mentioned(const struct rules *r, const char *store)
{
	for (enum rules_store i = 0; i < RULES_STORES; i++)
		if (strcmp(store, rules_stores[i]) == 0)
			return rules_mention(r, i);
	return false;
}

static void check_rules(struct planner *p, const struct plan_service *s)
{
	const struct conf_section *at = p->conf ? conf_find(p->conf, "rules") : NULL;

	if (!p->plan->rules)
		check_open(p, s);
	else if (at && conf_problems_none(p->ps) && !is_mentioned(p->plan->rules, s->proto->store))
		conf_warning(
			p->ps, at->file, at->line,
			"no rule is about %s, so nobody may do anything with [%s]; a rule for it would be: allow = * "
			"read %s:#",
			s->proto->store, s->name, s->proto->store);
}

/* ---- people ---- */

struct told {
	struct planner *p;
	const char *file;
};

static void tell(void *arg, unsigned line, const char *text)
{
	const struct told *t = arg;

	conf_warning(t->p->ps, t->file, line, "%s; who is in this line cannot log in", text);
}

static void check_mode(struct planner *p, const char *file)
{
	struct stat st;

	if (!p->setup->from && stat(file, &st) == 0 && st.st_mode & (S_IRWXG | S_IRWXO))
		conf_warning(p->ps, file, 0, "others can read or change it; it should be yours alone: chmod 600");
}

static int parse_people(struct planner *p, const char *file, struct span bytes)
{
	struct told told = { p, file };
	int err = people_parse(bytes, &p->plan->people, tell, &told);

	if (err && err != -ENOMEM) {
		conf_problem(p->ps, file, 0, "people: %s", strerror(-err));
		return 0;
	}
	return err;
}

/* There need not be such a file: nobody can log in then. */
static int read_people(struct planner *p, const char *file)
{
	BUF_AUTO struct buf bytes = BUF_INIT(PEOPLE_FILE_MAX);
	BUF_AUTO struct buf why = BUF_INIT(PLANNER_SENTENCE);
	int err = kit_read(p->setup->from, p->setup->into, file, &bytes, &why);

	if (err == 0) {
		check_mode(p, file);
		err = parse_people(p, file, buf_span(&bytes));
	} else if (err == -ENOENT) {
		err = 0;
	} else if (err != -ENOMEM) {
		conf_problem(p->ps, file, 0, "people: %s", buf_str(&why));
		err = 0;
	}
	if (bytes.p)
		explicit_bzero(bytes.p, bytes.cap);
	return err;
}

static int people_path(const struct planner *p, char **ret)
{
	const struct guichet_options *g = p->plan->global;

	return g->people ? str_path_from("", g->people, ret) : str_path_from(g->data, "people", ret);
}

static int take_people(struct planner *p)
{
	char *file;
	int err = people_path(p, &file);

	if (err)
		return err;
	err = read_people(p, file);
	mem_free(file);
	return err;
}

/* ---- rules that nobody and nothing here can fit ---- */

static bool has_store(const struct plan *plan, const char *store)
{
	for (size_t i = 0; i < plan->n; i++)
		if (plan->services[i].proto->store && strcmp(plan->services[i].proto->store, store) == 0)
			return true;
	return false;
}

static bool has_group(const struct people *people, const char *group)
{
	for (size_t i = 0; i < people_count(people); i++)
		if (person_is_in(people_at(people, i), group))
			return true;
	return false;
}

static void check_rule(struct planner *p, const char *file, const struct conf_entry *e, struct rules_about rule)
{
	const struct people *people = p->plan->people;
	const char *store = rules_stores[rule.store];
	bool some = people_count(people) > 0;

	if (!has_store(p->plan, store))
		conf_warning(p->ps, file, e->line, "%s: no service here has the store %s", e->name, store);
	if (rule.vain)
		conf_warning(
			p->ps, file, e->line,
			"%s: nobody can publish below guichet/, which is what the server itself tells; read is what a rule can "
			"allow there",
			e->name);
	if (rule.group && !has_group(people, rule.group))
		conf_warning(p->ps, file, e->line,
			     "%s: nobody is in the group \"%s\"; guichet user %s NAME --groups %s puts somebody there",
			     e->name, rule.group, some ? "set" : "add", rule.group);
	if (rule.user && !people_find(people, span_str(rule.user)))
		conf_warning(p->ps, file, e->line, "%s: there is no user \"%s\"; guichet user add %s makes one",
			     e->name, rule.user, rule.user);
}

static bool names_somebody(const struct rules *r)
{
	for (size_t i = 0; i < rules_count(r); i++) {
		struct rules_about about = rules_about(r, i);

		if (about.user || about.group)
			return true;
	}
	return false;
}

/* Logins are meant, and none can be wrong: who gives a name and any password is let in, and may what anonymous may. */
static int warn_of_nobody(struct planner *p, const struct conf_section *at)
{
	char *file;
	int err;

	if (people_count(p->plan->people) || !names_somebody(p->plan->rules))
		return 0;
	err = people_path(p, &file);
	if (err)
		return err;
	conf_warning(p->ps, at->file, at->line,
		     "%s %s; until then names and passwords are not looked at, and whoever connects is anonymous: "
		     "guichet user add NAME --people %s",
		     p->plan->people ? "nobody is in" : "there is no file of people yet,", file, file);
	mem_free(file);
	return 0;
}

/*
 * Each line that is right has become one rule; told once, not by each worker. In a test nobody has made people, unless the file says
 * where they are.
 */
static int check_each(struct planner *p, const struct conf_section *at)
{
	if (p->setup->wants || !conf_problems_none(p->ps) || at->n != rules_count(p->plan->rules))
		return 0;
	if (p->setup->test_data && !p->plan->people)
		return 0;
	for (size_t i = 0; i < at->n; i++)
		check_rule(p, at->file, &at->entries[i], rules_about(p->plan->rules, i));
	return warn_of_nobody(p, at);
}

int planner_finish_access(struct planner *p)
{
	const struct conf_section *at = p->conf ? conf_find(p->conf, "rules") : NULL;
	bool some = false;
	int err;

	for (size_t i = 0; i < p->plan->n; i++) {
		if (!p->plan->services[i].proto->store)
			continue;
		some = true;
		check_rules(p, &p->plan->services[i]);
	}
	if (at && !some && !p->setup->wants)
		conf_warning(p->ps, at->file, at->line, "[rules] has no use here: no service asks them");
	err = some ? take_people(p) : 0;
	if (at && some && !err)
		err = check_each(p, at);
	for (size_t i = 0; i < p->plan->n && !err; i++)
		planner_check_users(p, &p->plan->services[i]);
	return err;
}
