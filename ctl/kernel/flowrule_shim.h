/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A rule in the controller's terms and its encoding to bpf/flow.h: byte order, checksum deltas, clock. In C,
 * since thousands of rules are written at once when a host takes up its calls again.
 */
#ifndef VOXDP_FLOWRULE_SHIM_H
#define VOXDP_FLOWRULE_SHIM_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "flow.h"

#define CLOCK_SCALE	(1ULL << (32 + CLOCK_SHIFT))
#define NS_PER_SEC	1000000000ULL
#define WORD_COMPLEMENT 0xffffU
#define TTL_STEP	htons(0xfeff) /* minus 0x0100 in ones' complement: TTL is the upper byte of its word */
#define ADDRESS_WORDS	4
#define MAPPED_WORD	htonl(0xffff) /* third word of an IPv4 address in IPv6 */

/* What ctl/kernel/flowrule.py packs. Addresses in network order, ports in host order, clock_rate in Hz. */
struct flow_wanted {
	uint32_t index;
	uint32_t ifindex;
	uint32_t clock_rate;
	uint32_t partner;
	uint32_t source_address[ADDRESS_WORDS];
	uint32_t egress_address[ADDRESS_WORDS];
	uint32_t target_address[ADDRESS_WORDS];
	/* From here to latch_packets: what few flows have, packed as one. */
	uint32_t previous_address[ADDRESS_WORDS];
	uint32_t payload_types[4];
	uint32_t police_rate;
	uint32_t police_burst;
	uint16_t previous_port;
	uint16_t vlan[2];
	uint8_t dtmf_type;
	uint8_t latch_packets;
	uint16_t source_port;
	uint16_t egress_port;
	uint16_t target_port;
	uint16_t flags;
	uint8_t state;
	uint8_t action;
	uint8_t dscp;
	uint8_t target_mac[6];
	uint8_t egress_mac[6];
	uint8_t demux;
	uint8_t stun;
	uint8_t seat;
	/* What the source is bound to from the beginning, of one that is to be learned; port 0: nothing. */
	uint16_t bound_port;
	uint32_t bound_address[ADDRESS_WORDS];
};

static bool is_ipv4(const uint32_t address[ADDRESS_WORDS])
{
	return !address[0] && !address[1] && address[2] == MAPPED_WORD;
}

/* The address itself where it is IPv4, else 0. */
static uint32_t ipv4_of(const uint32_t address[ADDRESS_WORDS])
{
	return is_ipv4(address) ? address[ADDRESS_WORDS - 1] : 0;
}

/* Of its 16-bit words. What is around an IPv4 address adds nothing: 0xffff is 0 in ones' complement. */
static uint32_t address_sum(const uint32_t address[ADDRESS_WORDS])
{
	uint32_t sum = 0;

	for (unsigned int word = 0; word < ADDRESS_WORDS; word++)
		sum += (address[word] & 0xffff) + (address[word] >> 16);
	return sum;
}

static uint32_t word_minus(uint16_t word)
{
	return WORD_COMPLEMENT - word;
}

static uint32_t address_minus(const uint32_t address[ADDRESS_WORDS])
{
	return 2 * ADDRESS_WORDS * WORD_COMPLEMENT - address_sum(address);
}

/* RFC 1624, on words as they lie in memory, so the result lies beside them without swapping. */
static uint16_t folded(uint32_t sum)
{
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* ns between two packets of a rate of packets per second; 0 for no limit. */
static uint32_t rate_interval(uint32_t rate)
{
	return rate ? (uint32_t)(NS_PER_SEC / rate) : 0;
}

/* Flags that follow from the other fields. */
static uint16_t flags_of(const struct flow_wanted *wanted, const uint32_t local[ADDRESS_WORDS])
{
	return wanted->flags | (is_ipv4(local) ? 0 : FLAG_LOCAL6) |
	       (is_ipv4(wanted->target_address) ? 0 : FLAG_TARGET6) | (wanted->vlan[0] ? FLAG_TAGGED : 0) |
	       (wanted->vlan[1] ? FLAG_TAGGED_TWICE : 0) | (wanted->police_rate ? FLAG_POLICED : 0);
}

/* `local` is the relay address of the flow; its port is in the index. */
static void rule_encode_deltas(const struct flow_wanted *wanted, const uint32_t local[ADDRESS_WORDS],
			       const struct flow_wide *wide, struct flow_rule *rule)
{
	uint16_t local_port = (uint16_t)(wanted->index % FLOWS_PER_ADDRESS);
	uint32_t sum =
		address_sum(wide->egress_address) + address_sum(wide->target_address) + address_minus(local);

	if (wanted->state != FLOW_LATCHING)
		sum += address_minus(wide->source_address);

	rule->ip_delta = folded(sum + TTL_STEP);
	sum += rule->egress_port + rule->target_port + word_minus(htons(local_port)) +
	       word_minus(rule->source_port);
	rule->udp_delta = folded(sum);
}

static void wide_encode(const struct flow_wanted *wanted, struct flow_wide *wide)
{
	*wide = (struct flow_wide){
		.police_burst = wanted->police_burst,
		.police_rate = wanted->police_rate,
		.dtmf_type = wanted->dtmf_type,
		.latch_packets = wanted->latch_packets,
		.demux = wanted->demux,
		.previous_port = htons(wanted->previous_port),
		.stun = wanted->stun,
		.seat = wanted->seat,
		.partner = wanted->partner,
		.vlan = {htons(wanted->vlan[0]), htons(wanted->vlan[1])},
	};
	memcpy(wide->payload_types, wanted->payload_types, sizeof(wide->payload_types));
	memcpy(wide->source_address, wanted->source_address, sizeof(wide->source_address));
	memcpy(wide->egress_address, wanted->egress_address, sizeof(wide->egress_address));
	memcpy(wide->target_address, wanted->target_address, sizeof(wide->target_address));
	memcpy(wide->previous_address, wanted->previous_address, sizeof(wide->previous_address));
}

/* All but the generation and the tenant. */
static void rule_encode(const struct flow_wanted *wanted, const uint32_t local[ADDRESS_WORDS],
			struct flow_rule *rule, struct flow_wide *wide)
{
	bool fixed = wanted->state != FLOW_LATCHING;

	wide_encode(wanted, wide);
	*rule = (struct flow_rule){
		.state = wanted->state,
		.action = wanted->action,
		.flags = flags_of(wanted, local),
		.source_address = fixed ? ipv4_of(wide->source_address) : 0,
		.source_port = fixed && wanted->state != FLOW_LEARNING ? htons(wanted->source_port) : 0,
		.egress_port = htons(wanted->egress_port),
		.egress_address = ipv4_of(wide->egress_address),
		.target_address = ipv4_of(wide->target_address),
		.target_port = htons(wanted->target_port),
		.dscp = wanted->dscp,
		.ifindex = wanted->ifindex,
		.clock = (uint32_t)((wanted->clock_rate * CLOCK_SCALE + NS_PER_SEC / 2) / NS_PER_SEC),
		.police_interval = rate_interval(wanted->police_rate),
	};
	memcpy(rule->target_mac, wanted->target_mac, sizeof(rule->target_mac));
	memcpy(rule->egress_mac, wanted->egress_mac, sizeof(rule->egress_mac));
	rule_encode_deltas(wanted, local, wide, rule);
}

#endif
