# SPDX-License-Identifier: GPL-3.0-or-later
"""What the signalling core asks of the world, and what it is told in return.

The core never acts. Each input returns a list of effects; `ctl.signalling.conductor` carries them out in order and
hands the results of those that have a `token` back in by the method of `sip.core.Core` named at the effect.
Times are seconds of CLOCK_MONOTONIC, which survive a restart of the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from sip.facts import fact

if TYPE_CHECKING:
    from sip.registrar import Binding

Leg = Literal["a", "b"]


@fact
class Address:
    """A transport address. host: a literal IP address, without brackets for IPv6. transport: udp, tcp, tls, ws or wss.

    inbound: the peer opened the way to us, by a connection or through its NAT, and there is no other way to it. name:
    whose certificate the peer must show over TLS, where it was found by a name (RFC 5922). certified: the names in the
    certificate that a peer has shown us, verified. None of these tells two apart.
    """

    host: str
    port: int
    transport: str = "udp"
    inbound: bool = field(default=False, compare=False)
    name: str = field(default="", compare=False)
    certified: tuple[str, ...] = field(default=(), compare=False)

    @property
    def packed(self) -> tuple[str, int, str, bool, str]:
        """The address as JSON can carry it; `Address(*packed)` is it again, without its certificate."""
        return self.host, self.port, self.transport, self.inbound, self.name

    @property
    def reliable(self) -> bool:
        """Whether its transport keeps messages whole and in order."""
        return self.transport != "udp"


@fact
class Send:
    """Send `data` as one message to `target`, from the local address `local` (None: any)."""

    data: bytes
    target: Address
    local: Address | None = None


@fact
class Authenticate:
    """Who is this user? Answered by `Core.authenticated(token, {algorithm: HA1 in hex} | None, now)`."""

    token: int
    realm: str
    username: str


@fact
class FindRoute:
    """Where does this call go? Answered by `Core.routed(token, targets, now)` or `Core.refused`.

    caller: the authenticated user name; for a call from a trunk, the number that it names. trunk: the trunk that the
    call came from, "" for a user's. dialled: the user part of the request URI; domain: its host part. diverted: the
    user who sends the call on, by a redirection or a transfer, "" at first: it is this user who has to be allowed to.
    """

    token: int
    call: str
    caller: str
    dialled: str
    domain: str
    trunk: str = ""
    diverted: str = ""


After = Literal["any", "busy", "no_answer"]


@fact
class Diversion:
    """Who sent a call on, and why, in the words of RFC 5806. hidden: who does not want to be shown to people."""

    name: str
    reason: str
    hidden: bool = False


@fact
class UserTarget:
    """A route to the contacts that a local user has registered.

    ring: seconds until the next target is tried, 0: as the settings say. beside: rings at the same time as the target
    before it. after: tried only if what came before ended so. diversions: who sent the call on to here, the last one
    first, which the callee may be told. manner: how its media is treated; only those who have this in common are
    served by one offer.
    """

    username: str
    ring: float = 0.0
    beside: bool = False
    after: After = "any"
    diversions: tuple[Diversion, ...] = ()
    manner: str = ""


@fact
class UriTarget:
    """A route to a SIP URI outside, by way of the given address if there is one; the rest as in UserTarget."""

    uri: str
    address: Address | None = None
    ring: float = 0.0
    beside: bool = False
    after: After = "any"
    diversions: tuple[Diversion, ...] = ()


@fact
class TrunkTarget:
    """A route to a number by a trunk, its addresses tried in order; the rest as in UserTarget.

    caller_id: the number to show as the caller's, "" for the caller's own; hidden: show none. next_on: the Q.850 causes
    after which the next target is tried, None for those of a carrier that is out of order. setup: seconds until it must
    have given a sign, 0: as long as it may ring. urgent: no limit and no state of the trunk may keep this call off it.
    """

    trunk: str
    number: str
    caller_id: str = ""
    hidden: bool = False
    next_on: frozenset[int] | None = None
    setup: float = 0.0
    urgent: bool = False
    ring: float = 0.0
    beside: bool = False
    after: After = "any"
    diversions: tuple[Diversion, ...] = ()


@fact
class ServiceTarget:
    """Ourselves: the caller hears what media plays to it, until `Core.connect` finds somebody to talk to.

    service: what for, as whoever runs it names it. early: the caller hears us in a 183, and is not answered before
    somebody else answers. after: tried only if what came before ended so.
    """

    service: str
    early: bool = False
    after: After = "any"
    beside: bool = False


Target = UserTarget | UriTarget | TrunkTarget | ServiceTarget


@fact
class OfferMedia:
    """Session description `sdp` of an offer from `leg`; answered with the one to send to the other leg.

    By `Core.media_ready(token, sdp, now)` or `Core.refused(token, status, reason, now)`. `source` is the
    address that the signalling of `leg` came from, and so the only one media may come from where the
    description names a private address. `toward` is where the signalling of the other leg goes: it tells
    which of our addresses faces that leg. `local`, `toward_local`: the addresses of ours that either leg signals
    to, as far as there is any yet; `trunk`, `toward_trunk`: the trunks that they are, `user`, `toward_user`: the
    users, empty where they are not. `attempt` counts the offers that the other leg has refused with 488. `transport`,
    `toward_transport`: by what they signal, empty where that is not known yet. side: of those who ring together and
    need offers of their own, which this is for: "" the first, that has to come before the others.
    """

    token: int
    call: str
    leg: Leg
    sdp: bytes
    source: str
    toward: str
    local: str = ""
    toward_local: str = ""
    trunk: str = ""
    toward_trunk: str = ""
    attempt: int = 0
    user: str = ""
    toward_user: str = ""
    transport: str = ""
    toward_transport: str = ""
    side: str = ""


@fact
class AnswerMedia:
    """Session description `sdp` of an answer from `leg`, to the offer last made; answered as OfferMedia is.

    The flows of the call are programmed when the answer to this effect arrives. One offer can have two: that of an
    early 18x, and that of the 200. side: see OfferMedia.
    """

    token: int
    call: str
    leg: Leg
    sdp: bytes
    source: str
    side: str = ""


@fact
class AttendMedia:
    """We ourselves are the peer of `leg`; answered as OfferMedia is, with the description for this same leg.

    sdp: its offer, answered in one codec that we can play; empty: make it one, which AnswerMedia answers. The other
    fields: see OfferMedia.
    """

    token: int
    call: str
    leg: Leg
    sdp: bytes
    source: str
    local: str = ""
    trunk: str = ""
    user: str = ""
    transport: str = ""
    side: str = ""


@fact
class CallStarted:
    """A call began. trunk: which it came by; the rest: see FindRoute."""

    call: str
    caller: str
    dialled: str
    trunk: str = ""


@fact
class CallAnswered:
    """The caller has its 2xx, or the first one has answered of a call that we began."""

    call: str


@fact
class Waiting:
    """The caller hears us, and waits for `Core.connect`. caller: who it is; trunk: which it came by."""

    call: str
    service: str
    caller: str
    trunk: str = ""


@fact
class Joined:
    """Somebody whom `Core.connect` named answered: the two talk with each other."""

    call: str
    peer: str


@fact
class Unreached:
    """Nobody of those whom `Core.connect` named can be had: the caller waits on. status: SIP's, cause: Q.850's."""

    call: str
    status: int
    cause: int
    reason: str


@fact
class RevertMedia:
    """The offer last made came to nothing: what was agreed before it holds (RFC 3261 §14.1, RFC 3264 §8)."""

    call: str


@fact
class CloseMedia:
    """The call has no media any more: flows off, ports to quarantine."""

    call: str


@fact
class SaveCall:
    """The call changed: write `state`, which JSON can carry, where a restarted process finds it."""

    call: str
    state: Mapping[str, Any]


@fact
class ForgetCall:
    """The call is over and its record was handed out: nothing of it needs to be restored."""

    call: str


@fact
class SaveBindings:
    """The contacts of a user changed: write these, none of them meaning that there are none.

    JSON can carry the `state` of each, which `Core.restore_binding` takes; `registrar.bindings_text` writes them so.
    """

    username: str
    bindings: tuple[Binding, ...]


@fact
class Pressed:
    """A party pressed a key, 0-9 A-D * #, and told it by INFO. milliseconds: for how long, where it said so.

    Answered by `Core.pressed(token, taken, now)`. taken: the other party is told by its media, or is not to be told;
    else it gets the INFO itself.
    """

    call: str
    leg: Leg
    digit: str
    milliseconds: float | None
    token: int = field(default=0, compare=False)


@fact
class BorrowLeg:
    """Another process has this dialog of ours: Call-ID, our tag, the peer's. The peer of that call shall come here.

    Answered by `Core.lent(token, state, now)` or `Core.refused`. party: the user and the trunk that the dialog must be
    of, one of them "", None: whoever knows it.
    """

    token: int
    dialog: tuple[str, str, str]
    party: tuple[str, str] | None


@fact
class LentLeg:
    """What came of `Core.lend`: the leg is gone, and `state`, which JSON can carry, is for `Core.lent` of the asker.

    None: it stays, and status and reason say why.
    """

    asker: tuple[int, int]
    state: Mapping[str, Any] | None
    status: int = 200
    reason: str = ""


@fact
class EndLoan:
    """A borrowed leg goes back to its call as `state`, or is here for good, None: for `Core.end_loan` of the lender."""

    call: str
    leg: Leg
    state: Mapping[str, Any] | None


@fact
class CallEnded:
    """One call as billing sees it; follows CloseMedia, precedes ForgetCall. Every call yields exactly one."""

    call: str
    caller: str
    dialled: str
    a_call_id: str
    b_call_id: str | None
    started: float
    ringing: float | None
    answered: float | None
    ended: float
    status: int
    """Final SIP status of the INVITE; 200 once answered."""
    cause: int
    """Q.850 cause of the end."""
    ended_by: Literal["a", "b", "server"]
    reason: str
    from_trunk: str = ""
    to_trunk: str = ""
    """The trunks that it came from and went to, "" where it did not."""
    service: str = ""
    """What it waited for last, "" if for nothing."""
    waited: float | None = None
    """Seconds for which the caller heard us, None if it never did."""
    joined: bool = False
    """Whether somebody took it from there; if not, it was abandoned."""
    peer: str = ""
    """Who that was, by the name that `Core.connect` gave."""


Effect = (
    Send
    | Authenticate
    | FindRoute
    | OfferMedia
    | AnswerMedia
    | AttendMedia
    | CallStarted
    | CallAnswered
    | Waiting
    | Joined
    | Unreached
    | RevertMedia
    | CloseMedia
    | SaveCall
    | ForgetCall
    | SaveBindings
    | Pressed
    | BorrowLeg
    | LentLeg
    | EndLoan
    | CallEnded
)
