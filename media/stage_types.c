/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every kind of stage, by its number; number 0 is none. */
#include "stage.h"

static const struct stage_type *const stage_types[] = {
	NULL,
};

const struct stage_type *stage_type(unsigned number)
{
	return number < sizeof(stage_types) / sizeof(*stage_types) ? stage_types[number] : NULL;
}
