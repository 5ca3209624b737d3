# SPDX-License-Identifier: GPL-3.0-or-later
"""All that listens for proxies, opened and closed together, and the calls that are kept over a restart."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import structlog

from ctl.journal import Journal, Recovered
from ctl.ng.access import Access
from ctl.ng.calls import Call, Dialogue, Participant, Subscription
from ctl.ng.digits import DigitLog
from ctl.ng.holding import Music
from ctl.ng.lifetimes import Limits
from ctl.ng.media import MediaPlayer
from ctl.ng.recording import Forwarder, Recorder
from ctl.ng.relay import Relay
from ctl.ng.section import NgSection
from ctl.ng.server import Answers, Datagrams, Streams
from ctl.ng.statistics import Interface, Statistics
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.ports import Ports

if TYPE_CHECKING:
    from aiohttp import web

NG = "ng"
_DIALOGUE = ("transcoded", "agreed", "hidden", "echo")
_PARTICIPANT = tuple(each.name for each in fields(Participant))

log = structlog.get_logger()


class NgUnavailable(Exception):
    """The ng protocol cannot be served as configured; one line with the remedy."""


class NgFront:
    """The relay that proxies control, and its listeners. It listens to nobody before `open`."""

    def __init__(
        self,
        config: NgSection,
        sessions: MediaSessions,
        ports: Ports,
        journal: Journal,
        secret: bytes,
        recorder: Recorder | None = None,
        player: MediaPlayer | None = None,
        forwarder: Forwarder | None = None,
    ) -> None:
        self.config = config
        self.relay = Relay(
            sessions,
            time.monotonic,
            secret,
            changed=self._changed,
            ports_used=ports.used,
            interfaces=self._interfaces,
            limits=Limits(
                config.max_sessions, config.load_limit, config.tos, config.delete_delay, config.offer_timeout
            ),
            recorder=recorder,
            player=player,
            forwarder=forwarder,
            statistics=Statistics(started=time.time()),
        )
        self._ports = ports
        self._journal = journal
        self._datagrams: list[Datagrams] = []
        self._servers: list[asyncio.Server] = []
        self._runner: web.AppRunner | None = None
        self._streams: Streams | None = None
        self.digits = DigitLog(self.relay.calls, sessions, [_endpoint(each) for each in config.dtmf_log])
        if player is not None:
            player.keep_while(self.relay.calls.sounds)
        if player is not None and config.dtmf_log:
            player.on_digit(self.digits.heard)

    def restore(self, recovered: Recovered) -> frozenset[str]:
        """Take up the calls of an earlier process of this boot; return the sessions of theirs."""
        for call_id, state in recovered.of(NG).items():
            if not recovered.same_boot:
                self._journal.remove(NG, call_id)
                continue
            try:
                self._take_up(state)
            except (ValueError, KeyError, TypeError) as error:
                log.error("call not taken up again", call=call_id, why=str(error))
                self._journal.remove(NG, call_id)
        return frozenset(session for call in self.relay.calls for session in call.sessions)

    def tenant(self, session: str) -> str:
        """Return whose call a session is, as the proxy or the configuration says; empty where neither does."""
        call = self.relay.calls.of_session(session)
        return (call.tenant or self.config.tenant) if call else ""

    async def open(self) -> None:
        """Listen. Raises NgUnavailable."""
        access = make_access(self.config)
        answers = Answers(self.relay)
        certificates = _certificates(self.config)
        self._streams = Streams(answers, access)
        try:
            for where in map(_endpoint, self.config.listen):
                self._datagrams.append(Datagrams(answers, access, where))
            for host, port in map(_endpoint, self.config.listen_tcp):
                guard = None if _is_loopback(host) else certificates
                server = await asyncio.start_server(self._streams.serve, host, port, ssl=guard)
                self._servers.append(server)
            await self._open_http(answers, access, certificates)
        except OSError as error:
            await self.close()
            raise NgUnavailable(f"ng: {error.strerror or error}; see: ss -lnup") from None

    async def close(self) -> None:
        """Stop listening; the calls stay."""
        self.digits.close()
        for datagrams in self._datagrams:
            datagrams.close()
        for server in self._servers:
            server.close()
        if self._streams:
            await self._streams.close()
        if self._runner:
            await self._runner.cleanup()

    def _changed(self, call_id: str, call: Call | None) -> None:
        """Write down a call and its media, or that it is gone."""
        if call is None:
            self._journal.remove(NG, call_id)
            return
        media = {session: self.relay.sessions.snapshot(session) for session in call.sessions}
        self._journal.put(NG, call_id, {"call": _to_json(call), "media": media})

    def _interfaces(self) -> list[Interface]:
        """Our addresses, with how many of their ports are in use."""
        ports, now = self._ports, time.monotonic()
        addresses = self.relay.sessions.data_plane.addresses
        return [
            Interface(each.name or "default", each.address, *ports.span, *(2 * pairs for pairs in found))
            for each in addresses
            for found in [(ports.taken(each.address), ports.free(each.address, now))]
        ]

    def _take_up(self, state: Mapping[str, Any]) -> None:
        call = _from_json(state["call"])
        for session, media in state["media"].items():
            self.relay.sessions.restore(session, media)
        self.relay.calls.add(call)

    async def _open_http(self, answers: Answers, access: Access, certificates: ssl.SSLContext | None) -> None:
        if not self.config.listen_http:
            return
        from aiohttp import web

        from ctl.ng.http import create_app

        self._runner = web.AppRunner(create_app(answers, access), access_log=None)
        await self._runner.setup()
        for host, port in map(_endpoint, self.config.listen_http):
            guard = None if _is_loopback(host) else certificates
            await web.TCPSite(self._runner, host, port, ssl_context=guard).start()


def make_access(config: NgSection) -> Access:
    """Return who may ask. Raises NgUnavailable if the secret cannot be read."""
    secret = b""
    if config.secret_file is not None:
        try:
            secret = config.secret_file.read_bytes().strip()
        except OSError as error:
            raise NgUnavailable(f"ng.secret_file: {config.secret_file}: {error.strerror}") from None
        if len(secret) < 16:
            raise NgUnavailable(f"ng.secret_file: {config.secret_file} holds less than 16 bytes; write a longer secret")
    allowed = tuple(map(ip_network, config.allow))
    return Access(allowed, secret, streams_open=config.client_ca is not None)


def _to_json(call: Call) -> dict[str, Any]:
    places = {id(each): place for place, each in enumerate(call.participants)}
    dialogues = [
        [each.session, places[id(each.a)], places[id(each.b)], *(getattr(each, name) for name in _DIALOGUE)]
        for each in call.dialogues
    ]
    kept = {
        name: getattr(call, name)
        for name in (
            "call_id",
            "created",
            "last_signal",
            "metadata",
            "tenant",
            "ending",
            "answered",
            "record",
            "dropped",
        )
    }
    participants = [_participant_json(each) for each in call.participants]
    made = {"sequence": call.sequence, "participants": participants, "dialogues": dialogues}
    subscriptions = [_subscription(each, places) for each in call.subscriptions]
    return {**kept, **made, **({"subscriptions": subscriptions} if subscriptions else {})}


def _participant_json(participant: Participant) -> dict[str, Any]:
    kept = {name: getattr(participant, name) for name in _PARTICIPANT}
    music = asdict(participant.moh) if participant.moh else None
    return {**kept, "moh": music, "undialled": list(participant.undialled)}


def _participant(state: Mapping[str, Any]) -> Participant:
    music = state.get("moh")
    return Participant(**{**state, "moh": Music(**music) if music else None})


def _subscription(subscription: Subscription, places: Mapping[int, int]) -> list[Any]:
    sources = [[places[id(participant)], index] for participant, index in subscription.sources]
    return [subscription.session, _participant_json(subscription.subscriber), sources, subscription.transcoded]


def _from_json(state: Mapping[str, Any]) -> Call:
    participants = [_participant(each) for each in state["participants"]]
    dialogues = [
        Dialogue(session, participants[a], participants[b], *states) for session, a, b, *states in state["dialogues"]
    ]
    subscriptions = [
        Subscription(session, _participant(subscriber), [(participants[a], index) for a, index in sources], transcoded)
        for session, subscriber, sources, transcoded in state.get("subscriptions", ())
    ]
    made = {"participants": participants, "dialogues": dialogues, "subscriptions": subscriptions}
    return Call(**{**state, **made})


def _certificates(config: NgSection) -> ssl.SSLContext | None:
    if config.client_ca is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(str(config.certificate), str(config.key))
        context.load_verify_locations(str(config.client_ca))
    except (OSError, ssl.SSLError) as error:
        raise NgUnavailable(f"ng.certificate, ng.key, ng.client_ca: {error}") from None
    return context


def _endpoint(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    return ip_address(host).is_loopback
