/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every kind of stage, by its number; number 0 is none. */
#include "stage.h"
#include "stage_transcode.h"

extern const struct stage_type stage_transcode, stage_tap, stage_insert, stage_reports;

static const struct stage_type *const stage_types[] = {
	[STAGE_TRANSCODE] = &stage_transcode,
	[STAGE_TAP] = &stage_tap,
	[STAGE_INSERT] = &stage_insert,
	[STAGE_REPORTS] = &stage_reports,
};

const struct stage_type *stage_type(unsigned number)
{
	return number < sizeof(stage_types) / sizeof(*stage_types) ? stage_types[number] : NULL;
}
