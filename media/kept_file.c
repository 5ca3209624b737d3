/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "kept_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of another size is emptied: what it says cannot be read. */
static void *map_file(const char *path, size_t bytes)
{
	int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat status;
	void *memory = MAP_FAILED;
	int error;

	if (descriptor < 0)
		return MAP_FAILED;
	if (!fstat(descriptor, &status) && ((size_t)status.st_size == bytes || !ftruncate(descriptor, 0)) &&
	    !ftruncate(descriptor, (off_t)bytes))
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	error = errno;
	close(descriptor);
	errno = error;
	return memory;
}

int kept_file_reserve(void *place, size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), into = (uintptr_t)place % page;
	int status = madvise((char *)place - into, bytes + into, MADV_POPULATE_WRITE);

	if (!status || errno == EINVAL) /* before Linux 5.14 it cannot be asked for */
		return 0;
	if (errno == EFAULT)
		errno = ENOSPC;
	return -1;
}

void *kept_file_map(const char *path, size_t bytes)
{
	void *memory;

	if (path)
		memory = map_file(path, bytes);
	else
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
			      -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}
