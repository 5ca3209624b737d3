/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "worker_page.h"

#include "relay.h"

static int put(struct event_queue *queue, const struct engine_event *event, __u32 most)
{
	struct engine_event *place = &queue->events[queue->head % EVENTS];

	if (queue->head - __atomic_load_n(&queue->tail, __ATOMIC_ACQUIRE) >= most)
		return 0;
	*place = *event;
	place->time = relay_clock();
	__atomic_store_n(&queue->head, queue->head + 1, __ATOMIC_RELEASE);
	return 1;
}

int worker_page_tell(struct worker_page *page, const struct engine_event *event)
{
	return put(&page->queue, event, EVENTS);
}

int worker_page_mention(struct worker_page *page, const struct engine_event *event)
{
	return put(&page->queue, event, EVENTS / 2);
}

int worker_page_take(struct worker_page *page, struct engine_event *event)
{
	struct event_queue *queue = &page->queue;

	if (queue->tail == __atomic_load_n(&queue->head, __ATOMIC_ACQUIRE))
		return 0;
	*event = queue->events[queue->tail % EVENTS];
	__atomic_store_n(&queue->tail, queue->tail + 1, __ATOMIC_RELEASE);
	return 1;
}
