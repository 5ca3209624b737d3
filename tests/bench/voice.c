/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Both ends of many calls through a relay: each speaks G.711 every 20 ms, spread over that time, and does not
 * listen, but for one call whose packets are timed. Arguments: seconds, calls, first peer port, a's relay
 * address, b's, a's own address, b's own, suite of a's packets (0: plain), key in hex, then two relay ports
 * for each call. Prints "sent N", then one line per timed packet: microseconds on the way from a to b.
 *
 * a uses ports first + 2 * call, b the same on its own address.
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
#define ROOM	  (12 + PAYLOAD + SRTP_TRAILER)
#define MOST	  100000
#define FIRST_ARG 10

struct end {
	int socket;
	struct srtp_context seal; /* of a */
	struct srtp_history history;
};

static struct end *ends;
static unsigned suite;
static __u32 delays[MOST];
static volatile unsigned timed;
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

static void speak(struct end *end, __u16 sequence, int sealed)
{
	__u8 packet[ROOM] = {0x80, 0, (__u8)(sequence >> 8), (__u8)sequence};
	size_t length = 12 + PAYLOAD;
	__u64 time = now();

	packet[8] = 1;
	memcpy(packet + 12, &time, sizeof(time));
	if (sealed && srtp_protect(&end->seal, packet, &length) != SRTP_OK)
		exit(2);
	send(end->socket, packet, length, 0);
}

static void *listen_to(void *argument)
{
	const struct end *end = argument;
	__u8 packet[2048];
	int large = 1 << 20;
	struct timeval patience = {.tv_usec = 100000};
	__u64 sent;

	setsockopt(end->socket, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
	setsockopt(end->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (!over && timed < MOST) {
		if (recv(end->socket, packet, sizeof(packet), 0) < 12 + (int)sizeof(sent))
			continue;
		memcpy(&sent, packet + 12, sizeof(sent));
		delays[timed++] = (__u32)((now() - sent) / 1000);
	}
	return NULL;
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
			speak(&ends[i], sequence, suite && !(i % 2));
		}
}

int main(int count, char **arguments)
{
	struct rlimit files;
	unsigned calls;
	pthread_t listener;

	if (count < FIRST_ARG + 2)
		return 4;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	calls = (unsigned)atoi(arguments[2]);
	suite = (unsigned)atoi(arguments[8]);
	open_all(arguments, calls);
	pthread_create(&listener, NULL, listen_to, &ends[1]);
	printf("sent %lu\n", talk(calls, atof(arguments[1])));
	usleep(100000);
	over = 1;
	pthread_join(listener, NULL);
	for (unsigned i = 0; i < timed; i++)
		printf("%u\n", delays[i]);
	return 0;
}
