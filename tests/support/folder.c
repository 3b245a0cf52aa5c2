/* folder.c - see folder.h. */
#include "support/folder.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "drive/files.h"

char *folder;
char folder_conf[256];

int folder_set_up(void **state)
{
	int r = files_temp_dir(&folder, NULL);

	(void)state;
	if (r == 0)
		snprintf(folder_conf, sizeof(folder_conf), "%s/t.conf", folder);
	return r;
}

int folder_take_down(void **state)
{
	int r = files_remove_dir(folder, NULL);

	(void)state;
	mem_free(folder);
	folder = NULL;
	return r;
}

const char *folder_path(const char *name)
{
	static char text[8192];

	snprintf(text, sizeof(text), "%s/%s", folder, name);
	return text;
}

void folder_put(const char *name, const char *text)
{
	assert_int_equal(files_write(folder_path(name), 0644, span_str(text), NULL), 0);
}

size_t folder_names(const char *path)
{
	DIR *d = opendir(path);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

size_t folder_fds(void)
{
	return folder_names("/proc/self/fd") - 1; /* that it was read with */
}
