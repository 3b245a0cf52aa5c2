/*
 * mailbox.c - what other sessions posted to this one: it waits here until the session has its turn, then one EV_MSG brings
 * all of it.
 */
#include <errno.h>

#include "base/mail.h"
#include "base/mem.h"
#include "core/sess_priv.h"

static void drop_mail(struct letter *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		mail_drop(v[i].mail);
}

void sess_refuse_mail(struct sess *s, struct letter *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (v[i].reply)
			sess_nobody(s, &v[i]);
	drop_mail(v, n);
}

int sess_letter(struct sess *s, const struct letter *l)
{
	struct sess_more *m = sess_more(s);

	if (!m)
		return -ENOMEM;
	if (m->mail_n == m->mail_cap) {
		uint32_t cap = m->mail_cap ? 2 * m->mail_cap : 4;
		struct letter *v = mem_realloc(m->mail, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		m->mail = v;
		m->mail_cap = cap;
	}
	m->mail[m->mail_n++] = *l;
	return 0;
}

bool sess_has_mail(const struct sess *s)
{
	return s->more && s->more->mail_n;
}

void sess_deliver(struct sess *s)
{
	struct sess_more *m = s->more;

	if (!sess_has_mail(s) || !(s->flags & (S_OPENED | S_ABORT | S_CLOSING)))
		return; /* before EV_OPEN it waits */

	struct letter *v = m->mail;
	uint32_t n = m->mail_n;
	struct ev ev = { .kind = EV_MSG };

	m->mail = NULL; /* what the step posts to itself comes with the next turn */
	m->mail_n = m->mail_cap = 0;
	ev.mail.v = v;
	ev.mail.n = n;
	if (s->flags & (S_ABORT | S_CLOSING)) {
		sess_refuse_mail(s, v, n);
	} else {
		sess_step(s, &ev);
		drop_mail(v, n);
	}
	mem_free(v);
	sess_pump(s);
}
