/* words.c - see words.h. */
#include "main/words.h"

#include <errno.h>

#include "base/mem.h"
#include "base/str.h"
#include "conf/conf.h"

static const char name_letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";

bool word_is_service(const char *text)
{
	size_t n = strcspn(text, "@/");

	return text[n] == '@';
}

/* The comma that begins the next option, or NULL. */
static char *next_option(char *s)
{
	for (char *comma = strchr(s, ','); comma; comma = strchr(comma + 1, ',')) {
		size_t n = strspn(comma + 1, name_letters);

		if (n > 0 && comma[1 + n] == '=')
			return comma;
	}
	return NULL;
}

static int add_option(struct word *w, char *name)
{
	struct word_option *more = mem_realloc(w->options, (w->n + 1) * sizeof(*more));
	char *equals = strchr(name, '=');

	if (!more)
		return -ENOMEM;
	*equals = '\0';
	w->options = more;
	w->options[w->n++] = (struct word_option){ .name = name, .value = equals + 1 };
	return 0;
}

static int check_name(const char *name, struct buf *why)
{
	if (*name && strlen(name) <= CONF_NAME_MAX)
		return 0;
	buf_adds(why, *name ? "the name before the @ is too long" : "no service before the @, write SERVICE@ADDRESS");
	return -EINVAL;
}

/* An option without a value looks like the end of an address; say what was probably meant. */
static int check_address(const char *address, struct buf *why)
{
	const char *comma = strrchr(address, ',');

	if (!*address) {
		buf_adds(why, "no address behind the @, write SERVICE@ADDRESS as in echo@tcp:7007");
		return -EINVAL;
	}
	if (comma && comma[1 + strspn(comma + 1, name_letters)] == '\0' && strncmp(address, "unix", 4) != 0 &&
	    strncmp(address, "fifo", 4) != 0) {
		buf_add_excerpt(why, span_str(comma + 1));
		buf_addf(why, " is no option, write %s=VALUE", comma[1] ? comma + 1 : "NAME");
		return -EINVAL;
	}
	return 0;
}

static int take_apart(struct word *w, struct buf *why)
{
	char *at = strchr(w->copy, '@'), *option = NULL;
	int err = 0;

	if (!at) {
		buf_adds(why, "no @, write SERVICE@ADDRESS as in echo@tcp:7007");
		return -EINVAL;
	}
	*at = '\0';
	w->service = w->copy;
	w->address = at + 1;
	for (char *next = next_option(w->address); next && !err; next = option ? next_option(option) : NULL) {
		*next = '\0';
		if (option)
			err = add_option(w, option);
		option = next + 1;
	}
	if (option && !err)
		err = add_option(w, option);
	if (!err)
		err = check_name(w->service, why);
	return err ? err : check_address(w->address, why);
}

int word_parse(const char *text, struct word *ret, struct buf *why)
{
	struct word w = { .text = text, .copy = mem_strdup(text) };
	int err = w.copy ? take_apart(&w, why) : -ENOMEM;

	if (err) {
		word_done(&w);
		return err;
	}
	*ret = w;
	return 0;
}

void word_done(struct word *w)
{
	mem_free(w->options);
	mem_free(w->copy);
	*w = (struct word){};
}
