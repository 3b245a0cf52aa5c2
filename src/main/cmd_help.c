/* cmd_help.c - `guichet help`: finds what the words are about; the pages are in help.c and help_pages.c. */
#include <stdio.h>

#include "base/str.h"
#include "conf/option.h"
#include "conf/tables.h"
#include "main/command.h"
#include "main/help.h"
#include "main/text.h"
#include "proto/protos.h"

enum { PAGE_MAX = 4 << 20, WORDS_MAX = 3, SECTION_MAX = 128 };

enum { OPT_COMPLETION, OPT_JSON, OPT_MAN };

static const struct args_option options[] = {
	[OPT_COMPLETION] = { "completion", 0, NULL, "writes the completion for bash" },
	[OPT_JSON] = { "json", 0, NULL, "writes commands, options and services as JSON" },
	[OPT_MAN] = { "man", 0, NULL, "writes the manual page guichet(1)" },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet help echo", "what echo does, and its options" },
	{ "guichet help echo reply", "one option" },
	{ "guichet help addresses", "how to write where a service listens" },
	{ "guichet help --man | man -l -", "the manual page" },
	{ "source <(guichet help --completion)", "completion in this shell" },
	COMMAND_EXAMPLES_END,
};

static int print(const struct buf *b)
{
	return text_print(stdout, b) < 0 ? STATUS_FAILED : STATUS_OK;
}

static void add_contents(struct buf *b)
{
	buf_adds(b, "Commands (guichet help COMMAND, or guichet COMMAND --help):\n");
	command_list(b);
	buf_adds(b, "\nServices (guichet help SERVICE [OPTION]):\n");
	help_services(b);
	buf_adds(b, "\nMore (guichet help WORD):\n");
	for (const struct help_topic *t = help_topics; t->name; t++)
		buf_addf(b, "  %-10s%s\n", t->name, t->summary);
}

/* The sections of this name that a protocol has; NULL: there are none. */
static const struct option *sections_named(const char *word, const struct proto **ret_whose)
{
	for (const struct proto *const *p = protos; *p; p++) {
		const struct option *row = (*p)->options ? option_find((*p)->options, word) : NULL;

		if (!row || !row->part)
			continue;
		*ret_whose = *p;
		return row;
	}
	return NULL;
}

/* An option of one protocol, or of sections of it. */
static bool add_option_of(const struct proto *p, const char *word, bool found, struct buf *b)
{
	for (size_t i = 0; p->options && i < p->options->n; i++) {
		const struct option *own = &p->options->rows[i], *row;
		bool named = strcmp(own->name, word) == 0;

		row = named ? own : own->part ? option_find(own->part, word) : NULL;
		if (!row)
			continue;
		buf_adds(b, found ? "\n" : "");
		if (!named)
			buf_addf(b, "[%s.%s.NAME] ", p->name, own->name);
		else if (!own->part)
			buf_addf(b, "[%s] ", p->name);
		option_help_row(row, b);
		found = true;
	}
	return found;
}

/* An option of a section or of every service, asked for by its name alone. */
static bool add_common_option(const char *word, struct buf *b)
{
	static const struct option_table *const tables[] = { &tables_service, &tables_tls, &tables_guichet };
	bool found = false;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		const struct option *row = option_find(tables[i], word);

		if (!row)
			continue;
		if (found)
			buf_addc(b, '\n');
		buf_addf(b, "[%s] ", tables[i] == &tables_guichet ? "guichet" : "every service");
		option_help_row(row, b);
		found = true;
	}
	for (const struct proto *const *p = protos; *p; p++)
		found = add_option_of(*p, word, found, b);
	return found;
}

static int unknown(const char *word)
{
	struct str_closest c = str_closest_start(word);
	char text[256];
	struct buf b;

	for (const struct proto *const *p = protos; *p; p++)
		str_closest_offer(&c, (*p)->name);
	for (const struct help_topic *t = help_topics; t->name; t++)
		str_closest_offer(&c, t->name);
	for (const struct command *const *p = commands; *p; p++)
		str_closest_offer(&c, (*p)->name);
	for (const struct proto *const *p = protos; *p; p++)
		if ((*p)->options)
			option_offer_names((*p)->options, &c);
	option_offer_names(&tables_service, &c);
	option_offer_names(&tables_tls, &c);
	option_offer_names(&tables_guichet, &c);
	buf_init_fixed(&b, text, sizeof(text));
	buf_adds(&b, "no help on ");
	buf_add_excerpt(&b, span_str(word));
	str_add_hint(&b, c.best);
	text_error("%s", text);
	fprintf(stderr, "Try `guichet help`.\n");
	return STATUS_USAGE;
}

static int one_word(const char *word, struct buf *b)
{
	const struct proto *p = protos_find(word);
	const struct command *c = command_find(word);

	if (c)
		command_help(c, b);
	else if (p)
		help_proto(p, b);
	if (c || p)
		return print(b);
	for (const struct help_topic *t = help_topics; t->name; t++) {
		if (strcmp(t->name, word) != 0)
			continue;
		t->add(b);
		return print(b);
	}
	return add_common_option(word, b) ? print(b) : unknown(word);
}

/* On the page there is what there is. */
static int no_such(const char *page, const struct buf *said)
{
	text_error("%s", buf_str(said));
	fprintf(stderr, "Try `guichet help %s`.\n", page);
	return STATUS_USAGE;
}

/* SERVICE OPTION, COMMAND OPTION, or a topic and something on its page. */
static int two_words(const char *first, const char *second, struct buf *b)
{
	const struct help_topic *t = help_topics;
	const struct proto *p = protos_find(first);
	const struct command *c = command_find(first);
	int err;

	while (t->name && strcmp(t->name, first) != 0)
		t++;
	if (p)
		err = help_option(p, second, b);
	else if (c)
		err = command_help_option(c, second, b);
	else if (t->name)
		err = t->find(second, b);
	else if (sections_named(first, &p))
		err = help_part_option(p, first, second, b);
	else
		return unknown(first);
	return err < 0 ? no_such(first, b) : print(b);
}

/* SERVICE SECTION OPTION, as in mqtt bridge topics. */
static int three_words(const char *const *words, struct buf *b)
{
	const struct proto *p = protos_find(words[0]);

	if (!p && !command_find(words[0]))
		return unknown(words[0]);
	if (!p)
		return command_misused(&help_command, "\"%s\" is one word too many", words[2]);
	return help_part_option(p, words[1], words[2], b) < 0 ? no_such(words[0], b) : print(b);
}

/* As the file has it: a service, a kind of section of it, and the name of one, which means nothing here. False: it is another word. */
static bool is_section(const char *word, char array[SECTION_MAX], const char **words)
{
	size_t n = strlen(word);
	char *dot;

	if (n >= SECTION_MAX)
		return false;
	memcpy(array, word, n + 1);
	if (array[0] == '[' && array[n - 1] == ']') {
		array[n - 1] = '\0';
		array++;
	}
	dot = strchr(array, '.');
	words[0] = array;
	words[1] = dot ? dot + 1 : NULL;
	if (!dot)
		return word[0] == '[';
	*dot = '\0';
	array = strchr(dot + 1, '.');
	if (array)
		*array = '\0';
	return true;
}

static int show(const char *const *words, int n)
{
	char array[SECTION_MAX];
	const char *section[2];
	BUF_AUTO struct buf b;

	buf_init(&b, PAGE_MAX);
	if (n == 1 && is_section(words[0], array, section))
		return section[1] ? two_words(section[0], section[1], &b) : one_word(section[0], &b);
	if (n == 1)
		return one_word(words[0], &b);
	if (n == 2)
		return two_words(words[0], words[1], &b);
	if (n == 3)
		return three_words(words, &b);
	add_contents(&b);
	return print(&b);
}

static int write_pages(int option)
{
	BUF_AUTO struct buf b;

	buf_init(&b, PAGE_MAX);
	if (option == OPT_MAN)
		help_man(&b);
	else if (option == OPT_JSON)
		help_json(&b);
	else
		help_completion(&b);
	return print(&b);
}

struct asked {
	const char *v[WORDS_MAX];
	int n, pages; /* pages: the option that asks for some, or -1 */
};

static int take(void *arg, int what, const char *word)
{
	struct asked *a = arg;

	if (what >= 0)
		a->pages = what;
	else if (a->n == WORDS_MAX)
		return command_misused(&help_command,
				       "more than three words: a service, a kind of section of it, an option");
	else
		a->v[a->n++] = word;
	return STATUS_OK;
}

static int run(int argc, char **argv)
{
	struct asked a = { .pages = -1 };
	int status = command_each(&help_command, argc, argv, take, &a);

	if (status != STATUS_OK)
		return status;
	return a.pages >= 0 ? write_pages(a.pages) : show(a.v, a.n);
}

const struct command help_command = {
	.name = "help",
	.summary = "explains commands, services, options and addresses",
	.synopsis = "[COMMAND|SERVICE|WORD]\nCOMMAND|SERVICE OPTION\nSERVICE SECTION OPTION\n--man|--completion|--json",
	.text = "Explains what the program can, from the same tables that make it work. Without a word: what there is to ask for.",
	.options = options,
	.examples = examples,
	.run = run,
};
