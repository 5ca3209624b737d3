/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ones' complement arithmetic (RFC 1071, RFC 1624 equation 3) on words as they lie in the packet, so that
 * nothing need be swapped. Sums of 16-bit and of 32-bit words mix: folding makes them one.
 */
#ifndef VOXDP_CHECKSUM_H
#define VOXDP_CHECKSUM_H

#define SUMMED_AT_ONCE 512 /* what bpf_csum_diff takes on every kernel */
#define SUMMED_CHUNKS  8
#define SUMMED_MAX     (SUMMED_AT_ONCE * SUMMED_CHUNKS) /* longer than any frame on one page */
#define SUM_ERROR      (-1LL)

/* `sum` is of two words, each at most 0xffff; so is what is returned, and not 0 if either was not. */
static __always_inline __u32 fold(__u32 sum)
{
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u32 minus(__u32 word)
{
	return word ^ 0xffff;
}

/* The same of any number of words. */
static __always_inline __u32 fold_all(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	return fold(fold(sum));
}

static __always_inline __u64 address_sum(const __be32 *address)
{
	return (__u64)address[0] + address[1] + address[2] + address[3];
}

static __always_inline __u64 address_minus(const __be32 *address)
{
	return 4 * 0xffffffffULL - address_sum(address);
}

/* Of an IPv4 header without options; 0xffff where it agrees with its own checksum. */
static __always_inline __u32 ipv4_sum(const void *header)
{
	const __u16 *halves = header; /* what is read as a word begins where one does in the frame */
	const __u32 *lengths = header + 2, *life = header + 6, *source = header + 12, *target = header + 16;

	return fold_all((__u64)halves[0] + *lengths + *life + halves[5] + *source + *target);
}

/* Sums `length` bytes of the frame from `place` on, which may be an odd number; SUM_ERROR if it cannot. */
__noinline __s64 frame_sum(struct xdp_md *ctx, __u32 place, __u32 length)
{
	struct copy *copy = scratch_copy();
	__s64 sum = 0;

	if (!copy)
		return SUM_ERROR;
	for (int chunk = 0; chunk < SUMMED_CHUNKS && length; chunk++) {
		__u32 bytes = length < SUMMED_AT_ONCE ? length : SUMMED_AT_ONCE;

		*(__u32 *)(copy->bytes + ((bytes & ~3U) & SUMMED_AT_ONCE * 2 - 1)) = 0;
		if (bpf_xdp_load_bytes(ctx, place, copy->bytes, bytes))
			return SUM_ERROR;
		sum = bpf_csum_diff(NULL, 0, (__be32 *)copy->bytes, (bytes + 3) & ~3U, sum);
		if (sum < 0)
			return SUM_ERROR;
		place += bytes;
		length -= bytes;
	}
	return length ? SUM_ERROR : sum;
}

#endif
