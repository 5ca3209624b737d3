/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opus in Ogg (RFC 3533, RFC 7845), written page by page, so that a file cut short plays up to its last page.
 */
#ifndef VOXDP_OGG_H
#define VOXDP_OGG_H

#include <stddef.h>
#include <stdint.h>

#define OGG_PACKETS   50 /* in a page: a second at 20 ms */
#define OGG_PAGE_MOST 65307

struct ogg {
	uint32_t serial, pages, packets;
	uint64_t granule; /* samples of 48 kHz, those to be skipped at first included */
	uint32_t filled;  /* bytes of body */
	uint32_t lace_count;
	uint8_t lacing[255];
	uint8_t body[65025];
};

void ogg_open(struct ogg *ogg, uint32_t serial);

/* Writes both header pages; returns their bytes, at most 200. */
size_t ogg_head(struct ogg *ogg, unsigned channels, uint32_t rate, unsigned skip, uint8_t *out);

/* Takes a packet of `samples` of 48 kHz; returns the bytes of a page that is full now and was written to
 * `out`, of OGG_PAGE_MOST bytes, or 0. */
size_t ogg_add(struct ogg *ogg, const uint8_t *packet, size_t length, unsigned samples, uint8_t *out);

/* Writes the last page. */
size_t ogg_end(struct ogg *ogg, uint8_t *out);

#endif
