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

#include "base/mem.h"
#include "base/str.h"
#include "conf/tables.h"
#include "drive/files.h"
#include "layer/tls.h"
#include "main/kit.h"
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
	char *crt_path, *key_path; /* where these two are; not ours unless it is `auto` */
	struct named {
		char *name, *crt_path, *key_path;
		struct buf certificate, key;
	} named[NAMES_MAX];
	struct tls_name sni[NAMES_MAX];
	size_t n;
	bool failed; /* something was wrong, and told */
	bool none;   /* there is no certificate yet, and none may be made */
};

static void tell(const struct certs *c, enum certs_what what, const char *option, const char *text)
{
	char whole[SENTENCE];
	struct buf b;

	buf_init_fixed(&b, whole, sizeof(whole));
	buf_addf(&b, "%s%s%s", option, *option ? ": " : "", text);
	c->setup->tell(c->setup->arg, what, whole);
}

static void problem(struct certs *c, const char *option, const char *text)
{
	tell(c, CERTS_PROBLEM, option, text);
	c->failed = true;
}

/* A key that everybody on the machine may read is told of: it is as good as published. */
static void warn_of_mode(const struct certs *c, const char *option, const char *path, const struct buf *pem)
{
	char text[SENTENCE];
	struct stat st;

	if (!strstr(buf_str(pem), "PRIVATE KEY-----") || stat(path, &st) < 0 || !(st.st_mode & S_IROTH))
		return;
	snprintf(text, sizeof(text), "the key in %.900s can be read by every user of this machine; chmod o-r it", path);
	tell(c, CERTS_WARNING, option, text);
}

/* Reads a file into *b. A file that cannot be read is a problem, and the others are read all the same; only -ENOMEM ends it. */
static int read_pem(struct certs *c, const char *option, const char *path, struct buf *b)
{
	char text[SENTENCE];
	struct buf why;
	int err;

	buf_init_fixed(&why, text, sizeof(text));
	err = kit_read(c->setup->from, c->setup->into, path, b, &why);
	if (err && err != -ENOMEM)
		problem(c, option, text);
	else if (!err && !c->setup->from)
		warn_of_mode(c, option, path, b);
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
	if (!err && c->setup->into) {
		err = kit_add(c->setup->into, crt, buf_span(&c->certificate));
		err = err ? err : kit_add(c->setup->into, key, buf_span(&c->key));
	}
	if (err == -ENOMEM)
		return err;
	if (err)
		problem(c, "certificate", text);
	else
		tell(c, CERTS_MADE, "", crt);
	return 0;
}

static bool is_there(const struct certs *c, const char *path)
{
	struct span bytes;

	return c->setup->from ? kit_find(c->setup->from, path, &bytes) : access(path, F_OK) == 0;
}

static int auto_pair(struct certs *c, const char *crt, const char *key)
{
	int err;

	if (is_there(c, crt)) {
		err = read_pem(c, "certificate", crt, &c->certificate);
		return err ? err : read_pem(c, "certificate", key, &c->key);
	}
	c->none = c->setup->dry;
	return c->none ? 0 : make_auto(c, crt, key);
}

static bool is_auto(const struct certs *c)
{
	return strcmp(c->setup->options->certificate, "auto") == 0;
}

static int read_auto(struct certs *c)
{
	int err = str_path_from(c->setup->data, "auto.crt", &c->crt_path);

	if (!err)
		err = str_path_from(c->setup->data, "auto.key", &c->key_path);
	return err ? err : auto_pair(c, c->crt_path, c->key_path);
}

/* ---- files ---- */

static int read_identity(struct certs *c)
{
	const struct tls_options *o = c->setup->options;
	int err;

	if (is_auto(c))
		return read_auto(c);
	c->crt_path = o->certificate;
	c->key_path = o->key;
	err = read_pem(c, "certificate", o->certificate, &c->certificate);
	if (!err && o->key)
		err = read_pem(c, "key", o->key, &c->key);
	return err;
}

/* One word of `sni`: its form was looked at when it was set. */
static int read_named(struct certs *c, const char *word, struct named *n)
{
	struct span name, crt, key;
	int err = tables_sni_split(word, &name, &crt, &key);

	if (err)
		return err;
	buf_init(&n->certificate, PEM_MAX);
	buf_init(&n->key, PEM_MAX);
	n->name = mem_strndup((const char *)name.p, name.n);
	n->crt_path = mem_strndup((const char *)crt.p, crt.n);
	n->key_path = mem_strndup((const char *)key.p, key.n);
	if (!n->name || !n->crt_path || !n->key_path)
		return -ENOMEM;
	err = read_pem(c, "sni", n->crt_path, &n->certificate);
	return err ? err : read_pem(c, "sni", n->key_path, &n->key);
}

static int read_sni(struct certs *c)
{
	const struct str_words *words = &c->setup->options->sni;
	int err = 0;

	for (size_t i = 0; i < words->n && i < NAMES_MAX && !err; i++) {
		c->n = i + 1;
		err = read_named(c, words->v[i], &c->named[i]);
	}
	return err;
}

/* ---- the context ---- */

/* The option that a sentence of the layer is about; it begins with the name of one in all other cases. */
static const char *option_of(const struct certs *c, const char *sentence)
{
	size_t n = strcspn(sentence, ":");
	const char *named = memmem(sentence, n, "chain of ", 9);

	if (named || strncmp(sentence, "certificate of ", 15) == 0 || strncmp(sentence, "key of ", 7) == 0)
		return "sni";
	if (strncmp(sentence, "key:", 4) == 0 && !c->setup->options->key) /* it has to be in that file */
		return "certificate";
	return memmem(sentence, n, "of the chain", 12) ? "certificate" : "";
}

static void warn_each(const struct certs *c, char *sentences)
{
	for (char *next; sentences; sentences = next) {
		next = strstr(sentences, "; ");
		if (next) {
			*next = '\0';
			next += 2;
		}
		tell(c, CERTS_WARNING, option_of(c, sentences), sentences);
	}
}

static struct tls_identity identity_of(const struct buf *crt, const char *from, const struct buf *key,
				       const char *key_from)
{
	return (struct tls_identity){
		.certificate = buf_span(crt), .key = buf_span(key), .from = from, .key_from = key_from
	};
}

static int make_context(struct certs *c, struct tls_ctx **ret)
{
	const struct tls_options *o = c->setup->options;
	struct tls_setup setup = {
		.min = (enum tls_min)o->tls_min,
		.id = identity_of(&c->certificate, c->crt_path, &c->key, c->key_path),
		.names = c->sni,
		.names_n = c->n,
		.ask = (enum tls_ask)o->client_certificate,
		.ca = buf_span(&c->ca),
		.alpn = o->alpn.n ? (const char *const *)o->alpn.v : NULL,
		.now = time(NULL),
	};
	char sentences[SENTENCE];
	struct buf said;
	int err;

	for (size_t i = 0; i < c->n; i++) {
		const struct named *n = &c->named[i];

		c->sni[i].name = n->name;
		c->sni[i].id = identity_of(&n->certificate, n->crt_path, &n->key, n->key_path);
	}
	buf_init_fixed(&said, sentences, sizeof(sentences));
	err = tls_ctx_new(&setup, ret, &said);
	if (err == -ENOMEM)
		return err;
	if (err && is_auto(c) && strcmp(option_of(c, sentences), "sni") != 0)
		buf_addf(&said, "; remove auto.crt and auto.key in %s to have new ones made", c->setup->data);
	if (err)
		problem(c, option_of(c, sentences), sentences);
	else if (said.n > 0)
		warn_each(c, sentences);
	return 0;
}

static void certs_done(struct certs *c)
{
	buf_done(&c->certificate);
	buf_done(&c->key);
	buf_done(&c->ca);
	for (size_t i = 0; i < c->n; i++) {
		buf_done(&c->named[i].certificate);
		buf_done(&c->named[i].key);
		mem_free(c->named[i].name);
		mem_free(c->named[i].crt_path);
		mem_free(c->named[i].key_path);
	}
	if (is_auto(c)) {
		mem_free(c->crt_path);
		mem_free(c->key_path);
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
