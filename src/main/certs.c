/*
 * certs.c - TLS contexts from files. The certificate `auto` is two files in the data folder, auto.crt and auto.key: made on
 * first use, and kept, so that whoever trusted it once goes on to do so.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "drive/files.h"
#include "layer/tls.h"
#include "main/planner_priv.h"

enum {
	PEM_MAX = 1 << 20,
	NAMES_MAX = 256, /* of `sni`, as tables.c has it */
	HOST_MAX = 256,
	SENTENCE = 1024,
};

static_assert((int)TLS_MIN_1_2 == (int)TLS_1_2 && (int)TLS_MIN_1_3 == (int)TLS_1_3);
static_assert((int)TLS_ASK_NONE == (int)CLIENT_CERTIFICATE_NONE &&
	      (int)TLS_ASK_OPTIONAL == (int)CLIENT_CERTIFICATE_OPTIONAL &&
	      (int)TLS_ASK_REQUIRED == (int)CLIENT_CERTIFICATE_REQUIRED);

/* All bytes that a context is made of, as long as it is being made. */
struct certs {
	const struct certs_setup *setup;
	struct buf certificate, key, ca;
	struct buf names[2 * NAMES_MAX];
	struct tls_name sni[NAMES_MAX];
	char *sni_names[NAMES_MAX];
	size_t n;
	bool failed; /* something was wrong, and told */
	bool none;   /* there is no certificate yet, and none may be made */
};

static void problem(struct certs *c, const char *option, const char *text)
{
	char whole[SENTENCE];
	struct buf b;

	buf_init_fixed(&b, whole, sizeof(whole));
	buf_addf(&b, "%s%s%s", option, *option ? ": " : "", text);
	c->setup->problem(c->setup->arg, whole);
	c->failed = true;
}

/* Reads a file into *b. A file that cannot be read is a problem, and the others are read all the same; only -ENOMEM ends it. */
static int read_pem(struct certs *c, const char *option, const char *path, struct buf *b)
{
	char text[SENTENCE];
	struct buf why;
	int err;

	buf_init_fixed(&why, text, sizeof(text));
	err = files_read(path, b, &why);
	if (err && err != -ENOMEM)
		problem(c, option, text);
	return err == -ENOMEM ? err : 0;
}

/* ---- auto ---- */

/* The key first: a certificate without its key would be taken for a whole pair by the next start. */
static int write_auto(struct certs *c, const char *crt, const char *key, struct buf *why)
{
	int err = files_make_dir(c->setup->data, why);

	if (!err)
		err = files_write(key, 0600, buf_span(&c->key), why);
	return err ? err : files_write(crt, 0644, buf_span(&c->certificate), why);
}

static int make_auto(struct certs *c, const char *crt, const char *key)
{
	char host[HOST_MAX] = "", text[SENTENCE];
	const char *const names[] = { host, NULL };
	struct buf why;
	int err;

	buf_init_fixed(&why, text, sizeof(text));
	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	err = tls_auto_certificate(*host ? names : NULL, &c->certificate, &c->key, time(NULL));
	if (err == -EINVAL) /* a host name that no certificate can hold */
		err = tls_auto_certificate(NULL, &c->certificate, &c->key, time(NULL));
	if (err)
		buf_addf(&why, "cannot make one: %s", strerror(-err));
	else
		err = write_auto(c, crt, key, &why);
	if (err == -ENOMEM)
		return err;
	if (err)
		problem(c, "certificate", text);
	else
		log_text(LOG_INFO, "certificate-made", "%s, self-signed", crt);
	return 0;
}

static int auto_pair(struct certs *c, const char *crt, const char *key)
{
	int err;

	if (access(crt, F_OK) == 0) {
		err = read_pem(c, "certificate", crt, &c->certificate);
		return err ? err : read_pem(c, "certificate", key, &c->key);
	}
	c->none = c->setup->dry;
	return c->none ? 0 : make_auto(c, crt, key);
}

static int read_auto(struct certs *c)
{
	char *crt = NULL, *key = NULL;
	int err = str_path_from(c->setup->data, "auto.crt", &crt);

	if (!err)
		err = str_path_from(c->setup->data, "auto.key", &key);
	if (!err)
		err = auto_pair(c, crt, key);
	mem_free(crt);
	mem_free(key);
	return err;
}

/* ---- files ---- */

/* A key that everybody on the machine may read is told of: it is as good as published. */
static void warn_of_mode(const struct certs *c, const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && st.st_mode & S_IROTH)
		log_text(LOG_WARN, "key-readable", "[%s] %s can be read by every user of this machine; chmod o-r it",
			 c->setup->service, path);
}

static int read_identity(struct certs *c)
{
	const struct tls_options *o = c->setup->options;
	int err;

	if (strcmp(o->certificate, "auto") == 0)
		return read_auto(c);
	err = read_pem(c, "certificate", o->certificate, &c->certificate);
	if (!err && o->key)
		err = read_pem(c, "key", o->key, &c->key);
	if (!err)
		warn_of_mode(c, o->key ? o->key : o->certificate);
	return err;
}

/* A file named in `sni`. */
static int read_named(struct certs *c, struct span name, struct buf *b)
{
	char *path = mem_strndup((const char *)name.p, name.n);
	int err;

	buf_init(b, PEM_MAX);
	err = path ? read_pem(c, "sni", path, b) : -ENOMEM;
	mem_free(path);
	return err;
}

static int read_sni(struct certs *c)
{
	const struct str_words *words = &c->setup->options->sni;
	int err = 0;

	for (size_t i = 0; i < words->n && i < NAMES_MAX && !err; i++) {
		struct span name, certificate, key;

		err = tables_sni_split(words->v[i], &name, &certificate, &key);
		if (err)
			return err;
		c->n = i + 1;
		c->sni_names[i] = mem_strndup((const char *)name.p, name.n);
		if (!c->sni_names[i])
			return -ENOMEM;
		err = read_named(c, certificate, &c->names[2 * i]);
		if (!err)
			err = read_named(c, key, &c->names[2 * i + 1]);
		c->sni[i].name = c->sni_names[i];
	}
	return err;
}

/* ---- the context ---- */

static int make_context(struct certs *c, struct tls_ctx **ret)
{
	const struct tls_options *o = c->setup->options;
	struct tls_setup setup = {
		.min = (enum tls_min)o->tls_min,
		.id = { buf_span(&c->certificate), buf_span(&c->key) },
		.names = c->sni,
		.names_n = c->n,
		.ask = (enum tls_ask)o->client_certificate,
		.ca = buf_span(&c->ca),
		.alpn = o->alpn.n ? (const char *const *)o->alpn.v : NULL,
		.now = time(NULL),
	};
	char warning[SENTENCE];
	struct buf said;
	int err;

	for (size_t i = 0; i < c->n; i++)
		c->sni[i].id = (struct tls_identity){ buf_span(&c->names[2 * i]), buf_span(&c->names[2 * i + 1]) };
	buf_init_fixed(&said, warning, sizeof(warning));
	err = tls_ctx_new(&setup, ret, &said);
	if (err == -ENOMEM)
		return err;
	if (err && strcmp(o->certificate, "auto") == 0)
		buf_addf(&said, "; remove auto.crt and auto.key in %s to have new ones made", c->setup->data);
	if (err)
		problem(c, "", warning); /* begins with what is an option's name here too */
	else if (said.n > 0)
		log_text(LOG_WARN, "certificate", "[%s] %s", c->setup->service, warning);
	return 0;
}

static void certs_done(struct certs *c)
{
	buf_done(&c->certificate);
	buf_done(&c->key);
	buf_done(&c->ca);
	for (size_t i = 0; i < c->n; i++) {
		buf_done(&c->names[2 * i]);
		buf_done(&c->names[2 * i + 1]);
		mem_free(c->sni_names[i]);
	}
	mem_free(c);
}

int certs_context(const struct certs_setup *setup, struct tls_ctx **ret)
{
	struct certs *c = mem_zalloc(sizeof(*c));
	int err;

	if (!c)
		return -ENOMEM;
	c->setup = setup;
	buf_init(&c->certificate, PEM_MAX);
	buf_init(&c->key, PEM_MAX);
	buf_init(&c->ca, PEM_MAX);
	err = read_identity(c);
	if (!err && setup->options->client_ca)
		err = read_pem(c, "client_ca", setup->options->client_ca, &c->ca);
	if (!err)
		err = read_sni(c);
	if (!err && !c->failed && !c->none)
		err = make_context(c, ret);
	certs_done(c);
	return err;
}
