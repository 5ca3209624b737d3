# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of events and counters of live calls, by a table, a clock and a journal of the test's own."""

import struct
import time
from itertools import pairwise
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from ctl.journal import Journal
from ctl.kernel.events import Dtmf, Learned, Rejected, Rtcp, SsrcChanged
from ctl.observe.media_watch import SAVED_EVERY, TURNS, Digit, MediaWatch, Stopped
from ctl.sessions.host_carriers import DRAINS_AT_ONCE, Carriers
from media.flows import EngineEvent
from sip.effects import Pressed
from tests.ctl.world import ALICE, BOB, RELAY_A, RELAY_B, rtp_port

NTP = 0x0000111122220000


class Watched:
    """A call of Alice and Bob, and the watch over it; at 1000 the flows begin."""

    def __init__(self, world, path):
        self.world, self.path = world, path
        to_bob, to_alice = world.call()
        self.a, self.b = (RELAY_A, rtp_port(to_alice)), (RELAY_B, rtp_port(to_bob))
        self.intervals, self.stopped = [], []
        self.now = 1000.0
        self.start()

    def start(self):
        self.journal, recovered = Journal.open(self.path / "quality", time.time() - time.monotonic())
        self.watch = MediaWatch(self.world.programmer, self.journal, self.intervals.append)
        self.watch.subscribe(self.stopped.append)
        self.watch.restore(recovered)

    def kill_and_restart(self):
        state = self.world.sessions.snapshot("call")
        self.world.restart()
        self.world.sessions.restore("call", state)
        self.start()

    def five_seconds(self):
        for _ in range(TURNS):
            self.now += 1
            self.watch.look(self.now)

    def quality(self, leg):
        return self.world.programmer.quality.of("call", 0, leg)

    def count(self, local, **counters):
        self.world.table.count(local, **{"last_seen": self.now, **counters})

    def reports(self, leg, at, time=None, last=0, delay=0.0, fraction=0, jitter=0):
        """An SR, or an RR, as the kernel hands it over from the RTCP port of that leg."""
        address, port = self.a if leg == "a" else self.b
        head = struct.pack("!BBHI", 0x81, 200 if time else 201, 12 if time else 7, 9)
        head += struct.pack("!QIII", time, 0, 0, 0) if time else b""
        block = struct.pack("!IIIIII", 7, fraction << 24, 0, jitter, last, round(delay * 65536))
        event = Rtcp(at, 0, 0, (ALICE, 4001), head + block)
        self.watch.events([(event, (address, port + 1))])


@pytest.fixture
def watched(world, tmp_path):
    return Watched(world, tmp_path)


def test_each_direction_is_judged_every_five_seconds(watched):
    watched.count(watched.a, packets=250, lost=0)
    watched.count(watched.b, packets=225, lost=25)
    watched.five_seconds()
    assert len(watched.intervals) == 2
    assert (watched.quality("a").loss, watched.quality("b").loss) == (0, 0.1)
    assert watched.quality("a").mos > 4.3 > 3.5 > watched.quality("b").mos
    views = {view.leg: view for view in watched.world.sessions.query("call") if view.kind == "rtp"}
    assert views["b"].quality.mos_min == watched.quality("b").mos


def test_reports_of_both_legs_give_round_trip_and_far_loss(watched):
    watched.reports("a", 10.0, time=NTP)
    watched.reports("b", 10.06, time=NTP + (1 << 16), last=0x11112222, delay=0.04, fraction=64, jitter=80)
    watched.reports("a", 11.13, last=0x11112223, delay=1.0)
    sent_by_a = watched.quality("a")
    assert (sent_by_a.far_loss, sent_by_a.far_jitter_ms) == (0.25, 10)
    assert watched.quality("b").leg_round_trip == pytest.approx(0.02, abs=1e-4)
    assert watched.world.programmer.quality.round_trip("call", 0) == pytest.approx(0.09, abs=1e-4)


def test_the_engine_tells_reports_as_the_kernel_does(watched):
    address, port = watched.b
    block = struct.pack("!IIIIII", 7, 64 << 24, 0, 80, 0, 0)
    data = struct.pack("!BBHI", 0x81, 201, 7, 9) + block
    watched.watch.reported(EngineEvent((address, port + 1), "rtcp", 0, data, 10.0))
    sent_by_a = watched.quality("a")
    assert (sent_by_a.far_loss, sent_by_a.far_jitter_ms, sent_by_a.far_at) == (0.25, 10, 10.0)


def test_a_report_at_no_flow_of_ours_is_nothing(watched):
    watched.watch.events([(Rtcp(1.0, 0, 0, (BOB, 1), bytes(80)), (RELAY_A, 30001))])
    assert watched.quality("a") is None


def test_media_that_stops_is_told_once_and_again_after_it_came_back(watched):
    watched.count(watched.a, packets=250)
    watched.count(watched.b, packets=250)
    watched.five_seconds()
    for _ in range(3):
        watched.five_seconds()
    assert {(each.leg, each.seconds) for each in watched.stopped} == {(leg, watched.stopped[0].seconds) for leg in "ab"}
    assert 5 < watched.stopped[0].seconds < 15
    watched.count(watched.a, packets=300, last_seen=watched.now)
    for _ in range(3):
        watched.five_seconds()
    assert sorted(each.leg for each in watched.stopped) == ["a", "a", "b"]
    assert isinstance(watched.stopped[0], Stopped)


def test_a_flow_without_a_packet_yet_has_not_stopped(watched):
    watched.five_seconds()
    watched.five_seconds()
    assert watched.stopped == []


def test_a_killed_controller_goes_on_with_the_figures(watched):
    watched.count(watched.a, packets=200, lost=50)
    watched.five_seconds()
    before = watched.quality("a").mos_min
    watched.kill_and_restart()
    watched.count(watched.a, packets=450, lost=50)
    watched.five_seconds()
    after = watched.quality("a")
    assert (after.mos_min, after.intervals, after.packets_per_second) == (before, 2, 50)


def test_figures_of_the_same_calls_are_saved_every_third_look(watched):
    lines = []
    for look in range(1, 11):
        watched.count(watched.a, packets=250 * look)
        watched.five_seconds()
        lines.append((watched.path / "quality").read_bytes().count(b'[["call"'))
    saved = [after - before for before, after in pairwise(lines)]
    assert lines[0] == 1
    assert [sum(saved[place : place + SAVED_EVERY]) for place in range(0, 9, SAVED_EVERY)] == [1, 1, 1]


def test_figures_of_calls_that_are_gone_are_forgotten(watched):
    watched.count(watched.a, packets=200)
    watched.five_seconds()
    watched.world.restart()
    watched.start()
    assert watched.world.programmer.quality.calls() == set()
    watched.five_seconds()
    watched.journal.close()
    assert Journal.open(watched.path / "quality", 0.0)[1].of("quality") == {}


def test_figures_of_an_earlier_boot_are_none(watched, monkeypatch):
    watched.count(watched.a, packets=200)
    watched.five_seconds()
    (watched.path / "boot").write_text("another")
    monkeypatch.setattr("ctl.journal.BOOT_ID", watched.path / "boot")
    watched.kill_and_restart()
    assert watched.quality("a") is None


def test_an_ended_call_takes_its_last_seconds_along(watched):
    watched.count(watched.a, packets=150, last_seen=3.0)
    views = {view.leg: view for view in watched.world.sessions.delete("call", 0.0) if view.kind == "rtp"}
    assert (views["a"].quality.intervals, views["b"].quality.intervals) == (1, 0)
    assert watched.world.programmer.quality.calls() == set()


def test_digits_are_told_and_shown_and_not_logged(watched):
    def dial(event, duration=800):
        return Dtmf(1.0, 0, 0, (BOB, 9), 5, event, 10, 0, duration), watched.b

    with capture_logs() as lines:
        watched.watch.events([dial(4), dial(11, 480), dial(16)])
    assert watched.stopped == [Digit("call", 0, "b", "4", 100.0), Digit("call", 0, "b", "#", 60.0)]
    assert watched.quality("b").digits == "4#"
    assert lines == []


def test_digits_of_transcoded_calls_are_told_too(watched):
    def heard(kind, digit, data=b""):
        return EngineEvent(watched.b, "stage", kind, data or struct.pack("=IIBBxxI", kind, 120, digit, 1, 0))

    with capture_logs() as lines:
        for event in (heard(1, 7), heard(1, 11), heard(2, 0), heard(1, 16), heard(1, 0, b"short")):
            watched.watch.staged(event)
        watched.watch.staged(EngineEvent(("192.0.2.77", 1), "stage", 1, struct.pack("=IIBBxxI", 1, 120, 5, 0, 0)))
    assert watched.stopped == [Digit("call", 0, "b", "7", 120), Digit("call", 0, "b", "#", 120)]
    assert watched.quality("b").digits == "7#"
    assert lines == []


def test_keys_told_by_signalling_are_digits_too(watched):
    watched.watch.told(Pressed("call", "b", "9", 160.0))
    watched.watch.told(Pressed("unknown", "a", "1", None))
    watched.watch.told(SimpleNamespace(call="call"))
    assert watched.stopped == [Digit("call", 0, "b", "9", 160.0), Digit("unknown", 0, "a", "1", None)]
    assert watched.quality("b").digits == "9"
    assert "unknown" not in watched.world.programmer.quality.calls()


def test_strangers_are_told_once_a_minute_and_flow(watched):
    def knock(at, local):
        watched.watch.events([(Rejected(at, 0, 0, ("203.0.113.9", 9), "wrong_source"), local)])

    with capture_logs() as lines:
        for second in range(150):
            knock(1000.0 + second, watched.a)
        knock(1001.0, watched.b)
    told = [(line["flow"], line["events"]) for line in lines]
    first = "{}:{}".format(*watched.a)
    assert told == [(first, 1), (first, 60), (first, 60), ("{}:{}".format(*watched.b), 1)]


def test_what_is_learned_or_changes_its_ssrc_is_logged(watched):
    with capture_logs() as lines:
        watched.watch.events(
            [(Learned(1.0, 0, 0, (ALICE, 9)), watched.a), (SsrcChanged(1.0, 0, 0, (ALICE, 9), 5), watched.a)]
        )
    assert [line["event"] for line in lines] == ["source learned", "another SSRC"]


class Ring:
    """Gives out batches of events."""

    def __init__(self, *batches):
        self.batches = list(batches)

    def drain(self):
        return self.batches.pop(0) if self.batches else []


def test_events_are_taken_until_there_are_none_and_those_of_former_rules_left_out(world):
    def learned(generation):
        return Learned(1.0, 7, generation, (ALICE, 9))

    table = SimpleNamespace(generation=lambda index: 3, local=world.table.local)
    carriers = SimpleNamespace(events=Ring([learned(3)] * 512, [learned(2)] * 512, [learned(3)]), table=table)
    taken = Carriers.take_events(carriers)
    assert len(taken) == 513
    assert {local for _, local in taken} == {(RELAY_A, 7)}
    flood = Ring(*([learned(3)] for _ in range(100)))
    assert len(Carriers.take_events(SimpleNamespace(events=flood, table=table))) == DRAINS_AT_ONCE
