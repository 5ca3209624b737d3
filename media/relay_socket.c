/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "relay_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

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
static int set_options(int descriptor)
{
	const struct {
		int name, value;
	} options[] = {
		{IP_RECVTTL, 1},
		{IP_RECVTOS, 1},
		{IP_MTU_DISCOVER, IP_PMTUDISC_DONT},
	};

	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (setsockopt(descriptor, IPPROTO_IP, options[i].name, &options[i].value, sizeof(int)))
			return -1;
	return 0;
}

int relay_socket_open(const struct engine_key *key, int *descriptor)
{
	struct sockaddr_in local = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = key->address,
		.sin_port = htons(key->port),
	};
	int error;

	*descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (*descriptor < 0)
		return status_of(errno);
	if (!set_options(*descriptor) && !bind(*descriptor, (struct sockaddr *)&local, sizeof(local)))
		return ENGINE_OK;
	error = errno;
	close(*descriptor);
	errno = error;
	return status_of(error);
}
