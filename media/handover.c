/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "handover.h"

static struct handed *place(struct handover *handover, __u32 number)
{
	return &handover->places[number % HANDOVER_PLACES];
}

struct handed *handover_room(struct handover *handover)
{
	__u32 tail = __atomic_load_n(&handover->tail, __ATOMIC_ACQUIRE);

	return handover->head - tail < HANDOVER_PLACES ? place(handover, handover->head) : NULL;
}

void handover_give(struct handover *handover)
{
	__atomic_store_n(&handover->head, handover->head + 1, __ATOMIC_SEQ_CST);
}

struct handed *handover_take(struct handover *handover)
{
	__u32 head = __atomic_load_n(&handover->head, __ATOMIC_SEQ_CST);

	return head != handover->tail ? place(handover, handover->tail) : NULL;
}

void handover_done(struct handover *handover)
{
	__atomic_store_n(&handover->tail, handover->tail + 1, __ATOMIC_RELEASE);
}
