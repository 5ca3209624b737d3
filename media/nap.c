/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "nap.h"

#define ENOUGH 8     /* packets, for which waking is worth it, after the shorter nap */
#define WORTH  50000 /* ns: a nap that is shorter costs what it saves */

static uint64_t least(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

/* Where it was woken again before long: until a few more are there by the pace of those just handled. */
uint64_t nap_take(struct nap *nap, uint64_t now, unsigned handled, uint64_t due)
{
	uint64_t since = now - nap->done, left = due > now ? due - now : 0;
	uint64_t longest = nap->passed && now - nap->passed < NAP_HURRY ? NAP_HURRIED : NAP_LONGEST;
	uint64_t enough = ENOUGH * (longest / NAP_HURRIED);
	uint64_t moment;

	nap->done = now;
	if (!handled || since >= longest * 5 / 2)
		return 0;
	moment = least(least(since * enough / handled, longest), left);
	return moment > WORTH ? moment : 0;
}
