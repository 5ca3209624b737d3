/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Nothing is allocated where a worker carries packets, from socket to socket: plain, protected on one side,
 * transcoded, recorded and with something put in, with copies for a subscriber, RTCP and reports of our own
 * amid them, and what has to be refused. Prints for each of these how many packets went in and came out and
 * how many allocations there were while it was set up, and while it carried; fails if there was one then.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "counted.h"
#include "flow_stage.h"
#include "relay.h"
#include "relay_socket.h"
#include "rtp.h"
#include "stage_transcode.h"

#define PACKETS 300   /* of each way */
#define PACED	100   /* of a way whose sound waits for its time */
#define PERIOD	20000 /* us */
#define FLOWS	4     /* RTP there and back, RTCP there and back */
#define REQUIRE(what)                                                                                        \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			fprintf(stderr, "%d: %s is false\n", __LINE__, #what);                               \
			exit(2);                                                                             \
		}                                                                                            \
	} while (0)

struct sent {
	struct srtp_context seal;
	struct srtp_history history;
	bool sealed;
};

static struct relay relay;
static struct flow_slot slots[FLOWS];
static struct history_store store;
static int peers[FLOWS], subscriber;
static const __u8 loopback[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};

static __u16 port_of(int socket)
{
	union socket_address name;
	socklen_t length = sizeof(name);

	REQUIRE(!getsockname(socket, &name.any, &length));
	return ntohs(address_port(&name));
}

static int opened(void)
{
	struct engine_key any = {.port = 0};
	int descriptor;

	memcpy(any.address, loopback, sizeof(loopback));
	REQUIRE(relay_socket_open(&any, &descriptor) == ENGINE_OK);
	return descriptor;
}

/* What the flow `from` has to say of itself: the peer of that number sends, the one of the partner receives.
 */
static struct engine_flow flow_between(unsigned from, unsigned to)
{
	struct engine_flow flow = {
		.source_port = port_of(peers[from]),
		.target_port = port_of(peers[to]),
		.clock_rate = 8000,
		.rtcp = from >= 2,
		.dscp = DSCP_KEEP,
	};

	memcpy(flow.source_address, loopback, sizeof(loopback));
	memcpy(flow.target_address, loopback, sizeof(loopback));
	memcpy(flow.local.address, loopback, sizeof(loopback));
	flow.local.port = port_of(slots[from].socket);
	return flow;
}

static void open_pair(unsigned one, struct engine_flow *wanted)
{
	flow_open(&slots[one], &wanted[0], slots[one].socket, &slots[one + 1]);
	flow_open(&slots[one + 1], &wanted[1], slots[one + 1].socket, &slots[one]);
	flow_change_pair(&slots[one], &wanted[0], &slots[one + 1], &wanted[1]);
	for (unsigned i = one; i < one + 2; i++)
		flow_crypto_update(&relay.place, &slots[i], false);
}

static void open_call(const struct srtp_keys *keys, __u16 copied)
{
	struct engine_flow wanted[FLOWS];

	for (unsigned i = 0; i < FLOWS; i++) {
		peers[i] = opened();
		slots[i].socket = opened();
	}
	for (unsigned i = 0; i < FLOWS; i++) {
		wanted[i] = flow_between(i, i ^ 1);
		if (keys && !(i & 1))
			wanted[i].open = *keys;
		wanted[i].copies[0].port = i ? 0 : copied;
		memcpy(wanted[i].copies[0].address, loopback, sizeof(loopback));
	}
	open_pair(0, &wanted[0]);
	open_pair(2, &wanted[2]);
	for (unsigned i = 0; i < 2; i++) {
		slots[i].companion = &slots[i + 2];
		slots[i + 2].companion = &slots[i];
	}
}

static void close_call(void)
{
	for (unsigned i = 0; i < FLOWS; i++) {
		flow_stage_drop(&slots[i].stage);
		flow_crypto_drop(&relay.place, &slots[i]);
		close(slots[i].socket);
		close(peers[i]);
	}
}

static void set_stage(struct flow_slot *slot, unsigned type, const void *settings, size_t length)
{
	struct engine_stage stage = {.type = type, .length = (__u32)length};

	memcpy(stage.settings, settings, length);
	REQUIRE(!flow_stage_set(&slot->stage, &stage, relay_clock()));
}

static struct transcode_stage transcoding(unsigned from, unsigned to)
{
	return (struct transcode_stage){
		.transcoder =
			{
				.receiver = {.rate = to == CODEC_G722 ? 16000 : 8000,
					     .number = (uint8_t)from,
					     .payload_type = 0,
					     .event_type = RECEIVER_NO_TYPE,
					     .noise_type = RECEIVER_NO_TYPE},
				.sender = {.number = (uint8_t)to,
					   .ptime = 20,
					   .event_type = SENDER_NO_TYPE,
					   .noise_type = SENDER_NO_TYPE},
			},
	};
}

static void transcode(void)
{
	struct transcode_stage there = transcoding(CODEC_PCMU, CODEC_G722);
	struct transcode_stage back = transcoding(CODEC_G722, CODEC_PCMU);

	set_stage(&slots[0], STAGE_TRANSCODE, &there, sizeof(there));
	set_stage(&slots[1], STAGE_TRANSCODE, &back, sizeof(back));
}

static void insert(void)
{
	struct insert_stage stage = {
		.inserter = {.sender = {.ptime = 20, .event_type = 101, .noise_type = SENDER_NO_TYPE}},
		.orders = {.dial = 1, .digit_count = 3, .digit_ms = 100, .digits = {1, 2, 3}},
	};

	set_stage(&slots[0], STAGE_INSERT, &stage, sizeof(stage));
}

/* To a recorder that is not there. */
static void record(void)
{
	const struct tap_stage stage = {.tap = {.on = 1, .path = "/nonexistent/recorder"}};

	set_stage(&slots[0], STAGE_TAP, &stage, sizeof(stage));
}

static size_t write_packet(__u8 *packet, unsigned number, bool rtcp, struct sent *sent)
{
	static const __u8 report[] = {0x80, 201, 0, 1, 0, 0, 0, 7};
	struct rtp_fields fields = {
		.timestamp = number * 160, .ssrc = 7, .sequence = (uint16_t)(65500 + number)};
	size_t length = rtcp ? sizeof(report) : 172;

	memset(packet, (int)number, 172);
	if (rtcp)
		memcpy(packet, report, sizeof(report));
	else
		rtp_write(&fields, packet);
	if (sent->sealed)
		REQUIRE(!(rtcp ? srtcp_protect(&sent->seal, packet, &length)
			       : srtp_protect(&sent->seal, packet, &length)));
	return length;
}

/* By the flow's socket, or as a frame brings it. */
static void arrive(struct flow_slot *slot, int peer, __u8 *packet, size_t length, bool framed)
{
	union socket_address to, source;
	socklen_t bytes = sizeof(source);

	if (!framed) {
		address_to_socket(loopback, htons(port_of(slot->socket)), &to);
		REQUIRE(sendto(peer, packet, length, 0, &to.any, address_length(&to)) == (ssize_t)length);
		relay_socket(&relay, slot);
		return;
	}
	REQUIRE(!getsockname(peer, &source.any, &bytes));
	relay.now = relay_clock();
	relay_datagram(
		&relay, slot,
		&(struct relay_packet){.data = packet, .length = length, .source = &source, .ttl = 64});
}

/* What stages do without a packet, and every now and then a report. */
static void tick(unsigned number)
{
	for (unsigned i = 0; i < 2; i++) {
		if (number % 50 == 49)
			slots[i].report_due = 0;
		relay_tick(&relay, &slots[i]);
	}
}

static unsigned drained(int socket)
{
	__u8 packet[2048];
	unsigned count = 0;

	while (recv(socket, packet, sizeof(packet), MSG_DONTWAIT) > 0)
		count++;
	return count;
}

/* Both ways, RTCP and nonsense among them; how many came out. */
static unsigned carry(struct sent *sent, bool paced)
{
	unsigned came = 0;
	__u8 packet[400];

	for (unsigned i = 0; i < (paced ? PACED : PACKETS); i++) {
		size_t length = write_packet(packet, i, false, sent);

		arrive(&slots[0], peers[0], packet, length, i % 2);
		length = write_packet(packet, i, false, &(struct sent){.sealed = false});
		arrive(&slots[1], peers[1], packet, length, i % 2);
		if (i % 10 == 3) {
			length = write_packet(packet, i, true, sent);
			arrive(&slots[2], peers[2], packet, length, i % 20 == 3);
		}
		memset(packet, (int)i, sizeof(packet));
		arrive(&slots[0], peers[i % 2], packet, i, i % 3 != 0);
		if (paced)
			usleep(PERIOD);
		tick(i);
		for (unsigned peer = 0; peer < FLOWS; peer++)
			came += drained(peers[peer]);
		came += drained(subscriber);
	}
	return came;
}

static unsigned long measure(const char *name, const struct srtp_keys *keys, __u16 copied,
			     void (*stage)(void))
{
	static struct sent sent;
	unsigned long before = allocations, opening, carrying;
	unsigned came;

	memset(&sent, 0, sizeof(sent));
	sent.sealed = keys != NULL;
	REQUIRE(!keys || !srtp_open(&sent.seal, keys, &sent.history, true));
	open_call(keys, copied);
	if (stage)
		stage();
	opening = allocations - before;
	before = allocations;
	came = carry(&sent, stage == transcode);
	carrying = allocations - before;
	close_call();
	if (keys)
		srtp_close(&sent.seal);
	printf("%s %u %lu %lu\n", name, came, opening, carrying);
	return carrying;
}

int main(void)
{
	static const struct srtp_keys counter = {.suite = AES_CM_128_HMAC_SHA1_80, .master = {1, 2, 3}};
	static const struct srtp_keys galois = {.suite = AEAD_AES_128_GCM, .master = {4, 5, 6}};
	unsigned long carrying = 0;

	relay.page = calloc(1, sizeof(*relay.page));
	REQUIRE(relay.page && !history_store_open(&store, NULL, 16));
	relay.place = (struct crypto_place){.store = &store, .slots = slots};
	relay_batch_init(&relay.batch);
	subscriber = opened();
	setvbuf(stdout, NULL, _IONBF, 0);
	carrying += measure("plain", NULL, 0, NULL);
	carrying += measure("counter", &counter, 0, NULL);
	carrying += measure("galois", &galois, 0, NULL);
	carrying += measure("copied", NULL, port_of(subscriber), NULL);
	carrying += measure("transcoded", NULL, 0, transcode);
	carrying += measure("inserted", NULL, 0, insert);
	carrying += measure("recorded", NULL, 0, record);
	return carrying != 0;
}
