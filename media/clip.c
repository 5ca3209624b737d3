/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "clip.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_file(struct clip *clip, int descriptor)
{
	struct stat status;

	if (fstat(descriptor, &status))
		return errno;
	if (status.st_size < (off_t)sizeof(struct clip_header))
		return EINVAL;
	clip->bytes = (size_t)status.st_size;
	clip->map = mmap(NULL, clip->bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, descriptor, 0);
	return clip->map == MAP_FAILED ? errno : 0;
}

static int read_header(struct clip *clip, uint32_t rate)
{
	const struct clip_header *header = clip->map;

	if (header->magic != CLIP_MAGIC || !header->count ||
	    header->count > (clip->bytes - sizeof(*header)) / sizeof(int16_t))
		return EINVAL;
	if (header->rate != rate)
		return EDOM;
	clip->samples = (const int16_t *)(header + 1);
	clip->count = header->count;
	clip->rate = header->rate;
	return 0;
}

int clip_open(struct clip *clip, const char *path, uint32_t rate, uint32_t times)
{
	int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), error;

	if (descriptor < 0)
		return errno;
	memset(clip, 0, sizeof(*clip));
	error = map_file(clip, descriptor);
	close(descriptor);
	if (!error && (error = read_header(clip, rate)))
		munmap(clip->map, clip->bytes);
	if (error)
		clip->map = NULL;
	clip->times = times;
	return error;
}

void clip_close(struct clip *clip)
{
	if (clip->map)
		munmap(clip->map, clip->bytes);
	memset(clip, 0, sizeof(*clip));
}

void clip_skip(struct clip *clip, uint32_t ms)
{
	uint64_t place = (uint64_t)ms * (clip->rate / 1000);

	clip->place = place < clip->count ? (uint32_t)place : clip->count - 1;
}

/* At the end of a round; whether there is another. */
static int begin_again(struct clip *clip)
{
	clip->place = 0;
	if (clip->times != 1) {
		clip->times -= clip->times ? 1 : 0;
		return 1;
	}
	clip->place = clip->count;
	return 0;
}

int clip_play(struct clip *clip, int16_t *pcm, unsigned count)
{
	while (count) {
		unsigned left = clip->count - clip->place, part = count < left ? count : left;

		memcpy(pcm, clip->samples + clip->place, part * sizeof(*pcm));
		clip->place += part;
		pcm += part;
		count -= part;
		if (clip->place == clip->count && !begin_again(clip)) {
			memset(pcm, 0, count * sizeof(*pcm));
			return 0;
		}
	}
	return 1;
}
