/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory fetched into the processor's cache ahead of its use, while something else is done. */
#ifndef VOXDP_FETCH_H
#define VOXDP_FETCH_H

#include <stddef.h>

#define CACHE_LINE 64

static inline void fetch(const void *memory, size_t bytes)
{
	const char *from = memory;

	for (size_t at = 0; at < bytes; at += CACHE_LINE)
		__builtin_prefetch(from + at);
}

#endif
