/* mute.c - see mute.h. The only file that may know <syslog.h>, whose names are those of base/log.h. */
#include "main/mute.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

bool mute_stderr(void)
{
	struct stat in, err;
	int null;

	if (fstat(STDIN_FILENO, &in) < 0 || fstat(STDERR_FILENO, &err) < 0 || !S_ISSOCK(in.st_mode) ||
	    in.st_ino != err.st_ino || in.st_dev != err.st_dev)
		return false;
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null < 0)
		return false;
	(void)!dup2(null, STDERR_FILENO);
	close(null);
	return true;
}

void mute_say(const char *text)
{
	openlog("guichet", LOG_PID, LOG_DAEMON);
	syslog(LOG_ERR, "%s", text);
	closelog();
}
