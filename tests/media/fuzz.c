/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The engine under sanitizers: the parser on buffers of exact size, then whole flows that are fed by friend
 * and stranger while they are set, changed, read and removed. Arguments: seed, parser rounds, packets.
 * Exits 0 and prints the counts, or is ended by a sanitizer or a failed check.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "engine.h"
#include "packet.h"
#include "stun.h"

#define PAIRS	16
#define LONGEST 2200
#define REQUIRE(what)                                                                                        \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #what);                  \
			exit(1);                                                                             \
		}                                                                                            \
	} while (0)

static __u64 state;

static __u32 dice(void)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (__u32)(state >> 33);
}

/* Random bytes, mostly with a first byte that lets them get further. */
static void fill(__u8 *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		data[i] = (__u8)dice();
	if (length > 3 && dice() % 4) {
		data[0] = 0x80 | (data[0] & 0x1f);
		if (dice() % 2)
			data[1] = 200;
		if (dice() % 2)
			data[2] = 0;
	}
}

static unsigned fuzz_parser(unsigned rounds)
{
	unsigned accepted = 0;

	for (unsigned i = 0; i < rounds; i++) {
		size_t length = dice() % 96;
		__u8 *data = malloc(length ? length : 1);
		enum packet_kind kind = PACKET_RTP;

		REQUIRE(data);
		fill(data, length);
		if (packet_check(data, length, dice() % 2, &kind) == REASON_FORWARDED) {
			accepted++;
			if (kind == PACKET_RTP)
				REQUIRE(packet_read(data, 1).payload_type < 128);
		}
		free(data);
	}
	return accepted;
}

static struct sockaddr_in name(const char *address, unsigned port)
{
	struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((__u16)port)};

	REQUIRE(inet_pton(AF_INET, address, &result.sin_addr) == 1);
	return result;
}

static int peer(const char *address)
{
	struct sockaddr_in local = name(address, 0);
	int descriptor = socket(AF_INET, SOCK_DGRAM, 0);

	REQUIRE(descriptor >= 0 && !bind(descriptor, (struct sockaddr *)&local, sizeof(local)));
	return descriptor;
}

static void write_address(__u8 *address, const char *text)
{
	union socket_address socket = {.v4 = name(text, 0)};

	address_from_socket(&socket, address);
}

/* Mostly keys of a few suites, so that flows come back with one that was used. */
static void draw_keys(struct srtp_keys *keys)
{
	keys->suite = dice() % 2 ? (__u8)(dice() % 10) : 0;
	memset(keys->master, (int)(dice() % 4), sizeof(keys->master));
	keys->mki_length = dice() % 8 ? 0 : (__u8)(dice() % 5);
}

static struct engine_flow flow(unsigned number)
{
	int second = number % 2;
	struct engine_flow drawn = {
		.local = {.port = (__u16)(20000 + number)},
		.source_port = dice() % 8 ? 0 : (__u16)dice(),
		.target_port = (__u16)dice(),
		.clock_rate = dice() % 3 ? 8000 : dice() % 1000000,
		.rtcp = number % 4 >= 2,
		.held = dice() % 8 == 0,
		.dscp = dice() % 2 ? DSCP_KEEP : dice() % 70,
		.mux = dice() % 2,
		.resumed = dice() % 2,
		.ice = dice() % 4 == 0,
		.afresh = dice() % 4 == 0,
		.dtls = {.role = dice() % 8 ? 0 : (__u8)(dice() % 4),
			 .bytes = dice() % 8 ? 32 : (__u8)dice()},
	};

	write_address(drawn.local.address, "127.78.0.1");
	write_address(drawn.source_address, second ? "127.78.2.1" : "127.78.1.1");
	write_address(drawn.target_address, second ? "127.78.1.1" : "127.78.2.1");
	if (dice() % 2)
		return drawn;
	draw_keys(&drawn.open);
	draw_keys(&drawn.seal);
	return drawn;
}

/* Names of one letter, so that whoever shoots STUN may hit them. */
static void set_ice(struct engine *engine, const struct engine_key *key)
{
	struct engine_ice ice = {.role = (__u8)(dice() % 5), .candidate_count = (__u8)(dice() % 26)};

	ice.own_name[0] = ice.own_password[0] = ice.peer_name[0] = ice.peer_password[0] = 'a';
	for (unsigned i = 0; i < ENGINE_CANDIDATES; i++) {
		write_address(ice.candidates[i].address, "127.78.1.1");
		ice.candidates[i].port = (__u16)(dice() % 40000);
	}
	engine_set_ice(engine, key, &ice);
}

static size_t draw_check(__u8 *data)
{
	struct stun_writer writer = stun_begin(data, dice() % 4, (const __u8 *)"transaction-");

	stun_put_username(&writer, "a", "a");
	if (dice() % 2)
		stun_put_use_candidate(&writer);
	return stun_finish(&writer, dice() % 4 ? "a" : "b");
}

static void disturb(struct engine *engine)
{
	unsigned number = dice() % PAIRS * 2, culprit = 0, cursor = 0;
	struct engine_flow pair[2] = {flow(number), flow(number + 1)};
	struct engine_report reports[2 * PAIRS];
	struct engine_key keys[2 * PAIRS];
	int count;

	switch (dice() % 5) {
	case 0:
		engine_remove(engine, &pair[dice() % 2].local, reports);
		break;
	case 1:
		count = engine_list(engine, &cursor, keys, 2 * PAIRS);
		REQUIRE(engine_read(engine, keys, (unsigned)count, reports) == count);
		break;
	case 2:
		set_ice(engine, &pair[0].local);
		break;
	default:
		engine_set_pair(engine, pair, NULL, &culprit);
	}
}

static void shoot(const int *peers, unsigned count)
{
	__u8 data[LONGEST];

	for (unsigned i = 0; i < count; i++) {
		struct sockaddr_in to = name("127.78.0.1", 20000 + dice() % (2 * PAIRS));
		size_t length = dice() % 16 ? dice() % 300 : dice() % LONGEST;

		if (dice() % 4)
			fill(data, length);
		else
			length = draw_check(data);
		sendto(peers[dice() % 3], data, length, 0, (struct sockaddr *)&to, sizeof(to));
	}
}

static struct engine_summary fuzz_engine(unsigned packets)
{
	const int peers[] = {peer("127.78.1.1"), peer("127.78.2.1"), peer("127.78.9.9")};
	struct engine *engine = engine_create(2, 2 * PAIRS, NULL, NULL);
	struct engine_summary summary;

	REQUIRE(engine);
	for (unsigned sent = 0; sent < packets; sent += 50) {
		disturb(engine);
		shoot(peers, 50);
	}
	REQUIRE(engine_sum(engine, &summary) == ENGINE_OK && !summary.restarts);
	engine_destroy(engine);
	for (unsigned i = 0; i < 3; i++)
		close(peers[i]);
	return summary;
}

int main(int count, char **arguments)
{
	struct engine_summary summary;
	unsigned accepted;

	REQUIRE(count == 4);
	state = strtoull(arguments[1], NULL, 10);
	accepted = fuzz_parser((unsigned)atoi(arguments[2]));
	summary = fuzz_engine((unsigned)atoi(arguments[3]));
	printf("parsed %u", accepted);
	for (unsigned i = 0; i < REASONS; i++)
		if (summary.reasons[i].packets)
			printf(" reason-%u %llu", i, (unsigned long long)summary.reasons[i].packets);
	printf("\n");
	return 0;
}
