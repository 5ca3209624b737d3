# SPDX-License-Identifier: GPL-3.0-or-later
import socket
import struct
import threading
import time
from array import array
from collections import Counter
from dataclasses import replace
from itertools import cycle

import pytest
from ctl.kernel._libbpf import ffi, lib
from hypothesis import given
from hypothesis import strategies as st

from ctl.kernel.flowrule import (
    CLOCK_RATE_MAX,
    POLICE_MAX,
    FlowAction,
    FlowFlag,
    FlowRule,
    FlowState,
    decode_rule,
    mapped,
    pack_rule,
)
from ctl.kernel.flowtable import RelayConfig

DROP, PASS, REDIRECT = 1, 2, 4
CALLER, CALLEE = ("203.0.113.5", 4000), ("203.0.113.9", 5000)
LOCAL_A, LOCAL_B = ("192.0.2.1", 10000), ("198.51.100.1", 10002)

v4 = st.ip_addresses(v=4).map(str)
v6 = st.ip_addresses(v=6).filter(lambda address: not address.ipv4_mapped and int(address)).map(str)
ports = st.integers(0, 65535)
families = st.sampled_from((v4, v6))
endpoints = families.flatmap(lambda addresses: st.tuples(addresses, ports))
outgoing = families.flatmap(lambda addresses: st.tuples(st.tuples(addresses, ports), st.tuples(addresses, ports)))
limits = st.integers(1, POLICE_MAX)
payload_types = st.integers(0, 127)
macs = st.binary(min_size=6, max_size=6)
rules = st.builds(
    lambda egress_target, **rest: FlowRule(egress=egress_target[0], target=egress_target[1], **rest),
    outgoing,
    state=st.sampled_from(FlowState),
    source=endpoints,
    action=st.sampled_from(FlowAction),
    flags=st.integers(0, 127).map(FlowFlag),
    egress_mac=macs,
    target_mac=macs,
    ifindex=st.integers(0, 2**32 - 1),
    dscp=st.none() | st.integers(0, 63),
    clock_rate=st.sampled_from((0, 8000, 12000, 16000, 44100, 48000, 90000, 192000)),
    partner=st.none() | st.integers(0, 8 * 65536 - 1),
    vlans=st.lists(st.integers(1, 4094), max_size=2).map(tuple),
    latch_packets=st.integers(1, 255),
    previous_source=st.none() | endpoints,
    police=st.none() | st.tuples(limits, limits),
    payload_types=st.none() | st.frozensets(payload_types),
    dtmf_type=st.none() | payload_types,
    stun=st.booleans(),
)


@given(rules, endpoints)
def test_a_rule_survives_its_encoding(rule: FlowRule, local: tuple[str, int]) -> None:
    if rule.state in (FlowState.LEARNING, FlowState.LATCHING):
        rule = replace(rule, source=(rule.source[0], 0))
    assert decode_rule(*encoded(rule, local)) == rule


@given(rules, endpoints)
def test_a_checksum_delta_is_what_a_full_sum_changes_by(rule: FlowRule, local: tuple[str, int]) -> None:
    """And by a TTL of one less; but for what of the source is to be learned."""
    deltas, _ = encoded(rule, local)
    source, port = rule.source
    if rule.state in (FlowState.LEARNING, FlowState.LATCHING):
        port = 0
    before = (mapped(source) if rule.state != FlowState.LATCHING else b"") + mapped(local[0])
    after = mapped(rule.egress[0]) + mapped(rule.target[0])
    ttl = words(b"\x40\x11"), words(b"\x3f\x11")
    assert (words(before) + ttl[0] + deltas.ip_delta - words(after) - ttl[1]) % 0xFFFF == 0
    before += struct.pack("!HH", local[1], port)
    after += struct.pack("!HH", rule.egress[1], rule.target[1])
    assert (words(before) + deltas.udp_delta - words(after)) % 0xFFFF == 0
    assert deltas.ip_delta


def encoded(rule: FlowRule, local: tuple[str, int]):
    """The struct flow_rule and the struct flow_wide that C makes of it."""
    wanted = ffi.from_buffer("struct flow_wanted *", pack_rule(local[1], rule))
    into = ffi.new("struct flow_rule *"), ffi.new("struct flow_wide *")
    lib.rule_encode(wanted, ffi.from_buffer("uint32_t[4]", mapped(local[0])), *into)
    return into


def words(data: bytes) -> int:
    """Sum of 16-bit words as they lie in memory."""
    return sum(memoryview(data).cast("H"))


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ({"dscp": 64}, "DSCP 64"),
        ({"dscp": -1}, "DSCP -1"),
        ({"target_mac": b"short"}, "6 bytes"),
        ({"egress_mac": b"too long"}, "6 bytes"),
        ({"clock_rate": CLOCK_RATE_MAX + 1}, "clock rate"),
        ({"clock_rate": -1}, "does not fit"),
        ({"ifindex": 2**32}, "does not fit"),
        ({"source": ("192.0.2.1", 65536)}, "does not fit"),
        ({"target": ("nowhere", 1)}, "does not fit"),
        ({"target": ("2001:db8::1", 1)}, "different families"),
        ({"vlans": (1, 2, 3)}, "at most two"),
        ({"vlans": (4095,)}, "within 1-4094"),
        ({"police": (0, 1)}, "packets per second"),
        ({"police": (1, 1_000_001)}, "packets per second"),
        ({"payload_types": frozenset({128})}, "payload types"),
        ({"dtmf_type": 128}, "payload types"),
        ({"latch_packets": 0}, "at least one packet"),
        ({"latch_packets": 256}, "does not fit"),
    ],
)
def test_what_a_rule_cannot_hold_is_refused(pair, field, said) -> None:
    with pytest.raises(ValueError, match=said):
        pack_rule(0, replace(pair[0][1], **field))


def test_the_fastest_clock_still_fits(pair) -> None:
    assert encoded(replace(pair[0][1], clock_rate=CLOCK_RATE_MAX), LOCAL_A)[0].clock > 0xFFFFFFFF - 2**13


def test_the_configuration_survives_its_encoding() -> None:
    config = RelayConfig(1, ("192.0.2.1", "2001:db8::1"), 10000, 19999, 30000, 7)
    assert RelayConfig.decode(config.encode()) == config


@pytest.mark.parametrize("limit", ["unmatched_rate", "unmatched_burst"])
def test_a_configuration_that_cannot_be_is_refused(limit) -> None:
    with pytest.raises(ValueError, match="within 0-1000000"):
        RelayConfig(1, ("192.0.2.1",), 10000, 19999, **{limit: 1_000_001}).encode()


@pytest.mark.parametrize(
    ("text", "kept"),
    [("2001:DB8:0::1", "2001:db8::1"), ("::ffff:192.0.2.7", "192.0.2.7"), ("192.0.2.7", "192.0.2.7")],
)
def test_an_address_has_one_text(pair, text, kept) -> None:
    assert replace(pair[0][1], source=(text, 5)).source == (kept, 5)


def test_flags_change_alone(loaded, pair, rtp) -> None:
    table, (there, rule) = loaded.table, pair[0]
    table.write_pair(*pair)
    loaded.program.test_run(rtp(CALLER, LOCAL_A))
    before = table.generation(there)
    table.set_flags(there, FlowFlag.MIRROR | FlowFlag.CAPTURE)
    table.set_flags(there, FlowFlag.RTCP_COPY, FlowFlag.CAPTURE)
    assert table.rule(there) == replace(rule, flags=FlowFlag.MIRROR | FlowFlag.RTCP_COPY)
    assert table.generation(there) == before
    assert loaded.program.test_run(rtp(CALLER, LOCAL_A, 2)).retval == REDIRECT
    assert (table.read(there).packets, table.read(there).learned_source) == (2, CALLER)
    with pytest.raises(ValueError, match="never written"):
        table.set_flags(there + 1, FlowFlag.MIRROR)


def test_an_index_is_slot_and_port(loaded) -> None:
    assert loaded.table.index(*LOCAL_A) == 10000
    assert loaded.table.index(*LOCAL_B) == 65536 + 10002
    assert loaded.table.local(65536 + 10002) == LOCAL_B
    with pytest.raises(ValueError, match="no relay address"):
        loaded.table.index("192.0.2.2", 10000)
    with pytest.raises(ValueError, match="outside the attached program's range 10000-19999"):
        loaded.table.index("192.0.2.1", 9999)
    with pytest.raises(ValueError, match="beyond the table"):
        loaded.table.off(2 * 65536)


def test_what_is_written_is_what_the_kernel_does(loaded, pair, rtp, checksum) -> None:
    table = loaded.table
    table.write_pair(*pair)
    assert [table.rule(index) for index, _ in pair] == [rule for _, rule in pair]
    assert list(table.active()) == [index for index, _ in pair]
    result = loaded.program.test_run(rtp(CALLER, LOCAL_A))
    assert result.retval == REDIRECT
    packet = result.data
    assert packet[:12] == b"\2\0\0\0\0\2" + b"\2\0\0\0\0\1"
    assert packet[15] == 46 << 2
    assert checksum(packet[14:34]) == b"\0\0"
    assert packet[26:38] == socket.inet_aton("198.51.100.1") + socket.inet_aton(CALLEE[0]) + struct.pack(
        "!HH", 10002, CALLEE[1]
    )
    pseudo = packet[26:34] + struct.pack("!HH", socket.IPPROTO_UDP, len(packet) - 34)
    assert checksum(pseudo + packet[34:]) == b"\0\0"


def test_statistics_are_read_while_packets_flow(loaded, pair, rtp) -> None:
    table, (there, _) = loaded.table, pair[0]
    table.write_pair(*pair)
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    for sequence in (1, 2, 5, 4, 4):
        loaded.program.test_run(rtp(CALLER, LOCAL_A, sequence))
    loaded.program.test_run(rtp(("203.0.113.66", 4000), LOCAL_A))
    loaded.program.test_run(rtp(CALLER, LOCAL_A, first=0x40))
    counted = table.read(there)
    assert (counted.packets, counted.bytes) == (5, 5 * 172)
    assert (counted.lost, counted.reordered, counted.duplicates) == (1, 1, 1)
    assert (counted.ssrc, counted.payload_type, counted.dscp) == (0x11223344, 0, 0)
    assert (counted.sequence, counted.timestamp) == (5, 4 * 160)
    assert (counted.rejected, counted.rejected_source) == (1, ("203.0.113.66", 4000))
    assert (counted.dropped, counted.last_reason) == (1, "bad_version")
    assert counted.learned_port == CALLER[1]
    assert counted.last_seen is not None
    assert before <= counted.last_seen <= time.clock_gettime(time.CLOCK_MONOTONIC)
    assert counted.jitter_ms is not None
    assert counted.jitter_ms > 0
    assert table.reasons()["forwarded"].packets == 5
    assert table.reasons()["wrong_source"].packets == 1
    assert set(table.reasons()) >= {"forwarded", "pass_engine", "unknown_port"}


def test_an_unused_flow_has_nothing_to_tell(loaded) -> None:
    counted = loaded.table.read(12345)
    assert (counted.packets, counted.jitter_ms, counted.last_seen, counted.ssrc) == (0, None, None, None)
    assert loaded.table.rule(12345) is None


def test_off_drops_and_keeps_the_counters(loaded, pair, rtp) -> None:
    table, (there, _) = loaded.table, pair[0]
    table.write_pair(*pair)
    loaded.program.test_run(rtp(CALLER, LOCAL_A))
    table.off(there)
    assert loaded.program.test_run(rtp(CALLER, LOCAL_A, 2)).retval == DROP
    assert list(table.active()) == [pair[1][0]]
    assert table.read(there).packets == 1
    assert table.read(there).last_reason == "off"


def test_a_fresh_call_starts_at_zero_and_forgets_the_learned_port(loaded, pair, rtp) -> None:
    table, (there, _) = loaded.table, pair[0]
    table.write_pair(*pair)
    loaded.program.test_run(rtp(CALLER, LOCAL_A))
    first = table.generation(there)
    table.write_pair(*pair)
    assert table.generation(there) == table.generation(pair[1][0]) != first
    assert (table.read(there).packets, table.read(there).learned_port) == (0, None)
    assert loaded.program.test_run(rtp((CALLER[0], 4444), LOCAL_A)).retval == REDIRECT
    assert table.read(there).learned_port == 4444


def test_a_rewrite_amid_a_call_keeps_counters_and_what_both_flows_learned(loaded, pair, rtp) -> None:
    table, ((there, rule), (back, _)) = loaded.table, pair
    table.write_pair(*pair)
    assert loaded.program.test_run(rtp((CALLER[0], 4444), LOCAL_A)).retval == REDIRECT
    moved = replace(rule, target_mac=b"\2\0\0\0\0\7")
    table.write(there, moved, fresh=False)
    assert table.read(there).learned_port == 4444
    assert loaded.program.test_run(rtp((CALLER[0], 4000), LOCAL_A)).retval == DROP
    result = loaded.program.test_run(rtp((CALLER[0], 4444), LOCAL_A, 2))
    assert result.data[:6] == moved.target_mac
    assert table.read(there).packets == 2
    reverse = loaded.program.test_run(rtp(CALLEE, LOCAL_B))
    assert struct.unpack("!H", reverse.data[36:38])[0] == 4444
    assert table.generation(there) == table.generation(back)


def test_a_caller_on_hold_is_still_sent_to_where_it_was_learned(loaded, pair, rtp) -> None:
    """Its own direction is off and written again so; music on hold goes to the learned port all the while."""
    table, ((there, rule), (back, reverse)) = loaded.table, pair
    table.write_pair(*pair)
    loaded.program.test_run(rtp((CALLER[0], 4444), LOCAL_A))
    held = replace(rule, state=FlowState.OFF)
    for change in (
        lambda: table.off(there),
        lambda: table.write(back, replace(reverse, dscp=8), fresh=False),
        lambda: table.write_pair((there, held), (back, reverse), fresh=False),
        lambda: table.write(there, held, fresh=False),
        lambda: table.write(there, rule, fresh=False),
    ):
        change()
        sent = loaded.program.test_run(rtp(CALLEE, LOCAL_B)).data
        assert struct.unpack("!H", sent[36:38])[0] == 4444
    assert table.read(there).learned_port == 4444
    assert loaded.program.test_run(rtp((CALLER[0], 4000), LOCAL_A)).retval == DROP


def test_a_port_that_is_given_now_ends_what_was_learned(loaded, pair, rtp) -> None:
    table, ((there, rule), (back, reverse)) = loaded.table, pair
    table.write_pair(*pair)
    loaded.program.test_run(rtp((CALLER[0], 4444), LOCAL_A))
    given = replace(rule, state=FlowState.PINNED, source=CALLER)
    table.write_pair((there, given), (back, reverse), fresh=False)
    sent = loaded.program.test_run(rtp(CALLEE, LOCAL_B)).data
    assert struct.unpack("!H", sent[36:38])[0] == CALLER[1]
    assert table.read(there).learned_port is None


def test_another_source_in_a_rewrite_must_be_learned_again(loaded, pair, rtp) -> None:
    table, ((there, rule), back) = loaded.table, pair
    table.write_pair(*pair)
    loaded.program.test_run(rtp((CALLER[0], 4444), LOCAL_A))
    table.write_pair((there, replace(rule, source=("203.0.113.77", 0))), back, fresh=False)
    assert table.read(there).learned_port is None
    assert loaded.program.test_run(rtp((CALLER[0], 4444), LOCAL_A)).retval == DROP
    reverse = loaded.program.test_run(rtp(CALLEE, LOCAL_B))
    assert struct.unpack("!H", reverse.data[36:38])[0] == CALLER[1]


@pytest.mark.parametrize("by_engine", [False, True])
def test_no_packet_sees_a_rule_half_written(loaded, pair, rtp, by_engine) -> None:
    """Two rules that differ in everything, written in turn while packets pass: each leaves by one or the other.

    by_engine: each change leads over the engine, which gets what comes meanwhile.
    """
    index, first = pair[0][0], replace(pair[0][1], state=FlowState.PINNED, source=CALLER, partner=None, dscp=None)
    second = replace(
        first,
        egress=("192.0.2.1", 15000),
        target=("203.0.113.250", 6000),
        egress_mac=b"\2\0\0\0\0\x11",
        target_mac=b"\2\0\0\0\0\x22",
    )
    above = [replace(second, action=FlowAction.ENGINE)] if by_engine else []
    frame, stopping, seen = rtp(CALLER, LOCAL_A), threading.Event(), Counter()

    def rewrite() -> None:
        for rule in cycle((second, *above, first, *above)):
            loaded.table.write(index, rule, fresh=False)
            if stopping.is_set():
                return

    loaded.table.write(index, first)
    whole = {loaded.program.test_run(frame).data}
    loaded.table.write(index, second)
    whole.add(loaded.program.test_run(frame).data)
    writer = threading.Thread(target=rewrite)
    writer.start()
    for _ in range(50_000):
        result = loaded.program.test_run(frame)
        seen[result.data if result.retval == REDIRECT else result.retval] += 1
    stopping.set()
    writer.join()
    assert set(seen) - {DROP, PASS} == whole
    assert min(seen[packet] for packet in whole) > 100
    assert (seen[PASS] > 100) is by_engine


def test_a_move_between_kernel_and_engine_drops_no_packet(loaded, pair, rtp) -> None:
    """Written in turn while packets pass, each packet finds the one or the other, never a flow that is off."""
    forwarded = [(index, replace(rule, state=FlowState.PINNED, source=CALLER)) for index, rule in pair]
    above = [(index, replace(rule, action=FlowAction.ENGINE)) for index, rule in forwarded]
    frame, stopping, seen = rtp(CALLER, LOCAL_A), threading.Event(), Counter()

    def move() -> None:
        for rules in cycle((above, forwarded)):
            loaded.table.write_pair(*rules)
            if stopping.is_set():
                return

    loaded.table.write_pair(*forwarded)
    mover = threading.Thread(target=move)
    mover.start()
    for _ in range(50_000):
        seen[loaded.program.test_run(frame).retval] += 1
    stopping.set()
    mover.join()
    assert set(seen) - {DROP} == {REDIRECT, PASS}
    assert seen[DROP] < 10  # of a host that took the core away amid a packet
    assert min(seen[REDIRECT], seen[PASS]) > 100


def test_many_pairs_are_written_as_each_would_be(loaded, pair, rtp) -> None:
    """Each with a generation of its own, counters of the former call cleared, the tenant in the ledger."""
    table, program = loaded.table, loaded.program
    table.write_pair(*pair)
    program.test_run(rtp(CALLER, LOCAL_A))
    program.test_run(rtp(("203.0.113.77", 9), LOCAL_B))
    first = table.generation(10000)
    (there, rule), (back, reverse) = pair
    other = (there + 4, replace(rule, partner=back + 4)), (back + 4, replace(reverse, partner=there + 4))
    table.write_pairs([pair, other], tenant=7)
    assert [table.rule(index) for index, _ in (*pair, *other)] == [each for _, each in (*pair, *other)]
    assert [table.generation(index) for index, _ in (*pair, *other)] == [first + 1, first + 1, first + 2, first + 2]
    assert (table.read(there).packets, table.read(back).rejected) == (0, 0)
    assert {table._ledgers[index].wide.tenant for index, _ in (*pair, *other)} == {7}
    assert program.test_run(rtp(CALLER, LOCAL_A)).retval == REDIRECT
    table.write_pairs([pair, other], fresh=False)
    assert (table.read(there).packets, table.read(there).learned_port) == (1, CALLER[1])


def test_of_many_pairs_none_is_written_if_one_is_refused(loaded, pair) -> None:
    (there, rule), (back, reverse) = pair
    beyond = (there + 4, rule), (2 * 65536, reverse)
    unfit = (there + 4, replace(rule, dscp=64)), (back + 4, reverse)
    for bad in (beyond, unfit):
        with pytest.raises(ValueError, match=r"beyond the table|DSCP 64"):
            loaded.table.write_pairs([pair, bad])
    assert loaded.table.rule(there) is None
    loaded.table.write_pairs([])


def test_what_a_partner_learned_is_told_with_its_binding(loaded, pair, rtp) -> None:
    """A packet under way had bound the port, but not yet told the partner, when its pair was written again."""
    table, ((there, _), (back, _)) = loaded.table, pair
    table.write_pair(*pair)
    loaded.program.test_run(rtp((CALLER[0], 4444), LOCAL_A))
    table._flows[back].track.target = 0
    table.write_pair(*pair, fresh=False)
    sent = loaded.program.test_run(rtp(CALLEE, LOCAL_B)).data
    assert struct.unpack("!H", sent[36:38])[0] == table.read(there).learned_port == 4444


def test_half_a_pair_is_no_new_call(loaded, pair) -> None:
    loaded.table.write_pair(*pair)
    with pytest.raises(ValueError, match="use write_pair"):
        loaded.table.write(*pair[0])


def test_columns_are_the_same_counters(loaded, pair, rtp) -> None:
    table, (there, _) = loaded.table, pair[0]
    table.write_pair(*pair)
    for sequence in (1, 4):
        loaded.program.test_run(rtp(CALLER, LOCAL_A, sequence))
    columns, single = table.columns([9, there]), table.read(there)
    assert list(columns.packets) == [0, 2]
    assert columns.bytes[1] == single.bytes
    assert (columns.lost[1], columns.jitter[1] > 0) == (2, True)
    with pytest.raises(ValueError, match="beyond the table"):
        table.columns([2 * 65536])
    assert list(table.columns([]).packets) == []


@pytest.mark.alone
def test_twenty_thousand_flows_are_read_within_a_millisecond(loaded) -> None:
    indexes = array("I", range(10000, 30000))
    spent = [1.0]
    while min(spent) > 0.001 and len(spent) < 5000:  # whatever else the machine does takes the caches away
        start = time.thread_time()
        loaded.table.columns(indexes)
        spent.append(time.thread_time() - start)
    assert min(spent) < 0.001


def test_generations_go_on_where_another_writer_ended(loaded, pair) -> None:
    loaded.table.write_pair(*pair)
    first = loaded.table.generation(10000)
    again = type(loaded.table)(*loaded.table._maps, loaded.table.config)
    again.write_pair(*pair)
    assert again.generation(10000) == first + 1
    again._table.generation = 0xFFFFFFFF
    again.write_pair(*pair)
    assert again.generation(10000) == 1


@pytest.mark.parametrize(("user", "result"), [("owner", "10000 1"), ("other", "EACCES")])
def test_only_the_owner_opens_the_pins_and_needs_no_capability(settings, run_as, pair, user, result) -> None:
    from ctl.kernel import loader

    owned = replace(settings, owner_uid=65534, owner_gid=65534)
    report = loader.attach(owned)
    code = """
import errno
from pathlib import Path
from ctl.kernel.flowrule import FlowRule, FlowState
from ctl.kernel.libbpf import BpfError
from ctl.kernel.events import EventReader
from ctl.kernel.flowtable import FlowTable
assert int(open("/proc/self/status").read().split("CapEff:")[1].split()[0], 16) == 0
try:
    table = FlowTable.open(Path(sys.argv[2]))
    here, there = ("192.0.2.1", 10000), ("203.0.113.5", 4000)
    table.write(table.index(*here), FlowRule(FlowState.PINNED, there, here, there))
    assert EventReader(Path(sys.argv[2])).drain() == []
    assert table.reasons()["forwarded"].packets == 0
    print(table.active()[0], table.generation(10000))
except BpfError as error:
    print(errno.errorcode[error.errno])
"""
    done = run_as(65534 if user == "owner" else 65533, code, report.pin_dir)
    loader.detach(settings.bpffs, settings.state_dir)
    assert (done.stdout.strip(), done.stderr) == (result, "")
