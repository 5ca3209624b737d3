/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening the socket of a flow. */
#ifndef VOXDP_RELAY_SOCKET_H
#define VOXDP_RELAY_SOCKET_H

#include "engine.h"

/* ENGINE_OK and *descriptor, or why not (errno is set). */
int relay_socket_open(const struct engine_key *key, int *descriptor);

#endif
