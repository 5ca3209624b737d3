# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one transaction along its table, and finds the transaction that a message belongs to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from sip.effects import Address, Effect, Send
from sip.message import Request, Response
from sip.timers import Alarm, Intervals, Timers
from sip.transaction_table import CLIENT, INVITE_CLIENT, INVITE_SERVER, SERVER, Do, Input, Signal, State, Table, Timer

Key = str | tuple[str, str]
"""Of a server transaction, as `Request.transaction_key` has it; of a client's, branch and method."""
OnResponse = Callable[[Response | None, float], None]
"""Takes a response, or None where 64*T1 went by without a final one (RFC 3261 §8.1.3.1 calls that a 408)."""
BuildAck = Callable[[Response, Address], bytes]
_INPUT_OF: dict[str, Input] = {timer.value: timer for timer in Timer} | {Signal.ABANDON.value: Signal.ABANDON}
_RELIABLE_NEVER = frozenset({Timer.A, Timer.E, Timer.G})
_RELIABLE_ZERO = frozenset({Timer.D, Timer.I, Timer.J, Timer.K})


class Owner(Protocol):
    """What a transaction needs of the layer that holds it."""

    timers: Timers
    intervals: Intervals
    effects: list[Effect]

    def linger(self, transaction: Transaction, due: float) -> None:
        """Have timer J of the transaction ring when it is due."""

    def forget(self, transaction: Transaction) -> None:
        """The transaction has ended."""


class Transaction:
    """One transaction of any of the four kinds.

    target: where its messages go; local: the address of ours that they leave from. `on_response` is the client's
    user. A server's user calls `respond`.
    """

    __slots__ = (
        "_alarms",
        "_data",
        "_interval",
        "_on_response",
        "_owner",
        "_table",
        "ack",
        "fallback",
        "key",
        "local",
        "on_cancel",
        "state",
        "target",
    )

    def __init__(
        self,
        owner: Owner,
        table: Table,
        key: Key,
        target: Address,
        local: Address,
        on_response: OnResponse | None = None,
    ) -> None:
        self._owner = owner
        self._table = table
        self._on_response = on_response
        self._alarms: tuple[Alarm, ...] = ()
        self._interval = owner.intervals.t1
        self._data = b""
        self.ack: BuildAck | None = None
        """Builds the ACK of a failed INVITE, to be sent to that address."""
        self.fallback: tuple[bytes, Address] | None = None
        """The request as a datagram and where to, for a peer that takes no connection (RFC 3261 §18.1.1)."""
        self.on_cancel: Callable[[Request, float], None] | None = None
        """Takes the CANCEL of this INVITE, as long as its server has not answered."""
        self.key = key
        self.state = State.IDLE
        self.target = target
        self.local = local

    @property
    def waiting(self) -> bool:
        """Whether a server has not given its final response yet."""
        return self.state in (State.TRYING, State.PROCEEDING)

    def ring(self, name: str, now: float) -> None:
        """A timer is due."""
        self.feed(_INPUT_OF[name], now)

    def limit(self, now: float) -> None:
        """Wait no longer than 64*T1 for a final response: nobody else is interested in it any more."""
        if self.waiting or self.state is State.CALLING:
            due = now + self._owner.intervals.give_up
            self._alarms += (self._owner.timers.start(self, Signal.ABANDON.value, due),)

    def respond(self, status: int, data: bytes, now: float) -> None:
        """Send a response as the server; with the final one the request is let go."""
        if status >= 200:
            self.on_cancel = None
        self.feed(signal_of(status), now, data)

    def undelivered(self, now: float) -> None:
        """The request did not go out: try the other transport, or none is left."""
        if self.fallback is None:
            self.feed(Signal.UNDELIVERED, now)
            return
        (self._data, self.target), self.fallback = self.fallback, None
        self._send(self._data)
        self._start(Timer.A if self._table is INVITE_CLIENT else Timer.E, now)

    def feed(self, signal: Input, now: float, data: bytes = b"", response: Response | None = None) -> None:
        """Take one step of the table; what has no entry there changes nothing."""
        step = self._table.get((self.state, signal))
        if step is None:
            return
        self.state, actions = step
        for action in actions:
            self._act(action, now, data, response)
        if self.state is State.TERMINATED:
            self._end()
        elif self.state is State.ACCEPTED or (self.state is State.COMPLETED and self._table is CLIENT):
            self._let_go()

    def _let_go(self) -> None:
        """Keep nothing that is sent no more; a repeated 2xx is the user's to see, nothing else is anybody's."""
        self._data, self.ack, self.fallback = b"", None, None
        if self.state is State.COMPLETED:
            self._on_response = None

    def _act(self, action: Do | Timer, now: float, data: bytes, response: Response | None) -> None:
        match action:
            case Timer():
                self._start(action, now)
            case Do.SEND:
                self._data = data
                self._send(data)
            case Do.RESEND:
                self._send(self._data)
            case Do.ACK if self.ack and response:
                self._send(self.ack(response, self.target))
            case Do.DELIVER if self._on_response:
                self._on_response(response, now)
            case Do.TIMEOUT if self._on_response:
                self._on_response(None, now)

    def _send(self, data: bytes) -> None:
        if data:
            self._owner.effects.append(Send(data, self.target, self.local))

    def _start(self, timer: Timer, now: float) -> None:
        reliable = self.target.reliable
        if reliable and timer in _RELIABLE_NEVER:
            return
        if timer is Timer.J and not reliable:
            self._owner.linger(self, now + self._duration(timer))
            return
        seconds = 0.0 if reliable and timer in _RELIABLE_ZERO else self._duration(timer)
        self._alarms += (self._owner.timers.start(self, timer, now + seconds),)

    def _duration(self, timer: Timer) -> float:
        """RFC 3261 table 4: A doubles for ever, E and G up to T2, and E is T2 once a 1xx has come (§17.1.2.2)."""
        intervals = self._owner.intervals
        if timer in (Timer.A, Timer.E, Timer.G):
            waited = self._interval
            if timer is Timer.E and self.state is State.PROCEEDING:
                waited = intervals.t2
            self._interval = waited * 2 if timer is Timer.A else min(waited * 2, intervals.t2)
            return waited
        if timer in (Timer.I, Timer.K):
            return intervals.t4
        return max(intervals.give_up, 32.0) if timer is Timer.D else intervals.give_up

    def _end(self) -> None:
        for alarm in self._alarms:
            self._owner.timers.stop(alarm)
        self._alarms = ()
        self._data = b""
        self._on_response = self.ack = self.fallback = self.on_cancel = None
        self._owner.forget(self)


class TransactionLayer:
    """All transactions, by key; shares the core's timers and its list of effects."""

    def __init__(self, timers: Timers, intervals: Intervals, effects: list[Effect]) -> None:
        self.timers = timers
        self.intervals = intervals
        self.effects = effects
        self._clients: dict[Key, Transaction] = {}
        self._servers: dict[Key, Transaction] = {}
        self._lingering: deque[tuple[float, Transaction]] = deque()
        """Those that wait for timer J, which is as long for all of them: nothing else is there by the thousand."""
        self._watched = False

    def __len__(self) -> int:
        return len(self._clients) + len(self._servers)

    def absorb(self, request: Request, now: float) -> bool:
        """Whether a server transaction took `request`: a retransmission, or the ACK of a failed INVITE."""
        transaction = self._servers.get(request.transaction_key)
        if transaction is None:
            return False
        if request.method == "ACK":
            accepted = transaction.state is State.ACCEPTED
            transaction.feed(Signal.ACK, now)
            return not accepted
        transaction.feed(Signal.REQUEST, now)
        return True

    def serve(self, request: Request, source: Address, local: Address, now: float) -> Transaction:
        """Begin a server transaction for `request`, whose responses go back to `source` (RFC 3581 §4)."""
        table = INVITE_SERVER if request.method == "INVITE" else SERVER
        return self.begin(table, request.transaction_key, source, local, now)

    def begin(self, table: Table, key: Key, source: Address, local: Address, now: float) -> Transaction:
        """Begin a server transaction by its table and key."""
        transaction = Transaction(self, table, key, source, local)
        self._servers[key] = transaction
        transaction.feed(Signal.REQUEST, now)
        return transaction

    def find_server(self, key: Key) -> Transaction | None:
        """The server transaction with this key."""
        return self._servers.get(key)

    def request(
        self,
        data: bytes,
        branch: str,
        method: str,
        target: Address,
        local: Address,
        now: float,
        on_response: OnResponse | None = None,
        ack: BuildAck | None = None,
        fallback: tuple[bytes, Address] | None = None,
    ) -> Transaction:
        """Send a request in a client transaction; `ack` builds the ACK of an INVITE that fails."""
        table = INVITE_CLIENT if method == "INVITE" else CLIENT
        transaction = Transaction(self, table, (branch, method), target, local, on_response)
        transaction.ack, transaction.fallback = ack, fallback
        self._clients[transaction.key] = transaction
        transaction.feed(Signal.REQUEST, now, data)
        return transaction

    def response(self, response: Response, now: float) -> bool:
        """Give a response to its client transaction (RFC 3261 §17.1.3); whether there was one."""
        transaction = self._clients.get((response.via.branch or "", response.cseq.method))
        if transaction is None:
            return False
        transaction.feed(signal_of(response.status), now, response=response)
        return True

    def undelivered(self, request: Request, now: float) -> None:
        """A request of ours did not go out; an ACK has no transaction to tell."""
        transaction = self._clients.get((request.via.branch or "", request.method))
        if transaction:
            transaction.undelivered(now)

    def linger(self, transaction: Transaction, due: float) -> None:
        """Have timer J of the transaction ring when it is due."""
        self._lingering.append((due, transaction))
        self._watch()

    def ring(self, name: str, now: float) -> None:
        """Timer J of the first that wait for it is due."""
        self._watched = False
        while self._lingering and self._lingering[0][0] <= now:
            self._lingering.popleft()[1].feed(Timer.J, now)
        self._watch()

    def _watch(self) -> None:
        if self._lingering and not self._watched:
            self.timers.start(self, Timer.J.value, self._lingering[0][0])
            self._watched = True

    def settle(self, key: str) -> None:
        """Let go of a server transaction that was just answered: its user answers retransmissions itself."""
        transaction = self._servers.pop(key, None)
        if transaction and self._lingering and self._lingering[-1][1] is transaction:
            self._lingering.pop()

    def forget(self, transaction: Transaction) -> None:
        """Drop a transaction that has ended."""
        for table in (self._clients, self._servers):
            if table.get(transaction.key) is transaction:
                del table[transaction.key]


def signal_of(status: int) -> Signal:
    """The table's input for a response of this status."""
    if status < 200:
        return Signal.PROVISIONAL
    return Signal.SUCCESS if status < 300 else Signal.FAILURE


def server_key(request: Request, method: str = "") -> str:
    """The key of the server transaction of `request`, or of the one beside it with another method, as a CANCEL asks."""
    key = request.transaction_key
    return f"{method}\n{key.partition(chr(10))[2]}" if method else key
