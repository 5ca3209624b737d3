/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Loaded before all else: tells a process that its RLIMIT_RTPRIO is LIMIT. */
#define _GNU_SOURCE
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int getrlimit(__rlimit_resource_t resource, struct rlimit *limits)
{
	if (resource != RLIMIT_RTPRIO)
		return (int)syscall(SYS_prlimit64, 0, resource, (void *)0, limits);
	*limits = (struct rlimit){LIMIT, LIMIT};
	return 0;
}
