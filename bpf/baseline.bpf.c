/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the relay is measured against and with: programs that do nothing but end a packet, one that counts
 * what arrives, and two that turn one test packet into the next packet of many flows. Not for production.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FIRST_TTL	     64
#define RTP_G711	     0x80000000 /* version 2, payload type 0, sequence number 0 */
#define NOT_TO_BE_FRAGMENTED 0x40000000
#define UNUSED		     __attribute__((unused))

/* RTP of G.711 as the test packet has it; sequence number and port are all that differs between flows. */
struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	__u8 rtp_first;
	__u8 rtp_second;
	__be16 rtp_sequence;
	__be32 rtp_timestamp;
} __attribute__((packed));

/* Where the packets of `flows` flows go: ports from first_port on, visited in steps of `stride`. */
struct spread_config {
	__u32 flows;
	__u32 stride; /* less than flows, and without a common divisor */
	__be32 source_address;
	__be32 relay_address;
	__be16 source_port;
	__u16 first_port;
	__u32 ifindex; /* out of which empty_redirect and generate send */
	__u8 target_mac[ETH_ALEN];
	__u8 source_mac[ETH_ALEN];
	__u16 ip_checksum; /* of the header that restore() writes, as it lies in the packet */
	__u16 reserved;
};

const volatile struct spread_config config SEC(".rodata.config");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} next SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} received SEC(".maps");

#define DELAYS 16384 /* us, the longest told apart */

/* How many packets were that many us on their way, by the time that they carry. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, DELAYS);
	__type(key, __u32);
	__type(value, __u64);
} delays SEC(".maps");

#define LINE_WORDS 8

/* As flows of the relay are: two cache lines for each of 65,536 ports. */
struct lines {
	__u64 rule[LINE_WORDS];
	__u64 track[LINE_WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct lines);
} two_lines SEC(".maps");

/* Where headers are of which IPv4 and IPv6 packets have the same. */
#define NETWORK	      14
#define UDP_IPV4      (NETWORK + 20)
#define UDP_IPV6      (NETWORK + 40)
#define LENGTH_IPV6   (NETWORK + 4)
#define G711_DATAGRAM 180
#define IPV6_FIRST    0x60 /* the least first byte of its header */

__u32 visited;	/* flows that had their packet of this round */
__u32 position; /* flow of the next packet */
__u16 sequence;
__u16 sequences[2]; /* of the flow that comes as IPv4, and of the one that comes as IPv6 */

static __always_inline __u32 next_flow(void)
{
	__u32 flow = position;

	position = flow + config.stride;
	if (position >= config.flows)
		position -= config.flows;
	if (++visited >= config.flows) {
		visited = 0;
		sequence++;
	}
	return flow;
}

/*
 * The next packet of the next flow: what differs between the packets of different flows and of one flow.
 * Written in whole words, since a program that then reads a word would wait for narrower stores, as it never
 * does for what a network card wrote.
 */
static __always_inline void advance(void *frame)
{
	*(volatile __u32 *)(frame + 20) = bpf_htonl(FIRST_TTL << 8 | IPPROTO_UDP);
	*(volatile __u32 *)(frame + 34) =
		config.source_port | (__u32)bpf_htons(config.first_port + next_flow()) << 16;
	*(volatile __u32 *)(frame + 42) = bpf_htonl(RTP_G711 | sequence);
}

/* A frame as it must be before the relay sees it, since a live frame comes back as the relay left it. */
static __always_inline void restore(struct frame *frame)
{
	for (int byte = 0; byte < ETH_ALEN; byte++) {
		frame->eth.h_dest[byte] = config.target_mac[byte];
		frame->eth.h_source[byte] = config.source_mac[byte];
	}
	frame->ip.check = config.ip_checksum;
	frame->ip.saddr = config.source_address;
	frame->ip.daddr = config.relay_address;
	frame->udp.source = config.source_port;
	frame->udp.check = 0;
}

static __always_inline struct frame *frame_of(struct xdp_md *ctx)
{
	struct frame *frame = (void *)(long)ctx->data;

	return (void *)(frame + 1) > (void *)(long)ctx->data_end ? NULL : frame;
}

SEC("xdp")
int empty_tx(struct xdp_md *ctx UNUSED)
{
	return XDP_TX;
}

SEC("xdp")
int empty_pass(struct xdp_md *ctx UNUSED)
{
	return XDP_PASS;
}

SEC("xdp")
int empty_drop(struct xdp_md *ctx UNUSED)
{
	return XDP_DROP;
}

SEC("xdp")
int empty_redirect(struct xdp_md *ctx UNUSED)
{
	return bpf_redirect(config.ifindex, 0);
}

/* The least that a relay with statistics can do: the clock, the flow's rule, and what it counts. */
static __always_inline int do_least(struct xdp_md *ctx)
{
	struct frame *frame = frame_of(ctx);
	struct lines *lines;
	__u32 port;
	__u64 now;

	if (!frame)
		return XDP_ABORTED;
	now = bpf_ktime_get_ns();
	port = bpf_ntohs(frame->udp.dest);
	lines = bpf_map_lookup_elem(&two_lines, &port);
	if (!lines || *(volatile __u64 *)lines->rule)
		return XDP_ABORTED;
	lines->track[0]++;
	lines->track[1] = now;
	return XDP_TX;
}

SEC("xdp")
int least(struct xdp_md *ctx)
{
	return do_least(ctx);
}

SEC("xdp")
int least_redirect(struct xdp_md *ctx)
{
	int verdict = do_least(ctx);

	return verdict == XDP_TX ? bpf_redirect(config.ifindex, 0) : verdict;
}

static __always_inline void count_one(void)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&received, &key);

	if (count)
		++*count;
}

/* The end of a path: what gets here was received. */
SEC("xdp")
int sink(struct xdp_md *ctx UNUSED)
{
	count_one();
	return XDP_DROP;
}

/* The same behind a path of socket buffers, for tc. */
SEC("tc")
int sink_skb(struct __sk_buff *skb UNUSED)
{
	count_one();
	return TC_ACT_SHOT;
}

/*
 * The same, so that a relay does not pay for how its peers receive; but what goes to the port `source_port`,
 * which somebody times, and what is no UDP without VLAN tags, passes.
 */
SEC("tc")
int sink_but_one(struct __sk_buff *skb)
{
	struct {
		struct ethhdr eth;
		struct iphdr ip;
		struct udphdr udp;
	} __attribute__((packed)) head;

	if (bpf_skb_load_bytes(skb, 0, &head, sizeof(head)) || head.eth.h_proto != bpf_htons(ETH_P_IP) ||
	    head.ip.protocol != IPPROTO_UDP)
		return TC_ACT_OK;
	count_one();
	return head.udp.dest == config.source_port ? TC_ACT_OK : TC_ACT_SHOT;
}

/* The same for all, and those that carry when they were sent behind their RTP header are timed. */
SEC("tc")
int sink_timed(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_ns(), sent, *packets;
	struct frame head;
	__u32 delay;

	if (bpf_skb_load_bytes(skb, 0, &head, sizeof(head)) || head.eth.h_proto != bpf_htons(ETH_P_IP) ||
	    head.ip.protocol != IPPROTO_UDP)
		return TC_ACT_OK;
	count_one();
	if (bpf_skb_load_bytes(skb, sizeof(head) + sizeof(__be32), &sent, sizeof(sent)) ||
	    now - sent > 1000000000)
		return TC_ACT_SHOT; /* of another sender: what is protected does not look like a time of late
				     */
	delay = (now - sent) / 1000;
	if (delay >= DELAYS)
		delay = DELAYS - 1;
	packets = bpf_map_lookup_elem(&delays, &delay);
	if (packets)
		__sync_fetch_and_add(packets, 1);
	return TC_ACT_SHOT;
}

/*
 * For test runs: the program in `next` sees another flow's packet in every repetition. A test run hands in
 * what the last repetition left, so the flows' rules must write the addresses and ports that are there.
 */
SEC("xdp")
int spread(struct xdp_md *ctx)
{
	struct frame *frame = frame_of(ctx);

	if (!frame)
		return XDP_ABORTED;
	advance(frame);
	bpf_tail_call(ctx, &next, 0);
	return XDP_ABORTED;
}

/*
 * The same for one flow of either family, or for two that make each other's packets: hop limit, ports and
 * sequence number as the next packet has them.
 */
static __always_inline int follow_at(struct xdp_md *ctx, void *frame, __u32 udp, __u32 family)
{
	if (frame + udp + sizeof(struct udphdr) + sizeof(__u32) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	*(volatile __u32 *)(frame + udp) = config.source_port | (__u32)bpf_htons(config.first_port) << 16;
	*(volatile __u32 *)(frame + udp + sizeof(struct udphdr)) = bpf_htonl(RTP_G711 | sequences[family]++);
	bpf_tail_call(ctx, &next, 0);
	return XDP_ABORTED;
}

SEC("xdp")
int follow(struct xdp_md *ctx)
{
	void *frame = (void *)(long)ctx->data;

	if (frame + UDP_IPV4 > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	if (*(__u8 *)(frame + NETWORK) >= IPV6_FIRST) {
		*(volatile __u32 *)(frame + LENGTH_IPV6) = bpf_htonl(G711_DATAGRAM << 16 | IPPROTO_UDP << 8 |
								     (FIRST_TTL + 1)); /* IPv4 has one less */
		return follow_at(ctx, frame, UDP_IPV6, 1);
	}
	*(volatile __u32 *)(frame + 20) = bpf_htonl(NOT_TO_BE_FRAGMENTED | FIRST_TTL << 8 | IPPROTO_UDP);
	return follow_at(ctx, frame, UDP_IPV4, 0);
}

/* For live frames: sends the packets of all flows out of an interface. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	struct frame *frame = frame_of(ctx);

	if (!frame)
		return XDP_ABORTED;
	advance(frame);
	restore(frame);
	return bpf_redirect(config.ifindex, 0);
}

const char baseline_license[] SEC("license") = "GPL";
