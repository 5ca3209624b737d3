/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Both ends of many calls through a relay: each speaks G.711 every 20 ms, spread over that time, and does not
 * listen, but for one call whose packets are timed. Arguments: seconds, calls, first peer port, a's relay
 * address, b's, a's own address, b's own, suite of a's packets (0: plain), key in hex, sound of a, sound of
 * b, then two relay ports for each call. Prints "sent N", then one line per timed packet: microseconds on the
 * way from a to b, and of a packet that a sent right after it to a socket beside its own.
 *
 * a uses ports first + 2 * call, b the same on its own address. A sound is "-", for packets that tell when
 * they were sent, or PAYLOADTYPE:TICKS:FILE with payloads, each behind its length in two bytes (of this
 * machine).
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

#define PAYLOAD	    160
#define PERIOD	    20000000ULL
#define ROOM	    (12 + 1000 + SRTP_TRAILER)
#define MOST	    100000
#define FIRST_ARG   12
#define SOUNDS	    250
#define FIRST_TIMED 10 /* packets before, while all threads come to run */

/* What one side says; no packets: G.711 with the time in it. */
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
static __u32 delays[2][MOST]; /* through the relay, and straight */
static volatile unsigned timed[2];
static struct sockaddr_in straight;
static volatile int over;
static int straight_sender;

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

static void stamp(__u8 *packet, __u64 time)
{
	memcpy(packet + 12, &time, sizeof(time));
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
	else
		stamp(packet, now());
	if (sealed && srtp_protect(&end->seal, packet, &length) != SRTP_OK)
		exit(2);
	send(end->socket, packet, length, 0);
	if (end != ends || sound->count)
		return;
	stamp(packet, now());
	sendto(straight_sender, packet, 12 + PAYLOAD, 0, (struct sockaddr *)&straight, sizeof(straight));
}

struct ear {
	int socket;
	unsigned number;
};

static void *listen_to(void *argument)
{
	const struct ear *ear = argument;
	__u8 packet[2048];
	int large = 1 << 20;
	struct timeval patience = {.tv_usec = 100000};
	__u64 sent;

	setsockopt(ear->socket, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	setsockopt(ear->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (!over && timed[ear->number] < MOST) {
		if (recv(ear->socket, packet, sizeof(packet), 0) < 12 + (int)sizeof(sent))
			continue;
		memcpy(&sent, packet + 12, sizeof(sent));
		delays[ear->number][timed[ear->number]++] = (__u32)((now() - sent) / 1000);
	}
	return NULL;
}

/* A socket that hears what another of ours sends it, without the relay. */
static int open_straight(const char *own)
{
	struct sockaddr_in any = name(own, 0);
	socklen_t length = sizeof(straight);
	int heard = socket(AF_INET, SOCK_DGRAM, 0);

	straight_sender = socket(AF_INET, SOCK_DGRAM, 0);
	if (bind(heard, (struct sockaddr *)&any, sizeof(any)) ||
	    getsockname(heard, (struct sockaddr *)&straight, &length))
		exit(5);
	return heard;
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
	struct ear ears[2] = {{.number = 0}, {.number = 1}};
	pthread_t listeners[2];
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
	ears[0].socket = ends[1].socket;
	ears[1].socket = open_straight(arguments[6]);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&listeners[i], NULL, listen_to, &ears[i]);
	printf("sent %lu\n", talk(calls, atof(arguments[1])));
	usleep(100000);
	over = 1;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(listeners[i], NULL);
	for (unsigned i = FIRST_TIMED; i < timed[0] && i < timed[1] && !sounds[0].count; i++)
		printf("%u %u\n", delays[0][i], delays[1][i]);
	return 0;
}
