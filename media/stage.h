/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a flow may do with RTP between receiving and sending it: transcode, conceal, play, record.
 *
 *     socket → [unprotect] → stage → [protect] → partner's socket
 *
 * A flow without a stage passes packets on as they are. A stage sees plain RTP that was judged valid and from
 * the right source, and sends what it likes to the flow's target, when a packet came or when its time is
 * come. RTCP never reaches it.
 *
 * Everything runs in the one thread of the worker that owns the flow, so a stage needs no lock. `open`,
 * `change` and `close` may allocate; `packet` and `tick` may not allocate, lock or wait. State is lost when a
 * worker crashes; the flow is then opened anew with the settings it had last. Times are ns of
 * CLOCK_MONOTONIC.
 */
#ifndef VOXDP_STAGE_H
#define VOXDP_STAGE_H

#include <stddef.h>
#include <linux/types.h>

#define STAGE_PACKET 1500 /* bytes of room for an outgoing RTP packet */
#define STAGE_EVENT  64	  /* most bytes of an event's data */

/* Where a stage's packets go; the engine's. */
struct stage_output;

/* Room for one RTP packet, header included, valid until stage_send; NULL: the flow is held or leads nowhere.
 * What is not sent is not numbered either. */
__u8 *stage_room(struct stage_output *output);

/* Sends the first `length` bytes of the room to the flow's target, protected if the flow is. */
void stage_send(struct stage_output *output, size_t length);

/* Tells the controller, once and without waiting; 0: the queue is full. `kind` is the stage's own number. */
int stage_tell(struct stage_output *output, __u32 kind, const void *data, size_t length);

/* One kind of stage. The table of all of them is stage_types in stage_types.c. */
struct stage_type {
	size_t bytes; /* state of one flow, zeroed and aligned to 64 before `open` */

	/* 0, or an errno: the settings are refused. */
	int (*open)(void *state, const void *settings, size_t length, __u64 now);

	/* Other settings for a flow in use; what need not change goes on. 0 or an errno: nothing has changed.
	 */
	int (*change)(void *state, const void *settings, size_t length, __u64 now);

	void (*close)(void *state);

	/* A packet came: header, extension and payload. It may be written to, but not kept. */
	void (*packet)(void *state, __u8 *rtp, size_t length, __u64 now, struct stage_output *output);

	/* Called at the time that it returned last, at once after `open` and `change`. Returns the next time.
	 */
	__u64 (*tick)(void *state, __u64 now, struct stage_output *output);

	/* Copies what was counted into `report`, and returns how many bytes of it; at most `room`. */
	size_t (*report)(const void *state, void *report, size_t room);

	/*
	 * What it sends is another stream than what it hears: the engine ends RTCP, and reports by itself. Of
	 * such a stage alone: Hz of the time stamps that it sends by; and what share of its packets, in
	 * percent, whoever gets them says that it lost lately.
	 */
	int ends;
	__u32 (*clock)(const void *state);
	void (*lost)(void *state, unsigned percent);
};

/* The type that settings name with their number; NULL: there is none. */
const struct stage_type *stage_type(unsigned number);

#endif
