/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening the socket of a flow. */
#ifndef VOXDP_RELAY_SOCKET_H
#define VOXDP_RELAY_SOCKET_H

#include <stdbool.h>

#include "engine.h"

/* ENGINE_OK and *descriptor, or why not (errno is set). */
int relay_socket_open(const struct engine_key *key, int *descriptor);

/* TTL and type of service, or hop limit and traffic class, of every packet that leaves by it from now on. */
void relay_socket_mark(int descriptor, bool v6, int ttl, int tos);

#endif
