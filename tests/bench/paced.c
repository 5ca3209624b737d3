/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One end of many calls: each speaks G.711 every 20 ms, spread over that time in steps of a millisecond, and
 * does not listen. Arguments: seconds, own address, first own port, the relay's address, then a relay port
 * for each call. Prints how many packets were sent.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define STEPS	  20
#define STEP	  1000000ULL
#define SIZE	  172
#define CLOCK	  160
#define FIRST_ARG 5

static unsigned long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (unsigned long long)time.tv_sec * 1000000000ULL + (unsigned long long)time.tv_nsec;
}

static struct sockaddr_in name(const char *address, int port)
{
	struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};

	inet_pton(AF_INET, address, &result.sin_addr);
	return result;
}

static int speaker(const char *own, int port, const char *relay, int relay_port)
{
	struct sockaddr_in local = name(own, port), remote = name(relay, relay_port);
	int descriptor = socket(AF_INET, SOCK_DGRAM, 0);

	if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&local, sizeof(local)) ||
	    connect(descriptor, (struct sockaddr *)&remote, sizeof(remote))) {
		perror("paced: socket");
		exit(1);
	}
	return descriptor;
}

static int speak(int descriptor, unsigned call, unsigned sequence)
{
	unsigned char packet[SIZE] = {0x80, 0, (unsigned char)(sequence >> 8), (unsigned char)sequence};
	unsigned words[2] = {htonl(sequence * CLOCK), htonl(call + 1)};

	__builtin_memcpy(packet + 4, words, sizeof(words));
	return send(descriptor, packet, sizeof(packet), 0) == SIZE;
}

int main(int count, char **arguments)
{
	unsigned calls = count > FIRST_ARG ? (unsigned)(count - FIRST_ARG) : 0;
	unsigned long long began, step = 0;
	unsigned long sent = 0;
	unsigned long long steps;
	int *speakers = calloc(calls + 1, sizeof(*speakers));

	if (!calls || !speakers)
		return 2;
	for (unsigned i = 0; i < calls; i++)
		speakers[i] = speaker(arguments[2], atoi(arguments[3]) + 2 * (int)i, arguments[4],
				      atoi(arguments[FIRST_ARG + i]));
	steps = (unsigned long long)(atof(arguments[1]) * 1e9) / STEP;
	for (began = now(); step < steps; step++) {
		unsigned long long due = began + step * STEP;
		struct timespec wait = {(time_t)(due / 1000000000ULL), (long)(due % 1000000000ULL)};

		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wait, NULL);
		for (unsigned i = (unsigned)(step % STEPS); i < calls; i += STEPS)
			sent += (unsigned long)speak(speakers[i], i, (unsigned)(step / STEPS));
	}
	printf("%lu\n", sent);
	return 0;
}
