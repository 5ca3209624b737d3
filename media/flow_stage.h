/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The stage of one flow, as its worker holds it. */
#ifndef VOXDP_FLOW_STAGE_H
#define VOXDP_FLOW_STAGE_H

#include "engine.h"
#include "stage.h"

struct flow_stage {
	const struct stage_type *type;
	__u64 due; /* when it wants to be called; ns of CLOCK_MONOTONIC */
	unsigned number;
	void *state;
};

/* Opens, changes or, with type 0, ends the stage at *stage. 0 or an errno. */
int flow_stage_set(struct flow_stage **stage, const struct engine_stage *wanted, __u64 now);

void flow_stage_drop(struct flow_stage **stage);

#endif
