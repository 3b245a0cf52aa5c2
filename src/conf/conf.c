/*
 * conf.c - inih is the lexer; this file hands it one line at a time, so that it knows the line of everything, and keeps
 * what comes out. Handing over lines ourselves also mends what inih does silently: it would cut long lines and long
 * names, drop empty sections, skip what it does not understand, and take each line after an indented entry for more
 * of its value.
 */
#include "conf/conf.h"

#include <errno.h>
#include <ini.h>

#include "base/mem.h"

_Static_assert(CONF_VALUE_MAX == 65536 && CONF_NAME_MAX == 48, "told in messages below");

enum {
	TEXT_MAX = 1 << 16, /* bytes of the problems of one value */
	CONF_COMPLAINT = 1024,
};

/* ---- the data ---- */

void conf_free(struct conf **c)
{
	if (!*c)
		return;
	for (size_t i = 0; i < (*c)->n; i++) {
		struct conf_section *s = &(*c)->sections[i];

		for (size_t j = 0; j < s->n; j++) {
			mem_free(s->entries[j].name);
			mem_free(s->entries[j].value);
			mem_free(s->entries[j].more);
		}
		mem_free(s->entries);
		mem_free(s->name);
	}
	mem_free((*c)->sections);
	mem_free((*c)->file);
	mem_free(*c);
	*c = NULL;
}

const struct conf_section *conf_find(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(c->sections[i].name, name) == 0)
			return &c->sections[i];
	return NULL;
}

const struct conf_entry *conf_section_find(const struct conf_section *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++)
		if (strcmp(s->entries[i].name, name) == 0)
			return &s->entries[i];
	return NULL;
}

/* Room for one more item of `size` bytes; 0 or -ENOMEM. */
static int make_room(void *array, size_t n, size_t *cap, size_t size)
{
	size_t more = *cap ? *cap * 2 : 8;
	void *p;

	if (n < *cap)
		return 0;
	p = mem_realloc(*(void **)array, more * size);
	if (!p)
		return -ENOMEM;
	*(void **)array = p;
	*cap = more;
	return 0;
}

static int add_section(struct conf *c, const char *name, unsigned line)
{
	char *copy;

	if (make_room(&c->sections, c->n, &c->cap, sizeof(*c->sections)) < 0)
		return -ENOMEM;
	copy = mem_strdup(name);
	if (!copy)
		return -ENOMEM;
	c->sections[c->n++] = (struct conf_section){ .name = copy, .file = c->file, .line = line };
	return 0;
}

static int add_entry(struct conf_section *s, const char *name, const char *value, unsigned line)
{
	struct conf_entry e = { .line = line };

	if (make_room(&s->entries, s->n, &s->cap, sizeof(*s->entries)) < 0)
		return -ENOMEM;
	e.name = mem_strdup(name);
	e.value = mem_strdup(value);
	if (!e.name || !e.value) {
		mem_free(e.name);
		mem_free(e.value);
		return -ENOMEM;
	}
	s->entries[s->n++] = e;
	return 0;
}

/* ---- problems ---- */

static void keep(struct conf_problems *ps, const char *file, unsigned line, bool warning, struct span text)
{
	struct conf_problem p = { .line = line, .warning = warning };

	if (make_room(&ps->v, ps->n, &ps->cap, sizeof(*ps->v)) < 0) {
		ps->err = -ENOMEM;
		return;
	}
	p.file = mem_strdup(file);
	p.text = mem_strndup((const char *)text.p, text.n);
	if (!p.file || !p.text) {
		mem_free(p.file);
		mem_free(p.text);
		ps->err = -ENOMEM;
		return;
	}
	ps->v[ps->n++] = p;
	ps->warnings += warning;
}

/* Both families of one address, say, fail for one reason. */
static bool was_just_told(const struct conf_problems *ps, const char *file, unsigned line, struct span text)
{
	const struct conf_problem *last = ps->n ? &ps->v[ps->n - 1] : NULL;

	return last && last->line == line && strcmp(last->file, file) == 0 && span_is(text, last->text);
}

static void add_problem(struct conf_problems *ps, const char *file, unsigned line, bool warning, struct span text)
{
	size_t n = warning ? ps->warnings : conf_problems_count(ps);

	if (was_just_told(ps, file, line, text))
		return;
	if (n < CONF_PROBLEMS_MAX)
		keep(ps, file, line, warning, text);
	else if (n == CONF_PROBLEMS_MAX)
		keep(ps, file, line, warning,
		     span_str(warning ? "more warnings from here on" : "more problems from here on"));
}

/* One for each line. */
static void add_lines(struct conf_problems *ps, const char *file, unsigned line, bool warning, const struct buf *b)
{
	const char *text = buf_str(b);

	if (b->err == -ENOMEM)
		ps->err = -ENOMEM;
	do {
		size_t n = strcspn(text, "\n");

		add_problem(ps, file, line, warning, (struct span){ (const uint8_t *)text, n });
		text += n + (text[n] == '\n');
	} while (*text);
}

void conf_problem(struct conf_problems *ps, const char *file, unsigned line, const char *fmt, ...)
{
	BUF_AUTO struct buf b = BUF_INIT(TEXT_MAX);
	va_list ap;

	va_start(ap, fmt);
	buf_addv(&b, fmt, ap);
	va_end(ap);
	add_lines(ps, file, line, false, &b);
}

void conf_warning(struct conf_problems *ps, const char *file, unsigned line, const char *fmt, ...)
{
	BUF_AUTO struct buf b = BUF_INIT(TEXT_MAX);
	va_list ap;

	va_start(ap, fmt);
	buf_addv(&b, fmt, ap);
	va_end(ap);
	add_lines(ps, file, line, true, &b);
}

void conf_problems_done(struct conf_problems *ps)
{
	for (size_t i = 0; i < ps->n; i++) {
		mem_free(ps->v[i].file);
		mem_free(ps->v[i].text);
	}
	mem_free(ps->v);
	*ps = (struct conf_problems){};
}

static bool comes_after(const struct conf_problem *a, const struct conf_problem *b)
{
	int order = strcmp(a->file, b->file);

	return order > 0 || (order == 0 && a->line > b->line);
}

void conf_problems_sort(struct conf_problems *ps)
{
	/* By insertion: they are few, and nearly in order. */
	for (size_t i = 1; i < ps->n; i++) {
		struct conf_problem p = ps->v[i];
		size_t j = i;

		for (; j > 0 && comes_after(&ps->v[j - 1], &p); j--)
			ps->v[j] = ps->v[j - 1];
		ps->v[j] = p;
	}
}

void conf_problems_format(const struct conf_problems *ps, struct buf *b)
{
	for (size_t i = 0; i < ps->n; i++) {
		const struct conf_problem *p = &ps->v[i];

		buf_adds(b, p->file);
		if (p->line > 0)
			buf_addf(b, ":%u", p->line);
		buf_addf(b, ": %s%s\n", p->warning ? "warning: " : "", p->text);
	}
	if (ps->err)
		buf_adds(b, "out of memory: there may be other problems\n");
}

/* ---- reading ---- */

enum line_kind {
	LINE_OTHER, /* blank, comment, section */
	LINE_ENTRY,
	LINE_MORE, /* of the value before */
};

struct reader {
	const uint8_t *p; /* what is left */
	const uint8_t *end;
	unsigned line;       /* of the line handed over last */
	enum line_kind kind; /* of that line; LINE_OTHER once inih has given its content back */
	bool in_entry;       /* an entry has come in this section: deeper lines belong to it */
	size_t indent;       /* of that entry */
	bool keeping;        /* that entry is kept, so lines that go on with it are too */
	bool dropping;       /* the section was refused: no word about what is in it */
	struct conf *conf;
	struct conf_problems *ps;
	int err; /* -ENOMEM: stop */
};

static struct conf_section *last_section(struct reader *r)
{
	return r->conf->n ? &r->conf->sections[r->conf->n - 1] : NULL;
}

#define PROBLEM(r, ...) conf_problem((r)->ps, (r)->conf->file, (r)->line, __VA_ARGS__)

/* A problem about bytes of the file, which are shown as a quoted excerpt in front of `what`. */
static void problem_at(struct reader *r, struct span s, const char *what)
{
	char text[BUF_EXCERPT * 4 + 8];
	struct buf b;

	buf_init_fixed(&b, text, sizeof(text));
	buf_add_excerpt(&b, s);
	PROBLEM(r, "%s %s", text, what);
}

static struct span trim(struct span s)
{
	while (s.n > 0 && str_is_space((char)s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n > 0 && str_is_space((char)s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool is_section_name(struct span s)
{
	if (s.n == 0 || s.n > CONF_NAME_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\' || s.p[i] == '[')
			return false;
	return true;
}

static void begin_section(struct reader *r, struct span name)
{
	const struct conf_section *first;
	char text[CONF_NAME_MAX + 1];

	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	first = conf_find(r->conf, text);
	if (first) {
		PROBLEM(r, "section [%s] comes twice, first at line %u", text, first->line);
		return;
	}
	if (r->conf->n == CONF_SECTIONS_MAX) {
		PROBLEM(r, "more than %d sections", CONF_SECTIONS_MAX);
		return;
	}
	r->err = add_section(r->conf, text, r->line);
	r->dropping = r->err != 0;
}

/* A line that starts with a bracket. Whatever is wrong with it, a section ends here. */
static void take_section(struct reader *r, struct span s)
{
	const uint8_t *close = memchr(s.p, ']', s.n);
	struct span name, behind;

	r->in_entry = false;
	r->dropping = true;
	if (!close) {
		problem_at(r, trim(s), "has no ]");
		return;
	}
	name = trim((struct span){ s.p + 1, (size_t)(close - s.p) - 1 });
	behind = trim((struct span){ close + 1, s.n - (size_t)(close - s.p) - 1 });
	if (behind.n > 0 && behind.p[0] != '#' && behind.p[0] != ';')
		problem_at(r, behind, "stands behind the ], where only a comment may");
	if (is_section_name(name))
		begin_section(r, name);
	else
		problem_at(r, name, "is not a section's name: 1 to 48 printable ASCII characters without \" \\ [");
}

/* Puts a line where inih wants it: from its first column, or one space in when it goes on with a value. */
static char *hand_over(char *to, enum line_kind kind, struct span s)
{
	char *p = to;

	if (kind == LINE_MORE)
		*p++ = ' ';
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\n';
	p[s.n + 1] = '\0';
	return to;
}

/* The next line without its end. */
static struct span take_line(struct reader *r)
{
	size_t left = (size_t)(r->end - r->p);
	const uint8_t *feed = memchr(r->p, '\n', left);
	struct span s = { r->p, feed ? (size_t)(feed - r->p) : left };

	r->p += s.n + (feed != NULL);
	r->line++;
	return s;
}

/* inih did not know what to do with the last line. */
static void explain_last(struct reader *r)
{
	if (r->kind == LINE_ENTRY && !r->dropping)
		PROBLEM(r, "this is not NAME = VALUE, and not a [section] or a # comment");
	r->kind = LINE_OTHER;
}

/* An entry begins: what is indented deeper belongs to it, and is kept if it is kept. */
static void begin_entry(struct reader *r, size_t indent)
{
	r->in_entry = true;
	r->indent = indent;
	r->keeping = false;
}

/* Lines that cannot be handed over. What is indented below such a one goes the same way. */
static bool refuse_line(struct reader *r, struct span s, size_t indent, size_t room)
{
	if (s.n > CONF_LINE_MAX || s.n + 3 > room)
		PROBLEM(r, "the line has %zu bytes, at most %zu are read", s.n, CONF_LINE_MAX);
	else if (s.n > 0 && memchr(s.p, '\0', s.n))
		PROBLEM(r, "a NUL byte in the line; is this a text file?");
	else
		return false;
	if (r->in_entry && indent > r->indent)
		r->keeping = false;
	else
		begin_entry(r, indent);
	return true;
}

/* inih's reader callback. `to` has room for `room` bytes, NUL included. */
static char *read_line(char *to, int room, void *stream)
{
	static const struct span blank = { (const uint8_t *)"", 0 };
	static const struct span bracket = { (const uint8_t *)"[-]", 3 }; /* tells inih that a section begins */
	struct reader *r = stream;
	struct span s;
	size_t indent = 0;

	explain_last(r);
	if (r->p == r->end || r->err)
		return NULL;
	s = take_line(r);
	while (indent < s.n && str_is_space((char)s.p[indent]))
		indent++;
	if (refuse_line(r, s, indent, (size_t)room))
		return hand_over(to, LINE_OTHER, blank);
	s.p += indent;
	s.n -= indent;
	if (s.n == 0 || s.p[0] == '#' || s.p[0] == ';')
		return hand_over(to, LINE_OTHER, blank);
	if (r->in_entry && indent > r->indent) {
		r->kind = LINE_MORE;
		return hand_over(to, LINE_MORE, s);
	}
	if (s.p[0] == '[') {
		take_section(r, s);
		return hand_over(to, LINE_OTHER, bracket);
	}
	r->kind = LINE_ENTRY;
	begin_entry(r, indent);
	return hand_over(to, LINE_ENTRY, s);
}

static void take_entry(struct reader *r, const char *name, const char *value)
{
	struct conf_section *s = last_section(r);
	size_t n = strlen(name);

	if (!s) {
		PROBLEM(r, "before any section; the first line is a [section]");
		r->dropping = true;
	} else if (n == 0) {
		PROBLEM(r, "no name before the =");
	} else if (n > CONF_NAME_MAX) {
		problem_at(r, span_str(name), "is too long for a name");
	} else if (s->n == CONF_ENTRIES_MAX) {
		PROBLEM(r, "more than %d entries in section [%s]", CONF_ENTRIES_MAX, s->name);
		r->dropping = true;
	} else {
		r->err = add_entry(s, name, value, r->line);
		r->keeping = r->err == 0;
	}
}

/* A further line of the last entry's value. */
static void take_more(struct reader *r, const char *value)
{
	struct conf_section *s = last_section(r);
	struct conf_entry *e = &s->entries[s->n - 1];
	size_t had = strlen(e->value), more = strlen(value);
	char *p;

	if (had + 1 + more > CONF_VALUE_MAX) {
		problem_at(r, span_str(e->name), "has a value longer than 65536 bytes");
		r->keeping = false;
		return;
	}
	p = make_room(&e->more, e->n_more, &e->cap_more, sizeof(*e->more)) == 0
		    ? mem_realloc(e->value, had + 1 + more + 1)
		    : NULL;
	if (!p) {
		r->err = -ENOMEM;
		return;
	}
	e->more[e->n_more++] = r->line;
	p[had] = '\n';
	memcpy(p + had + 1, value, more + 1);
	e->value = p;
}

/* inih's handler: the content of the line handed over last. Never stops inih: read_line() does when memory is out. */
static int take_content(void *user, const char *section, const char *name, const char *value)
{
	struct reader *r = user;
	enum line_kind kind = r->kind;

	(void)section; /* cut at 49 bytes; take_section() knows better */
	r->kind = LINE_OTHER;
	if (r->dropping)
		return 1;
	if (kind == LINE_ENTRY)
		take_entry(r, name, value);
	else if (kind == LINE_MORE && r->keeping)
		take_more(r, value);
	return 1;
}

/* Debian's inih takes its settings from global variables at run time; ours are put in place for one run only. */
static int run_inih(struct reader *r)
{
	bool stack = ini_use_stack, multiline = ini_allow_multiline, comments = ini_allow_inline_comments;
	bool no_value = ini_allow_no_value, stop = ini_stop_on_first_error, grow = ini_allow_realloc;
	int max = ini_max_line, initial = ini_initial_alloc;
	int result;

	ini_use_stack = ini_allow_realloc = false;
	ini_max_line = ini_initial_alloc = CONF_LINE_MAX + 4;
	ini_allow_multiline = true;
	ini_allow_inline_comments = ini_allow_no_value = ini_stop_on_first_error = false;
	result = ini_parse_stream(read_line, r, take_content, r);
	ini_use_stack = stack;
	ini_allow_realloc = grow;
	ini_max_line = max;
	ini_initial_alloc = initial;
	ini_allow_multiline = multiline;
	ini_allow_inline_comments = comments;
	ini_allow_no_value = no_value;
	ini_stop_on_first_error = stop;
	/* A line number above 0 is a line that explain_last() or take_section() has told of, with more to say. */
	return result == -2 ? -ENOMEM : r->err;
}

int conf_parse(const char *file, struct span bytes, struct conf **ret, struct conf_problems *ps)
{
	struct reader r = { .ps = ps };
	struct conf *c;
	int err;

	if (bytes.n > CONF_FILE_MAX) {
		conf_problem(ps, file, 0, "the file has %zu bytes, at most %zu are read", bytes.n, CONF_FILE_MAX);
		return -EFBIG;
	}
	c = mem_zalloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->file = mem_strdup(file);
	if (!c->file) {
		conf_free(&c);
		return -ENOMEM;
	}
	if (span_starts(bytes, "\xef\xbb\xbf")) {
		bytes.p += 3;
		bytes.n -= 3;
	}
	r.conf = c;
	r.p = bytes.p;
	r.end = bytes.n ? bytes.p + bytes.n : bytes.p;
	err = run_inih(&r);
	if (err) {
		conf_free(&c);
		return err;
	}
	*ret = c;
	return 0;
}

/* ---- applying ---- */

static bool is_skipped(const char *const *skip, const char *name)
{
	for (; skip && *skip; skip++)
		if (strcmp(*skip, name) == 0)
			return true;
	return false;
}

/* The entry of the same name before this one, or NULL. */
static const struct conf_entry *earlier(const struct conf_section *s, const struct conf_entry *e)
{
	const struct conf_entry *first = conf_section_find(s, e->name);

	return first == e ? NULL : first;
}

/* What is written instead of a word of another program. NULL: nobody knows it. */
static const char *ours_of(const char *name, const struct conf_target *targets, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (const struct option_foreign *f = targets[i].table->foreign; f && f->name; f++)
			if (strcmp(f->name, name) == 0)
				return f->ours;
	return NULL;
}

/* Of "listen tcp", from the line "listen tcp:7", the first word is one. NULL: it is none, or there is no other. */
static const char *first_word(const char *name, const struct conf_target *targets, size_t n)
{
	size_t length = strcspn(name, " \t");
	char word[CONF_NAME_MAX];

	if (!name[length] || length >= sizeof(word))
		return NULL;
	memcpy(word, name, length);
	word[length] = '\0';
	for (size_t i = 0; i < n; i++)
		if (option_find(targets[i].table, word))
			return option_find(targets[i].table, word)->name;
	return NULL;
}

static void explain_unknown(const struct conf_section *s, const struct conf_entry *e, const struct conf_target *targets,
			    size_t n, const char *const *skip, struct conf_problems *ps)
{
	struct str_closest c = str_closest_start(e->name);
	char text[CONF_NAME_MAX * 8 + 256];
	const char *ours, *first;
	struct buf b;

	for (size_t i = 0; i < n; i++)
		option_offer_names(targets[i].table, &c);
	for (; skip && *skip; skip++)
		str_closest_offer(&c, *skip);
	buf_init_fixed(&b, text, sizeof(text));
	buf_adds(&b, "unknown option ");
	buf_add_excerpt(&b, span_str(e->name));
	buf_addf(&b, " in [%s]", s->name);
	ours = ours_of(e->name, targets, n);
	first = first_word(e->name, targets, n);
	if (ours)
		buf_addf(&b, "; here it is %s", ours);
	else if (first && (!c.best || strcmp(c.best, first) == 0))
		buf_addf(&b, "; after \"%s\" there must be a =", first);
	else
		str_add_hint(&b, c.best);
	conf_problem(ps, s->file, e->line, "%s", text);
}

/* -ENOMEM or 0; a bad value is a problem, not an error. */
static int apply_entry(const struct conf_section *s, const struct conf_entry *e, const struct conf_target *targets,
		       size_t n, const char *const *skip, struct conf_problems *ps)
{
	const struct conf_entry *first = earlier(s, e);
	BUF_AUTO struct buf why = BUF_INIT(TEXT_MAX);

	if (is_skipped(skip, e->name))
		return 0;
	for (size_t i = 0; i < n; i++) {
		const struct option *row = option_find(targets[i].table, e->name);
		int err;

		if (!row)
			continue;
		if (first) {
			conf_problem(ps, s->file, e->line, "%s: comes twice in [%s], first at line %u", e->name,
				     s->name, first->line);
			return 0;
		}
		err = option_set_row(row, targets[i].values, e->value, &why);
		if (err && err != -ENOMEM)
			conf_problem(ps, s->file, e->line, "%s", buf_str(&why));
		return err == -ENOMEM ? err : why.err == -ENOMEM ? -ENOMEM : 0;
	}
	explain_unknown(s, e, targets, n, skip, ps);
	return 0;
}

/* The number behind the name of an option, `topics:2: ...`, with what is around it: a line of its value. 0: there is none. */
static size_t number_at(const char *text, unsigned *ret)
{
	size_t n = strspn(text + 1, "0123456789");

	if (n == 0 || n > 5 || text[1 + n] != ':')
		return 0;
	*ret = 0;
	for (size_t i = 1; i <= n; i++)
		*ret = *ret * 10 + (unsigned)(text[i] - '0');
	return 1 + n;
}

/* One complaint, at the line of the option that it begins with, or of that line of its value, or of the section. */
static void complain_one(const struct conf_section *s, struct conf_problems *ps, struct span said)
{
	char text[CONF_COMPLAINT + 1], name[CONF_COMPLAINT + 1];
	const struct conf_entry *e;
	size_t n, skip = 0;
	unsigned nth = 1, line;

	snprintf(text, sizeof(text), "%.*s", (int)said.n, (const char *)said.p);
	n = strcspn(text, ":");
	snprintf(name, sizeof(name), "%.*s", (int)n, text);
	e = conf_section_find(s, name);
	line = e ? e->line : s->line;
	if (e && text[n])
		skip = number_at(text + n, &nth);
	if (skip && nth > 1 && nth - 2 < e->n_more)
		line = e->more[nth - 2];
	conf_problem(ps, s->file, line, "%s%s", name, text + n + skip);
}

static void complain(const struct conf_section *s, struct conf_problems *ps, const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		complain_one(s, ps, (struct span){ (const uint8_t *)text, n });
		text += n + (text[n] == '\n');
	}
}

int conf_apply(const struct conf_section *s, const struct conf_target *targets, size_t n, const char *const *skip,
	       struct conf_problems *ps)
{
	size_t before = ps->n;
	char text[CONF_COMPLAINT];
	struct buf why;
	bool clean;

	for (size_t i = 0; i < s->n; i++) {
		int err = apply_entry(s, &s->entries[i], targets, n, skip, ps);

		if (err)
			return err;
	}
	/* With values missing or wrong, rules across options would complain of what is no mistake. */
	clean = ps->n == before;
	for (size_t i = 0; i < n && clean; i++) {
		int err;

		buf_init_fixed(&why, text, sizeof(text));
		err = option_values_check(targets[i].table, targets[i].values, &why);
		if (err == -ENOMEM)
			return err;
		if (err)
			complain(s, ps, text);
	}
	return 0;
}

/* ---- lines in order ---- */

static int take_one(const struct conf_section *s, const struct conf_entry *e, const char *const *names, conf_take *take,
		    void *arg, struct conf_problems *ps)
{
	BUF_AUTO struct buf why = BUF_INIT(TEXT_MAX);
	int err;

	for (size_t i = 0; names[i]; i++) {
		if (strcmp(names[i], e->name) != 0)
			continue;
		err = take(arg, i, e->value, &why);
		if (why.err == -ENOMEM)
			return -ENOMEM;
		if (err && err != -ENOMEM)
			conf_problem(ps, s->file, e->line, "%s: %s", e->name, buf_str(&why));
		return err == -ENOMEM ? err : 0;
	}
	explain_unknown(s, e, NULL, 0, names, ps);
	return 0;
}

int conf_lines(const struct conf_section *s, const char *const *names, conf_take *take, void *arg,
	       struct conf_problems *ps)
{
	int err = 0;

	for (size_t i = 0; i < s->n && !err; i++)
		err = take_one(s, &s->entries[i], names, take, arg, ps);
	return err;
}
