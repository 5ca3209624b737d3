/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The settings and reports of stages, as they come over the control socket; media/stages.py knows them too.
 */
#ifndef VOXDP_STAGE_TRANSCODE_H
#define VOXDP_STAGE_TRANSCODE_H

#include "inserter.h"
#include "stage_parts.h"
#include "tap.h"
#include "transcoder.h"

#define STAGE_TRANSCODE 1 /* numbers in stage_types.c */
#define STAGE_TAP	2
#define STAGE_INSERT	3
#define STAGE_REPORTS	4

struct transcode_stage {
	struct transcoder_settings transcoder; /* ssrc, timestamp and sequence: drawn when it is opened */
	struct stage_orders orders;
	struct tap_settings tap;
};

/* Passes packets on as they are, and copies of them to the recorder. */
struct tap_stage {
	struct tap_settings tap;
};

/* The same, and puts sound and digits into the stream, or takes them out. */
struct insert_stage {
	struct inserter_settings inserter; /* ssrc, timestamp and sequence: drawn when it is opened */
	struct stage_orders orders;
	struct tap_settings tap;
};

/* Passes packets on as a tap does, but RTCP of both sides ends here, and each is reported to by us. */
struct reports_stage {
	struct tap_settings tap;
	uint32_t clock; /* Hz of the time stamps */
	uint32_t reserved;
};

/* What a stage counted. */
struct stage_report {
	struct transcoder_report transcoder; /* all 0 where nothing is transcoded, but for what was sent */
	struct tap_counts tap;
	uint64_t rides; /* 1: of the leg's numbers some are used up for what is put in; see inserter_rides */
};

#endif
