/*
 * tables.h - the options that do not belong to one protocol: [guichet], every service, and TLS for the services that
 * use it. The help of each is in its row (tables.c); here is only what the code must know.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "conf/option.h"

enum tables_log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Section [guichet]. */
struct guichet_options {
	char *control;    /* path of the control socket; NULL = control.sock in data */
	unsigned crashes; /* by one source, and it has a penalty */
	char *data;       /* folder */
	unsigned dgram_rate;
	size_t dgram_reply;
	uint64_t drain;      /* ns */
	uint64_t exit_idle;  /* ns, 0 = never */
	unsigned fds;        /* 0 = the hard limit */
	unsigned file_cache; /* files, for each loop; 0 = none */
	size_t file_cache_size;
	char *group;         /* NULL = that of user */
	unsigned handshakes; /* steps per turn of a loop */
	unsigned jobs;       /* threads */
	bool limit_loopback;
	char *log; /* "stderr" or a path */
	enum tables_log_format log_format;
	enum log_level log_level;
	unsigned logins; /* that fail, by one source, and it has a penalty; 0 = none */
	unsigned loops;  /* 0 = one per core */
	bool overload;
	uint64_t penalty; /* ns */
	char *people;     /* the file; NULL = people in data */
	unsigned reserve; /* descriptors */
	unsigned reserve_service;
	bool trace; /* of every service, whatever it says itself */
	char *user; /* NULL = guichet or nobody */
};

enum tables_model {
	MODEL_ITERATIVE,
	MODEL_FORK,
	MODEL_PREFORK,
	MODEL_THREAD,
	MODEL_POOL,
	MODEL_SYMMETRIC,
	MODEL_EVENT,
	MODELS,
};

enum tables_family { FAMILY_ANY, FAMILY_4, FAMILY_6 };
enum tables_ws_frames { WS_FRAMES_BINARY, WS_FRAMES_TEXT };

/* The words of enum tables_model, NULL-ended. */
extern const char *const tables_models[];

/* Every service. */
struct service_options {
	uint64_t auth; /* ns, 0 = none */
	unsigned backlog;
	bool enabled;
	enum tables_family family;
	uint64_t first;     /* ns, 0 = none */
	char *group;        /* of services in one process */
	uint64_t idle;      /* ns, 0 = none */
	size_t input;       /* bytes */
	char *interface;    /* NULL = any */
	uint64_t keepalive; /* ns, 0 = none */
	uint64_t linger;    /* ns */
	struct addr_list listen;
	bool low_ports;
	unsigned max;           /* connections, 0 = no limit */
	size_t min_rate;        /* bytes a second, 0 = none */
	uint64_t min_rate_time; /* ns */
	unsigned mode;          /* of a unix socket or fifo */
	enum tables_model model;
	bool nodelay;
	size_t output;       /* bytes */
	char *owner;         /* of unix sockets and fifos, USER:GROUP; NULL = ours */
	unsigned per_source; /* connections, 0 = no limit */
	char *protocol;      /* NULL = the section's name */
	bool proxy;
	unsigned queue;        /* of model pool: connections that may wait for a worker */
	unsigned rate;         /* connections a second, 0 = no limit */
	size_t receive_buffer; /* bytes, 0 = the system's */
	bool reuse;
	size_t send_buffer; /* the same */
	bool trace;
	unsigned workers; /* threads; 0 = some for each core */
	enum tables_ws_frames ws_frames;
	struct str_words ws_origins; /* none = any */
	struct str_words ws_path;    /* likewise */
};

enum tables_client_certificate { CLIENT_CERTIFICATE_NONE, CLIENT_CERTIFICATE_OPTIONAL, CLIENT_CERTIFICATE_REQUIRED };
enum tables_tls_version { TLS_1_2, TLS_1_3 };

/* Every service that may be reached by TLS. */
struct tls_options {
	struct str_words alpn;
	char *certificate; /* a PEM file, or "auto" */
	char *client_ca;   /* NULL = none */
	enum tables_client_certificate client_certificate;
	char *key;            /* NULL = in the certificate's file */
	struct str_words sni; /* NAME=CERT:KEY each; split with tables_sni_split() */
	enum tables_tls_version tls_min;
};

extern const struct option_table tables_guichet; /* struct guichet_options */
extern const struct option_table tables_service; /* struct service_options */
extern const struct option_table tables_tls;     /* struct tls_options */

/* The three parts of a word of `sni`; spans into the word. 0, or -EINVAL when it has not this form. */
[[nodiscard]] int tables_sni_split(const char *word, struct span *ret_name, struct span *ret_certificate,
				   struct span *ret_key);
