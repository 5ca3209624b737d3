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

#endif
