/* port.c - the calls of proto.h that go through a port. */
#include "drive/port.h"

#include "base/mail.h"

unsigned port_loops(const struct port *p)
{
	return p->loops;
}

void port_post(struct port *p, unsigned loop, uint32_t tag, struct mail *mail)
{
	if (loop < p->loops)
		p->post(p, loop, tag, mail);
	else
		mail_drop(mail);
}

unsigned port_here(const struct port *p, const struct io *io)
{
	return p->here(p, io);
}
