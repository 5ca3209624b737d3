/* SPDX-License-Identifier: GPL-3.0-or-later */
/* IPv4 and IPv6 under one face: 16 bytes, IPv4 as ::ffff:a.b.c.d. */
#ifndef VOXDP_ADDRESS_H
#define VOXDP_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <linux/types.h>

union socket_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static inline bool address_is_v4(const __u8 *address)
{
	static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(address, mapped, sizeof(mapped));
}

static inline bool address_is_zero(const __u8 *address)
{
	static const __u8 zero[16], mapped[16] = {[10] = 0xff, [11] = 0xff};

	return !memcmp(address, zero, 16) || !memcmp(address, mapped, 16);
}

/* `port` in network order. */
static inline void address_to_socket(const __u8 *address, __be16 port, union socket_address *socket)
{
	memset(socket, 0, sizeof(*socket));
	if (address_is_v4(address)) {
		socket->v4.sin_family = AF_INET;
		socket->v4.sin_port = port;
		memcpy(&socket->v4.sin_addr, address + 12, 4);
		return;
	}
	socket->v6.sin6_family = AF_INET6;
	socket->v6.sin6_port = port;
	memcpy(&socket->v6.sin6_addr, address, 16);
}

static inline void address_from_ipv4(__be32 from, __u8 *address)
{
	static const __u8 mapped[12] = {[10] = 0xff, [11] = 0xff};

	memcpy(address, mapped, 12);
	memcpy(address + 12, &from, 4);
}

static inline void address_from_socket(const union socket_address *socket, __u8 *address)
{
	if (socket->any.sa_family == AF_INET6)
		memcpy(address, &socket->v6.sin6_addr, 16);
	else
		address_from_ipv4(socket->v4.sin_addr.s_addr, address);
}

/* In network order; both families have it in the same place. */
static inline __be16 address_port(const union socket_address *socket)
{
	return socket->v4.sin_port;
}

static inline socklen_t address_length(const union socket_address *socket)
{
	return socket->any.sa_family == AF_INET6 ? sizeof(socket->v6) : sizeof(socket->v4);
}

#endif
