/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the headers are and whether they agree. A step returns GO_ON or the reason to stop. The fixed places
 * are those of IPv4 without options; no other packet gets as far as being read there.
 */
#ifndef VOXDP_PARSE_H
#define VOXDP_PARSE_H

#define GO_ON		 REASON_FORWARDED
#define TYPE_OFFSET	 12
#define IP_OFFSET	 14
#define SOURCE_OFFSET	 26
#define UDP_OFFSET	 34
#define PAYLOAD_OFFSET	 42
#define SHORTEST	 (PAYLOAD_OFFSET + sizeof(struct rtcp_header))
#define RTP_SHORTEST	 (PAYLOAD_OFFSET + sizeof(struct rtp_header))
#define WORD_TYPE(frame) (*(__u32 *)((frame) + TYPE_OFFSET)) /* EtherType, IP version and length, TOS */
#define TOS_SHIFT	 24				     /* of WORD_TYPE, as memory has it */
#define IP_FRAGMENTED	 0x3fff				     /* more fragments, or an offset */

static __always_inline struct iphdr *ip_of(void *frame)
{
	return frame + IP_OFFSET;
}

static __always_inline struct udphdr *udp_of(void *frame)
{
	return frame + UDP_OFFSET;
}

static __always_inline void *frame_of(const struct xdp_md *ctx)
{
	return (void *)(long)ctx->data;
}

static __always_inline __u32 frame_length(const struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data;
}

/* Does the frame hold that many bytes? Asked anew where more is to be read: a pointer is dearer to keep. */
static __always_inline bool holds(const struct xdp_md *ctx, void *frame, __u32 bytes)
{
	return frame + bytes <= (void *)(long)ctx->data_end;
}

/* Slot of a relay address, RELAY_ADDRESSES if it is none. Unused places hold the first address once more. */
static __always_inline __u32 address_slot(__be32 address)
{
#pragma unroll
	for (__u32 slot = 0; slot < RELAY_ADDRESSES; slot++) {
		if (address == config.ipv4[slot])
			return slot;
	}
	return RELAY_ADDRESSES;
}

static __always_inline bool is_media_port(__u32 port)
{
	__u32 first = config.port_min;

	return port - first <= config.port_max - first;
}

/* Do the headers agree with each other and with the frame? A frame may be longer: Ethernet pads. */
static __always_inline enum reason check_headers(const struct iphdr *ip, const struct udphdr *udp,
						 __u32 frame_bytes)
{
	__u32 total = bpf_ntohs(ip->tot_len);
	__u32 datagram = bpf_ntohs(udp->len);

	if (ip->ttl <= 1)
		return REASON_TTL;
	if (total + IP_OFFSET > frame_bytes || datagram < sizeof(*udp) || total != datagram + sizeof(*ip))
		return REASON_BAD_LENGTH;
	if (!udp->source)
		return REASON_BAD_SOURCE_PORT;
	return GO_ON;
}

/* UDP payload in bytes, once check_headers found the lengths to agree. */
static __always_inline __u64 payload_length(const struct udphdr *udp)
{
	return bpf_ntohs(udp->len) - (__s64)sizeof(*udp);
}

#endif
