/* SPDX-License-Identifier: GPL-3.0-or-later */
#define SPANDSP_EXPOSE_INTERNAL_STRUCTURES
#include <spandsp.h>

#include "tone.h"

#include <math.h>
#include <string.h>

#define DETECTOR_RATE 8000
#define PIECE	      160   /* samples of 8 kHz that the detector is given at once */
#define FULL_DBM0     3.14f /* level of a full-scale sine (ITU-T G.711) */
#define RAMP_MS	      2
#define TWO_PI	      6.28318531f

_Static_assert(sizeof(dtmf_rx_state_t) <= TONE_DETECTOR * sizeof(uint64_t), "room for spandsp's detector");

static const char digits[TONE_DIGITS + 1] = "0123456789*#ABCD";
static const float rows[] = {697, 770, 852, 941}, columns[] = {1209, 1336, 1477, 1633};
static const char keypad[4][4] = {"123A", "456B", "789C", "*0#D"};

static void frequencies(unsigned digit, float *low, float *high)
{
	for (unsigned i = 0; i < 16; i++)
		if (keypad[i / 4][i % 4] == digits[digit]) {
			*low = rows[i / 4];
			*high = columns[i % 4];
		}
}

static void set_turn(float *turn, float frequency, uint32_t rate)
{
	turn[0] = sinf(TWO_PI * frequency / (float)rate);
	turn[1] = cosf(TWO_PI * frequency / (float)rate);
}

/* `dbm0` is the level of each sine. */
static void begin(struct tone *tone, uint32_t rate, float dbm0, float low, float high)
{
	*tone = (struct tone){
		.low = {0, 1},
		.high = {0, high > 0 ? 1 : 0},
		.amplitude = 32767 * powf(10, (dbm0 - FULL_DBM0) / 20),
		.ramp = rate / 1000 * RAMP_MS,
		.on = 1,
	};
	set_turn(tone->turn[0], low, rate);
	set_turn(tone->turn[1], high, rate);
}

void tone_start(struct tone *tone, unsigned digit, uint32_t rate, float dbm0)
{
	float low = 0, high = 0;

	frequencies(digit % TONE_DIGITS, &low, &high);
	begin(tone, rate, dbm0, low, high);
}

void tone_start_sine(struct tone *tone, unsigned frequency, uint32_t rate, float dbm0)
{
	begin(tone, rate, dbm0, (float)frequency, 0);
}

void tone_end(struct tone *tone)
{
	if (tone->on && !tone->ending) {
		tone->ending = 1;
		tone->left = tone->ramp;
	}
}

static float advance(float *oscillator, const float *turn)
{
	float sine = oscillator[0];

	oscillator[0] = sine * turn[1] + oscillator[1] * turn[0];
	oscillator[1] = oscillator[1] * turn[1] - sine * turn[0];
	return sine;
}

static float envelope(struct tone *tone)
{
	float gain = tone->age < tone->ramp ? (float)++tone->age / (float)tone->ramp : 1;

	if (!tone->ending)
		return gain;
	if (!tone->left) {
		tone->on = 0;
		return 0;
	}
	return gain * (float)tone->left-- / (float)tone->ramp;
}

static int16_t tone_sample(struct tone *tone)
{
	float sum, gain;

	if (!tone->on)
		return 0;
	sum = advance(tone->low, tone->turn[0]) + advance(tone->high, tone->turn[1]);
	gain = envelope(tone);
	return (int16_t)lrintf(fmaxf(-32767, fminf(32767, sum * gain * tone->amplitude)));
}

void tone_make(struct tone *tone, int16_t *pcm, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pcm[i] = tone_sample(tone);
}

static void heard(void *user, int code, int level, int delay)
{
	struct tone_detector *detector = user;

	(void)level;
	(void)delay;
	detector->digit = (int16_t)(code ? tone_number((char)code) : TONE_NONE);
}

int tone_detector_open(struct tone_detector *detector, uint32_t rate)
{
	dtmf_rx_state_t *state = (dtmf_rx_state_t *)detector->spandsp;

	if (!rate || rate % DETECTOR_RATE)
		return -1;
	memset(detector, 0, sizeof(*detector));
	detector->rate = rate;
	detector->digit = TONE_NONE;
	if (!dtmf_rx_init(state, NULL, NULL))
		return -1;
	dtmf_rx_set_realtime_callback(state, heard, detector);
	return 0;
}

/* By the mean of the samples that make one of 8 kHz: what it lets alias is far from the tones. */
int tone_detect(struct tone_detector *detector, const int16_t *pcm, unsigned count)
{
	dtmf_rx_state_t *state = (dtmf_rx_state_t *)detector->spandsp;
	unsigned step = detector->rate / DETECTOR_RATE, ready = 0;
	int16_t piece[PIECE];

	for (unsigned i = 0; i < count; i++) {
		detector->sum += pcm[i];
		if (++detector->held < step)
			continue;
		piece[ready++] = (int16_t)(detector->sum / (int32_t)step);
		detector->sum = 0;
		detector->held = 0;
		if (ready == PIECE || i + 1 == count) {
			dtmf_rx(state, piece, (int)ready);
			ready = 0;
		}
	}
	if (ready)
		dtmf_rx(state, piece, (int)ready);
	return detector->digit;
}

int tone_number(char digit)
{
	const char *place = digit ? strchr(digits, digit) : NULL;

	return place ? (int)(place - digits) : TONE_NONE;
}

char tone_character(unsigned number)
{
	return number < TONE_DIGITS ? digits[number] : 0;
}
