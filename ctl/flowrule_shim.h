/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A rule in the controller's terms and its encoding to bpf/flow.h: byte order, checksum deltas, clock. In C,
 * since thousands of rules are written at once when a host takes up its calls again.
 */
#ifndef VOXDP_FLOWRULE_SHIM_H
#define VOXDP_FLOWRULE_SHIM_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include "flow.h"

#define CLOCK_SCALE	(1ULL << (32 + CLOCK_SHIFT))
#define NS_PER_SEC	1000000000ULL
#define WORD_COMPLEMENT 0xffffU
#define TTL_STEP	htons(0xfeff) /* minus 0x0100 in ones' complement: TTL is the upper byte of its word */

/* What ctl/flowrule.py packs. Addresses in network order, ports in host order, clock_rate in Hz. */
struct flow_wanted {
	uint32_t index;
	uint32_t ifindex;
	uint32_t clock_rate;
	uint32_t partner;
	uint32_t source_address;
	uint32_t egress_address;
	uint32_t target_address;
	uint16_t source_port;
	uint16_t egress_port;
	uint16_t target_port;
	uint16_t flags;
	uint8_t state;
	uint8_t action;
	uint8_t dscp;
	uint8_t target_mac[6];
	uint8_t egress_mac[6];
	uint8_t reserved;
};

static uint32_t address_sum(uint32_t address)
{
	return (address & 0xffff) + (address >> 16);
}

static uint32_t word_minus(uint16_t word)
{
	return WORD_COMPLEMENT - word;
}

static uint32_t address_minus(uint32_t address)
{
	return 2 * WORD_COMPLEMENT - address_sum(address);
}

/* RFC 1624, on words as they lie in memory, so the result lies beside them without swapping. */
static uint16_t folded(uint32_t sum)
{
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* `local` is the relay address of the flow, in network order; its port is in the index. */
static void rule_encode_deltas(struct flow_rule *rule, uint32_t local, uint16_t local_port)
{
	uint32_t sum = address_sum(rule->egress_address) + address_sum(rule->target_address) +
		       address_minus(rule->source_address) + address_minus(local);

	rule->ip_delta = folded(sum + TTL_STEP);
	sum += rule->egress_port + rule->target_port + word_minus(htons(local_port)) +
	       word_minus(rule->source_port);
	rule->udp_delta = folded(sum);
}

/* All but the generation. */
static void rule_encode(const struct flow_wanted *wanted, uint32_t local, struct flow_rule *rule)
{
	*rule = (struct flow_rule){
		.state = wanted->state,
		.action = wanted->action,
		.flags = wanted->flags,
		.source_address = wanted->source_address,
		.source_port = wanted->state == FLOW_LEARNING ? 0 : htons(wanted->source_port),
		.egress_port = htons(wanted->egress_port),
		.egress_address = wanted->egress_address,
		.target_address = wanted->target_address,
		.target_port = htons(wanted->target_port),
		.dscp = wanted->dscp,
		.ifindex = wanted->ifindex,
		.clock = (uint32_t)((wanted->clock_rate * CLOCK_SCALE + NS_PER_SEC / 2) / NS_PER_SEC),
		.partner = wanted->partner,
	};
	memcpy(rule->target_mac, wanted->target_mac, sizeof(rule->target_mac));
	memcpy(rule->egress_mac, wanted->egress_mac, sizeof(rule->egress_mac));
	rule_encode_deltas(rule, local, (uint16_t)(wanted->index % FLOWS_PER_ADDRESS));
}

#endif
