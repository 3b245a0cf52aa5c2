/*
 * planner.c - see planner.h. One pass per kind of source (file, words, default), then the same finish for every service:
 * paths, test mode, certificates. A mistake never stops it; only memory does.
 */
#include "main/planner_priv.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "drive/files.h"
#include "main/words.h"
#include "proto/protos.h"

enum {
	WELL_KNOWN = 1024,   /* ports below it are root's */
	PORT_SHIFT = 7000,
	SENTENCE = 1024,
	ADDRESSES_MAX = 64,  /* of a service, as tables.c has it */
	TARGETS = 3,
};

struct planner {
	const struct planner_setup *setup;
	struct plan *plan;
	struct conf *conf;  /* NULL without a file */
	char *dir;          /* of the file */
	struct word *words; /* those that could be taken apart */
	size_t n_words;
	const struct conf_section **origins; /* of each service of the plan; NULL = the command line */
	size_t n_origins;
	struct conf_problems *ps;
};

unsigned planner_port(const struct proto *proto)
{
	return proto->port > 0 && proto->port < WELL_KNOWN ? PORT_SHIFT + proto->port : proto->port;
}

/* ---- where to complain ---- */

/* The line of an option in a section; of the section when it is not there. */
static unsigned line_of(const struct conf_section *s, const char *option)
{
	const struct conf_entry *e = conf_section_find(s, option);

	return e ? e->line : s->line;
}

/* About service s: `text` begins with the option's name, whose line is looked for. */
static void service_problem(struct planner *p, const struct plan_service *s, const char *text)
{
	const struct conf_section *origin = p->origins[s - p->plan->services];
	char option[CONF_NAME_MAX + 1];

	if (!origin) {
		conf_problem(p->ps, s->name, 0, "%s", text);
		return;
	}
	snprintf(option, sizeof(option), "%.*s", (int)strcspn(text, ":"), text);
	conf_problem(p->ps, origin->file, line_of(origin, option), "%s", text);
}

/* ---- services ---- */

static int new_values(const struct option_table *t, void *slot)
{
	void *values = NULL;
	int err = t ? option_values_new(t, &values) : 0;

	if (!err)
		*(void **)slot = values;
	return err;
}

/* A service with default options at the end of the plan, or NULL: memory is out. Pointers to earlier ones die. */
static struct plan_service *add_service(struct planner *p, const char *name, const struct proto *proto,
					const struct conf_section *origin)
{
	const struct conf_section **origins = mem_realloc(p->origins, (p->n_origins + 1) * sizeof(*origins));
	struct plan_service *s = origins ? plan_add(p->plan) : NULL;

	if (origins)
		p->origins = origins;
	if (!s)
		return NULL;
	p->origins[p->n_origins++] = origin;
	s->proto = proto;
	s->file = origin ? p->setup->file : NULL;
	s->line = origin ? origin->line : 0;
	s->name = mem_strdup(name);
	if (!s->name || new_values(&tables_service, &s->common) < 0 || new_values(&tables_tls, &s->tls) < 0 ||
	    new_values(proto->options, &s->options) < 0)
		return NULL;
	return s;
}

/* Its protocol's own options come first: they may give a common name another meaning. */
static size_t targets_of(const struct plan_service *s, struct conf_target targets[TARGETS])
{
	size_t n = 0;

	if (s->proto->options)
		targets[n++] = (struct conf_target){ s->proto->options, s->options };
	targets[n++] = (struct conf_target){ &tables_service, s->common };
	targets[n++] = (struct conf_target){ &tables_tls, s->tls };
	return n;
}

static struct plan_service *find_service(struct planner *p, const char *name)
{
	for (size_t i = 0; i < p->plan->n; i++)
		if (strcmp(p->plan->services[i].name, name) == 0)
			return &p->plan->services[i];
	return NULL;
}

/* Adds what somebody without an example in mind would write: tcp:7007 udp:7007. */
static void add_usual_addresses(const struct proto *proto, struct buf *b)
{
	unsigned port = planner_port(proto);

	if (proto->flags & P_STREAM)
		buf_addf(b, "tcp:%u", port ? port : PORT_SHIFT);
	if (proto->flags & P_DGRAM && !(proto->flags & P_DGRAM_OFF))
		buf_addf(b, "%sudp:%u", proto->flags & P_STREAM ? " " : "", port ? port : PORT_SHIFT);
}

/* ---- from the file ---- */

/* A relative path in the file starts at the file; one of the command line where we are. */
static int resolve(struct planner *p, const struct option_table *t, void *values, struct buf *why)
{
	buf_reset(why);
	return t ? option_resolve(t, values, p->dir, why) : 0;
}

static int resolve_service(struct planner *p, struct plan_service *s)
{
	char text[SENTENCE];
	struct buf why;
	int err;

	buf_init_fixed(&why, text, sizeof(text));
	err = resolve(p, &tables_service, s->common, &why);
	if (!err)
		err = resolve(p, &tables_tls, s->tls, &why);
	if (!err)
		err = resolve(p, s->proto->options, s->options, &why);
	if (err == -ENAMETOOLONG)
		service_problem(p, s, text);
	return err == -ENAMETOOLONG ? 0 : err;
}

/* Adds `, did you mean "echo"?`, from all protocols and one more word. */
static void add_nearest(const char *name, const char *more, struct buf *b)
{
	struct str_closest c = str_closest_start(name);

	for (const struct proto *const *p = protos; *p; p++)
		str_closest_offer(&c, (*p)->name);
	if (more)
		str_closest_offer(&c, more);
	str_add_hint(b, c.best);
}

static const struct proto *proto_of_section(struct planner *p, const struct conf_section *section)
{
	const struct conf_entry *e = conf_section_find(section, "protocol");
	const char *name = e ? e->value : section->name;
	const struct proto *proto = protos_find(name);
	char text[SENTENCE];
	struct buf why;

	if (proto)
		return proto;
	buf_init_fixed(&why, text, sizeof(text));
	if (e) {
		buf_adds(&why, "protocol: ");
		buf_add_excerpt(&why, span_str(name));
		buf_adds(&why, " is no protocol");
		add_nearest(name, NULL, &why);
	} else {
		buf_addf(&why, "[%s] is no protocol", name);
		add_nearest(name, "guichet", &why);
		buf_adds(&why, why.p[why.n - 1] == '?' ? " Or say" : ", say");
		buf_adds(&why, " which one it is: protocol = NAME");
	}
	conf_problem(p->ps, section->file, e ? e->line : section->line, "%s", text);
	return NULL;
}

static int take_section(struct planner *p, const struct conf_section *section)
{
	struct conf_target targets[TARGETS];
	const struct proto *proto;
	struct plan_service *s;
	int err;

	if (strcmp(section->name, "guichet") == 0) {
		targets[0] = (struct conf_target){ &tables_guichet, p->plan->global };
		return conf_apply(section, targets, 1, NULL, p->ps);
	}
	proto = proto_of_section(p, section);
	if (!proto)
		return 0;
	s = add_service(p, section->name, proto, section);
	if (!s)
		return -ENOMEM;
	err = conf_apply(section, targets, targets_of(s, targets), NULL, p->ps);
	return err ? err : resolve_service(p, s);
}

static int read_file(struct planner *p)
{
	BUF_AUTO struct buf bytes;
	char text[SENTENCE];
	struct buf why;
	int err;

	buf_init(&bytes, CONF_FILE_MAX);
	buf_init_fixed(&why, text, sizeof(text));
	err = files_read(p->setup->file, &bytes, &why);
	if (err == -ENOMEM)
		return err;
	if (err) {
		/* the sentence has the name already */
		conf_problem(p->ps, p->setup->file, 0, "cannot be read: %s",
			     err == -EFBIG ? "it is too large for a configuration" : strerror(-err));
		return 0;
	}
	err = conf_parse(p->setup->file, buf_span(&bytes), &p->conf, p->ps);
	return err == -EFBIG ? 0 : err;
}

static int take_file(struct planner *p)
{
	int err = read_file(p);

	for (size_t i = 0; !err && p->conf && i < p->conf->n; i++)
		err = take_section(p, &p->conf->sections[i]);
	if (!err && p->conf && p->conf->n == 0 && p->setup->n_words == 0 && conf_problems_none(p->ps))
		conf_problem(p->ps, p->setup->file, 0, "nothing in it to serve; a service is a section, as in [echo]");
	return err;
}

/* ---- from the command line ---- */

static int set_word_option(struct planner *p, const struct plan_service *s, const struct word *w,
			   const struct word_option *o)
{
	struct conf_target targets[TARGETS];
	size_t n = targets_of(s, targets);
	char text[SENTENCE];
	struct str_closest c = str_closest_start(o->name);
	struct buf why;
	int err = 0;

	buf_init_fixed(&why, text, sizeof(text));
	if (strcmp(o->name, "listen") == 0) {
		conf_problem(p->ps, w->text, 0, "listen: addresses come behind the @; repeat the word for another one");
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		const struct option *row = option_find(targets[i].table, o->name);

		option_offer_names(targets[i].table, &c);
		if (!row)
			continue;
		err = option_set_row(row, targets[i].values, o->value, &why);
		if (err && err != -ENOMEM)
			conf_problem(p->ps, w->text, 0, "%s", text);
		return err == -ENOMEM ? err : 0;
	}
	buf_adds(&why, "unknown option ");
	buf_add_excerpt(&why, span_str(o->name));
	buf_addf(&why, " of %s", s->proto->name);
	str_add_hint(&why, c.best);
	conf_problem(p->ps, w->text, 0, "%s", text);
	return 0;
}

/* One more address; the list is parsed again as a whole, which finds two that want the same port. */
static int add_address(struct planner *p, struct plan_service *s, const struct word *w)
{
	struct addr_list both = {};
	char text[SENTENCE];
	struct buf why;
	BUF_AUTO struct buf b;
	int err;

	buf_init(&b, (size_t)1 << 20);
	buf_init_fixed(&why, text, sizeof(text));
	addr_list_format(&s->common->listen, &b);
	if (b.n > 0)
		buf_addc(&b, ' ');
	str_add_word(&b, w->address);
	err = b.err ? b.err : addr_list_parse(buf_str(&b), ADDRESSES_MAX, &both, &why);
	if (err == -ENOMEM)
		return err;
	if (err) {
		conf_problem(p->ps, w->text, 0, "%s", text);
		return 0;
	}
	addr_list_done(&s->common->listen);
	s->common->listen = both;
	return 0;
}

static const struct proto *proto_of_word(struct planner *p, const struct word *w)
{
	const char *name = w->service;
	const struct proto *proto;
	char text[SENTENCE];
	struct buf why;

	for (size_t i = 0; i < w->n; i++)
		if (strcmp(w->options[i].name, "protocol") == 0)
			name = w->options[i].value;
	proto = protos_find(name);
	if (proto)
		return proto;
	buf_init_fixed(&why, text, sizeof(text));
	buf_add_excerpt(&why, span_str(name));
	buf_addf(&why, " is no protocol%s", p->conf ? " and no section of the file" : "");
	add_nearest(name, NULL, &why);
	conf_problem(p->ps, w->text, 0, "%s", text);
	return NULL;
}

static int take_word(struct planner *p, const struct word *w)
{
	struct plan_service *s = find_service(p, w->service);
	int err;

	if (!s) {
		const struct proto *proto = proto_of_word(p, w);

		if (!proto)
			return 0;
		s = add_service(p, w->service, proto, NULL);
		if (!s)
			return -ENOMEM;
	}
	err = add_address(p, s, w);
	for (size_t i = 0; i < w->n && !err; i++)
		err = set_word_option(p, s, w, &w->options[i]);
	return err;
}

/* The rules across options, for services that words made or changed; what the file says was checked with it. */
static int check_worded(struct planner *p)
{
	for (size_t i = 0; i < p->n_words; i++) {
		struct plan_service *s = find_service(p, p->words[i].service);
		struct conf_target targets[TARGETS];
		size_t n = s ? targets_of(s, targets) : 0;

		for (size_t j = 0; j < n; j++) {
			char text[SENTENCE];
			struct buf why;
			int err;

			buf_init_fixed(&why, text, sizeof(text));
			err = option_values_check(targets[j].table, targets[j].values, &why);
			if (err == -ENOMEM)
				return err;
			if (err)
				conf_problem(p->ps, p->words[i].text, 0, "%s", text);
		}
	}
	return 0;
}

static int take_words(struct planner *p)
{
	int err = 0;

	p->words = mem_zalloc((p->setup->n_words + 1) * sizeof(*p->words));
	if (!p->words)
		return -ENOMEM;
	for (size_t i = 0; i < p->setup->n_words && !err; i++) {
		struct word *w = &p->words[p->n_words];
		char text[SENTENCE];
		struct buf why;

		buf_init_fixed(&why, text, sizeof(text));
		err = word_parse(p->setup->words[i], w, &why);
		if (!err)
			p->n_words++;
		else if (err != -ENOMEM)
			conf_problem(p->ps, p->setup->words[i], 0, "%s", text);
		if (err == -EINVAL)
			err = 0;
	}
	for (size_t i = 0; i < p->n_words && !err; i++)
		err = take_word(p, &p->words[i]);
	if (!err && conf_problems_none(p->ps))
		err = check_worded(p);
	return err;
}

static int take_set(struct planner *p, const char *set)
{
	const char *equals = strchr(set, '=');
	char name[CONF_NAME_MAX + 1], text[SENTENCE];
	struct buf why;
	int err = -EINVAL;

	buf_init_fixed(&why, text, sizeof(text));
	if (!equals || (size_t)(equals - set) >= sizeof(name)) {
		buf_adds(&why, "write NAME=VALUE with an option of [guichet], see `guichet help guichet`");
	} else {
		snprintf(name, sizeof(name), "%.*s", (int)(equals - set), set);
		err = option_set(&tables_guichet, p->plan->global, name, equals + 1, &why);
	}
	if (err && err != -ENOMEM)
		conf_problem(p->ps, set, 0, "%s", text);
	return err == -ENOMEM ? err : 0;
}

/* ---- from nothing: every service that is ready, on loopback ---- */

static int take_defaults(struct planner *p)
{
	int err = 0;

	for (const struct proto *const *proto = protos; *proto && !err; proto++) {
		struct plan_service *s;
		char text[64];
		struct buf b;

		if ((*proto)->flags & P_OFF || (planner_port(*proto) == 0 && !p->setup->test_data))
			continue;
		s = add_service(p, (*proto)->name, *proto, NULL);
		if (!s)
			return -ENOMEM;
		buf_init_fixed(&b, text, sizeof(text));
		add_usual_addresses(*proto, &b);
		err = option_set(&tables_service, s->common, "listen", text, NULL);
	}
	return err;
}

/* ---- test mode ---- */

static const char *base_name(const struct addr_text *a)
{
	const char *slash = strrchr(a->path, '/');

	return slash ? slash + 1 : a->path;
}

/* Does another address of the plan end in the same file name? */
static bool is_taken(const struct plan *plan, const struct addr_text *a)
{
	for (size_t i = 0; i < plan->n; i++) {
		const struct addr_list *l = &plan->services[i].common->listen;

		for (size_t j = 0; j < l->n; j++)
			if (&l->v[j] != a && addr_is_path(&l->v[j]) && strcmp(base_name(&l->v[j]), base_name(a)) == 0)
				return true;
	}
	return false;
}

/* Address i of service s moves into the test's folder, where every name is there once. */
static int move_path(struct planner *p, const struct plan_service *s, size_t i, struct addr_text *a, struct buf *why)
{
	struct addr_text moved = *a;
	struct buf b;
	int err;

	buf_init_fixed(&b, moved.path, sizeof(moved.path));
	if (is_taken(p->plan, a))
		buf_addf(&b, "%zu-%zu-", (size_t)(s - p->plan->services), i);
	buf_adds(&b, base_name(a));
	err = b.err ? b.err : addr_rebase(&moved, p->setup->test_data, why);
	if (!err)
		*a = moved;
	return err;
}

/* Loopback of the family that was asked for, and a port that the system picks. */
static void move_host(struct addr_text *a)
{
	const char *host = addr_is_ipv4(a->host) ? "127.0.0.1" : addr_is_ipv6(a->host) ? "::1" : "";

	snprintf(a->host, sizeof(a->host), "%s", host);
	a->service[0] = '\0';
	a->port = 0;
}

static void move_queue(struct addr_text *a)
{
	struct addr_text moved = *a;

	snprintf(moved.path, sizeof(moved.path), "/guichet-%ld-%.200s", (long)getpid(), a->path + 1);
	*a = moved;
}

static void move_for_test(struct planner *p, struct plan_service *s)
{
	for (size_t i = 0; i < s->common->listen.n; i++) {
		struct addr_text *a = &s->common->listen.v[i];
		char text[SENTENCE];
		struct buf why;

		buf_init_fixed(&why, text, sizeof(text));
		buf_adds(&why, "listen: ");
		if (addr_is_net(a))
			move_host(a);
		else if (a->transport == ADDR_MQ)
			move_queue(a);
		else if (addr_is_path(a) && move_path(p, s, i, a, &why) < 0)
			service_problem(p, s, text);
	}
}

/* ---- the finish ---- */

static bool is_secure(const struct plan_service *s)
{
	for (size_t i = 0; i < s->common->listen.n; i++)
		if (addr_is_secure(&s->common->listen.v[i]))
			return true;
	return false;
}

static int add_tls(struct planner *p, struct plan_service *s)
{
	char text[SENTENCE];
	struct buf why;
	void *tls = s->tls;
	int err;

	if (!is_secure(s)) {
		option_values_free(&tables_tls, &tls);
		s->tls = NULL;
		return 0;
	}
	buf_init_fixed(&why, text, sizeof(text));
	err = certs_context(&(struct certs_setup){
		.options = s->tls,
		.data = p->plan->global->data,
		.dir = p->origins[s - p->plan->services] ? p->dir : ".",
		.dry = p->setup->dry,
		.service = s->name,
	}, &s->tls_ctx, &why);
	s->tls_changed = !err;
	if (err && err != -ENOMEM)
		service_problem(p, s, text);
	return err == -ENOMEM ? err : 0;
}

static void check_listen(struct planner *p, const struct plan_service *s)
{
	char text[SENTENCE];
	struct buf why;

	if (s->common->listen.n > 0 || !s->common->enabled || !conf_problems_none(p->ps))
		return;
	buf_init_fixed(&why, text, sizeof(text));
	buf_addf(&why, "[%s] listens nowhere, add for example: listen = ", s->name);
	add_usual_addresses(s->proto, &why);
	service_problem(p, s, text);
}

/* Takes the services out that are only kept in the file. */
static void drop_disabled(struct planner *p)
{
	struct plan *plan = p->plan;
	size_t kept = 0;

	for (size_t i = 0; i < plan->n; i++) {
		if (!plan->services[i].common->enabled) {
			plan_service_done(&plan->services[i]);
			continue;
		}
		p->origins[kept] = p->origins[i];
		plan->services[kept++] = plan->services[i];
	}
	plan->n = kept;
	if (kept == 0 && conf_problems_none(p->ps))
		conf_problem(p->ps, p->setup->file ? p->setup->file : "command line", 0, "no service is enabled");
}

static int finish_services(struct planner *p)
{
	int err = 0;

	for (size_t i = 0; i < p->plan->n && !err; i++) {
		check_listen(p, &p->plan->services[i]);
		if (p->setup->test_data)
			move_for_test(p, &p->plan->services[i]);
	}
	for (size_t i = 0; i < p->plan->n && !err; i++)
		err = add_tls(p, &p->plan->services[i]);
	return err;
}

/* ---- [guichet] ---- */

static int set_path(char **slot, const char *dir, const char *name)
{
	char *path;
	int err = str_path_from(dir, name, &path);

	if (err)
		return err;
	mem_free(*slot);
	*slot = path;
	return 0;
}

/* In a test everything is below one folder, and the log where the test sees it. */
static int test_global(struct planner *p)
{
	struct guichet_options *g = p->plan->global;
	int err = set_path(&g->data, "", p->setup->test_data);

	if (!err)
		err = set_path(&g->control, p->setup->test_data, "control.sock");
	return err ? err : option_set(&tables_guichet, g, "log", "stderr", NULL);
}

static void global_problem(struct planner *p, const char *text)
{
	const struct conf_section *s = p->conf ? conf_find(p->conf, "guichet") : NULL;
	char option[CONF_NAME_MAX + 1];

	snprintf(option, sizeof(option), "%.*s", (int)strcspn(text, ":"), text);
	if (s)
		conf_problem(p->ps, s->file, line_of(s, option), "%s", text);
	else
		conf_problem(p->ps, p->setup->file ? p->setup->file : "guichet", 0, "%s", text);
}

static int finish_global(struct planner *p)
{
	struct guichet_options *g = p->plan->global;
	char text[SENTENCE];
	struct buf why;
	int err = option_resolve(&tables_guichet, g, p->dir, NULL);

	for (size_t i = 0; i < p->setup->n_sets && !err; i++)
		err = take_set(p, p->setup->sets[i]);
	if (!err && p->setup->test_data)
		err = test_global(p);
	if (!err && !g->control)
		err = set_path(&g->control, g->data, "control.sock");
	if (err || p->setup->dry)
		return err;
	buf_init_fixed(&why, text, sizeof(text));
	buf_adds(&why, "data: ");
	if (files_make_dir(g->data, &why) < 0) {
		buf_adds(&why, "; say where it may be: data = PATH in [guichet], or --set data=PATH");
		global_problem(p, text);
	}
	return 0;
}

/* The control socket is one more service, which only its owner reaches. [guichet] is never one, so the name is free. */
static int add_control(struct planner *p)
{
	const char *path = p->plan->global->control;
	struct addr_text a = { .transport = ADDR_UNIX };
	char text[SENTENCE];
	struct plan_service *s;
	struct buf why;

	if (strlen(path) > ADDR_UNIX_MAX) {
		buf_init_fixed(&why, text, sizeof(text));
		buf_addf(&why, "control: %s is too long for a unix socket, at most %d bytes", path, ADDR_UNIX_MAX);
		global_problem(p, text);
		return 0;
	}
	s = add_service(p, "guichet", p->setup->control, NULL);
	if (!s)
		return -ENOMEM;
	memcpy(a.path, path, strlen(path) + 1);
	s->common->listen.v = mem_alloc(sizeof(a));
	if (!s->common->listen.v)
		return -ENOMEM;
	s->common->listen.v[0] = a;
	s->common->listen.n = 1;
	s->common->mode = 0600;
	s->common->idle = 10 * NSEC_PER_SEC;
	s->internal = true;
	s->state = p->setup->control_state;
	return add_tls(p, s);
}

/* ---- all of it ---- */

static int make(struct planner *p)
{
	int err;

	if (p->setup->file)
		err = str_path_dir(p->setup->file, &p->dir);
	else
		err = (p->dir = mem_strdup(".")) ? 0 : -ENOMEM;
	if (!err)
		err = new_values(&tables_guichet, &p->plan->global);
	if (!err && p->setup->file)
		err = take_file(p);
	if (!err)
		err = take_words(p);
	if (!err && !p->setup->file && p->setup->n_words == 0)
		err = take_defaults(p);
	if (!err)
		err = finish_global(p);
	if (!err)
		err = finish_services(p);
	if (err)
		return err;
	drop_disabled(p);
	return p->setup->control ? add_control(p) : 0;
}

int planner_make(const struct planner_setup *setup, struct plan **ret, struct conf_problems *ps)
{
	struct planner p = { .setup = setup, .ps = ps };
	int err = plan_new(&p.plan);

	if (!err)
		err = make(&p);
	conf_problems_sort(ps);
	conf_free(&p.conf);
	for (size_t i = 0; i < p.n_words; i++)
		word_done(&p.words[i]);
	mem_free(p.words);
	mem_free(p.origins);
	mem_free(p.dir);
	if (err) {
		plan_free(&p.plan);
		return err;
	}
	*ret = p.plan;
	return 0;
}
