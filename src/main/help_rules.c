/* help_rules.c - `guichet help rules`: how a rule is written, and what its words are. */
#include <errno.h>

#include "base/str.h"
#include "base/wrap.h"
#include "main/help.h"
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
	"all that follow; %u is the user, %c the name that the client gives itself, %% a percent sign. A pattern with spaces stands in "
	"quotes. A reload (SIGHUP) changes rules for those who are connected, too.";

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

void help_rules(struct buf *b)
{
	wrap_add(b, text, 0, 0);
	buf_adds(b, "\n\nStores:");
	for (const char *const *s = rules_stores; *s; s++)
		buf_addf(b, " %s", *s);
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
