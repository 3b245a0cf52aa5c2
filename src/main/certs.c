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
};

static_assert((int)TLS_MIN_1_2 == (int)TLS_1_2 && (int)TLS_MIN_1_3 == (int)TLS_1_3);
static_assert((int)TLS_ASK_NONE == (int)CLIENT_CERTIFICATE_NONE && (int)TLS_ASK_OPTIONAL == (int)CLIENT_CERTIFICATE_OPTIONAL &&
	      (int)TLS_ASK_REQUIRED == (int)CLIENT_CERTIFICATE_REQUIRED);

/* All bytes that a context is made of, as long as it is being made. */
struct certs {
	const struct certs_setup *setup;
	struct buf certificate, key, ca;
	struct buf names[2 * NAMES_MAX];
	struct tls_name sni[NAMES_MAX];
	char *sni_names[NAMES_MAX];
	size_t n;
};

/* Reads a file into *b; a failure is told behind the option's name. */
static int read_pem(const char *option, const char *path, struct buf *b, struct buf *why)
{
	size_t before = why->n;
	int err;

	buf_addf(why, "%s: ", option);
	err = files_read(path, b, why);
	if (!err)
		buf_cut(why, before);
	return err;
}

/* ---- auto ---- */

/* The key first: a certificate without its key would be taken for a whole pair by the next start. */
static int make_auto(struct certs *c, const char *crt, const char *key, struct buf *why)
{
	char host[HOST_MAX] = "";
	const char *const names[] = { host, NULL };
	int err;

	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	err = tls_auto_certificate(*host ? names : NULL, &c->certificate, &c->key, time(NULL));
	if (err == -EINVAL) /* a host name that no certificate can hold */
		err = tls_auto_certificate(NULL, &c->certificate, &c->key, time(NULL));
	buf_adds(why, "certificate: ");
	if (err)
		buf_addf(why, "cannot make one: %s", strerror(-err));
	if (!err)
		err = files_make_dir(c->setup->data, why);
	if (!err)
		err = files_write(key, 0600, buf_span(&c->key), why);
	if (!err)
		err = files_write(crt, 0644, buf_span(&c->certificate), why);
	if (!err)
		log_text(LOG_INFO, "certificate-made", "%s, self-signed", crt);
	return err;
}

/* 1: there is none and none may be made. */
static int auto_pair(struct certs *c, const char *crt, const char *key, struct buf *why)
{
	int err;

	if (access(crt, F_OK) == 0) {
		err = read_pem("certificate", crt, &c->certificate, why);
		return err ? err : read_pem("key", key, &c->key, why);
	}
	if (c->setup->dry)
		return 1;
	err = make_auto(c, crt, key, why);
	if (!err)
		buf_reset(why);
	return err;
}

static int read_auto(struct certs *c, struct buf *why)
{
	char *crt = NULL, *key = NULL;
	int err = str_path_from(c->setup->data, "auto.crt", &crt);

	if (!err)
		err = str_path_from(c->setup->data, "auto.key", &key);
	if (!err)
		err = auto_pair(c, crt, key, why);
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

static int read_identity(struct certs *c, struct buf *why)
{
	const struct tls_options *o = c->setup->options;
	int err;

	if (strcmp(o->certificate, "auto") == 0)
		return read_auto(c, why);
	err = read_pem("certificate", o->certificate, &c->certificate, why);
	if (!err && o->key)
		err = read_pem("key", o->key, &c->key, why);
	if (!err)
		warn_of_mode(c, o->key ? o->key : o->certificate);
	return err;
}

/* A file named in `sni`, which option_resolve() does not know to be one. */
static int read_named(struct certs *c, struct span name, struct buf *b, struct buf *why)
{
	char *text = mem_strndup((const char *)name.p, name.n), *path = NULL;
	int err = text ? str_path_from(c->setup->dir, text, &path) : -ENOMEM;

	buf_init(b, PEM_MAX);
	if (!err)
		err = read_pem("sni", path, b, why);
	mem_free(text);
	mem_free(path);
	return err;
}

static int read_sni(struct certs *c, struct buf *why)
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
		err = read_named(c, certificate, &c->names[2 * i], why);
		if (!err)
			err = read_named(c, key, &c->names[2 * i + 1], why);
		c->sni[i].name = c->sni_names[i];
	}
	return err;
}

/* ---- the context ---- */

static int make_context(struct certs *c, struct tls_ctx **ret, struct buf *why)
{
	const struct tls_options *o = c->setup->options;
	char warning[1024];
	struct buf said;
	int err;

	for (size_t i = 0; i < c->n; i++)
		c->sni[i].id = (struct tls_identity){ buf_span(&c->names[2 * i]), buf_span(&c->names[2 * i + 1]) };
	buf_init_fixed(&said, warning, sizeof(warning));
	err = tls_ctx_new(&(struct tls_setup){
		.min = (enum tls_min)o->tls_min,
		.id = { buf_span(&c->certificate), buf_span(&c->key) },
		.names = c->sni,
		.names_n = c->n,
		.ask = (enum tls_ask)o->client_certificate,
		.ca = buf_span(&c->ca),
		.alpn = o->alpn.n ? (const char *const *)o->alpn.v : NULL,
		.now = time(NULL),
	}, ret, &said);
	if (err && err != -ENOMEM)
		buf_adds(why, warning);
	else if (said.n > 0)
		log_text(LOG_WARN, "certificate", "[%s] %s", c->setup->service, warning);
	return err;
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

int certs_context(const struct certs_setup *setup, struct tls_ctx **ret, struct buf *why)
{
	struct certs *c = mem_zalloc(sizeof(*c));
	bool none; /* no certificate to make a context from */
	int err;

	if (!c)
		return -ENOMEM;
	c->setup = setup;
	buf_init(&c->certificate, PEM_MAX);
	buf_init(&c->key, PEM_MAX);
	buf_init(&c->ca, PEM_MAX);
	err = read_identity(c, why);
	none = err == 1;
	if (none)
		err = 0;
	if (!err && setup->options->client_ca)
		err = read_pem("client_ca", setup->options->client_ca, &c->ca, why);
	if (!err)
		err = read_sni(c, why);
	if (!err && !none)
		err = make_context(c, ret, why);
	certs_done(c);
	return err;
}
