/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The histories of all keys, in a file that workers share and that outlives them: a key that is set again
 * finds what it was used for. A history without a flow stays until the room is needed, the longest unused one
 * first. Holds no key, only what names one.
 */
#ifndef VOXDP_HISTORY_STORE_H
#define VOXDP_HISTORY_STORE_H

#include <pthread.h>

#include "srtp_history.h"

struct history_place {
	__u8 id[SRTP_ID_BYTES];
	__u32 owner;  /* 0: no flow uses it */
	__u32 engine; /* which run of the engine used it last */
};

/* Begins the file; read by the next engine only if `magic` and all sizes are its own. */
struct history_header {
	__u64 magic;
	__u32 capacity;
	__u32 engine; /* which run this is */
	__u32 cursor; /* where a place is looked for next */
	__u32 reserved;
	pthread_mutex_t lock; /* robust, between processes: taken when a key is set, never for a packet */
};

struct history_store {
	struct history_header *header;
	struct history_place *places;
	struct srtp_history *histories;
	size_t bytes;
};

/* Maps `path`, or memory of our own if it is NULL. 0, or -1 with errno. */
int history_store_open(struct history_store *store, const char *path, __u32 capacity);

void history_store_close(struct history_store *store);

/*
 * The history of the key that `id` names, for the flow that `owner` (not 0) names, new if there is none.
 * renew: what this key was used for may be incomplete, so that what is sent has to go under other SSRCs.
 * NULL: another flow sends with the key, or all places are taken.
 */
struct srtp_history *history_store_take(struct history_store *store, const __u8 *id, __u32 owner, bool sends,
					bool renew);

/* The flow needs it no longer. */
void history_store_leave(struct history_store *store, const struct srtp_history *history);

#endif
