/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is the payload RTP or RTCP as RFC 3550 has it? Telling them apart on one port follows RFC 5761. */
#ifndef VOXDP_PAYLOAD_H
#define VOXDP_PAYLOAD_H

#define RTP_VERSION	 2
#define RTP_EXTENSION	 0x10 /* of rtp_header.first */
#define RTP_CSRC_COUNT	 0x0f /* of rtp_header.first */
#define RTP_PAYLOAD_TYPE 0x7f /* of rtp_header.second */
#define RTCP_TYPE_FIRST	 192
#define RTCP_TYPE_LAST	 223
#define STUN_HEADER	 20
#define STUN_FIRST_LAST	 3 /* highest first byte */
#define STUN_COOKIE	 0x2112a442
#define TYPE_WORD(type)	 ((type) >> 5)
#define TYPE_BIT(type)	 (1U << ((type)&31))

struct rtp_header {
	__u8 first;  /* version 2 bits, padding, extension, CSRC count 4 bits */
	__u8 second; /* marker, payload type 7 bits */
	__be16 sequence;
	__be32 timestamp;
	__be32 ssrc;
};

struct rtcp_header {
	__u8 first; /* version 2 bits, padding, count 5 bits */
	__u8 type;
	__be16 words; /* of the packet, less one */
	__be32 ssrc;
};

/* Types that RFC 5761 sets apart, so that no RTP payload type is one of them. */
static __always_inline bool is_rtcp_type(__u8 type)
{
	return type >= RTCP_TYPE_FIRST && type <= RTCP_TYPE_LAST;
}

/* The first RTCP packet of a compound one; its length counts words less one. */
static __always_inline enum reason check_rtcp(const struct rtcp_header *header, __u16 flags, __u32 length)
{
	if (!is_rtcp_type(header->type))
		return REASON_BAD_RTCP;
	if (!(flags & (FLAG_RTCP | FLAG_RTCP_MUX)))
		return REASON_NOT_MUXED;
	if ((bpf_ntohs(header->words) + 1U) * 4 > length)
		return REASON_BAD_RTCP;
	return GO_ON;
}

/* CSRC list and header extension must lie within the payload; sets where they end. */
static __noinline enum reason check_rtp_more(struct xdp_md *ctx, struct passage *passage, __u8 first)
{
	__u32 place = passage->transport + sizeof(struct udphdr);
	__u32 end = sizeof(struct rtp_header) + (first & RTP_CSRC_COUNT) * 4;
	__be16 extension[2]; /* profile, words */

	if (first & RTP_EXTENSION) {
		if (end + sizeof(extension) > passage->payload)
			return REASON_SHORT;
		if (bpf_xdp_load_bytes(ctx, place + end, extension, sizeof(extension)))
			return REASON_SHORT;
		end += sizeof(extension) + bpf_ntohs(extension[1]) * 4;
	}
	passage->body = end;
	return end > passage->payload ? REASON_SHORT : GO_ON;
}

/* What the statistics need of a packet that is RTP. */
static __always_inline struct rtp_packet read_rtp(const struct rtp_header *header, __u64 now)
{
	return (struct rtp_packet){
		.arrival = now,
		.timestamp = bpf_ntohl(header->timestamp),
		.ssrc = bpf_ntohl(header->ssrc),
		.sequence = bpf_ntohs(header->sequence),
		.payload_type = header->second & RTP_PAYLOAD_TYPE,
	};
}

static __always_inline enum reason check_rtp(struct xdp_md *ctx, struct passage *passage,
					     const struct flow_wide *wide, const struct rtp_header *header)
{
	__u8 first = header->first, type;
	enum reason reason;

	passage->body = sizeof(*header);
	passage->rtp = read_rtp(header, passage->now);
	type = passage->rtp.payload_type;
	if (unlikely(first & (RTP_EXTENSION | RTP_CSRC_COUNT))) {
		reason = check_rtp_more(ctx, passage, first);
		if (reason != GO_ON)
			return reason;
	}
	if (passage->control.flags & FLAG_PAYLOAD_TYPES &&
	    !(wide->payload_types[TYPE_WORD(type) & 3] & TYPE_BIT(type)))
		return REASON_BAD_PAYLOAD_TYPE;
	return GO_ON;
}

/* A check of ICE, by its first byte and its cookie (RFC 7983, RFC 8489)? */
static __always_inline bool is_stun(struct xdp_md *ctx, const struct passage *passage)
{
	void *transport = transport_of(ctx, passage, sizeof(struct udphdr) + STUN_HEADER);
	const __u8 *message = transport + sizeof(struct udphdr);

	return transport && passage->payload >= STUN_HEADER && message[0] <= STUN_FIRST_LAST &&
	       *(const __be32 *)(message + 4) == bpf_htonl(STUN_COOKIE);
}

/* RTP or RTCP as the flow's flags and the packet say; and is it valid? What is raw need be neither. */
static __always_inline enum reason check_payload(struct xdp_md *ctx, struct passage *passage,
						 const struct flow_wide *wide)
{
	void *transport = transport_of(ctx, passage, sizeof(struct udphdr) + sizeof(struct rtcp_header));
	const struct rtcp_header *header = transport + sizeof(struct udphdr);
	__u16 flags = passage->control.flags;

	if (unlikely(passage->control.action == ACTION_RAW)) {
		passage->kind = KIND_RTCP;
		return GO_ON;
	}
	if (!transport || passage->payload < sizeof(*header))
		return REASON_SHORT;
	if (header->first >> 6 != RTP_VERSION)
		return REASON_BAD_VERSION;
	passage->kind = KIND_RTP;
	if (unlikely(flags & FLAG_RTCP || is_rtcp_type(header->type))) {
		passage->kind = KIND_RTCP;
		passage->rtp.ssrc = bpf_ntohl(header->ssrc);
		return check_rtcp(header, flags, passage->payload);
	}
	if (passage->payload < sizeof(struct rtp_header) ||
	    !holds(ctx, (void *)header, sizeof(struct rtp_header)))
		return REASON_SHORT;
	return check_rtp(ctx, passage, wide, (const void *)header);
}

#endif
