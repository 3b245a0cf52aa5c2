/* cmd_connect.c - `guichet connect ADDRESS`: talks to a service over any transport; client/connect.c does the talking. */
#include <stdio.h>

#include "base/addr.h"
#include "base/str.h"
#include "client/connect.h"
#include "drive/client.h"
#include "drive/files.h"
#include "main/command.h"
#include "main/text.h"

enum { PEM_MAX = 1 << 20 };

enum { OPT_CA, OPT_CERT, OPT_INSECURE, OPT_KEY, OPT_NAME, OPT_VERBOSE, OPT_WAIT };

static const struct args_option options[] = {
	[OPT_CA] = { "ca", 0, "FILE", "tls: trusts the certificates in this PEM file, not the system's" },
	[OPT_CERT] = { "cert", 0, "FILE", "tls: shows the certificate in this PEM file to a server that wants one" },
	[OPT_INSECURE] = { "insecure", 'k', NULL, "tls: takes any certificate: whoever answers may be anybody" },
	[OPT_KEY] = { "key", 0, "FILE", "tls: the key of --cert; in the same file when not set" },
	[OPT_NAME] = { "name", 0, "NAME",
		       "tls: the name that the certificate must have; the host of ADDRESS when not set" },
	[OPT_VERBOSE] = { "verbose", 'v', NULL, "says on standard error when it is connected, and to whom" },
	[OPT_WAIT] = { "wait", 'w', "TIME", "datagrams: waits so long for answers after the end of the input (1s)" },
	ARGS_OPTIONS_END,
};

static const struct command_example examples[] = {
	{ "guichet connect tcp:7007", "this machine, port 7007; type lines, Ctrl-D ends" },
	{ "guichet connect tcp:example.org:echo", "a name, and a port by its name" },
	{ "echo hello | guichet connect udp:7007", "one datagram, and its answer" },
	{ "guichet connect --ca guichet-data/auto.crt tls:7008",
	  "TLS with the certificate that guichet made for itself" },
	{ "guichet connect --cert me.crt --key me.key tls:example.org:7008",
	  "to a server that wants to know who we are" },
	{ "guichet connect unix:./echo.sock", "a unix socket" },
	COMMAND_EXAMPLES_END,
};

static void say(const char *text)
{
	fprintf(stderr, "guichet: %s\n", text);
}

struct words {
	struct connect_setup setup;
	const char *address, *ca, *cert, *key;
};

static int take_wait(struct connect_setup *s, const char *value)
{
	uint64_t seconds;

	if (str_to_nsec(value, &s->wait) == 0)
		return STATUS_OK;
	if (str_to_u64(value, &seconds) == 0 && seconds < UINT32_MAX) {
		s->wait = seconds * NSEC_PER_SEC;
		return STATUS_OK;
	}
	return command_misused(&connect_command, "--wait %s is no time, write 2s or 500ms", value);
}

static int take(void *arg, int what, const char *value)
{
	struct words *w = arg;

	switch (what) {
	case ARGS_WORD:
		if (w->address)
			return command_misused(&connect_command,
					       "two addresses, %s and %s; write tcp:HOST:PORT as one word", w->address,
					       value);
		w->address = value;
		return STATUS_OK;
	case OPT_CA:
		w->ca = value;
		return STATUS_OK;
	case OPT_CERT:
		w->cert = value;
		return STATUS_OK;
	case OPT_KEY:
		w->key = value;
		return STATUS_OK;
	case OPT_INSECURE:
		w->setup.dial.insecure = true;
		return STATUS_OK;
	case OPT_NAME:
		w->setup.dial.name = value;
		return STATUS_OK;
	case OPT_VERBOSE:
		w->setup.say = say;
		return STATUS_OK;
	default:
		return take_wait(&w->setup, value);
	}
}

static int parse(struct words *w, int argc, char **argv)
{
	int status = command_each(&connect_command, argc, argv, take, w);

	if (status == STATUS_OK && !w->address)
		status = command_misused(&connect_command, "no address to connect to");
	if (status == STATUS_OK && w->key && !w->cert)
		status = command_misused(&connect_command, "--key without --cert, the certificate that it belongs to");
	return status;
}

/* Why nobody can connect to it, or NULL. */
static const char *fault_of(const struct addr_text *a)
{
	if (a->transport == ADDR_STDIO || a->transport == ADDR_FD)
		return "is where a server is reached, not a place to connect to";
	if (addr_is_net(a) && strcmp(a->host, "*") == 0)
		return "is every address; name one";
	return addr_is_net(a) && a->port == 0 ? "has port 0; a client needs the real one" : NULL;
}

/* A file that an option names, or nothing. */
static int read_pem(const char *option, const char *path, struct buf *b)
{
	BUF_AUTO struct buf why;

	buf_init(&why, 4096);
	if (!path || files_read(path, b, &why) == 0)
		return STATUS_OK;
	text_error("--%s: %s", option, buf_str(&why));
	return STATUS_USAGE;
}

static int check_address(const char *text, struct addr_text *ret)
{
	BUF_AUTO struct buf why;

	buf_init(&why, 4096);
	if (addr_parse(text, ret, &why) < 0)
		return command_misused(&connect_command, "%s: %s", text, buf_str(&why));
	if (fault_of(ret))
		return command_misused(&connect_command, "%s %s", text, fault_of(ret));
	if (!client_has_transport(ret->transport))
		return command_misused(&connect_command,
				       "transport %s is not spoken by this version, see guichet help addresses",
				       addr_kinds[ret->transport].name);
	return STATUS_OK;
}

static int run(int argc, char **argv)
{
	struct words w = { .setup = { .wait = NSEC_PER_SEC } };
	int status = parse(&w, argc, argv);
	struct addr_text to;
	BUF_AUTO struct buf why, ca, cert, key;

	buf_init(&why, 4096);
	buf_init(&ca, PEM_MAX);
	buf_init(&cert, PEM_MAX);
	buf_init(&key, PEM_MAX);
	if (status == STATUS_OK)
		status = check_address(w.address, &to);
	if (status == STATUS_OK)
		status = read_pem("ca", w.ca, &ca);
	if (status == STATUS_OK)
		status = read_pem("cert", w.cert, &cert);
	if (status == STATUS_OK)
		status = read_pem("key", w.key, &key);
	if (status != STATUS_OK)
		return status;
	w.setup.dial.to = &to;
	w.setup.dial.ca = buf_span(&ca);
	w.setup.dial.id = (struct tls_identity){
		.certificate = buf_span(&cert), .key = buf_span(&key), .from = w.cert, .key_from = w.key
	};
	if (connect_run(&w.setup, &why) == 0)
		return STATUS_OK;
	text_error("%s", buf_str(&why));
	return STATUS_FAILED;
}

const struct command connect_command = {
	.name = "connect",
	.summary = "talks to a service: what you type goes out, what comes is printed",
	.synopsis = "[OPTION...] ADDRESS",
	.text = "Connects to ADDRESS (see `guichet help addresses`) and passes standard input on, and what comes back to standard "
		"output. Each address of a name is tried in turn, in both families. Ctrl-D ends our half; the other side may go on, "
		"and its end is the end. Over datagrams each line is one.",
	.options = options,
	.examples = examples,
	.run = run,
};
