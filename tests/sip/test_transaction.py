# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole schedules of the four transaction machines, by a clock that only the test moves."""

from __future__ import annotations

import pytest

from sip.effects import Address
from sip.parser import parse
from sip.timers import Intervals, Timers
from sip.transaction import TransactionLayer, server_key
from sip.transaction_table import CLIENT, INVITE_CLIENT, INVITE_SERVER, SERVER, Signal, State, Timer

PEER, OURS = Address("192.0.2.7", 5060), Address("198.51.100.1", 5060)


class Line:
    """A transaction layer whose messages are logged with their time."""

    def __init__(self, transport: str = "udp") -> None:
        self.effects: list = []
        self.timers = Timers()
        self.layer = TransactionLayer(self.timers, Intervals(), self.effects)
        self.log: list[tuple[float, str]] = []
        self.told: list[tuple[float, int | None]] = []
        self.peer = Address(PEER.host, PEER.port, transport)
        self.now = 0.0

    def collect(self) -> None:
        self.log += [(round(self.now, 3), effect.data.decode()) for effect in self.effects]
        self.effects.clear()

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.timers.next_due()) is not None and due <= end:
            self.now = due
            for owner, name in self.timers.due(due):
                owner.ring(name, due)
            self.collect()
        self.now = end

    def call(self, method: str):
        def take(response, now):
            self.told.append((now, response and response.status))

        def ack(response, target):
            return b"ACK"

        made = self.layer.request(method.encode(), "z9hG4bK1", method, self.peer, OURS, self.now, take, ack)
        self.collect()
        return made

    def hear(self, status: int, method: str) -> None:
        self.layer.response(response(status, method), self.now)
        self.collect()

    def serve(self, method: str):
        self.request = request(method)
        return self.layer.serve(self.request, self.peer, OURS, self.now)

    def again(self, method: str = "") -> bool:
        taken = self.layer.absorb(request(method) if method else self.request, self.now)
        self.collect()
        return taken

    def times(self, text: str) -> list[float]:
        return [at for at, data in self.log if data == text]


def request(method: str, via: str = "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKx", call_id: str = "c"):
    return parse(
        f"{method} sip:x@example.org SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:x@b>\r\n"
        f"Call-ID: {call_id}\r\nCSeq: 1 {method}\r\n\r\n".encode()
    )


def response(status: int, method: str, branch: str = "z9hG4bK1"):
    return parse(
        f"SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP 198.51.100.1;branch={branch}\r\nFrom: <sip:a@b>;tag=1\r\n"
        f"To: <sip:x@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n\r\n".encode()
    )


# --- schedules: transport, method, what happens when, what goes out when, what the user is told, when all is over ---

A_UNCAPPED = [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
E_CAPPED = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
CLIENT_SCHEDULES = [
    ("udp", "INVITE", [], A_UNCAPPED, [(32.0, None)], 32.0),
    ("tcp", "INVITE", [], [0], [(32.0, None)], 32.0),
    ("udp", "INVITE", [(1, 180)], [0, 0.5], [(1, 180)], None),
    ("udp", "INVITE", [(1, 180), (2, 486)], [0, 0.5], [(1, 180), (2, 486)], 34.0),
    ("tcp", "INVITE", [(2, 486)], [0], [(2, 486)], 2.0),
    ("udp", "INVITE", [(1, 200), (3, 200), (5, 180)], [0, 0.5], [(1, 200), (3, 200)], 33.0),
    ("udp", "BYE", [], E_CAPPED, [(32.0, None)], 32.0),
    ("tcp", "BYE", [], [0], [(32.0, None)], 32.0),
    ("udp", "BYE", [(1, 100)], [0, 0.5, 1.5, 5.5, 9.5, 13.5, 17.5, 21.5, 25.5, 29.5], [(1, 100), (32.0, None)], 32.0),
    ("udp", "BYE", [(1, 200), (2, 200)], [0, 0.5], [(1, 200)], 6.0),
    ("tcp", "BYE", [(1, 200)], [0], [(1, 200)], 1.0),
    ("udp", "BYE", [(0.7, 481)], [0, 0.5], [(0.7, 481)], 5.7),
]


@pytest.mark.parametrize(("transport", "method", "heard", "sent", "told", "over"), CLIENT_SCHEDULES)
def test_client_schedule(transport, method, heard, sent, told, over):
    line = Line(transport)
    line.call(method)
    for at, status in heard:
        line.pass_time(at - line.now)
        line.hear(status, method)
    line.pass_time(max(0, (over or 100) - line.now - 0.001))
    assert len(line.layer) == (0 if over == line.now else 1)
    line.pass_time(0.002)
    assert len(line.layer) == (0 if over else 1)
    assert line.times(method) == sent
    assert line.told == told
    assert over is None or len(line.timers) == 0


SERVER_SCHEDULES = [
    ("udp", "INVITE", 486, None, [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5], 32.0),
    ("udp", "INVITE", 486, 2.0, [0, 0.5, 1.5], 7.0),
    ("tcp", "INVITE", 486, None, [0], 32.0),
    ("tcp", "INVITE", 486, 2.0, [0], 2.0),
    ("udp", "INVITE", 200, None, [0], 32.0),
    ("udp", "BYE", 200, None, [0], 32.0),
    ("tcp", "BYE", 200, None, [0], 0.0),
]


@pytest.mark.parametrize(("transport", "method", "status", "acked", "sent", "over"), SERVER_SCHEDULES)
def test_server_schedule(transport, method, status, acked, sent, over):
    line = Line(transport)
    made = line.serve(method)
    made.respond(status, b"final", line.now)
    line.collect()
    if acked is not None:
        line.pass_time(acked)
        assert line.again("ACK")
    line.pass_time(max(0, over - line.now - 0.001))
    assert len(line.layer) == (0 if over == line.now else 1)
    line.pass_time(0.002)
    assert len(line.layer) == len(line.timers) == 0
    assert line.times("final") == sent


# --- retransmissions ---


def test_server_repeats_its_last_response():
    line = Line()
    made = line.serve("INVITE")
    assert line.again()
    assert line.log == []
    made.respond(100, b"100", 0)
    made.respond(180, b"180", 0)
    line.collect()
    assert line.again()
    assert [data for _, data in line.log] == ["100", "180", "180"]
    made.respond(486, b"486", 0)
    line.again()
    line.again("ACK")
    line.again()
    assert [data for _, data in line.log[3:]] == ["486", "486"]
    assert made.state is State.CONFIRMED


def test_ack_of_a_2xx_is_not_the_transactions():
    line = Line()
    line.serve("INVITE").respond(200, b"200", 0)
    assert not line.again("ACK")
    assert line.again()


def test_failure_is_acknowledged_each_time():
    line = Line()
    line.call("INVITE")
    for _ in range(3):
        line.hear(486, "INVITE")
    assert line.times("ACK") == [0, 0, 0]
    assert line.told == [(0, 486)]


def test_response_needs_branch_and_method():
    line = Line()
    line.call("INVITE")
    assert not line.layer.response(response(200, "BYE"), 0)
    assert not line.layer.response(response(200, "INVITE", "z9hG4bK2"), 0)
    assert line.told == []


KEYS = [
    ("SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKx", "c", True),
    ("SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKx", "other", True),
    ("SIP/2.0/UDP 192.0.2.8:5060;branch=z9hG4bKx", "c", False),
    ("SIP/2.0/UDP 192.0.2.7:5061;branch=z9hG4bKx", "c", False),
    ("SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKy", "c", False),
]


@pytest.mark.parametrize(("via", "call_id", "same"), KEYS)
def test_what_makes_one_transaction(via, call_id, same):
    assert (server_key(request("INVITE", via, call_id)) == server_key(request("INVITE"))) == same


@pytest.mark.parametrize("branch", [";branch=z9hG4bK", ";branch=1", ""])
def test_without_a_proper_branch_the_call_id_counts(branch):
    via = f"SIP/2.0/UDP 192.0.2.7{branch}"
    assert server_key(request("INVITE", via, "c")) != server_key(request("INVITE", via, "d"))
    assert server_key(request("INVITE", via, "c")) == server_key(request("ACK", via, "c"))


def test_methods_have_transactions_of_their_own_but_for_ack():
    keys = {server_key(request(method)) for method in ("INVITE", "ACK", "CANCEL", "BYE")}
    assert len(keys) == 3
    assert server_key(request("CANCEL"), "INVITE") == server_key(request("INVITE"))


@pytest.mark.parametrize("table", [INVITE_CLIENT, CLIENT, INVITE_SERVER, SERVER])
def test_tables_are_closed(table):
    """Each state that is entered can be left by itself, and every timer that is started is heard somewhere."""
    entered = {state for state, _ in table.values()} - {State.TERMINATED}
    assert entered <= {state for state, _ in table}
    started = {action for _, actions in table.values() for action in actions if isinstance(action, Timer)}
    assert started == {signal for _, signal in table if isinstance(signal, Timer)}
    assert all(actions == () or state is not State.IDLE for state, actions in table.values())
    assert (State.IDLE, Signal.REQUEST) in table


def test_stopped_timers_let_go_of_their_owner():
    timers = Timers()
    alarms = [timers.start(Line(), "x", at) for at in range(5000)]
    for alarm in alarms[:4900]:
        timers.stop(alarm)
    assert len(timers) == 100
    assert all(alarm.owner is None for alarm in alarms[:4900])
    assert timers.next_due() == 4900
    assert [name for _, name in timers.due(4901)] == ["x", "x"]
