/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What has to hold of every input; a broken one ends the program, which libFuzzer reports with its input. */
#ifndef VOXDP_FUZZ_REQUIRE_H
#define VOXDP_FUZZ_REQUIRE_H

#include <stdlib.h>

#define REQUIRE(what)                                                                                        \
	do {                                                                                                 \
		if (!(what))                                                                                 \
			abort();                                                                             \
	} while (0)

#endif
