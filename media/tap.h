/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Copies of a flow's RTP for the recorder, each a datagram to its Unix socket: a header and the packet. What
 * the recorder does not take at once is dropped and counted; the call never waits.
 */
#ifndef VOXDP_TAP_H
#define VOXDP_TAP_H

#include <stddef.h>
#include <stdint.h>

#define TAP_PATH 104
#define TAP_NAME 16

struct tap_settings {
	uint8_t name[TAP_NAME]; /* of the recording */
	uint8_t leg;		/* 0 or 1 */
	uint8_t on;
	uint8_t reserved[6];
	char path[TAP_PATH]; /* of the recorder's socket */
};

struct tap_header {
	uint8_t name[TAP_NAME];
	uint64_t time; /* ns, CLOCK_MONOTONIC */
	uint32_t leg;
	uint32_t length;
};

struct tap_counts {
	uint64_t copied;
	uint64_t dropped;
};

struct tap {
	struct tap_settings settings;
	struct tap_counts counts;
	int socket; /* -1: off, or nobody listens */
};

/* Where nobody listens, copies are dropped, until tap_change is called again. */
void tap_open(struct tap *tap, const struct tap_settings *settings);
void tap_change(struct tap *tap, const struct tap_settings *settings);
void tap_close(struct tap *tap);

void tap_copy(struct tap *tap, const uint8_t *data, size_t length, uint64_t now);

#endif
