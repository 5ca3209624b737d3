/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "history_store.h"

#include <errno.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/mman.h>

#include "kept_file.h"

#define MAGIC	  0x33786f767274732eULL /* with the layout's number as its first digit */
#define ALIGNMENT 64

static size_t aligned(size_t bytes)
{
	return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t bytes_for(__u32 capacity)
{
	return aligned(sizeof(struct history_header)) + aligned(capacity * sizeof(struct history_place)) +
	       capacity * sizeof(struct srtp_history);
}

static void place_parts(struct history_store *store, void *memory, __u32 capacity)
{
	__u8 *start = memory;

	store->header = memory;
	store->places = (struct history_place *)(start + aligned(sizeof(struct history_header)));
	store->histories = (struct srtp_history *)((__u8 *)store->places +
						   aligned(capacity * sizeof(struct history_place)));
}

static int init_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t attributes;
	int failed = pthread_mutexattr_init(&attributes);

	if (!failed)
		failed = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	if (!failed)
		failed = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
	if (!failed)
		failed = pthread_mutex_init(lock, &attributes);
	pthread_mutexattr_destroy(&attributes);
	errno = failed;
	return failed ? -1 : 0;
}

static int begin(struct history_store *store, __u32 capacity)
{
	struct history_header *header = store->header;

	if (header->magic != MAGIC || header->capacity != capacity) {
		memset(store->places, 0, capacity * sizeof(*store->places));
		header->engine = 0;
		header->cursor = 0;
	}
	header->magic = MAGIC;
	header->capacity = capacity;
	header->engine++;
	header->cursor %= capacity;
	for (__u32 i = 0; i < capacity; i++)
		if (store->places[i].owner)
			store->places[i].owner = 0;
	return init_lock(&header->lock);
}

int history_store_open(struct history_store *store, const char *path, __u32 capacity)
{
	void *memory;

	store->bytes = bytes_for(capacity);
	memory = kept_file_map(path, store->bytes);
	if (!memory)
		return -1;
	place_parts(store, memory, capacity);
	if (!kept_file_reserve(memory, (size_t)((__u8 *)store->histories - (__u8 *)memory)) &&
	    !begin(store, capacity))
		return 0;
	history_store_close(store);
	return -1;
}

void history_store_close(struct history_store *store)
{
	if (store->header)
		munmap(store->header, store->bytes);
	store->header = NULL;
}

/* A worker that died while it held the lock left each place whole: `owner` is written last. */
static void lock(struct history_store *store)
{
	if (pthread_mutex_lock(&store->header->lock) == EOWNERDEAD)
		pthread_mutex_consistent(&store->header->lock);
}

static bool named(const struct history_place *place, const __u8 *id)
{
	return place->engine && !memcmp(place->id, id, SRTP_ID_BYTES);
}

/* The place of the key; *taken: a flow other than `owner` has it. */
static struct history_place *find(const struct history_store *store, const __u8 *id, __u32 owner, bool *taken)
{
	*taken = false;
	for (__u32 i = 0; i < store->header->capacity; i++) {
		struct history_place *place = &store->places[i];

		if (!named(place, id))
			continue;
		if (!place->owner || place->owner == owner)
			return place;
		*taken = true;
	}
	return NULL;
}

/*
 * The next free place in turn, so that a history without a flow stays as long as can be; NULL also where the
 * file has no room, for a key whose indexes cannot be kept is not used.
 */
static struct history_place *add(struct history_store *store, const __u8 *id)
{
	struct history_header *header = store->header;

	for (__u32 tried = 0; tried < header->capacity; tried++) {
		struct history_place *place = &store->places[header->cursor];
		struct srtp_history *history = &store->histories[header->cursor];

		header->cursor = (header->cursor + 1) % header->capacity;
		if (place->owner)
			continue;
		if (kept_file_reserve(history, sizeof(*history)))
			return NULL;
		memset(history, 0, sizeof(*history));
		memcpy(place->id, id, SRTP_ID_BYTES);
		place->engine = header->engine;
		return place;
	}
	return NULL;
}

static void renew_ssrcs(struct srtp_history *history)
{
	__u32 before = history->mask;

	while (history->mask == before || !history->mask)
		if (RAND_bytes((__u8 *)&history->mask, sizeof(history->mask)) != 1)
			history->mask = before + 0x9e3779b9U;
}

struct srtp_history *history_store_take(struct history_store *store, const __u8 *id, __u32 owner, bool sends,
					bool renew)
{
	struct history_place *place;
	struct srtp_history *history = NULL;
	bool taken;

	lock(store);
	place = find(store, id, owner, &taken);
	if (!place && !(taken && sends))
		place = add(store, id);
	if (place) {
		history = &store->histories[place - store->places];
		if (sends && (renew || place->engine != store->header->engine))
			renew_ssrcs(history);
		place->engine = store->header->engine;
		place->owner = owner;
	}
	pthread_mutex_unlock(&store->header->lock);
	return history;
}

void history_store_leave(struct history_store *store, const struct srtp_history *history)
{
	lock(store);
	store->places[history - store->histories].owner = 0;
	pthread_mutex_unlock(&store->header->lock);
}
