/* help_pages.c - the manual page, the completion and the JSON: the same tables in three other forms. */
#include "conf/option.h"
#include "conf/tables.h"
#include "main/command.h"
#include "main/help.h"
#include "proto/protos.h"

static const struct option_table *const common[] = { &tables_guichet, &tables_service, &tables_tls, NULL };

/* ---- the manual page: man(7) macros ---- */

/* Text that roff must not read anything into. */
static void roff(struct buf *b, const char *s)
{
	bool start = b->n == 0 || b->p[b->n - 1] == '\n';

	for (; *s; s++) {
		if (start && (*s == '.' || *s == '\''))
			buf_adds(b, "\\&");
		if (*s == '\\')
			buf_adds(b, "\\e");
		else if (*s == '-')
			buf_adds(b, "\\-");
		else
			buf_addc(b, *s);
		start = *s == '\n';
	}
}

/* Paragraphs, and lines that start with two spaces as they are. */
static void roff_text(struct buf *b, const char *text)
{
	bool literal = false;

	while (*text) {
		size_t n = strcspn(text, "\n");
		char line[1024];
		struct buf l;

		buf_init_fixed(&l, line, sizeof(line));
		buf_add(&l, text, n);
		if (literal != (strncmp(line, "  ", 2) == 0)) {
			literal = !literal;
			buf_adds(b, literal ? ".nf\n" : ".fi\n");
		}
		if (n == 0) {
			buf_adds(b, ".PP\n");
		} else {
			roff(b, line);
			buf_addc(b, '\n');
		}
		text += n + (text[n] == '\n');
	}
	if (literal)
		buf_adds(b, ".fi\n");
}

static void man_options(struct buf *b, const struct args_option *o)
{
	for (; o->name; o++) {
		char form[128];
		struct buf f;

		buf_init_fixed(&f, form, sizeof(form));
		args_form(o, &f);
		buf_adds(b, ".TP\n.B ");
		roff(b, form);
		buf_addc(b, '\n');
		roff(b, o->help);
		buf_adds(b, ".\n");
	}
}

static void man_command(struct buf *b, const struct command *c)
{
	const char *line = c->synopsis;

	buf_addf(b, ".SS guichet %s\n", c->name);
	while (*line) {
		size_t n = strcspn(line, "\n");
		char text[256];
		struct buf t;

		buf_init_fixed(&t, text, sizeof(text));
		buf_add(&t, line, n);
		buf_addf(b, "\\fBguichet %s\\fR ", c->name);
		roff(b, text);
		buf_adds(b, "\n.br\n");
		line += n + (line[n] == '\n');
	}
	buf_adds(b, ".PP\n");
	roff_text(b, c->text);
	man_options(b, c->options);
	for (const struct command_example *e = c->examples; e && e->line; e++) {
		buf_adds(b, ".PP\n.nf\n");
		roff(b, e->line);
		buf_adds(b, "\n.fi\n.RS\n");
		roff(b, e->what);
		buf_adds(b, "\n.RE\n");
	}
	if (!c->status)
		return;
	buf_adds(b, ".PP\nExit status: ");
	roff(b, c->status);
	buf_addc(b, '\n');
}

static void man_table(struct buf *b, const struct option_table *t);

static void man_row(struct buf *b, const struct option *row)
{
	char form[512];
	struct buf f;

	buf_init_fixed(&f, form, sizeof(form));
	option_add_form(row, &f);
	buf_adds(b, ".TP\n");
	if (!row->part)
		buf_addf(b, "\\fB%s\\fR = ", row->name);
	roff(b, form);
	buf_addc(b, '\n');
	roff(b, row->help);
	if (row->def && *row->def) {
		buf_adds(b, "; default ");
		roff(b, row->def);
	}
	buf_adds(b, ".\n");
	if (!row->part)
		return;
	buf_adds(b, ".RS\n");
	roff_text(b, row->part->about ? row->part->about : "");
	man_table(b, row->part);
	buf_adds(b, ".RE\n");
}

static void man_table(struct buf *b, const struct option_table *t)
{
	const struct option *row;

	for (size_t i = 0; t && (row = option_shown(t, i)); i++)
		man_row(b, row);
}

static void man_proto(struct buf *b, const struct proto *p)
{
	buf_addf(b, ".SS %s\n%s%s%s%s.\n", p->name, p->summary, p->doc ? " (" : "", p->doc ? p->doc : "",
		 p->doc ? ")" : "");
	if (p->port)
		buf_addf(b, "The classic port is %u.\n", p->port);
	man_table(b, p->options);
}

void help_man(struct buf *b)
{
	buf_adds(b, ".\\\" Made by `guichet help --man` from the tables of the program.\n"
		    ".TH GUICHET 1 \"\" \"guichet " GUICHET_VERSION "\" \"User Commands\"\n"
		    ".SH NAME\nguichet \\- one small daemon that speaks the classic Internet protocols\n"
		    ".SH SYNOPSIS\n");
	for (const struct command *const *c = commands; *c; c++)
		buf_addf(b, "\\fBguichet %s\\fR [ARGUMENT...]\n.br\n", (*c)->name);
	buf_adds(b, ".SH COMMANDS\n");
	for (const struct command *const *c = commands; *c; c++)
		man_command(b, *c);
	buf_adds(b, ".SH CONFIGURATION\n");
	roff_text(
		b,
		"A section for each service; its name is its protocol unless protocol = says otherwise. Comments stand on lines of "
		"their own and begin with # or ;. Relative paths start at the file.\n\n"
		"  [guichet]\n  data = ./guichet-data\n\n  [echo]\n  listen = tcp:7007 udp:7007\n\n"
		"  [shout]\n  protocol = echo\n  listen = tcp:8765 unix:./shout.sock\n  upper = yes\n");
	buf_adds(b, ".SS Section [guichet]\n");
	man_table(b, &tables_guichet);
	buf_adds(b, ".SS Section [rules]\n");
	roff_text(b, help_rules_text());
	buf_addc(b, '\n');
	buf_adds(b, ".SS Every service\n");
	man_table(b, &tables_service);
	buf_adds(b, ".SS Services at tls: addresses\n");
	man_table(b, &tables_tls);
	buf_adds(b, ".SH SERVICES\n");
	for (const struct proto *const *p = protos; *p; p++)
		man_proto(b, *p);
	buf_adds(b, ".SH ADDRESSES\n");
	for (size_t i = 0; i < ADDR_TRANSPORTS; i++) {
		buf_adds(b, ".TP\n.B ");
		roff(b, addr_kinds[i].form);
		buf_addc(b, '\n');
		roff(b, addr_kinds[i].help);
		buf_adds(b, ".\n");
	}
	buf_adds(
		b,
		".SH SIGNALS\n.TP\n.B SIGHUP\nreads the configuration and the certificates again; a mistake in them changes nothing.\n"
		".TP\n.B SIGTERM, SIGINT, SIGQUIT\nlets conversations finish, at most as long as the option drain says; a second one does not wait.\n"
		".SH EXIT STATUS\n.TP\n.B 0\nall went well.\n.TP\n.B 1\nsomething failed while it ran.\n"
		".TP\n.B 2\nthe command line or the configuration is wrong; nothing was done.\n");
}

/* ---- completion for bash ---- */

static void add_words_of_options(struct buf *b, const struct args_option *o)
{
	for (; o->name; o++)
		buf_addf(b, "--%s ", o->name);
	buf_adds(b, "--help");
}

void help_completion(struct buf *b)
{
	buf_adds(b, "# Completion of guichet for bash, made by guichet help --completion.\n"
		    "_guichet() {\n"
		    "\tlocal word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}\n"
		    "\tlocal services=\"");
	for (const struct proto *const *p = protos; *p; p++)
		buf_addf(b, "%s%s", p == protos ? "" : " ", (*p)->name);
	buf_adds(
		b,
		"\" options=\"\"\n\tCOMPREPLY=()\n\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\tCOMPREPLY=($(compgen -W \"");
	for (const struct command *const *c = commands; *c; c++)
		buf_addf(b, "%s ", (*c)->name);
	buf_adds(b, "--help --version\" -- \"$word\"))\n\t\treturn\n\tfi\n\tcase $command in\n");
	for (const struct command *const *c = commands; *c; c++) {
		buf_addf(b, "\t%s) options=\"", (*c)->name);
		add_words_of_options(b, (*c)->options);
		buf_adds(b, "\" ;;\n");
	}
	buf_adds(b, "\tesac\n"
		    "\tif [[ $word == -* ]]; then\n"
		    "\t\tCOMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
		    "\telif [ \"$command\" = help ]; then\n"
		    "\t\tCOMPREPLY=($(compgen -W \"$services ");
	for (const struct help_topic *t = help_topics; t->name; t++)
		buf_addf(b, "%s ", t->name);
	for (const struct command *const *c = commands; *c; c++)
		buf_addf(b, "%s ", (*c)->name);
	buf_adds(b, "\" -- \"$word\"))\n"
		    "\telif [ \"$command\" = serve ] || [ \"$command\" = check ]; then\n"
		    "\t\tCOMPREPLY=($(compgen -f -- \"$word\") $(compgen -W \"$services\" -S @ -- \"$word\"))\n"
		    "\telse\n"
		    "\t\tCOMPREPLY=($(compgen -f -- \"$word\"))\n"
		    "\tfi\n"
		    "}\n"
		    "complete -o filenames -o nospace -F _guichet guichet\n");
}

/* ---- JSON ---- */

static void member(struct buf *b, const char *name, const char *text)
{
	buf_addf(b, "\"%s\":", name);
	if (text)
		buf_add_json(b, span_str(text));
	else
		buf_adds(b, "null");
	buf_addc(b, ',');
}

static void json_command(struct buf *b, const struct command *c)
{
	buf_addc(b, '{');
	member(b, "name", c->name);
	member(b, "summary", c->summary);
	buf_adds(b, "\"options\":[");
	for (const struct args_option *o = c->options; o->name; o++) {
		buf_adds(b, o == c->options ? "{" : ",{");
		member(b, "name", o->name);
		member(b, "value", o->value);
		buf_adds(b, "\"help\":");
		buf_add_json(b, span_str(o->help));
		buf_addc(b, '}');
	}
	buf_adds(b, "]}");
}

static void json_proto(struct buf *b, const struct proto *p)
{
	buf_addc(b, '{');
	member(b, "name", p->name);
	member(b, "summary", p->summary);
	member(b, "doc", p->doc);
	buf_addf(b, "\"port\":%u,\"stream\":%s,\"datagram\":%s,\"shared\":%s,\"off\":%s,\"options\":", p->port,
		 p->flags & P_STREAM ? "true" : "false", p->flags & P_DGRAM ? "true" : "false",
		 p->flags & P_SHARED ? "true" : "false", p->flags & P_OFF ? "true" : "false");
	if (p->options)
		option_json_table(p->options, b);
	else
		buf_adds(b, "[]");
	buf_addc(b, '}');
}

void help_json(struct buf *b)
{
	buf_addc(b, '{');
	member(b, "version", GUICHET_VERSION);
	buf_adds(b, "\"commands\":[");
	for (const struct command *const *c = commands; *c; c++) {
		buf_adds(b, c == commands ? "" : ",");
		json_command(b, *c);
	}
	buf_adds(b, "],\"addresses\":[");
	for (size_t i = 0; i < ADDR_TRANSPORTS; i++) {
		buf_adds(b, i ? ",{" : "{");
		member(b, "name", addr_kinds[i].name);
		member(b, "form", addr_kinds[i].form);
		buf_adds(b, "\"help\":");
		buf_add_json(b, span_str(addr_kinds[i].help));
		buf_addc(b, '}');
	}
	buf_adds(b, "],\"options\":{");
	for (size_t i = 0; common[i]; i++) {
		buf_addf(b, "%s\"%s\":", i ? "," : "", common[i]->name);
		option_json_table(common[i], b);
	}
	buf_adds(b, "},\"services\":[");
	for (const struct proto *const *p = protos; *p; p++) {
		buf_adds(b, p == protos ? "" : ",");
		json_proto(b, *p);
	}
	buf_adds(b, "]}\n");
}
