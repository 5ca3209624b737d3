/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packet as it leaves where its headers may be other ones: another family, tags put on or taken off,
 * extension headers left behind, a source or a target that the rule's checksum deltas do not know. All
 * headers are written anew, in front of the payload, which stays where it is.
 *
 * What of the former headers goes on: TTL less one, DSCP unless the rule has one, ECN; from IPv4 to IPv4 the
 * identification and the fragment word, from IPv6 to IPv6 the flow label. IPv4 that was IPv6 is atomic
 * (RFC 6864): not to be fragmented, identification 0.
 */
#ifndef VOXDP_REBUILD_H
#define VOXDP_REBUILD_H

#define IPV4_PLAIN	   0x45 /* version 4, no options */
#define IPV4_ATOMIC	   bpf_htonl(0x4000)
#define IPV6_VERSION	   0x60000000U
#define TRAFFIC_CLASS_AT   20
#define TRAFFIC_CLASS_MASK 0x0ff00000U

/* Where the packet goes, and what its new headers are made of. */
struct heading {
	const __be32 *target;
	__be32 word; /* IPv4: identification and fragment word; IPv6: the first word */
	__be16 target_port;
	__be16 ip_check;
	__be16 udp_check;
	__u8 tos;
	bool partial; /* the packet's own UDP checksum covers its pseudo-header alone */
};

/* The DSCP of the rule, if it has one, and the ECN that came. */
static __always_inline __u32 marked_tos(const struct flow_rule *rule, __u32 tos)
{
	return rule->dscp == DSCP_KEEP ? tos : (__u32)rule->dscp << 2 | (tos & 3);
}

/* The rule's target, or what the partner learned: a port, or a port and an address. */
static __always_inline void aim(const struct passage *passage, const struct entry *entry,
				struct heading *heading)
{
	const struct flow *flow = entry->flow;
	const struct flow_ledger *partner;
	__u32 port = learned_port(flow->track.target, passage->control.generation);

	heading->target = entry->ledger->wide.target_address;
	heading->target_port = port ?: flow->rule.target_port;
	if (likely(!port || !flow->track.moved))
		return;
	partner = ledger_at(entry->ledger->wide.partner);
	if (partner)
		heading->target = (const __be32 *)partner->tally.latch_address;
}

/* What the rule's deltas leave out of both sums: a source and a target that are not the rule's own. */
static __always_inline __u64 address_change(const struct passage *passage, const struct entry *entry,
					    const struct heading *heading)
{
	bool latching = passage->control.state == FLOW_LATCHING;
	__u64 sum = 0;

	if (unlikely(latching || passage->former))
		sum += address_minus(passage->source);
	if (unlikely(!latching && passage->former))
		sum += address_sum(entry->ledger->wide.source_address);
	if (unlikely(heading->target != entry->ledger->wide.target_address))
		sum += address_sum(heading->target) + address_minus(entry->ledger->wide.target_address);
	return sum;
}

/* Likewise of ports; what was demuxed came to another port of ours than the rule's. */
static __always_inline __u64 port_change(const struct passage *passage, const struct entry *entry,
					 const struct heading *heading)
{
	const struct flow_rule *rule = &entry->flow->rule;
	__u16 local = passage->index % FLOWS_PER_ADDRESS;
	__u64 sum = 0;

	if (unlikely(passage->demuxed))
		sum = (__u64)bpf_htons(local) + minus(bpf_htons(local - 1));
	return sum + rule->source_port + minus(passage->source_port) + heading->target_port +
	       minus(rule->target_port);
}

/* The checksum over all of the datagram as it leaves; 0 if it cannot be had. */
static __always_inline __u32 full_check(struct xdp_md *ctx, const struct passage *passage,
					const struct entry *entry, const struct heading *heading)
{
	__u32 length = bpf_htons(passage->payload + sizeof(struct udphdr));
	__s64 sum = frame_sum(ctx, passage->transport + sizeof(struct udphdr), passage->payload);

	if (sum < 0)
		return 0;
	sum += address_sum(entry->ledger->wide.egress_address) + address_sum(heading->target);
	sum += (__u64)bpf_htons(IPPROTO_UDP) + 2 * length + entry->flow->rule.egress_port +
	       heading->target_port;
	return minus(fold_all(sum)) ?: 0xffff;
}

/*
 * A sender on this host or on a virtual machine's leaves the sum of the pseudo-header as the checksum, for a
 * card to complete; XDP sees the frame before anybody does. A checksum that is complete may look the same,
 * once in 65,536 times; then it comes out as it would anyway.
 */
static __always_inline bool is_partial(const struct passage *passage, const void *network, __be16 check)
{
	__u64 sum = (__u64)bpf_htons(IPPROTO_UDP) + bpf_htons(passage->payload + sizeof(struct udphdr));

	sum += address_sum(passage->source);
	if (passage->ipv6)
		sum += address_sum((const __be32 *)&((const struct ipv6hdr *)network)->daddr);
	else
		sum += ((const struct iphdr *)network)->daddr;
	return check && fold_all(sum) == check;
}

/* Does the peer need a checksum that the packet's own does not lead to? */
static __always_inline bool needs_full_check(__u16 flags, __be16 check, bool partial)
{
	if (flags & FLAG_FULL_CHECKSUM || (partial && !(flags & FLAG_ZERO_CHECKSUM)))
		return true;
	return flags & FLAG_TARGET6 && (!check || flags & FLAG_ZERO_CHECKSUM);
}

static __always_inline enum reason make_udp_check(struct xdp_md *ctx, const struct passage *passage,
						  const struct entry *entry, __be16 check, __u64 change,
						  struct heading *heading)
{
	__u16 flags = passage->control.flags;

	if (needs_full_check(flags, check, heading->partial)) {
		heading->udp_check = full_check(ctx, passage, entry, heading);
		return heading->udp_check ? GO_ON : REASON_TOO_BIG;
	}
	if (!check || flags & FLAG_ZERO_CHECKSUM) {
		heading->udp_check = 0;
		return GO_ON;
	}
	change += minus(check) + entry->flow->rule.udp_delta + port_change(passage, entry, heading);
	heading->udp_check = minus(fold_all(change)) ?: 0xffff;
	return GO_ON;
}

/* What goes on of an IPv4 header. One that is damaged is found out by nobody once it is IPv6. */
static __always_inline enum reason read_ipv4(const struct passage *passage, const struct entry *entry,
					     const struct iphdr *ip, __u64 change, struct heading *heading)
{
	const struct flow_rule *rule = &entry->flow->rule;

	if (passage->control.flags & FLAG_TARGET6) {
		heading->word = bpf_htonl(IPV6_VERSION | (__u32)heading->tos << TRAFFIC_CLASS_AT);
		return ipv4_sum(ip) == 0xffff ? GO_ON : REASON_BAD_CHECKSUM;
	}
	heading->word = *(const __be32 *)&ip->id;
	change += minus(ip->check) + rule->ip_delta;
	change += bpf_htons(heading->tos) + minus(bpf_htons(ip->tos));
	heading->ip_check = minus(fold_all(change));
	return GO_ON;
}

static __always_inline void read_ipv6(const struct passage *passage, const struct ipv6hdr *ip,
				      struct heading *heading)
{
	__be32 first = *(const __be32 *)ip & ~bpf_htonl(TRAFFIC_CLASS_MASK);

	heading->word = IPV4_ATOMIC;
	if (passage->control.flags & FLAG_TARGET6)
		heading->word = first | bpf_htonl((__u32)heading->tos << TRAFFIC_CLASS_AT);
}

/* All that is needed of the packet, while its former headers are there. */
static __always_inline enum reason read_headers(struct xdp_md *ctx, const struct passage *passage,
						const struct entry *entry, struct heading *heading)
{
	const void *network = frame_of(ctx) + (passage->network & NETWORK_MAX);
	const struct udphdr *udp = transport_of(ctx, passage, sizeof(*udp));
	__u64 change = address_change(passage, entry, heading);
	enum reason reason = GO_ON;

	if (!udp || !holds(ctx, (void *)network, sizeof(struct iphdr)))
		return REASON_SHORT;
	heading->tos = marked_tos(&entry->flow->rule, passage->tos);
	if (passage->ipv6 && !holds(ctx, (void *)network, sizeof(struct ipv6hdr)))
		return REASON_SHORT;
	heading->partial = is_partial(passage, network, udp->check);
	if (passage->ipv6)
		read_ipv6(passage, network, heading);
	else
		reason = read_ipv4(passage, entry, network, change, heading);
	return reason != GO_ON ? reason : make_udp_check(ctx, passage, entry, udp->check, change, heading);
}

static __always_inline void write_ipv4(void *network, const struct passage *passage,
				       const struct entry *entry, const struct heading *heading)
{
	struct iphdr *ip = network;

	*(__u16 *)network = bpf_htons(IPV4_PLAIN << 8 | heading->tos);
	ip->tot_len = bpf_htons(passage->payload + sizeof(*ip) + sizeof(struct udphdr));
	*(__be32 *)&ip->id = heading->word;
	ip->ttl = passage->ttl - 1;
	ip->protocol = IPPROTO_UDP;
	ip->check = passage->ipv6 ? 0 : heading->ip_check;
	ip->saddr = entry->ledger->wide.egress_address[3];
	ip->daddr = heading->target[3];
	if (passage->ipv6)
		ip->check = minus(ipv4_sum(ip));
}

static __always_inline void write_ipv6(void *network, const struct passage *passage,
				       const struct entry *entry, const struct heading *heading)
{
	struct ipv6hdr *ip = network;

	*(__be32 *)network = heading->word;
	ip->payload_len = bpf_htons(passage->payload + sizeof(struct udphdr));
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = passage->ttl - 1;
	copy_address(&ip->saddr, entry->ledger->wide.egress_address);
	copy_address(&ip->daddr, heading->target);
}

/* Tags are 802.1Q, the outer of two 802.1ad. */
static __always_inline void write_ethernet(void *frame, const struct flow_wide *wide, const struct hop *hop,
					   __u16 flags, __be16 *type)
{
	struct vlan_tag *tag = frame + TYPE_OFFSET + sizeof(__be16);

	rewrite_macs(frame, hop);
	if (flags & FLAG_TAGGED) {
		*(__be16 *)(frame + TYPE_OFFSET) =
			bpf_htons(flags & FLAG_TAGGED_TWICE ? ETH_P_8021AD : ETH_P_8021Q);
		tag->control = wide->vlan[0];
		if (flags & FLAG_TAGGED_TWICE) {
			tag->type = bpf_htons(ETH_P_8021Q);
			tag[1].control = wide->vlan[1];
		}
	}
	*type = bpf_htons(flags & FLAG_TARGET6 ? ETH_P_IPV6 : ETH_P_IP);
}

/* Bytes of headers as the flags have them: reckoned, so that to the verifier all flows are one. */
static __always_inline __u32 is_set(__u16 flags, __u16 flag)
{
	return (flags & flag) / flag;
}

static __always_inline __u32 network_length(__u16 flags)
{
	_Static_assert(sizeof(struct ipv6hdr) == 2 * sizeof(struct iphdr), "one more for IPv6");

	return (1 + is_set(flags, FLAG_TARGET6)) * sizeof(struct iphdr);
}

static __always_inline __u32 tags_length(__u16 flags)
{
	return (is_set(flags, FLAG_TAGGED) + is_set(flags, FLAG_TAGGED_TWICE)) * sizeof(struct vlan_tag);
}

/* Every bound is there by now, but the verifier asks for each. */
static __always_inline enum reason write_headers(struct xdp_md *ctx, const struct passage *passage,
						 const struct entry *entry, const struct hop *hop,
						 const struct heading *heading)
{
	const struct flow_rule *rule = &entry->flow->rule;
	__u16 flags = passage->control.flags;
	void *frame = frame_of(ctx), *type = frame + TYPE_OFFSET + tags_length(flags);
	void *network = type + sizeof(__be16);
	struct udphdr *udp = transport_of(ctx, passage, sizeof(*udp));

	if (!udp || !holds(ctx, frame, PAYLOAD_OFFSET) ||
	    !holds(ctx, type, sizeof(__be16) + sizeof(struct iphdr)))
		return REASON_SHORT;
	write_ethernet(frame, &entry->ledger->wide, hop, flags, type);
	if (!(flags & FLAG_TARGET6))
		write_ipv4(network, passage, entry, heading);
	else if (holds(ctx, type, sizeof(__be16) + sizeof(struct ipv6hdr)))
		write_ipv6(network, passage, entry, heading);
	udp->source = rule->egress_port;
	udp->dest = heading->target_port;
	udp->len = bpf_htons(passage->payload + sizeof(*udp));
	udp->check = heading->udp_check;
	return GO_ON;
}

/* The last that may go wrong comes before the first write: the sum, the MTU, and the room for headers. */
static __always_inline enum reason rebuild(struct xdp_md *ctx, struct passage *passage,
					   const struct entry *entry, const struct hop *hop,
					   struct heading *heading)
{
	__u16 flags = passage->control.flags;
	__u32 network = IP_OFFSET + tags_length(flags);
	__u32 header = network_length(flags);
	__u32 total = header + sizeof(struct udphdr) + passage->payload;
	__s32 shift = (__s32)passage->transport - (__s32)(network + header);
	enum reason reason;

	reason = read_headers(ctx, passage, entry, heading);
	if (reason != GO_ON)
		return reason;
	if (shift < 0 && total > SMALLEST_MTU && !fits(ctx, hop->ifindex, total, passage->length))
		return REASON_TOO_BIG;
	if (shift && bpf_xdp_adjust_head(ctx, shift))
		return REASON_HEADROOM;
	passage->network = network;
	passage->transport = network + header;
	return write_headers(ctx, passage, entry, hop, heading);
}

#endif
