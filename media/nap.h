/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How long a worker lets packets wait before it looks at them together. Voice comes evenly: who woke for each
 * packet would spend as much on waking as on the packet. Times are ns of any steady clock.
 */
#ifndef VOXDP_NAP_H
#define VOXDP_NAP_H

#include <stdint.h>

#define NAP_HURRIED 400000     /* ns, the longest while packets go on as they come */
#define NAP_LONGEST 2000000    /* ns, the longest while all wait for their stream's time in a jitter buffer */
#define NAP_HURRY   1000000000 /* ns for which it is remembered that packets went on as they came */

struct nap {
	uint64_t done;	 /* when the worker was last done with what was there */
	uint64_t passed; /* when a packet last went on as it came; 0: none has */
};

/*
 * To be asked at `now`, when all is done: ns to wait, 0 if a packet that comes alone is to go at once.
 * `handled` packets have come since the last time; something else is due at the time `due`.
 */
uint64_t nap_take(struct nap *nap, uint64_t now, unsigned handled, uint64_t due);

#endif
