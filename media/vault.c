/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vault.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/mman.h>

#include "kept_file.h"

#define MAGIC 0x31786f7674747664ULL /* with the layout's number as its first digit */
#define NONE  0xffffffffU

static __u64 name_of(const struct engine_key *key)
{
	__u64 half[2], mixed;

	memcpy(half, key->address, sizeof(half));
	mixed = (half[0] * 31 ^ half[1]) * 0x9e3779b97f4a7c15ULL ^ key->port;
	return mixed | 1ULL << 63;
}

static void wipe(struct vault *vault, __u32 place)
{
	OPENSSL_cleanse(&vault->entries[place], sizeof(struct vault_entry));
	__atomic_store_n(&vault->names[place], 0, __ATOMIC_RELEASE);
}

/* What the last run had no use for belongs to calls that are no more. */
static void begin(struct vault *vault, __u32 capacity)
{
	struct vault_header *header = vault->header;

	bool known = header->magic == MAGIC && header->capacity == capacity;

	if (header->magic && !known)
		memset(header, 0, vault->bytes);
	header->magic = MAGIC;
	header->capacity = capacity;
	header->engine++;
	for (__u32 place = 0; known && place < capacity; place++)
		if (vault->names[place] && vault->entries[place].engine + 1 != header->engine)
			wipe(vault, place);
}

int vault_open(struct vault *vault, const char *path, __u32 capacity)
{
	size_t names = sizeof(struct vault_header), entries = names + capacity * sizeof(*vault->names);
	__u8 *memory;

	vault->bytes = entries + capacity * sizeof(*vault->entries);
	memory = kept_file_map(path, vault->bytes);
	if (!memory)
		return -1;
	madvise(memory, vault->bytes, MADV_DONTDUMP);
	vault->header = (struct vault_header *)memory;
	vault->names = (__u64 *)(memory + names);
	vault->entries = (struct vault_entry *)(memory + entries);
	if (kept_file_reserve(memory, entries)) {
		vault_close(vault);
		return -1;
	}
	begin(vault, capacity);
	return 0;
}

void vault_close(struct vault *vault)
{
	if (vault->header)
		munmap(vault->header, vault->bytes);
	vault->header = NULL;
}

static __u32 find(const struct vault *vault, __u64 name)
{
	for (__u32 place = 0; place < vault->header->capacity; place++)
		if (__atomic_load_n(&vault->names[place], __ATOMIC_ACQUIRE) == name)
			return place;
	return NONE;
}

/* Other workers look for a free place too. */
static __u32 claim(struct vault *vault, __u64 name)
{
	for (__u32 place = 0; place < vault->header->capacity; place++) {
		__u64 nobody = 0;

		if (__atomic_compare_exchange_n(&vault->names[place], &nobody, name, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return place;
	}
	return NONE;
}

void vault_keep(struct vault *vault, const struct engine_key *local, const struct engine_dtls *with,
		const struct srtp_keys *open, const struct srtp_keys *seal)
{
	__u64 name = name_of(local);
	__u32 place = find(vault, name);
	struct vault_entry *entry;

	if (place == NONE)
		place = claim(vault, name);
	if (place == NONE)
		return; /* the keys outlive the worker, if not the engine */
	entry = &vault->entries[place];
	if (kept_file_reserve(entry, sizeof(*entry))) {
		__atomic_store_n(&vault->names[place], 0, __ATOMIC_RELEASE);
		return;
	}
	__atomic_store_n(&entry->whole, 0, __ATOMIC_RELEASE);
	entry->engine = vault->header->engine;
	entry->local = *local;
	entry->with = *with;
	entry->open = *open;
	entry->seal = *seal;
	__atomic_store_n(&entry->whole, 1, __ATOMIC_RELEASE);
}

static bool is_of(const struct vault_entry *entry, const struct engine_key *local)
{
	return entry->local.port == local->port &&
	       !memcmp(entry->local.address, local->address, sizeof(local->address));
}

bool vault_recall(struct vault *vault, const struct engine_key *local, const struct engine_dtls *with,
		  struct srtp_keys *open, struct srtp_keys *seal)
{
	__u32 place = find(vault, name_of(local));
	struct vault_entry *entry;

	if (place == NONE)
		return false;
	entry = &vault->entries[place];
	if (!entry->whole || !is_of(entry, local) || memcmp(&entry->with, with, sizeof(*with)))
		return false;
	entry->engine = vault->header->engine;
	*open = entry->open;
	*seal = entry->seal;
	return true;
}

void vault_forget(struct vault *vault, const struct engine_key *local)
{
	__u32 place = find(vault, name_of(local));

	if (place != NONE)
		wipe(vault, place);
}
