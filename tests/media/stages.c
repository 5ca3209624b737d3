/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Stages of our own in an engine: one that says everything twice and speaks by itself, one that crashes.
 * Linked in place of media/stage_types.c. Exits 0, or says which requirement was not met.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "engine.h"
#include "stage.h"

#define RELAY  "127.78.3.1"
#define PERIOD 10000000ULL
#define TICKS  5
#define REQUIRE(what)                                                                                        \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #what);                  \
			exit(1);                                                                             \
		}                                                                                            \
	} while (0)

enum kind { ECHO = 1, CRASH = 2 };

struct echo {
	__u32 mark;
	__u32 packets;
	__u32 ticks;
};

static int open_echo(void *state, const void *settings, size_t length, __u64 now)
{
	struct echo *echo = state;

	(void)now;
	if (length != sizeof(echo->mark))
		return EINVAL;
	memcpy(&echo->mark, settings, length);
	return 0;
}

static void close_echo(void *state)
{
	(void)state;
}

static void take_echo(void *state, __u8 *rtp, size_t length, __u64 now, struct stage_output *output)
{
	struct echo *echo = state;

	(void)now;
	echo->packets++;
	for (unsigned i = 0; i < 2; i++) {
		__u8 *room = stage_room(output);

		memcpy(room, rtp, length);
		room[length - 1] = (__u8)(echo->mark + i);
		stage_send(output, length);
	}
}

static __u64 tick_echo(void *state, __u64 now, struct stage_output *output)
{
	struct echo *echo = state;

	if (++echo->ticks == TICKS)
		stage_tell(output, 77, "five", 4);
	return now + PERIOD;
}

static size_t report_echo(const void *state, void *report, size_t room)
{
	REQUIRE(room >= sizeof(struct echo));
	memcpy(report, state, sizeof(struct echo));
	return sizeof(struct echo);
}

static void crash(void *state, __u8 *rtp, size_t length, __u64 now, struct stage_output *output)
{
	(void)state, (void)rtp, (void)length, (void)now, (void)output;
	_exit(9);
}

static const struct stage_type echo_type = {
	.bytes = sizeof(struct echo),
	.open = open_echo,
	.change = open_echo,
	.close = close_echo,
	.packet = take_echo,
	.tick = tick_echo,
	.report = report_echo,
};
static const struct stage_type crash_type = {
	.bytes = sizeof(struct echo),
	.open = open_echo,
	.change = open_echo,
	.close = close_echo,
	.packet = crash,
	.tick = tick_echo,
	.report = report_echo,
};

const struct stage_type *stage_type(unsigned number)
{
	return number == ECHO ? &echo_type : number == CRASH ? &crash_type : NULL;
}

static struct sockaddr_in name(const char *address, unsigned port)
{
	struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((__u16)port)};

	REQUIRE(inet_pton(AF_INET, address, &result.sin_addr) == 1);
	return result;
}

static int peer(const char *address, __u16 *port)
{
	struct sockaddr_in local = name(address, 0);
	socklen_t length = sizeof(local);
	int descriptor = socket(AF_INET, SOCK_DGRAM, 0);

	REQUIRE(descriptor >= 0 && !bind(descriptor, (struct sockaddr *)&local, sizeof(local)));
	REQUIRE(!getsockname(descriptor, (struct sockaddr *)&local, &length));
	*port = ntohs(local.sin_port);
	return descriptor;
}

static void write_address(__u8 *address, const char *text)
{
	union socket_address socket = {.v4 = name(text, 0)};

	address_from_socket(&socket, address);
}

static struct engine_flow half(__u16 local, const char *from, __u16 from_port, const char *to, __u16 to_port)
{
	struct engine_flow flow = {.local = {.port = local},
				   .source_port = from_port,
				   .target_port = to_port,
				   .dscp = DSCP_KEEP};

	write_address(flow.local.address, RELAY);
	write_address(flow.source_address, from);
	write_address(flow.target_address, to);
	return flow;
}

struct call {
	int a, b;
	struct engine_flow pair[2];
};

static struct call make_call(struct engine *engine, __u16 local)
{
	__u16 port_a, port_b;
	struct call call = {.a = peer("127.78.4.1", &port_a), .b = peer("127.78.5.1", &port_b)};
	unsigned culprit;

	call.pair[0] = half(local, "127.78.4.1", port_a, "127.78.5.1", port_b);
	call.pair[1] = half(local + 2, "127.78.5.1", port_b, "127.78.4.1", port_a);
	REQUIRE(engine_set_pair(engine, call.pair, NULL, &culprit) == ENGINE_OK);
	return call;
}

static void send_rtp(const struct call *call, __u16 sequence)
{
	struct sockaddr_in to = name(RELAY, call->pair[0].local.port);
	__u8 packet[20] = {0x80, 0, (__u8)(sequence >> 8), (__u8)sequence};

	REQUIRE(sendto(call->a, packet, sizeof(packet), 0, (struct sockaddr *)&to, sizeof(to)) ==
		sizeof(packet));
}

/* The last byte of the next packet that b is sent; -1: none within `patience` ms. */
static int hear(const struct call *call, int patience)
{
	struct pollfd ready = {.fd = call->b, .events = POLLIN};
	__u8 packet[64];

	if (poll(&ready, 1, patience) != 1)
		return -1;
	REQUIRE(recv(call->b, packet, sizeof(packet), 0) == 20);
	return packet[19];
}

static int set_stage(struct engine *engine, const struct call *call, enum kind kind, __u32 mark)
{
	struct engine_stage stage = {.type = kind, .length = sizeof(mark)};

	memcpy(stage.settings, &mark, sizeof(mark));
	return engine_set_stage(engine, &call->pair[0].local, &stage);
}

static void test_echo(struct engine *engine)
{
	struct call call = make_call(engine, 21000);
	struct engine_event event;
	__u8 report[ENGINE_STAGE_BYTES];
	struct echo counted;
	unsigned waited = 0;

	REQUIRE(set_stage(engine, &call, 9, 0) == ENGINE_BAD_STAGE);
	REQUIRE(set_stage(engine, &call, ECHO, 5) == ENGINE_OK);
	send_rtp(&call, 1);
	REQUIRE(hear(&call, 1000) == 5 && hear(&call, 1000) == 6);
	REQUIRE(set_stage(engine, &call, ECHO, 50) == ENGINE_OK);
	send_rtp(&call, 2);
	REQUIRE(hear(&call, 1000) == 50 && hear(&call, 1000) == 51);
	for (; !engine_take_event(engine, &event); waited++, usleep(1000))
		REQUIRE(waited < 2000);
	REQUIRE(event.type == ENGINE_EVENT_STAGE && event.kind == 77 && !memcmp(event.data, "five", 4));
	REQUIRE(event.key.port == 21000);
	REQUIRE(engine_read_stage(engine, &call.pair[0].local, report) == sizeof(counted));
	memcpy(&counted, report, sizeof(counted));
	REQUIRE(counted.packets == 2 && counted.ticks >= TICKS);
	REQUIRE(set_stage(engine, &call, 0, 0) == ENGINE_OK);
	send_rtp(&call, 3);
	REQUIRE(hear(&call, 1000) == 0 && hear(&call, 50) == -1);
	REQUIRE(engine_read_stage(engine, &call.pair[0].local, report) == 0);
}

/* The stage is there again in the next worker, and after three of them the flow is held. */
static void test_crash(struct engine *engine)
{
	struct call poisonous = make_call(engine, 22000), neighbour = make_call(engine, 23000);
	struct engine_report report;
	struct engine_event event;
	unsigned restarts = 0;

	REQUIRE(set_stage(engine, &poisonous, CRASH, 0) == ENGINE_OK);
	for (unsigned i = 0; i < 6; i++) {
		send_rtp(&poisonous, (__u16)i);
		usleep(30000);
		engine_check(engine);
		send_rtp(&neighbour, (__u16)i);
		REQUIRE(hear(&neighbour, 1000) == 0);
	}
	while (engine_take_event(engine, &event))
		restarts += event.type == ENGINE_EVENT_RESTART && event.key.port == 22000;
	REQUIRE(restarts == 3);
	REQUIRE(engine_read(engine, &poisonous.pair[0].local, 1, &report) == 1);
	REQUIRE(report.tally.last_reason == REASON_OFF && report.tally.dropped == 3);
}

int main(void)
{
	struct engine *engine = engine_create(1, 16, NULL, NULL);

	REQUIRE(engine);
	test_echo(engine);
	test_crash(engine);
	engine_destroy(engine);
	return 0;
}
