# SPDX-License-Identifier: GPL-3.0-or-later
"""The model's share of RTP statistics: loss, order, duplicates, restarts and jitter, as docs/verdicts.md has them."""

U32 = 0xFFFFFFFF


def observe_rtp(flow, payload, now):
    """Statistics of one RTP packet; True if the SSRC changed."""
    sequence = payload[2] << 8 | payload[3]
    timestamp, ssrc = int.from_bytes(payload[4:8], "big"), int.from_bytes(payload[8:12], "big")
    transit = (((now >> 10) * flow.clock >> 32) - timestamp) & U32
    flow.payload_type = payload[1] & 127
    changed = flow.started and ssrc != flow.ssrc
    if flow.started and not changed and place(flow, sequence):
        if flow.clock:
            step = (transit - flow.transit) & U32
            step = min(step, 2**32 - step)
            flow.transit = transit
            if step < flow.clock >> 10:
                flow.jitter += step - ((flow.jitter + 8) >> 4)
        return False
    flow.ssrc_changes += changed
    flow.resets += flow.started and not changed
    flow.started, flow.seen, flow.sequence, flow.ssrc, flow.transit = True, {sequence}, sequence, ssrc, transit
    return changed


def place(flow, sequence):
    """Does the sequence number belong to the stream? Counts what it says."""
    ahead = (sequence - flow.sequence) % 65536
    behind = (flow.sequence - sequence) % 65536
    if behind < 64:
        if sequence in flow.seen:
            flow.duplicates += 1
        else:
            flow.seen.add(sequence)
            flow.reordered += 1
            flow.lost = max(flow.lost - 1, 0)
        return True
    if ahead >= 3000 or (ahead >= 64 and len(flow.seen) == 1):
        return False
    flow.lost += ahead - 1
    flow.seen = {old for old in flow.seen if (sequence - old) % 65536 < 64} | {sequence}
    flow.sequence = sequence
    return True


def signed(number):
    number &= U32
    return number - (number >> 31 << 32)


def telephone_events(flow, packet):
    """RFC 4733: each event once, at its end, or when what follows shows that its end was lost."""
    payload, told = packet.payload, []
    timestamp, ssrc = int.from_bytes(payload[4:8], "big"), int.from_bytes(payload[8:12], "big")
    since = 0 if flow.digit is None else signed(timestamp - flow.digit[3])
    if payload[1] & 127 != flow.dtmf_type:
        if flow.digit_open and (ssrc != flow.digit[0] or since > flow.digit[4] + 2400):
            told.append(flow.digit)
            flow.digit_open = False
        return told
    if len(payload) < packet.body + 4:
        return told
    event, volume, duration = (
        payload[packet.body],
        payload[packet.body + 1],
        int.from_bytes(payload[packet.body + 2 :][:2], "big"),
    )
    if flow.digit and flow.digit[0] == ssrc and (since < 0 or (since == 0 and not flow.digit_open)):
        return told
    if flow.digit_open and (flow.digit[0] != ssrc or since):
        segment = flow.digit[:2] == (ssrc, event) and flow.digit[4] == since == 0xFFFF
        if not segment:
            told.append(flow.digit)
    flow.digit, flow.digit_open = (ssrc, event, volume & 63, timestamp, duration), True
    if volume & 128:
        told.append(flow.digit)
        flow.digit_open = False
    return told
