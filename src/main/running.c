/* running.c - see running.h. */
#include "main/running.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "client/ask.h"
#include "main/command.h"
#include "main/text.h"

static const char usual_path[] = "./guichet-data/control.sock";

void running_take(struct running *r, const char *path)
{
	struct stat st;

	r->control = path;
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
	    snprintf(r->in_folder, sizeof(r->in_folder), "%s/control.sock", path) < (int)sizeof(r->in_folder))
		r->control = r->in_folder;
}

/* Nobody there is the usual mistake: say where was looked and what to do. */
static void explain(const struct running *r, const char *command, int err, const char *why)
{
	const char *path = r->control ? r->control : usual_path;

	if (err == -ENOENT && !r->control)
		text_error(
			"no guichet was started in this folder: there is no %s; `guichet %s --control PATH` asks another one, "
			"PATH is control.sock in its data folder",
			path, command);
	else if (err == -ENOENT)
		text_error("there is no %s; the control socket is control.sock in the data folder of a running guichet",
			   path);
	else if (err == -ECONNREFUSED)
		text_error("no guichet is running: %s is there, but nobody answers", path);
	else if (err == -EACCES)
		text_error("%s belongs to another user: ask as that user, or as root", path);
	else
		text_error("%s", why);
}

int running_ask(const struct running *r, const char *command, const char *line, unsigned seconds, struct buf *answer)
{
	char address[512];
	BUF_AUTO struct buf why = BUF_INIT(1024);
	struct buf a;
	int err;

	buf_init_fixed(&a, address, sizeof(address));
	buf_addf(&a, "unix:%s", r->control ? r->control : usual_path);
	err = a.err ? -ENAMETOOLONG : ask(address, line, seconds * SEC, answer, &why);
	if (a.err)
		buf_adds(&why, "the path is too long");
	if (err)
		explain(r, command, err, buf_str(&why));
	return err ? STATUS_FAILED : STATUS_OK;
}
