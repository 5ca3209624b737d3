/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "flow_stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64

static struct flow_stage *create(const struct stage_type *type, unsigned number)
{
	size_t bytes = (type->bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	struct flow_stage *stage = calloc(1, sizeof(*stage));

	if (!stage)
		return NULL;
	stage->type = type;
	stage->number = number;
	stage->state = aligned_alloc(ALIGNMENT, bytes);
	if (!stage->state) {
		free(stage);
		return NULL;
	}
	memset(stage->state, 0, bytes);
	return stage;
}

static void release(struct flow_stage *stage)
{
	free(stage->state);
	free(stage);
}

int flow_stage_set(struct flow_stage **stage, const struct engine_stage *wanted, __u64 now)
{
	const struct stage_type *type = stage_type(wanted->type);
	struct flow_stage *fresh;
	int refused;

	if (!wanted->type) {
		flow_stage_drop(stage);
		return 0;
	}
	if (!type || wanted->length > ENGINE_STAGE_BYTES)
		return EINVAL;
	if (*stage && (*stage)->number == wanted->type) {
		(*stage)->due = now;
		return type->change((*stage)->state, wanted->settings, wanted->length, now);
	}
	fresh = create(type, wanted->type);
	if (!fresh)
		return ENOMEM;
	refused = type->open(fresh->state, wanted->settings, wanted->length, now);
	if (refused) {
		release(fresh);
		return refused;
	}
	fresh->due = now;
	flow_stage_drop(stage);
	*stage = fresh;
	return 0;
}

void flow_stage_drop(struct flow_stage **stage)
{
	if (!*stage)
		return;
	(*stage)->type->close((*stage)->state);
	release(*stage);
	*stage = NULL;
}
