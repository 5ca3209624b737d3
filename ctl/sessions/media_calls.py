# SPDX-License-Identifier: GPL-3.0-or-later
"""The media of calls beside their exchanges: programmed, asked for, treated, moved, kept over a restart, ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ctl.sessions.call_media import LEGS, NOT_YET, CallMedia, Media
from ctl.sessions.call_ports import CallPorts
from ctl.sessions.codecs import Dtmf, MediaPlan, media_plan
from ctl.sessions.copies import Source, following, sources
from ctl.sessions.dataplane import DataPlane
from ctl.sessions.flow_plan import FlowPlan
from ctl.sessions.flow_view import FlowView
from ctl.sessions.ice import IcePair
from ctl.sessions.joining import joined, overheard
from ctl.sessions.negotiation import MediaRefused, refusing
from ctl.sessions.plan import plan_call
from ctl.sessions.ports import Ports
from ctl.sessions.programmer import Programmer
from ctl.sessions.reachable import Routes
from ctl.sessions.sides import sides
from ctl.sessions.streams import Endpoint, Stream
from ctl.sessions.treatment import NOTHING, Treatments
from media.flows import EngineError
from sip.effects import Leg

FlowReport = FlowView
"""The last view of a flow, its final statistics included."""
Reports = tuple[FlowReport, ...]


class MediaCalls:
    """The media of every call of this host. Call ids are the caller's; `now` is seconds of a steady clock.

    data_plane says what can carry packets; whoever attaches or detaches XDP replaces it.
    """

    def __init__(self, ports: Ports, routes: Routes, programmer: Programmer, data_plane: DataPlane) -> None:
        self.data_plane = data_plane
        self._ports = CallPorts(ports)
        self._routes = routes
        self._programmer = programmer
        self._calls: dict[str, CallMedia] = {}
        self.on_agreed: list[Callable[[str], None]] = []
        self.on_delete: list[Callable[[str], None]] = []
        """Called with each call of signalling's whose legs have agreed on media, and with each whose media ended."""

    def delete(self, call: str, now: float) -> tuple[FlowReport, ...]:
        """End the media of a call, if it has any: flows off, then counted, ports to quarantine."""
        media = self._calls.get(call)
        if media is None:
            return ()
        try:
            return self._end(call)
        finally:
            self._ports.release(media.taken(), now)

    def join(self, call: str, one: tuple[str, Leg], other: tuple[str, Leg], now: float) -> Reports:
        """Make a session of legs of two others, which end; return the last views of their flows.

        What both legs were told of us stays right. Raises MediaRefused where they cannot hear each other so.
        """
        with refusing:
            media = joined((self._calls.get(one[0]), one[1]), (self._calls.get(other[0]), other[1]))
        return self._become(call, media, (one[0], other[0]), now)

    def overhear(self, call: str, found: Sequence[Source], hearer: tuple[str, Leg], now: float) -> Reports:
        """Make a session in which a leg of another, which ends, is to get copies in place of its peer; see `join`."""
        with refusing:
            media = overheard(found, (self._calls.get(hearer[0]), hearer[1]))
            taken = self._ports.take(NOT_YET, {"a": found[0].local[0]}, media.agreed.streams["a"], now)
        media.agreed = replace(media.agreed, ports={**media.agreed.ports, **taken})
        return self._become(call, media, (hearer[0],), now)

    def block(self, call: str, legs: Iterable[Leg]) -> None:
        """Pass on no media that these legs of a call send, until it is called with others. RTCP goes on.

        Raises MediaRefused: 481 if there is no such call.
        """
        self.treat(call, replace(self.treatments(call), blocked=frozenset(legs)))

    def blocked(self, call: str) -> frozenset[Leg]:
        """Return the legs of a call that are blocked."""
        return self.treatments(call).blocked

    def treatments(self, call: str) -> Treatments:
        """Return what is done to the media of a call."""
        media = self._calls.get(call)
        return media.treatments if media else NOTHING

    def dtmf(self, call: str, leg: Leg) -> Dtmf:
        """Return how digits reach a leg of a call."""
        media = self._calls.get(call)
        return media.current.dtmf.get(leg, "auto") if media else "auto"

    def treat(self, call: str, treatments: Treatments) -> None:
        """Do this and nothing else to the media of a call. Raises MediaRefused and leaves what was: 481, 503."""
        media = self._calls.get(call)
        if media is None:
            raise MediaRefused(481, "the call has no media")
        before, media.treatments = media.treatments, treatments
        try:
            self._program(call, media.current)
        except MediaRefused:
            media.treatments = before
            self._program(call, media.current)
            raise

    def query(self, call: str) -> list[FlowView]:
        """Return the flows of a call as they stand now; none if it is unknown."""
        return self._programmer.flows(call)

    def ended(self, call: str) -> tuple[FlowView, ...]:
        """Return what its flows that are no more have shown last."""
        return self._programmer.ended(call)

    def streams(self, call: str) -> tuple[Stream, ...]:
        """Return the m-lines of a call as leg a, or else the only one that has spoken, describes them."""
        media = self._calls.get(call)
        described = media.current.streams if media else {}
        return described.get("a") or next(iter(described.values()), ())

    def offered(self, call: str) -> tuple[Stream, ...]:
        """Return the m-lines of the last offer, answered or not; none where there was none, or it is agreed on."""
        media = self._calls.get(call)
        return media.proposed.streams.get(media.offerer, ()) if media and media.proposed and media.offerer else ()

    def sources(self, call: str, leg: Leg) -> list[Source]:
        """Return what a leg sends, by m-line; none before both legs have described themselves."""
        media = self._calls.get(call)
        return sources(self._programmer.rtp_of(call), media.current, leg) if media else []

    def redirect(self, call: str, found: Sequence[Source]) -> None:
        """Have copies, leg a of a subscriber's session, come from where their sources are now. Raises MediaRefused."""
        media = self._calls.get(call)
        moved = following(media.current, found) if media else None
        if media and moved:
            media.amend(moved)
            self._program(call, moved)

    def media_plans(self, call: str) -> list[MediaPlan]:
        """Return what the legs of a call said of codecs, by m-line, and what came of it; none before an answer."""
        described = self.described(call)
        if len(described) < len(LEGS):
            return []
        both = zip(described["a"], described["b"], strict=False)
        return [media_plan(a, b, self.data_plane.transcode) for a, b in both if a.media == "audio"]

    def described(self, call: str) -> Mapping[Leg, tuple[Stream, ...]]:
        """Return the m-lines of a call as each leg that has spoken describes them."""
        media = self._calls.get(call)
        return media.current.streams if media else {}

    def calls(self) -> frozenset[str]:
        """Return the calls that have media."""
        return frozenset(self._calls)

    def snapshot(self, call: str) -> dict[str, Any]:
        """Return what `restore` needs, in values that JSON can carry; empty if the call has no media."""
        media = self._calls.get(call)
        return media.to_json() if media else {}

    def snapshot_text(self, call: str) -> str:
        """Return `snapshot` as JSON."""
        media = self._calls.get(call)
        return media.to_text() if media else "{}"

    def restore(self, call: str, state: Mapping[str, Any]) -> int:
        """Take a call up again after a restart; return how many pairs of flows had to be written, at best none.

        Raises ValueError where a port of its is not free, or not in the media range any more.
        """
        if not state:
            return 0
        media = CallMedia.from_json(state)
        self._ports.restore(media.taken())
        self._calls[call] = media
        media.pairs = {**media.pairs, **self._programmer.ice_pairs(self._plan(call, media.current))}
        written = self._programmer.adopt(call, self._plan(call, media.current))
        self._expect(call)
        return written

    def paired(self, local: Endpoint, pair: IcePair) -> str | None:
        """ICE has found, changed or lost the pair at our address and port: its flows follow.

        Return the call, None where there is none. Raises MediaRefused where nothing can carry it as it is now.
        """
        call, plan = self._programmer.flow_at(local) or ("", None)
        media = self._calls.get(call)
        if media is None or plan is None or plan.ice is None:
            return None
        media.pairs = {**media.pairs, local: pair}
        self._program(call, media.current)
        return call

    def replan(self) -> dict[str, str]:
        """Move each flow to what carries it now, after `data_plane` or the interface to a peer has changed.

        Return the calls that could not be moved, with the reason; they stay where they were. A flow that moves
        counts from zero; what it had counted before is in the final report, beside the rest.
        """
        stranded: dict[str, str] = {}
        for call, media in self._calls.items():
            try:
                self._program(call, media.current)
            except MediaRefused as refused:
                stranded[call] = refused.reason
        return stranded

    def _become(self, call: str, media: CallMedia, ended: Sequence[str], now: float) -> Reports:
        taken = {endpoint for each in ended for endpoint in self._calls[each].taken()}
        reports = tuple(report for each in ended for report in self._end(each))
        self._calls[call] = media
        self._ports.release(taken - media.taken(), now)
        self._program(call, media.current)
        return reports

    def _end(self, call: str) -> tuple[FlowReport, ...]:
        del self._calls[call]
        try:
            return self._programmer.remove(call)
        finally:
            for listener in self.on_delete:
                listener(call)

    def _program(self, call: str, media: Media) -> None:
        plans = self._plan(call, media)
        reason = next((plan.reason for plan in plans if plan.path == "none"), None)
        if reason:
            raise MediaRefused(503, reason)
        try:
            self._programmer.apply(call, plans)
        except EngineError as error:
            raise MediaRefused(503, str(error)) from None

    def _plan(self, call: str, media: Media) -> tuple[FlowPlan, ...]:
        if not media.agreed:
            return ()
        both = sides(media, self._calls[call].pairs, self.data_plane, self._routes)
        return plan_call(*both, self.data_plane, self.treatments(call))

    def _expect(self, call: str) -> None:
        media = self._calls.get(call)
        self._programmer.expect(call, media.expecting() if media else frozenset())
