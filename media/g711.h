/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ITU-T G.711 by table: A-law and µ-law to 16-bit linear and back. */
#ifndef VOXDP_G711_H
#define VOXDP_G711_H

#include <stddef.h>
#include <stdint.h>

void g711_from_ulaw(const uint8_t *codes, size_t count, int16_t *pcm);
void g711_from_alaw(const uint8_t *codes, size_t count, int16_t *pcm);
void g711_to_ulaw(const int16_t *pcm, size_t count, uint8_t *codes);
void g711_to_alaw(const int16_t *pcm, size_t count, uint8_t *codes);

/* From one law to the other, to the same codes as by way of the sound. */
void g711_ulaw_to_alaw(const uint8_t *codes, size_t count, uint8_t *result);
void g711_alaw_to_ulaw(const uint8_t *codes, size_t count, uint8_t *result);

#endif
