/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Copies of packets for who records or captures. They are put together beside the ring, so that each takes no
 * more of it than it is long. A full ring costs the copy, which is counted, and never the packet.
 */
#ifndef VOXDP_COPIES_H
#define VOXDP_COPIES_H

/* Fills the scratch copy with `length` bytes from `place` on; returns the size of the record, 0: none. */
static __always_inline __u32 fill_copy(struct xdp_md *ctx, struct copy *copy, const struct passage *passage,
				       __u32 place, __u32 length)
{
	__u64 captured = length;

	barrier_var(captured); /* else the compiler compares another register than the verifier is to know */
	if (captured > COPY_BYTES)
		captured = COPY_BYTES;
	if (!captured || bpf_xdp_load_bytes(ctx, place, copy->bytes, captured))
		return 0;
	copy->time = passage->now;
	copy->flow = passage->index;
	copy->generation = passage->control.generation;
	copy->length = length;
	copy->captured = captured;
	return offsetof(struct copy, bytes) + captured;
}

/* The RTP of a packet; rewriting leaves it as it is, so its place is all that matters. */
__noinline int mirror_payload(struct xdp_md *ctx, const struct passage *passage)
{
	struct copy *copy = scratch_copy();
	struct flow_ledger *ledger;
	__u32 size;

	if (!copy || !passage)
		return 0;
	ledger = ledger_at(passage->index);
	if (!ledger)
		return 0;
	size = fill_copy(ctx, copy, passage, passage->transport + sizeof(struct udphdr), passage->payload);
	copy->kind = COPY_PAYLOAD;
	if (size > sizeof(*copy) || !size || bpf_ringbuf_output(&mirror, copy, size, BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&ledger->tally.copies_dropped, 1);
	return 0;
}

/* The whole frame as it is now. */
__noinline int capture(struct xdp_md *ctx, const struct passage *passage, __u8 kind)
{
	struct copy *copy = scratch_copy();
	struct flow_ledger *ledger;
	__u32 size;

	if (!copy || !passage)
		return 0;
	ledger = ledger_at(passage->index);
	if (!ledger)
		return 0;
	size = fill_copy(ctx, copy, passage, 0, frame_length(ctx));
	copy->kind = kind;
	if (size > sizeof(*copy) || !size || bpf_ringbuf_output(&captures, copy, size, BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&ledger->tally.copies_dropped, 1);
	return 0;
}

#endif
