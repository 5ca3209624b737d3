/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay_socket.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"

static int status_of(int error)
{
	switch (error) {
	case EADDRINUSE:
		return ENGINE_PORT_IN_USE;
	case EADDRNOTAVAIL:
		return ENGINE_NOT_OURS;
	case EACCES:
		return ENGINE_NOT_PERMITTED;
	case EMFILE:
	case ENFILE:
		return ENGINE_NO_FILES;
	default:
		return ENGINE_SYSTEM;
	}
}

/* What to learn of each datagram; and, as a router, no path MTU discovery of our own. */
static int set_options(int descriptor, int family)
{
	static const struct {
		int family, level, name, value;
	} options[] = {
		{AF_INET, IPPROTO_IP, IP_RECVTTL, 1},
		{AF_INET, IPPROTO_IP, IP_RECVTOS, 1},
		{AF_INET, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT},
		{AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, 1},
		{AF_INET6, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1},
		{AF_INET6, IPPROTO_IPV6, IPV6_RECVTCLASS, 1},
		{AF_INET6, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT},
	};

	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (options[i].family == family &&
		    setsockopt(descriptor, options[i].level, options[i].name, &options[i].value, sizeof(int)))
			return -1;
	return 0;
}

int relay_socket_open(const struct engine_key *key, int *descriptor)
{
	union socket_address local;
	int error;

	address_to_socket(key->address, htons(key->port), &local);
	*descriptor = socket(local.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*descriptor < 0)
		return status_of(errno);
	if (!set_options(*descriptor, local.any.sa_family) &&
	    !bind(*descriptor, &local.any, address_length(&local)))
		return ENGINE_OK;
	error = errno;
	close(*descriptor);
	errno = error;
	return status_of(error);
}

void relay_socket_mark(int descriptor, bool v6, int ttl, int tos)
{
	if (v6) {
		setsockopt(descriptor, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &ttl, sizeof(ttl));
		setsockopt(descriptor, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos));
		return;
	}
	setsockopt(descriptor, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
	setsockopt(descriptor, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
}
