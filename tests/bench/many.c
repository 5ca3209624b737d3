/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Both ends of more calls than sockets could make: each speaks G.711 every 20 ms, spread over that time, as
 * frames that are written to an interface some at a time and pass no network stack on their way out. Nobody
 * listens. Behind the RTP header is when the frame was sent. Arguments: seconds, calls, first peer port,
 * interface, the relay's MAC address and its IPv4 address, a's, b's, suite of a's packets (0: plain), key in
 * hex, then two relay ports for each call. Prints how many were sent, and how many the host refused.
 *
 * Ports and who sends to which are as voice.c has them.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "srtp.h"

#define PAYLOAD	  160
#define RTP	  12
#define TICKS	  160
#define PERIOD	  20000000ULL
#define LOT	  32	/* frames written at once, at most */
#define PAUSE	  30000 /* ns that frames wait for others, at most */
#define FIRST_ARG 11

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	__u8 rtp[RTP + PAYLOAD + SRTP_TRAILER];
} __attribute__((packed));

struct end {
	__be32 from, to;
	__be16 from_port, to_port;
	bool sealed;
	struct srtp_context seal;
	struct srtp_history history;
};

static struct end *ends;
static unsigned count;
static struct ethhdr ethernet = {.h_proto = 0x0008}; /* IPv4, in network order */

static __u64 now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (__u64)time.tv_sec * 1000000000ULL + (__u64)time.tv_nsec;
}

static void open_ends(char **arguments)
{
	unsigned suite = (unsigned)atoi(arguments[9]), first = (unsigned)atoi(arguments[3]);
	struct srtp_keys keys = {.suite = (__u8)suite};

	for (unsigned i = 0; i < srtp_master_length(suite); i++)
		sscanf(arguments[10] + 2 * i, "%2hhx", &keys.master[i]);
	ends = calloc(count, sizeof(*ends));
	for (unsigned i = 0; ends && i < count; i++) {
		ends[i].from = inet_addr(arguments[i % 2 ? 8 : 7]);
		ends[i].to = inet_addr(arguments[6]);
		ends[i].from_port = htons((__u16)(first + i / 2 * 2));
		ends[i].to_port = htons((__u16)atoi(arguments[FIRST_ARG + i]));
		ends[i].sealed = suite && !(i % 2);
		if (ends[i].sealed && srtp_open(&ends[i].seal, &keys, &ends[i].history, true))
			exit(3);
	}
	if (!ends)
		exit(3);
}

static __u16 checksum(const void *header)
{
	__u16 words[sizeof(struct iphdr) / 2];
	__u32 sum = 0;

	memcpy(words, header, sizeof(words));
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16) ~((sum & 0xffff) + (sum >> 16));
}

/* UDP's checksum is left out, as IPv4 allows. */
static size_t write_frame(struct frame *frame, struct end *end, __u16 sequence, __u64 time)
{
	size_t length = RTP + PAYLOAD;
	__u32 ticks = htonl(sequence * (__u32)TICKS);

	frame->eth = ethernet;
	memset(frame->rtp, 0, RTP + PAYLOAD);
	frame->rtp[0] = 0x80;
	frame->rtp[2] = (__u8)(sequence >> 8);
	frame->rtp[3] = (__u8)sequence;
	frame->rtp[8] = 1;
	memcpy(frame->rtp + 4, &ticks, sizeof(ticks));
	memcpy(frame->rtp + RTP, &time, sizeof(time));
	if (end->sealed && srtp_protect(&end->seal, frame->rtp, &length) != SRTP_OK)
		exit(2);
	frame->udp = (struct udphdr){.source = end->from_port,
				     .dest = end->to_port,
				     .len = htons((__u16)(sizeof(frame->udp) + length))};
	frame->ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.tot_len = htons((__u16)(sizeof(frame->ip) + sizeof(frame->udp) + length)),
		.frag_off = htons(0x4000),
		.saddr = end->from,
		.daddr = end->to,
	};
	frame->ip.check = checksum(&frame->ip);
	return sizeof(frame->eth) + sizeof(frame->ip) + sizeof(frame->udp) + length;
}

static int open_interface(const char *name, const char *mac)
{
	struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name)};
	int descriptor = socket(AF_PACKET, SOCK_RAW, 0), one = 1;

	for (unsigned i = 0; i < ETH_ALEN; i++)
		sscanf(mac + 2 * i, "%2hhx", &ethernet.h_dest[i]);
	if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&place, sizeof(place)) ||
	    setsockopt(descriptor, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one))) {
		perror("many: socket");
		exit(1);
	}
	return descriptor;
}

static void wait_until(__u64 due)
{
	struct timespec wait = {(time_t)(due / 1000000000ULL), (long)(due % 1000000000ULL)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wait, NULL);
}

/* What is due of all ends in turn; returns how many frames were sent. */
static unsigned long talk(int descriptor, double seconds, unsigned long *refused)
{
	static struct frame frames[LOT];
	static struct iovec parts[LOT];
	static struct mmsghdr messages[LOT];
	__u64 began = now(), next = 0, last = (__u64)(seconds * 1e9 / PERIOD) * count;
	unsigned long sent = 0;

	for (unsigned i = 0; i < LOT; i++)
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	while (next < last) {
		__u64 time = now(), due = began + next * PERIOD / count;
		unsigned lot = 0;
		int taken;

		if (due > time) {
			wait_until(due + PAUSE);
			continue;
		}
		for (; lot < LOT && next < last && began + next * PERIOD / count <= time; lot++, next++)
			parts[lot] =
				(struct iovec){&frames[lot], write_frame(&frames[lot], &ends[next % count],
									 (__u16)(next / count), time)};
		taken = sendmmsg(descriptor, messages, lot, 0);
		sent += taken > 0 ? (unsigned)taken : 0;
		*refused += lot - (taken > 0 ? (unsigned)taken : 0);
	}
	return sent;
}

int main(int arguments, char **argument)
{
	unsigned long refused = 0, sent;

	if (arguments < FIRST_ARG + 2)
		return 4;
	count = 2 * (unsigned)atoi(argument[2]);
	if ((unsigned)(arguments - FIRST_ARG) != count)
		return 4;
	prctl(PR_SET_TIMERSLACK, 1);
	open_ends(argument);
	sent = talk(open_interface(argument[4], argument[5]), atof(argument[1]), &refused);
	printf("%lu %lu\n", sent, refused);
	return 0;
}
