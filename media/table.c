/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "table.h"

#include <stdlib.h>
#include <string.h>

static __u32 place_of(const struct table *table, const struct engine_key *key)
{
	__u64 half[2], mixed;

	memcpy(half, key->address, sizeof(half));
	mixed = (half[0] ^ (half[1] << 16 | half[1] >> 48) ^ key->port) * 0x9e3779b97f4a7c15ULL;

	return (__u32)(mixed >> 32) & table->mask;
}

static int same(const struct engine_key *one, const struct engine_key *other)
{
	return one->port == other->port && !memcmp(one->address, other->address, sizeof(one->address));
}

int table_create(struct table *table, __u32 capacity)
{
	__u32 places = 2;

	while (places < 2 * (__u64)capacity)
		places *= 2;
	table->mask = places - 1;
	table->capacity = capacity;
	table->used = 0;
	table->free = 0;
	table->bindings = calloc(capacity, sizeof(*table->bindings));
	table->wanted = calloc(capacity, sizeof(*table->wanted));
	table->places = malloc(places * sizeof(*table->places));
	if (!table->bindings || !table->wanted || !table->places) {
		table_destroy(table);
		return -1;
	}
	memset(table->places, 0xff, places * sizeof(*table->places));
	for (__u32 slot = 0; slot < capacity; slot++)
		table->bindings[slot].next_free = slot + 1 < capacity ? slot + 1 : TABLE_NONE;
	return 0;
}

void table_destroy(struct table *table)
{
	free(table->bindings);
	free(table->wanted);
	free(table->places);
}

/* The place that holds `key`, or the empty one where it belongs: there is always one. */
static __u32 probe(const struct table *table, const struct engine_key *key)
{
	__u32 place = place_of(table, key);

	while (table->places[place] != TABLE_NONE && !same(&table->bindings[table->places[place]].key, key))
		place = (place + 1) & table->mask;
	return place;
}

__u32 table_find(const struct table *table, const struct engine_key *key)
{
	return table->places[probe(table, key)];
}

__u32 table_add(struct table *table, const struct engine_key *key)
{
	__u32 slot = table->free;

	if (slot == TABLE_NONE)
		return TABLE_NONE;
	table->free = table->bindings[slot].next_free;
	table->bindings[slot].key = *key;
	table->places[probe(table, key)] = slot;
	table->used++;
	return slot;
}

/* Fills the gap with what was pushed past it, so that no search ends early. */
static void close_gap(struct table *table, __u32 gap)
{
	__u32 place = gap;

	for (;;) {
		__u32 home;

		place = (place + 1) & table->mask;
		if (table->places[place] == TABLE_NONE)
			break;
		home = place_of(table, &table->bindings[table->places[place]].key);
		if (((place - home) & table->mask) < ((place - gap) & table->mask))
			continue;
		table->places[gap] = table->places[place];
		gap = place;
	}
	table->places[gap] = TABLE_NONE;
}

void table_remove(struct table *table, __u32 slot)
{
	struct binding *binding = &table->bindings[slot];

	close_gap(table, probe(table, &binding->key));
	memset(binding, 0, sizeof(*binding));
	binding->next_free = table->free;
	table->free = slot;
	table->used--;
}
