/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tap.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* -1: nobody listens there. */
static int connect_to(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(name.sun_path, path, TAP_PATH);
	name.sun_path[TAP_PATH - 1] = 0;
	if (descriptor < 0 || !connect(descriptor, (struct sockaddr *)&name, sizeof(name)))
		return descriptor;
	close(descriptor);
	return -1;
}

void tap_open(struct tap *tap, const struct tap_settings *settings)
{
	*tap = (struct tap){.settings = *settings, .socket = settings->on ? connect_to(settings->path) : -1};
}

void tap_change(struct tap *tap, const struct tap_settings *settings)
{
	struct tap_counts counts = tap->counts;

	if (!memcmp(settings, &tap->settings, sizeof(*settings)) && tap->socket >= 0)
		return;
	tap_close(tap);
	tap_open(tap, settings);
	tap->counts = counts;
}

void tap_close(struct tap *tap)
{
	if (tap->socket >= 0)
		close(tap->socket);
	tap->socket = -1;
}

void tap_copy(struct tap *tap, const uint8_t *data, size_t length, uint64_t now)
{
	struct tap_header header = {.time = now, .leg = tap->settings.leg, .length = (uint32_t)length};
	struct iovec parts[] = {{&header, sizeof(header)}, {(void *)data, length}};
	struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

	if (!tap->settings.on)
		return;
	memcpy(header.name, tap->settings.name, TAP_NAME);
	if (sendmsg(tap->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		tap->counts.dropped++;
	else
		tap->counts.copied++;
}
