/* The parts of the load generator. One process, one thread, one epoll: `load MODE ADDRESS [options]`.
 *
 * Every mode connects, proves with one exchange that the server serves it, then waits for the word to go (load_ready),
 * works, and prints one line of JSON. Every byte that comes back is compared with the one that must; a wrong or missing
 * one ends the run with {"error": ...} and status 1, so that a fast but wrong server has no figures at all.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct options {
	struct sockaddr_in to;
	unsigned conns;  /* connections (receivers, for chat) */
	unsigned flight; /* messages under way at once: per connection; in all for chat and udp */
	size_t size;     /* bytes in a message */
	double seconds;
	unsigned count; /* round trips, for pingpong; connections, for mqtt-connect (0: as many as there is time for) */
	unsigned release; /* clients that leave, for crowd */
	bool one_source;  /* every connection from 127.0.0.1 */
	/* MQTT */
	unsigned pubs, subs; /* publishers, subscribers */
	unsigned topics;     /* that each publisher has */
	unsigned qos;
	bool pairs; /* the n-th subscriber hears the n-th publisher alone, not all of them */
	bool turns; /* publishers take turns with the whole window, instead of a share of it for each */
	bool kept;  /* subscribers have sessions that outlive their connections */
	bool lossy; /* count what is lost, doubled or out of order, instead of calling it an error */
	bool v5;    /* speak MQTT 5.0, not 3.1.1 */
	const char *user, *password;
	unsigned users; /* so many of them, the name with a number behind it; 0: one */
	bool sync;      /* wait for a line on stdin where a run is about to start or to end */
};

/* The modes, one per file but for the first two; they print their result. */
void load_pipeline(
	const struct options *o); /* closed loop of messages over many connections; bulk is the same with big ones */
void load_pingpong(const struct options *o); /* one message at a time on one connection */
void load_connect(const struct options *o);  /* connect, one echo, close, again */
void load_idle(const struct options *o);     /* many connections that stay open and say nothing */
void load_crowd(const struct options *o);    /* more clients than the server has descriptors */
void load_tls(const struct options *o);      /* as idle, over TLS */
void load_chat(const struct options *o);     /* one sender, many receivers */
void load_udp(const struct options *o);      /* datagrams under way, losses counted */

/* Of a broker, in load_mqtt*.c. */
void load_mqtt(const struct options *o);           /* publishers and subscribers, nothing may be lost */
void load_mqtt_pingpong(const struct options *o);  /* one message there and back, beside such a stream */
void load_mqtt_connect(const struct options *o);   /* CONNECT, CONNACK, DISCONNECT, in bursts */
void load_mqtt_idle(const struct options *o);      /* a subscription for each, then silence */
void load_mqtt_reconnect(const struct options *o); /* kept sessions that all come back at once */

/* Prints {"error": ...} and leaves. */
_Noreturn __attribute__((format(printf, 1, 2))) void die(const char *fmt, ...);
_Noreturn void die_errno(const char *what);

uint64_t now_ns(void);

/* Says {"ready": true} and waits for a line on stdin (its end will do), if the caller asked for that. */
void load_ready(const struct options *o);
/* Waits for a line without saying anything. */
void load_wait(const struct options *o);

/* Starts a non-blocking connection and returns its descriptor. The n-th connection leaves from 127.0.0.x with x growing
 * every 16,384, because one address has only 28,000 ports and a closed connection keeps its port for a while. */
int dial(const struct options *o, unsigned n);
/* The same, and waits until it is connected. */
int dial_wait(const struct options *o, unsigned n);
/* Waits until the connection is there; dies if it was refused. */
void finish_dial(int fd);

/* The bytes every message is cut from: pattern(at) is what a stream has from its byte `at` on; PATTERN_ROOM bytes may be
 * read from there. The period is prime, so that no size of message or buffer falls into step with it. */
enum { PATTERN_PERIOD = 4093, PATTERN_ROOM = 1 << 20 };
const char *pattern(uint64_t at);

/* Sends `n` bytes of the pattern and waits until the same came back; dies after five seconds. */
void echo_once(int fd, uint64_t at, size_t n);
