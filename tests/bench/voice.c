/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Both ends of many calls through a relay: each speaks G.711 every 20 ms, spread over that time, and does not
 * listen, but for b of one call. Arguments: seconds, calls, first peer port, a's relay
 * address, b's, a's own address, b's own, suite of a's packets (0: plain), key in hex, sound of a, sound of
 * b, then two relay ports for each call. Prints "sent N", then of what one call's b heard where a has a
 * sound: packets, bytes of payload, what most payloads begin with, and how many do.
 *
 * a uses ports first + 2 * call, b the same on its own address. A sound is "-", for one value for
 * ever, or PAYLOADTYPE:TICKS:FILE with payloads, each behind its length in two bytes (of this machine).
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "srtp.h"

#define PAYLOAD	  160
#define PERIOD	  20000000ULL
#define ROOM	  (12 + 1000 + SRTP_TRAILER)
#define FIRST_ARG 12
#define SOUNDS	  250

/* What one side says; no packets: G.711 of zeros. */
struct sound {
	unsigned type, ticks, count;
	__u16 length[SOUNDS];
	__u8 data[SOUNDS][1000];
};

struct end {
	int socket;
	struct srtp_context seal; /* of a */
	struct srtp_history history;
};

static struct end *ends;
static unsigned suite;
static struct sound sounds[2];
static struct {
	unsigned long packets, bytes, first[256];
} heard;
static volatile int over;

static __u64 now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (__u64)time.tv_sec * 1000000000ULL + (__u64)time.tv_nsec;
}

static struct sockaddr_in name(const char *address, unsigned port)
{
	struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((__u16)port)};

	inet_pton(AF_INET, address, &result.sin_addr);
	return result;
}

static int open_end(const char *own, unsigned port, const char *relay, unsigned relay_port)
{
	struct sockaddr_in local = name(own, port), remote = name(relay, relay_port);
	int descriptor = socket(AF_INET, SOCK_DGRAM, 0), small = 1;

	setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&local, sizeof(local)) ||
	    connect(descriptor, (struct sockaddr *)&remote, sizeof(remote))) {
		perror("voice: socket");
		exit(1);
	}
	return descriptor;
}

static size_t fill(__u8 *packet, const struct sound *sound, __u16 sequence)
{
	__u32 ticks = htonl(sequence * sound->ticks);
	unsigned place = sequence % sound->count;

	packet[1] = (__u8)sound->type;
	memcpy(packet + 4, &ticks, sizeof(ticks));
	memcpy(packet + 12, sound->data[place], sound->length[place]);
	return 12 + sound->length[place];
}

static void speak(struct end *end, const struct sound *sound, __u16 sequence, int sealed)
{
	__u8 packet[ROOM] = {0x80, 0, (__u8)(sequence >> 8), (__u8)sequence};
	size_t length = 12 + PAYLOAD;

	packet[8] = 1;
	if (sound->count)
		length = fill(packet, sound, sequence);
	if (sealed && srtp_protect(&end->seal, packet, &length) != SRTP_OK)
		exit(2);
	send(end->socket, packet, length, 0);
}

/* Reports, which may come to the same port, have other types than what b itself says. */
static void note_heard(const __u8 *payload, size_t length, unsigned type)
{
	if (type != sounds[1].type)
		return;
	heard.packets++;
	heard.bytes += length;
	heard.first[payload[0]]++;
}

static unsigned commonest(void)
{
	unsigned found = 0;

	for (unsigned i = 1; i < 256; i++)
		if (heard.first[i] > heard.first[found])
			found = i;
	return found;
}

static void *listen_to(void *argument)
{
	const struct end *end = argument;
	__u8 packet[2048];
	int large = 1 << 20;
	struct timeval patience = {.tv_usec = 100000};

	setsockopt(end->socket, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	setsockopt(end->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (!over) {
		ssize_t length = recv(end->socket, packet, sizeof(packet), 0);

		if (length > 12 && sounds[0].count)
			note_heard(packet + 12, (size_t)length - 12, packet[1] & 0x7f);
	}
	return NULL;
}

static void read_sound(const char *argument, struct sound *sound)
{
	char file[256];
	FILE *packets;

	if (sscanf(argument, "%u:%u:%255s", &sound->type, &sound->ticks, file) != 3)
		return;
	packets = fopen(file, "rb");
	while (packets && sound->count < SOUNDS && fread(&sound->length[sound->count], 2, 1, packets) == 1 &&
	       fread(sound->data[sound->count], sound->length[sound->count], 1, packets) == 1)
		sound->count++;
	if (!sound->count)
		exit(6);
	fclose(packets);
}

static void open_all(char **arguments, unsigned calls)
{
	unsigned first = (unsigned)atoi(arguments[3]);
	struct srtp_keys keys = {.suite = (__u8)suite};

	for (unsigned i = 0; i < srtp_master_length(suite); i++)
		sscanf(arguments[9] + 2 * i, "%2hhx", &keys.master[i]);
	ends = calloc(2 * calls, sizeof(*ends));
	for (unsigned call = 0; call < calls; call++) {
		struct end *a = &ends[2 * call], *b = a + 1;
		char **ports = arguments + FIRST_ARG + 2 * call;

		a->socket = open_end(arguments[6], first + 2 * call, arguments[4], (unsigned)atoi(ports[0]));
		b->socket = open_end(arguments[7], first + 2 * call, arguments[5], (unsigned)atoi(ports[1]));
		if (suite && srtp_open(&a->seal, &keys, &a->history, true))
			exit(3);
	}
}

/* All ends in turn, each when its part of the period is come. */
static unsigned long talk(unsigned calls, double seconds)
{
	__u64 began = now(), until = began + (__u64)(seconds * 1e9);
	unsigned long sent = 0;

	for (__u16 sequence = 0;; sequence++)
		for (unsigned i = 0; i < 2 * calls; i++, sent++) {
			__u64 due = began + sequence * PERIOD + PERIOD * i / (2 * calls);
			struct timespec wait = {(time_t)(due / 1000000000ULL), (long)(due % 1000000000ULL)};

			if (due > until)
				return sent;
			if (due > now() + 50000)
				clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wait, NULL);
			speak(&ends[i], &sounds[i % 2], sequence, suite && !(i % 2));
		}
}

int main(int count, char **arguments)
{
	pthread_t listener;
	struct rlimit files;
	unsigned calls;

	if (count < FIRST_ARG + 2)
		return 4;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	calls = (unsigned)atoi(arguments[2]);
	suite = (unsigned)atoi(arguments[8]);
	read_sound(arguments[10], &sounds[0]);
	read_sound(arguments[11], &sounds[1]);
	open_all(arguments, calls);
	pthread_create(&listener, NULL, listen_to, &ends[1]);
	printf("sent %lu\n", talk(calls, atof(arguments[1])));
	usleep(100000);
	over = 1;
	pthread_join(listener, NULL);
	printf("heard %lu %lu %u %lu\n", heard.packets, heard.bytes, commonest(), heard.first[commonest()]);
	return 0;
}
