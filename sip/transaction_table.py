# SPDX-License-Identifier: GPL-3.0-or-later
"""The four transaction machines of RFC 3261 §17 as corrected by RFC 6026, each one table.

A table maps (state, input) to (next state, what to do in order). An input that has no entry changes nothing:
so retransmissions are absorbed, and a timer that outlives its state is silent. A timer among the things to do
is started; one among the inputs has rung.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where a transaction stands."""

    IDLE = "idle"
    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Signal(StrEnum):
    """What happens to a transaction, timers apart. Responses are received by a client, sent by a server."""

    REQUEST = "request"
    ACK = "ack"
    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "3xx-6xx"
    UNDELIVERED = "transport error"
    ABANDON = "abandon"
    """The user gave up waiting for a final response to a cancelled INVITE (RFC 3261 §9.1)."""


class Timer(StrEnum):
    """The timers of RFC 3261 table 4 and RFC 6026 §8.4."""

    A = "A"
    B = "B"
    D = "D"
    E = "E"
    F = "F"
    G = "G"
    H = "H"
    I = "I"  # noqa: E741 - the RFC's own name
    J = "J"
    K = "K"
    L = "L"
    M = "M"


class Do(StrEnum):
    """What a transaction does on its way to the next state."""

    SEND = "send"
    RESEND = "resend"
    ACK = "send ACK"
    DELIVER = "deliver"
    TIMEOUT = "tell timeout"


Input = Signal | Timer
Step = tuple[State, tuple[Do | Timer, ...]]
Table = Mapping[tuple[State, Input], Step]

INVITE_CLIENT: Table = {
    (State.IDLE, Signal.REQUEST): (State.CALLING, (Do.SEND, Timer.A, Timer.B)),
    (State.CALLING, Timer.A): (State.CALLING, (Do.RESEND, Timer.A)),
    (State.CALLING, Timer.B): (State.TERMINATED, (Do.TIMEOUT,)),
    (State.CALLING, Signal.UNDELIVERED): (State.TERMINATED, (Do.TIMEOUT,)),
    (State.CALLING, Signal.PROVISIONAL): (State.PROCEEDING, (Do.DELIVER,)),
    (State.CALLING, Signal.SUCCESS): (State.ACCEPTED, (Timer.M, Do.DELIVER)),
    (State.CALLING, Signal.FAILURE): (State.COMPLETED, (Do.ACK, Timer.D, Do.DELIVER)),
    (State.CALLING, Signal.ABANDON): (State.TERMINATED, ()),
    (State.PROCEEDING, Signal.PROVISIONAL): (State.PROCEEDING, (Do.DELIVER,)),
    (State.PROCEEDING, Signal.SUCCESS): (State.ACCEPTED, (Timer.M, Do.DELIVER)),
    (State.PROCEEDING, Signal.FAILURE): (State.COMPLETED, (Do.ACK, Timer.D, Do.DELIVER)),
    (State.PROCEEDING, Signal.ABANDON): (State.TERMINATED, ()),
    (State.COMPLETED, Signal.FAILURE): (State.COMPLETED, (Do.ACK,)),
    (State.COMPLETED, Timer.D): (State.TERMINATED, ()),
    (State.ACCEPTED, Signal.SUCCESS): (State.ACCEPTED, (Do.DELIVER,)),
    (State.ACCEPTED, Timer.M): (State.TERMINATED, ()),
}

CLIENT: Table = {
    (State.IDLE, Signal.REQUEST): (State.TRYING, (Do.SEND, Timer.E, Timer.F)),
    (State.TRYING, Timer.E): (State.TRYING, (Do.RESEND, Timer.E)),
    (State.TRYING, Timer.F): (State.TERMINATED, (Do.TIMEOUT,)),
    (State.TRYING, Signal.UNDELIVERED): (State.TERMINATED, (Do.TIMEOUT,)),
    (State.TRYING, Signal.PROVISIONAL): (State.PROCEEDING, (Do.DELIVER,)),
    (State.TRYING, Signal.SUCCESS): (State.COMPLETED, (Timer.K, Do.DELIVER)),
    (State.TRYING, Signal.FAILURE): (State.COMPLETED, (Timer.K, Do.DELIVER)),
    (State.PROCEEDING, Timer.E): (State.PROCEEDING, (Do.RESEND, Timer.E)),
    (State.PROCEEDING, Timer.F): (State.TERMINATED, (Do.TIMEOUT,)),
    (State.PROCEEDING, Signal.UNDELIVERED): (State.TERMINATED, (Do.TIMEOUT,)),
    (State.PROCEEDING, Signal.PROVISIONAL): (State.PROCEEDING, (Do.DELIVER,)),
    (State.PROCEEDING, Signal.SUCCESS): (State.COMPLETED, (Timer.K, Do.DELIVER)),
    (State.PROCEEDING, Signal.FAILURE): (State.COMPLETED, (Timer.K, Do.DELIVER)),
    (State.COMPLETED, Timer.K): (State.TERMINATED, ()),
}

INVITE_SERVER: Table = {
    (State.IDLE, Signal.REQUEST): (State.PROCEEDING, ()),
    (State.PROCEEDING, Signal.REQUEST): (State.PROCEEDING, (Do.RESEND,)),
    (State.PROCEEDING, Signal.PROVISIONAL): (State.PROCEEDING, (Do.SEND,)),
    (State.PROCEEDING, Signal.SUCCESS): (State.ACCEPTED, (Do.SEND, Timer.L)),
    (State.PROCEEDING, Signal.FAILURE): (State.COMPLETED, (Do.SEND, Timer.G, Timer.H)),
    (State.COMPLETED, Signal.REQUEST): (State.COMPLETED, (Do.RESEND,)),
    (State.COMPLETED, Timer.G): (State.COMPLETED, (Do.RESEND, Timer.G)),
    (State.COMPLETED, Timer.H): (State.TERMINATED, ()),
    (State.COMPLETED, Signal.ACK): (State.CONFIRMED, (Timer.I,)),
    (State.CONFIRMED, Timer.I): (State.TERMINATED, ()),
    (State.ACCEPTED, Signal.SUCCESS): (State.ACCEPTED, (Do.SEND,)),
    (State.ACCEPTED, Timer.L): (State.TERMINATED, ()),
}

SERVER: Table = {
    (State.IDLE, Signal.REQUEST): (State.TRYING, ()),
    (State.TRYING, Signal.PROVISIONAL): (State.PROCEEDING, (Do.SEND,)),
    (State.TRYING, Signal.SUCCESS): (State.COMPLETED, (Do.SEND, Timer.J)),
    (State.TRYING, Signal.FAILURE): (State.COMPLETED, (Do.SEND, Timer.J)),
    (State.PROCEEDING, Signal.REQUEST): (State.PROCEEDING, (Do.RESEND,)),
    (State.PROCEEDING, Signal.PROVISIONAL): (State.PROCEEDING, (Do.SEND,)),
    (State.PROCEEDING, Signal.SUCCESS): (State.COMPLETED, (Do.SEND, Timer.J)),
    (State.PROCEEDING, Signal.FAILURE): (State.COMPLETED, (Do.SEND, Timer.J)),
    (State.COMPLETED, Signal.REQUEST): (State.COMPLETED, (Do.RESEND,)),
    (State.COMPLETED, Timer.J): (State.TERMINATED, ()),
}
