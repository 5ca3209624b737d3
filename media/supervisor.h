/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Workers kept alive, and asked: one that dies or hangs while it is asked is replaced, and the question
 * answered. */
#ifndef VOXDP_SUPERVISOR_H
#define VOXDP_SUPERVISOR_H

#include "engine_memory.h"

/* The worker with the fewest flows. */
unsigned supervisor_idlest(const struct engine *engine);

/* The slot of the RTP flow at the port below that of an RTCP flow; NO_SLOT: there is none, or it is no RTCP.
 */
__u32 supervisor_companion(const struct engine *engine, const struct engine_flow *flow);

/* The page of the worker that owns a slot. */
struct worker_page *supervisor_page(struct engine *engine, __u32 number);

/*
 * Asks the one worker that owns all `count` slots, whose bindings say how flows are wanted. Replies are in
 * its page. Returns an engine_status; errno tells more after ENGINE_SYSTEM.
 */
int supervisor_ask(struct engine *engine, enum command_type type, const __u32 *numbers, unsigned count);

/*
 * Tells one worker what concerns no slot, with up to two open files. One that does not answer is replaced,
 * and not told again. Returns as supervisor_ask.
 */
int supervisor_tell(struct engine *engine, unsigned number, enum command_type type, const int *files,
		    unsigned count);

#endif
