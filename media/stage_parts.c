/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "stage_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ALIGNMENT 64

int stage_orders_check(const struct stage_orders *orders)
{
	if (orders->digit_count > STAGE_DIGITS || (orders->digit_count && !orders->digit_ms) ||
	    strnlen(orders->play_path, STAGE_PATH) == STAGE_PATH)
		return EINVAL;
	return 0;
}

static int play(struct stage_done *done, const struct stage_orders *orders, struct clip *clip, uint32_t rate)
{
	struct clip fresh;
	int error;

	if (orders->play == done->play)
		return 0;
	if (orders->play) {
		error = clip_open(&fresh, orders->play_path, rate, orders->play_times);
		if (error)
			return error;
		fresh.number = orders->play;
		clip_skip(&fresh, orders->play_start);
	}
	clip_close(clip);
	if (orders->play)
		*clip = fresh;
	done->play = orders->play;
	return 0;
}

static int dial(struct stage_done *done, const struct stage_orders *orders, struct dtmf_sender *digits)
{
	if (orders->dial == done->dial)
		return 0;
	if (digits->count + orders->digit_count > DTMF_QUEUE)
		return ENOSPC;
	for (unsigned i = 0; i < orders->digit_count; i++) {
		struct dtmf_digit digit = {orders->digits[i], orders->digit_volume, orders->digit_ms,
					   orders->digit_pause};

		if (dtmf_queue(digits, &digit))
			return EINVAL;
	}
	done->dial = orders->dial;
	return 0;
}

int stage_orders_follow(struct stage_done *done, const struct stage_orders *orders, struct clip *clip,
			struct sender *sender)
{
	int error = play(done, orders, clip, sender->rate);

	return error ? error : dial(done, orders, &sender->digits);
}

void stage_orders_resume(struct stage_done *done, const struct stage_orders *orders, struct clip *clip,
			 struct sender *sender)
{
	done->dial = orders->dial;
	play(done, orders, clip, sender->rate);
}

/* A stage_output has no face but its functions. */
static uint8_t *room(void *context)
{
	return stage_room(context);
}

static void send(void *context, size_t length)
{
	stage_send(context, length);
}

static void tell(void *context, const struct transcoder_news *news)
{
	stage_tell(context, news->kind, news, sizeof(*news));
}

struct packet_sink stage_sink(struct stage_output *output)
{
	return (struct packet_sink){room, send, output};
}

struct transcoder_ear stage_ear(struct stage_output *output)
{
	return (struct transcoder_ear){tell, output};
}

int stage_draw_names(struct sender_settings *sender)
{
	if (getrandom(&sender->ssrc, sizeof(sender->ssrc), 0) < 0 ||
	    getrandom(&sender->timestamp, sizeof(sender->timestamp), 0) < 0 ||
	    getrandom(&sender->sequence, sizeof(sender->sequence), 0) < 0)
		return errno;
	return 0;
}

void *stage_memory(size_t bytes)
{
	return bytes ? aligned_alloc(ALIGNMENT, (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT) : NULL;
}
