/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several processes listen on one SIP port; this decides which of them has a datagram: all of one Call-ID
 * meet in one process, so that a call's state is nowhere else. What has no Call-ID, or whose process has no
 * socket there, goes where the kernel's own hash of its addresses sends it. sip/steering.py says the same in
 * Python; a test compares the two over many messages.
 */
#include <linux/bpf.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>
#include "steering.h"

#define UDP_HEADER 8
#define UNUSED	   __attribute__((unused))
#define PIECE	   64 /* bytes of the message that are looked at in one go */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STEERING_LISTENERS);
	__type(key, struct listener);
	__type(value, struct share);
} listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, STEERING_SOCKETS);
	__type(key, __u32);
	__type(value, __u64);
} sockets SEC(".maps");

/* What a byte can be to the search for "Call-ID:" or "i:" at the beginning of a line. */
enum class {
	OTHER,
	LINE_FEED,
	RETURN,
	BLANK,
	COLON,
	DASH,
	LETTER_A,
	LETTER_C,
	LETTER_D,
	LETTER_I,
	LETTER_L,
	CLASSES = 16,
};

static const __u8 class_of[256] = {
	['\n'] = LINE_FEED, ['\r'] = RETURN,  [' '] = BLANK,	['\t'] = BLANK,
	[':'] = COLON,	    ['-'] = DASH,     ['A'] = LETTER_A, ['a'] = LETTER_A,
	['C'] = LETTER_C,   ['c'] = LETTER_C, ['D'] = LETTER_D, ['d'] = LETTER_D,
	['I'] = LETTER_I,   ['i'] = LETTER_I, ['L'] = LETTER_L, ['l'] = LETTER_L,
};

/* Where the search is. */
enum place {
	WITHIN_LINE,
	AT_LINE,
	AFTER_C,
	AFTER_CA,
	AFTER_CAL,
	AFTER_CALL,
	AFTER_CALL_DASH,
	AFTER_CALL_I,
	NAMED,
	BEFORE_VALUE,
	FOLDED, /* a line feed before the value: the line goes on only where a blank follows */
	IN_VALUE,
	DONE,
	PLACES = 16,
};

#define ELSE_AT_LINE [LINE_FEED] = AT_LINE
#define VISIBLE_IN_VALUE                                                                                     \
	[OTHER] = IN_VALUE, [COLON] = IN_VALUE, [DASH] = IN_VALUE, [LETTER_A] = IN_VALUE,                    \
	[LETTER_C] = IN_VALUE, [LETTER_D] = IN_VALUE, [LETTER_I] = IN_VALUE, [LETTER_L] = IN_VALUE

/* What is not named here goes to WITHIN_LINE. */
static const __u8 next_place[PLACES][CLASSES] = {
	[WITHIN_LINE] = {ELSE_AT_LINE},
	[AT_LINE] = {ELSE_AT_LINE, [LETTER_C] = AFTER_C, [LETTER_I] = NAMED},
	[AFTER_C] = {ELSE_AT_LINE, [LETTER_A] = AFTER_CA},
	[AFTER_CA] = {ELSE_AT_LINE, [LETTER_L] = AFTER_CAL},
	[AFTER_CAL] = {ELSE_AT_LINE, [LETTER_L] = AFTER_CALL},
	[AFTER_CALL] = {ELSE_AT_LINE, [DASH] = AFTER_CALL_DASH},
	[AFTER_CALL_DASH] = {ELSE_AT_LINE, [LETTER_I] = AFTER_CALL_I},
	[AFTER_CALL_I] = {ELSE_AT_LINE, [LETTER_D] = NAMED},
	[NAMED] = {ELSE_AT_LINE, [BLANK] = NAMED, [COLON] = BEFORE_VALUE},
	[BEFORE_VALUE] =
		{VISIBLE_IN_VALUE, [BLANK] = BEFORE_VALUE, [RETURN] = BEFORE_VALUE, [LINE_FEED] = FOLDED},
	[FOLDED] = {ELSE_AT_LINE, [BLANK] = BEFORE_VALUE, [LETTER_C] = AFTER_C, [LETTER_I] = NAMED},
	[IN_VALUE] = {VISIBLE_IN_VALUE, [BLANK] = DONE, [RETURN] = DONE, [LINE_FEED] = DONE},
	[DONE] = {DONE, DONE, DONE, DONE, DONE, DONE, DONE, DONE, DONE, DONE, DONE},
};

struct search {
	struct sk_reuseport_md *message;
	__u32 length; /* of the message, as far as it is searched */
	__u32 offset;
	__u32 place;
	__u32 crc; /* of the Call-ID so far, before its last inversion */
	__u8 piece[PIECE];
};

/* One byte further in CRC-32 as zlib computes it, four bits at a time. */
static __always_inline __u32 crc_step(__u32 crc, __u8 byte)
{
	static const __u32 of_nibble[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
		0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
		0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
	};

	crc = of_nibble[(crc ^ byte) & 15] ^ crc >> 4;
	return of_nibble[(crc ^ byte >> 4) & 15] ^ crc >> 4;
}

/* The next piece of the message; 1 where the search is over. */
static long search_piece(__u32 number UNUSED, struct search *search)
{
	__u32 offset = search->offset, left = search->length - offset, place = search->place,
	      crc = search->crc;

	if (left > PIECE)
		left = PIECE;
	barrier_var(left); /* the verifier has to see it compared with zero */
	if (!left || bpf_skb_load_bytes(search->message, UDP_HEADER + offset, search->piece, left))
		return 1;
	for (__u32 at = 0; at < PIECE; at++) {
		if (at >= left)
			break;
		__u8 byte = search->piece[at];

		place = next_place[place % PLACES][class_of[byte] % CLASSES];
		if (place == IN_VALUE)
			crc = crc_step(crc, byte);
	}
	search->place = place;
	search->crc = crc;
	search->offset = offset + left;
	return place == DONE;
}

SEC("sk_reuseport")
int steer(struct sk_reuseport_md *message)
{
	struct search search = {.message = message, .place = WITHIN_LINE, .crc = ~0u};
	struct listener listener = {};
	struct bpf_sock *socket = message->sk;
	struct share *share;

	if (message->len <= UDP_HEADER)
		return SK_PASS;
	listener.family = socket->family;
	listener.port = socket->src_port;
	if (listener.family == STEERING_IPV4) {
		listener.address[0] = socket->src_ip4;
	} else {
		listener.address[0] = socket->src_ip6[0];
		listener.address[1] = socket->src_ip6[1];
		listener.address[2] = socket->src_ip6[2];
		listener.address[3] = socket->src_ip6[3];
	}
	share = bpf_map_lookup_elem(&listeners, &listener);
	if (!share || !share->workers)
		return SK_PASS;
	search.length = message->len - UDP_HEADER;
	if (search.length > STEERING_DEPTH)
		search.length = STEERING_DEPTH;
	bpf_loop(STEERING_DEPTH / PIECE, search_piece, &search, 0);
	if (search.place == IN_VALUE || search.place == DONE) {
		__u32 slot = ~search.crc % STEERING_SLOTS, chosen = share->first + slot % share->workers;

		bpf_sk_select_reuseport(message, &sockets, &chosen, 0);
	}
	return SK_PASS;
}

const char steering_license[] SEC("license") = "GPL";
