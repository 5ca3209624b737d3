/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory that outlives the process: a file that workers share, readable by its owner alone. */
#ifndef VOXDP_KEPT_FILE_H
#define VOXDP_KEPT_FILE_H

#include <stddef.h>

/*
 * Maps `bytes` of the file at `path`, or memory of our own if it is NULL. A file of another size or that is
 * new reads as zeros. NULL with errno.
 */
void *kept_file_map(const char *path, size_t bytes);

/*
 * Has the file system give what `place` needs before it is written: a mapping of a file of which parts were
 * never written can be so full a disk's that a write to it kills the process. 0, or -1 with errno.
 */
int kept_file_reserve(void *place, size_t bytes);

#endif
