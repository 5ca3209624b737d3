/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is the payload RTP or RTCP as RFC 3550 has it? Telling them apart on one port follows RFC 5761. */
#ifndef VOXDP_PAYLOAD_H
#define VOXDP_PAYLOAD_H

#define RTP_VERSION	2
#define RTP_HEADER	12
#define RTP_EXTENSION	4
#define RTP_HAS_MORE	0x1f /* extension bit and CSRC count */
#define RTCP_HEADER	8    /* of every RTCP packet up to the sender's SSRC */
#define RTCP_TYPE_FIRST 192
#define RTCP_TYPE_LAST	223

enum payload_kind {
	PAYLOAD_RTP,
	PAYLOAD_RTCP, /* on its own port, or multiplexed on an RTP port */
};

struct rtp_header {
	__u8 first;  /* version 2 bits, padding, extension, CSRC count 4 bits */
	__u8 second; /* marker, payload type 7 bits */
	__be16 sequence;
	__be32 timestamp;
	__be32 ssrc;
};

/* The first RTCP packet of a compound one; its length counts words less one. */
static __always_inline enum reason check_rtcp(const __u8 *header, __u32 payload_length)
{
	__u32 words = (__u32)header[2] << 8 | header[3];

	if (header[1] < RTCP_TYPE_FIRST || header[1] > RTCP_TYPE_LAST)
		return REASON_BAD_RTCP;
	if ((words + 1) * 4 > payload_length)
		return REASON_BAD_RTCP;
	return GO_ON;
}

/* CSRC list and header extension must lie within the payload. */
static __noinline enum reason check_rtp_more(struct xdp_md *ctx, __u8 first, __u32 payload_length)
{
	__u32 end = RTP_HEADER + (first & 0x0f) * 4;
	__be16 extension[2];

	if (first & 0x10) {
		if (end + RTP_EXTENSION > payload_length)
			return REASON_SHORT;
		if (bpf_xdp_load_bytes(ctx, PAYLOAD_OFFSET + end, extension, sizeof(extension)))
			return REASON_SHORT;
		end += RTP_EXTENSION + bpf_ntohs(extension[1]) * 4;
	}
	return end > payload_length ? REASON_SHORT : GO_ON;
}

static __always_inline enum reason check_rtp(struct xdp_md *ctx, struct packet *packet,
					     struct rtp_packet *rtp)
{
	struct rtp_header *header = take(&packet->payload, sizeof(*header));

	if (!header || packet->payload_length < RTP_HEADER)
		return REASON_SHORT;
	rtp->arrival = packet->now;
	rtp->timestamp = bpf_ntohl(header->timestamp);
	rtp->ssrc = bpf_ntohl(header->ssrc);
	rtp->sequence = bpf_ntohs(header->sequence);
	rtp->payload_type = header->second & 0x7f;
	if (unlikely(header->first & RTP_HAS_MORE))
		return check_rtp_more(ctx, header->first, packet->payload_length);
	return GO_ON;
}

/* Checks the payload of a flow with `flags`; says what it is and, of RTP, the fields that statistics need. */
static __always_inline enum reason check_payload(struct xdp_md *ctx, struct packet *packet, __u16 flags,
						 enum payload_kind *kind, struct rtp_packet *rtp)
{
	struct cursor start = packet->payload;
	const __u8 *header = take(&start, RTCP_HEADER);

	if (!header || packet->payload_length < RTCP_HEADER)
		return REASON_SHORT;
	if (header[0] >> 6 != RTP_VERSION)
		return REASON_BAD_VERSION;
	*kind = PAYLOAD_RTCP;
	if (flags & FLAG_RTCP || (header[1] >= RTCP_TYPE_FIRST && header[1] <= RTCP_TYPE_LAST))
		return check_rtcp(header, packet->payload_length);
	*kind = PAYLOAD_RTP;
	return check_rtp(ctx, packet, rtp);
}

#endif
