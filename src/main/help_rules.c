/* help_rules.c - `guichet help rules`: how a rule is written, and what its words are. */
#include <errno.h>

#include "base/str.h"
#include "base/wrap.h"
#include "main/help.h"
#include "proto/protos.h"
#include "store/rules.h"

static const char text[] =
	"The section [rules] says who may do what. Its lines are allow = WHO VERB STORE:PATTERN and deny = the same; the first one "
	"that fits decides, and what none fits is denied. Without the section this machine may do everything, and nobody else "
	"anything: a service that others would reach is refused then.\n\n"
	"  [rules]\n"
	"  deny = * write topics:$SYS/#           nobody writes there\n"
	"  allow = @staff * topics:#              the group staff may do all else\n"
	"  allow = * * topics:home/%u/#           everybody what is below his own name\n"
	"  allow = anonymous read topics:news/#   who has not logged in\n\n"
	"WHO is * (everybody), anonymous, the name of a user, or @ and a group; `guichet user` makes them. VERB is read, write, list, "
	"admin or *; for topics read is to subscribe and to receive, write to publish. In a pattern + stands for one level and # for "
	"all that follow; %u is the user, %c the name that the client gives itself, %% a percent sign. As long as there are no users, "
	"names and passwords are not looked at, and whoever comes is anonymous. A pattern with spaces stands in "
	"quotes. `guichet reload` changes rules for those who are connected, too.";

static const struct {
	const char *word, *help;
} words[] = {
	{ "allow", "allow = WHO VERB STORE:PATTERN: whom it fits may" },
	{ "deny", "deny = WHO VERB STORE:PATTERN: whom it fits may not" },
	{ "anonymous", "who has not logged in" },
	{ "read", "to read; of topics: to subscribe and to receive" },
	{ "write", "to write; of topics: to publish" },
	{ "list", "to see what there is" },
	{ "admin", "to change what belongs to all" },
	{ "%u",
	  "in a pattern: the name of the user; of who has none, or one that cannot stand there, the pattern fits nothing" },
	{ "%c", "in a pattern: the name that the client gives itself, in the same way" },
};

static const struct proto *whose(const char *store)
{
	for (const struct proto *const *p = protos; *p; p++)
		if ((*p)->store && strcmp((*p)->store, store) == 0)
			return *p;
	return NULL;
}

/* Those that a service has, and those of which a rule may be written already. */
static void add_stores(struct buf *b)
{
	const char *gap = " The names ";

	buf_adds(b, "Stores:");
	for (const char *const *s = rules_stores; *s; s++)
		if (whose(*s))
			buf_addf(b, " %s (of %s)", *s, whose(*s)->name);
	buf_addc(b, '.');
	for (const char *const *s = rules_stores; *s; s++) {
		if (whose(*s))
			continue;
		buf_addf(b, "%s%s", gap, *s);
		gap = ", ";
	}
	buf_adds(b, " are for services to come.");
}

void help_rules(struct buf *b)
{
	BUF_AUTO struct buf stores = BUF_INIT(1000);

	add_stores(&stores);
	wrap_add(b, text, 0, 0);
	buf_adds(b, "\n\n");
	wrap_add(b, buf_str(&stores), 0, 0);
	buf_addc(b, '\n');
}

const char *help_rules_text(void)
{
	return text;
}

int help_rules_word(const char *word, struct buf *b)
{
	struct str_closest c = str_closest_start(word);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		str_closest_offer(&c, words[i].word);
		if (strcmp(words[i].word, word) != 0)
			continue;
		buf_addf(b, "%s\n  ", word);
		wrap_add(b, words[i].help, 2, 2);
		buf_addc(b, '\n');
		return 0;
	}
	return help_unknown(word, "rules", c.best, b);
}
