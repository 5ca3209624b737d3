# SPDX-License-Identifier: GPL-3.0-or-later
"""The front desk: every request is checked here, and sent to whom it is for (RFC 3261 §8.2, §12.2.2).

ACK and CANCEL are never challenged, requests of a dialog neither: who knows both tags is in it. All others that would
make something new are, but for OPTIONS, which makes nothing.
"""

from __future__ import annotations

from functools import partial

from sip.admission import Origin, Rule, rule_for
from sip.agent import ALLOW, ALLOWED, EXTENSIONS, SUPPORTED, Agent, Fields
from sip.authentication import Authentication
from sip.bodies import ACCEPTED, SDP, session_description
from sip.calls import Calls
from sip.counters import Counters
from sip.defence import Buckets, Defence
from sip.dialog import contact_of
from sip.effects import Address
from sip.errors import ProtocolError
from sip.identity import is_anonymous
from sip.indialog import InDialog
from sip.message import Request
from sip.refusals import Refusals
from sip.registration import Registration
from sip.session_timer import too_small
from sip.transaction import Transaction, server_key
from sip.trunk import Trunk

KNOWN = frozenset({*ALLOW, "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH"})
"""Methods that exist: those we do not serve are 405, any other is 501."""
REGISTRAR = frozenset({*EXTENSIONS, "path"})
"""Extensions that a REGISTER may require (RFC 3327)."""


class Front:
    """Takes every request that came in, its top Via stamped with its source."""

    def __init__(
        self,
        agent: Agent,
        registration: Registration,
        calls: Calls,
        defence: Defence,
        refusals: Refusals,
        counters: Counters | None = None,
    ) -> None:
        self._agent = agent
        self._registration = registration
        self._calls = calls
        self.authentication = Authentication(agent, defence, counters)
        self._defence = defence
        self._begun = Buckets(agent.settings.calls_per_user, agent.settings.calls_per_user * 4)
        self._in_dialog = InDialog(agent, calls)
        self._refusals = refusals
        self.draining = False
        self.overloaded = False

    def take(self, request: Request, source: Address, local: Address, now: float) -> None:
        """Handle one request."""
        if self._agent.layer.absorb(request, now):
            return
        if request.method == "ACK":
            self._in_dialog.acknowledge(request, now)
        elif request.method == "CANCEL":
            self._cancel(request, source, local, now)
        else:
            try:
                self._begin(request, source, local, now)
            except ProtocolError as error:
                self._defence.offend(source, now)
                headers = _explanation(request, error)
                self._refusals.answer(request, source, local, error.status, now, error.reason, headers)

    def _begin(self, request: Request, source: Address, local: Address, now: float) -> None:
        _screen(request)
        full = len(self._agent.layer) >= self._agent.settings.max_transactions
        if full or (self.overloaded and not request.to.tag):
            self._busy(request, source, local, now)
        else:
            self._let_in(request, source, local, now)

    def _let_in(self, request: Request, source: Address, local: Address, now: float) -> None:
        trunk = self._trunk(request, source) if request.method == "INVITE" and not request.to.tag else None
        origin = Origin.DIALOG if request.to.tag else Origin.TRUNK if trunk else Origin.ANYBODY
        match rule_for(request.method, origin):
            case Rule.ANSWER:
                self._refusals.answer(request, source, local, 200, now, headers=_capabilities())
            case Rule.TAKE if origin is Origin.DIALOG:
                self._in_dialog.take(request, source, local, now)
            case _ if request.method == "INVITE":
                self._invite(request, source, local, now, trunk)
            case Rule.CHALLENGE:
                self._authenticate(request, source, local, now)

    def _invite(self, request: Request, source: Address, local: Address, now: float, trunk: Trunk | None) -> None:
        """A new call, unless it is an INVITE that a restarted process has seen, or one that came by two ways.

        With another request URI it is neither: a proxy before us has forked, or come back by a spiral (RFC 5393 §3).
        """
        for _, leg in self._calls.callers(request):
            if leg.asked.repeated(request):
                return
            if leg.asked.uri == request.uri:
                raise ProtocolError(482, "Loop Detected")
        contact_of(request, source)
        session_description(request)
        if not _takes_descriptions(request):
            raise ProtocolError(406, "Not Acceptable")
        full = len(self._calls) >= self._agent.settings.max_calls
        if self.draining or full or not self._agent.informed():
            self._busy(request, source, local, now)
        elif trunk:
            transaction = self._agent.layer.serve(request, source, local, now)
            self._start("", request, transaction, source, now, trunk)
        else:
            self._authenticate(request, source, local, now)

    def _trunk(self, request: Request, source: Address) -> Trunk | None:
        """The trunk that an INVITE comes from; whoever offers credentials of ours wants to be a user."""
        return None if self.authentication.credentials(request) else self._calls.trunks.caller(source)

    def _authenticate(self, request: Request, source: Address, local: Address, now: float) -> None:
        offered = self.authentication.credentials(request)
        if offered is None:
            status, headers = self.authentication.challenge(request.method, now)
            self._refusals.answer(request, source, local, status, now, headers=headers)
            return
        transaction = self._agent.layer.serve(request, source, local, now)
        transaction.on_cancel = partial(self._withdraw, request, transaction, source)
        admit = partial(self._admit, request, transaction, source)

        def refuse(status: int, reason: str | None, headers: Fields) -> None:
            self._refuse(request, transaction, source, status, now, reason, headers)

        self.authentication.check(request, offered, source, admit, refuse, now)

    def _withdraw(
        self, request: Request, transaction: Transaction, source: Address, cancel: Request, now: float
    ) -> None:
        """CANCEL came before we knew whose INVITE it is."""
        self._refuse(request, transaction, source, 487, now)

    def _refuse(
        self,
        request: Request,
        transaction: Transaction,
        source: Address,
        status: int,
        now: float,
        reason: str | None = None,
        headers: Fields = (),
    ) -> None:
        """Answer one who has proved nothing; where that may be a forged source, once for each time that it asks."""
        if not self._defence.may_be_forged(source, now):
            self._agent.respond(transaction, request, status, now, reason, headers=headers)
        elif self._agent.layer.find_server(request.transaction_key) is transaction:
            self._agent.layer.settle(request.transaction_key)
            self._refusals.answer(request, source, transaction.local, status, now, reason, headers)

    def _admit(self, request: Request, transaction: Transaction, source: Address, username: str, now: float) -> None:
        if not transaction.waiting:
            return
        if request.method == "REGISTER":
            self._registration.register(username, request, transaction, source, now)
        elif request.from_.uri.decoded_user() != username and not is_anonymous(request.from_):
            self._agent.respond(transaction, request, 403, now)
        elif not self._begun.take(username, now):
            later = [("Retry-After", str(self._agent.settings.retry_after))]
            self._agent.respond(transaction, request, 503, now, "Too Many Calls", headers=later)
        else:
            self._start(username, request, transaction, source, now)

    def _start(
        self,
        username: str,
        request: Request,
        transaction: Transaction,
        source: Address,
        now: float,
        trunk: Trunk | None = None,
    ) -> None:
        try:
            self._calls.start(username, request, transaction, source, now, trunk)
        except ProtocolError as error:
            headers = too_small(request, self._agent.settings)
            self._agent.respond(transaction, request, error.status, now, error.reason, headers=headers)

    def _cancel(self, request: Request, source: Address, local: Address, now: float) -> None:
        """Answer CANCEL, whatever comes of it, where its INVITE is known, by the tag of that (RFC 3261 §9.2)."""
        invite = self._agent.layer.find_server(server_key(request, "INVITE"))
        if invite is None:
            self._refusals.answer(request, source, local, 481, now)
            return
        transaction = self._agent.layer.serve(request, source, local, now)
        tags = [leg.tag for _, leg in self._calls.callers(request) if leg.asked.uri == request.uri]
        self._agent.respond(transaction, request, 200, now, tag=tags[0] if tags else None)
        if invite.on_cancel:
            invite.on_cancel(request, now)

    def _busy(self, request: Request, source: Address, local: Address, now: float) -> None:
        later = [("Retry-After", str(self._agent.settings.retry_after))]
        self._refusals.answer(request, source, local, 503, now, headers=later)


def _screen(request: Request) -> None:
    """The checks of RFC 3261 §8.2.1, §8.2.2 and §16.3. Raises ProtocolError with the status to answer."""
    if request.method not in ALLOW:
        known = request.method in KNOWN
        raise ProtocolError(405 if known else 501, "Method Not Allowed" if known else "Not Implemented")
    if request.request_uri.scheme not in (("sip", "tel") if request.method == "INVITE" else ("sip",)):
        raise ProtocolError(416, "Unsupported URI Scheme")
    if request.max_forwards == 0 and request.method not in ("OPTIONS", "REGISTER") and not request.to.tag:
        raise ProtocolError(483, "Too Many Hops")
    if _unsupported(request):
        raise ProtocolError(420, "Bad Extension")
    if request.method == "REGISTER" and not all(contact.uri.is_sip for contact in request.contacts):
        raise ProtocolError(400, "Contact Is No SIP URI")


def _takes_descriptions(request: Request) -> bool:
    """Whether an answer could be told, by Accept (RFC 3261 §20.1)."""
    taken = {word.partition(";")[0].strip().lower() for word in request.accept}
    return "accept" not in request or not taken.isdisjoint({SDP, "application/*", "*/*"})


def _explanation(request: Request, error: ProtocolError) -> Fields:
    """What a client must be told beside the status (RFC 3261 §8.2.1, §8.2.2.3, §8.2.3)."""
    match error.status:
        case 405 | 501:
            return [ALLOWED]
        case 415:
            return ACCEPTED
        case 420:
            return [("Unsupported", ", ".join(_unsupported(request)))]
        case _:
            return []


def _unsupported(request: Request) -> list[str]:
    """What the request cannot do without and we do not know; a proxy's extensions we have none of."""
    known = REGISTRAR if request.method == "REGISTER" else EXTENSIONS
    return [*(word for word in request.require if word.lower() not in known), *request.proxy_require]


def _capabilities() -> Fields:
    return [ALLOWED, ("Accept", SDP), SUPPORTED]
