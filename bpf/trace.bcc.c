// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Looks over the relay's shoulder, by tracepoints: how long receiving takes for each frame, the relay's part
 * in it included, and which frames were lost after the relay had done with them. Compiled on the host that is
 * looked at, by BCC, for as long as somebody looks; the relay itself is not changed. REASONS_PIN is the path
 * of its map `reasons`, by which it is known how many frames it had.
 */

#define REASON_COUNT   64
#define NET_RX_SOFTIRQ 3  /* linux/interrupt.h */
#define SLOTS	       32 /* powers of two */
#define MAX_ERRNO      4096

struct counted {
	u64 packets, bytes;
};

/* Of one CPU: when its receiving began, and how many frames the relay had had by then. */
struct receiving {
	u64 since, frames;
};

enum loss_kind {
	LOST_REDIRECT = 1,  /* the egress interface was refused: error is the errno */
	LOST_TRANSMIT = 2,  /* it was taken, and the driver sent less than it was given */
	LOST_EXCEPTION = 3, /* the driver could not do what the relay had decided: error is the verdict */
};

struct loss {
	u32 kind;
	u32 error;
};

BPF_TABLE_PINNED("percpu_array", u32, struct counted, reasons, REASON_COUNT, REASONS_PIN);
BPF_PERCPU_ARRAY(current, struct receiving, 1);
BPF_PERCPU_ARRAY(latency, u64, SLOTS); /* frames, by nanoseconds for each */
BPF_PERCPU_ARRAY(batches, u64, SLOTS); /* rounds of receiving, by frames */
BPF_HASH(losses, struct loss, u64, 256);

static u64 frames_so_far(void)
{
	u64 sum = 0;

	for (u32 reason = 0; reason < REASON_COUNT; reason++) {
		u32 key = reason;
		struct counted *count = reasons.lookup(&key);

		if (count)
			sum += count->packets;
	}
	return sum;
}

static void lost(u32 kind, u32 error, u64 frames)
{
	struct loss key = {.kind = kind, .error = error % MAX_ERRNO};
	u64 zero = 0, *count = losses.lookup_or_try_init(&key, &zero);

	if (count)
		__sync_fetch_and_add(count, frames);
}

RAW_TRACEPOINT_PROBE(softirq_entry)
{
	u32 zero = 0;
	struct receiving *here = current.lookup(&zero);

	if (!here || ctx->args[0] != NET_RX_SOFTIRQ)
		return 0;
	here->frames = frames_so_far();
	here->since = bpf_ktime_get_ns();
	return 0;
}

RAW_TRACEPOINT_PROBE(softirq_exit)
{
	u64 now = bpf_ktime_get_ns();
	u32 zero = 0;
	struct receiving *here = current.lookup(&zero);

	if (!here || !here->since || ctx->args[0] != NET_RX_SOFTIRQ)
		return 0;
	u64 frames = frames_so_far() - here->frames, each = now - here->since;

	here->since = 0;
	if (!frames)
		return 0;
	u32 slot = bpf_log2l(each / frames) & (SLOTS - 1), batch = bpf_log2l(frames) & (SLOTS - 1);
	u64 *count = latency.lookup(&slot), *rounds = batches.lookup(&batch);

	if (count)
		*count += frames;
	if (rounds)
		*rounds += 1;
	return 0;
}

/* dev, program, target, err, ... */
RAW_TRACEPOINT_PROBE(xdp_redirect_err)
{
	lost(LOST_REDIRECT, (u32) - (int)ctx->args[3], 1);
	return 0;
}

/* from, to, sent, drops, err */
RAW_TRACEPOINT_PROBE(xdp_devmap_xmit)
{
	if ((int)ctx->args[3] > 0)
		lost(LOST_TRANSMIT, (u32) - (int)ctx->args[4], (u32)ctx->args[3]);
	return 0;
}

/* dev, sent, drops, err: XDP_TX of drivers that send in bulk */
RAW_TRACEPOINT_PROBE(xdp_bulk_tx)
{
	if ((int)ctx->args[2] > 0)
		lost(LOST_TRANSMIT, (u32) - (int)ctx->args[3], (u32)ctx->args[2]);
	return 0;
}

/* dev, program, action */
RAW_TRACEPOINT_PROBE(xdp_exception)
{
	lost(LOST_EXCEPTION, (u32)ctx->args[2], 1);
	return 0;
}
