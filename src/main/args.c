/* args.c - see args.h. */
#include "main/args.h"

#include "base/str.h"

struct args args_start(int argc, char **argv, const struct args_option *options)
{
	return (struct args){ .options = options, .argc = argc, .argv = argv, .at = 1 };
}

static int by_name(const struct args_option *options, struct span name)
{
	for (int i = 0; options[i].name; i++)
		if (span_is(name, options[i].name))
			return i;
	return -1;
}

static int by_letter(const struct args_option *options, char letter)
{
	for (int i = 0; options[i].name; i++)
		if (options[i].letter && options[i].letter == letter)
			return i;
	return -1;
}

/* `word` as it was typed up to its =, with the nearest of the table. */
static int unknown(const struct args_option *options, struct span word, struct buf *why)
{
	char typed[64], name[64];
	struct buf b;
	struct str_closest c;

	buf_init_fixed(&b, typed, sizeof(typed));
	buf_add(&b, word.p, word.n);
	c = str_closest_start(typed + strspn(typed, "-"));
	for (int i = 0; options[i].name; i++)
		str_closest_offer(&c, options[i].name);
	buf_adds(why, "unknown option ");
	buf_add_excerpt(why, word);
	if (!c.best)
		return ARGS_BAD;
	buf_init_fixed(&b, name, sizeof(name));
	buf_addf(&b, "--%s", c.best);
	str_add_hint(why, name);
	return ARGS_BAD;
}

/* Option i was written; `given` is what stood with it, NULL = nothing: the value is the next word then. */
static int take_value(struct args *a, int i, const char *given, const char **ret_value, struct buf *why)
{
	const struct args_option *o = &a->options[i];

	if (!o->value) {
		if (given) {
			buf_addf(why, "--%s takes no value", o->name);
			return ARGS_BAD;
		}
		*ret_value = NULL;
		return i;
	}
	if (!given && a->at < a->argc)
		given = a->argv[a->at++];
	if (!given) {
		buf_addf(why, "--%s needs a value: --%s %s", o->name, o->name, o->value);
		return ARGS_BAD;
	}
	*ret_value = given;
	return i;
}

static int take_long(struct args *a, const char *word, const char **ret_value, struct buf *why)
{
	const char *equals = strchr(word, '=');
	struct span name = { (const uint8_t *)word, equals ? (size_t)(equals - word) : strlen(word) };
	int i = by_name(a->options, (struct span){ name.p + 2, name.n - 2 });

	return i < 0 ? unknown(a->options, name, why) : take_value(a, i, equals ? equals + 1 : NULL, ret_value, why);
}

static int take_short(struct args *a, const char *word, const char **ret_value, struct buf *why)
{
	int i = by_letter(a->options, word[1]);

	return i < 0 ? unknown(a->options, span_str(word), why)
		     : take_value(a, i, word[2] ? word + 2 : NULL, ret_value, why);
}

int args_next(struct args *a, const char **ret_value, struct buf *why)
{
	const char *word;

	if (a->at >= a->argc)
		return ARGS_END;
	word = a->argv[a->at++];
	if (!a->only_words && strcmp(word, "--") == 0) {
		a->only_words = true;
		return args_next(a, ret_value, why);
	}
	if (a->only_words || word[0] != '-' || word[1] == '\0') {
		*ret_value = word;
		return ARGS_WORD;
	}
	return word[1] == '-' ? take_long(a, word, ret_value, why) : take_short(a, word, ret_value, why);
}

void args_form(const struct args_option *o, struct buf *b)
{
	if (o->letter)
		buf_addf(b, "-%c, ", o->letter);
	buf_addf(b, "--%s", o->name);
	if (o->value)
		buf_addf(b, " %s", o->value);
}

bool args_has_letter(const struct args_option *options, char letter)
{
	return by_letter(options, letter) >= 0;
}
