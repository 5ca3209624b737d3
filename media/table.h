/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which slot a flow has: keys to numbers, open addressing, all memory taken at the start. */
#ifndef VOXDP_TABLE_H
#define VOXDP_TABLE_H

#include "engine.h"

#define TABLE_NONE 0xffffffffU

/* What is known of a slot outside of its worker. */
struct binding {
	struct engine_key key; /* port 0: slot is free */
	__u32 partner;
	__u32 next_free;
	int socket;
	unsigned worker;
	unsigned crashes; /* of workers while they had a packet of this flow */
};

struct table {
	struct binding *bindings;   /* one per slot */
	struct engine_flow *wanted; /* as set, one per slot; apart, as unused ones cost nothing so */
	__u32 *places;		    /* slot numbers, at a hash of their keys */
	__u32 mask;
	__u32 capacity;
	__u32 used;
	__u32 free;
};

/* 0 or -1 with errno. */
int table_create(struct table *table, __u32 capacity);

void table_destroy(struct table *table);

/* The slot of `key`, or TABLE_NONE. */
__u32 table_find(const struct table *table, const struct engine_key *key);

/* Gives `key`, which has none, a slot; TABLE_NONE: all are taken. */
__u32 table_add(struct table *table, const struct engine_key *key);

void table_remove(struct table *table, __u32 slot);

#endif
