# SPDX-License-Identifier: GPL-3.0-or-later
"""The reply to `query` and `delete`, from which proxies take what they account for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctl.ng.calls import Call, Dialogue, Participant, Subscription
from ctl.ng.framing import Message
from ctl.ng.ssrcs import heard, ssrc_of, ssrcs
from ctl.sessions.codecs import NAMES
from ctl.sessions.flow_view import FlowView
from ctl.sessions.streams import Endpoint, Stream
from sip.effects import Leg

Views = Mapping[str, Sequence[FlowView]]
"""Flows by session."""


Streams = Mapping[str, Mapping[Leg, Sequence[Stream]]]
"""M-lines by session and by the leg that describes them so."""

NOBODY: frozenset[Participant] = frozenset()


def call_statistics(
    call: Call,
    views: Views,
    streams: Streams,
    offset: float,
    tag: str | None = None,
    *,
    forwarded: frozenset[Participant] = NOBODY,
) -> dict[str, Any]:
    """Return what is known of a call; with `tag`, of that participant and whom it talks to alone.

    offset: what makes a time since the epoch of one of CLOCK_MONOTONIC. forwarded: whose sound goes to a consumer.
    """
    chosen = call.find(tag) if tag is not None else None
    subscribed = call.subscription(tag) if tag is not None else None
    shown = [each for each, _ in subscribed.sources] if subscribed else _participants(call, chosen)
    flows = [view for dialogue in call.dialogues for view in views.get(dialogue.session, ())]
    listening = [
        each for each in call.subscriptions if each is subscribed or (not subscribed and _concerns(each, chosen))
    ]
    return {
        "created": int(call.created),
        "created_us": int(call.created * 1e6) % 1_000_000,
        "created_ts": int(call.created * 1e6),
        "last signal": int(call.last_signal),
        "last redis update": 0,
        **({"metadata": call.metadata} if call.metadata else {}),
        "SSRC": dict(ssrcs(flows, offset)),
        "tags": {
            **{_name(call, each): _tag(call, each, views, streams, offset, forwarded) for each in shown},
            **{each.subscriber.tag: _subscriber(call, each, views, streams, offset) for each in listening},
        },
        "totals": {"RTP": _sum(flows, "rtp"), "RTCP": _sum(flows, "rtcp")},
        "recording": {
            "call recording": int(any(each.recorded and not each.paused for each in call.dialogues)),
            "forwarding": int(bool(forwarded)),
        },
    }


def _concerns(subscription: Subscription, chosen: Participant | None) -> bool:
    return chosen is None or any(source is chosen for source, _ in subscription.sources)


def _participants(call: Call, chosen: Participant | None) -> list[Participant]:
    if chosen is None:
        return call.participants
    peers = [dialogue.other(chosen) for dialogue in call.dialogues_of(chosen)]
    return [each for each in call.participants if each is chosen or each in peers]


def _name(call: Call, participant: Participant) -> str:
    return participant.tag or f"<untagged {call.participants.index(participant)}>"


def _tag(
    call: Call,
    participant: Participant,
    views: Views,
    streams: Streams,
    offset: float,
    forwarded: frozenset[Participant],
) -> dict[str, Any]:
    peers = [
        {"tag": _name(call, dialogue.other(participant)), "type": "offer/answer"}
        for dialogue in call.dialogues_of(participant)
        if not dialogue.published
    ]
    listeners = [
        {"tag": each.subscriber.tag, "type": "pub/sub"}
        for each in call.subscriptions
        if any(source is participant for source, _ in each.sources)
    ]
    said = {
        "via-branch": participant.branch,
        "label": participant.label,
        "tag-aliases": participant.aliases or None,
    }
    return {
        "tag": participant.tag or "",
        **{key: value for key, value in said.items() if value is not None},
        "created": int(participant.created),
        "subscriptions": peers,
        "subscribers": [*peers, *listeners],
        "medias": list(_medias(call, participant, views, streams, offset)),
        "VSC": [],
        **({"recording": {"excluded": 0, "forwarding": 1}} if participant in forwarded else {}),
    }


def _subscriber(
    call: Call, subscription: Subscription, views: Views, streams: Streams, offset: float
) -> dict[str, Any]:
    """What is sent to a subscriber is among what went out, and in no total: it came in as somebody else's."""
    subscriber, flows = subscription.subscriber, views.get(subscription.session, ())
    whom = dict.fromkeys(_name(call, source) for source, _ in subscription.sources)
    dialogue = Dialogue(subscription.session, subscription.sources[0][0], subscriber)
    medias = [
        _media(dialogue, subscriber, [view for view in flows if view.stream == index], stream, index, offset)
        for index, stream in enumerate(_described(streams, subscription.session, "b"))
    ]
    return {
        "tag": subscriber.tag,
        "created": int(subscriber.created),
        "subscriptions": [{"tag": each, "type": "pub/sub"} for each in whom],
        "subscribers": [],
        "medias": [{**each, "flags": [flag for flag in each["flags"] if flag != "recv"]} for each in medias],
        "VSC": [],
    }


def _medias(
    call: Call, participant: Participant, views: Views, streams: Streams, offset: float
) -> Iterator[dict[str, Any]]:
    """One entry for each m-line, of the first dialogue that has media."""
    for dialogue in call.dialogues_of(participant):
        flows = views.get(dialogue.session, ())
        described = _described(streams, dialogue.session, dialogue.leg_of(participant))
        for index, stream in enumerate(described):
            yield _media(dialogue, participant, [view for view in flows if view.stream == index], stream, index, offset)
        if described:
            return


def _described(streams: Streams, session: str, leg: Leg) -> Sequence[Stream]:
    """As a leg describes them; as long as it has not, as it was offered them."""
    said = streams.get(session, {})
    return said.get(leg) or next(iter(said.values()), ())


def _media(
    dialogue: Dialogue,
    participant: Participant,
    flows: Sequence[FlowView],
    stream: Stream,
    index: int,
    offset: float,
) -> dict[str, Any]:
    leg = dialogue.leg_of(participant)
    sent = [view for view in flows if view.leg == leg]
    received = {view.kind: view for view in flows if view.leg != leg}
    rtp = next((view for view in sent if view.kind == "rtp"), None)
    return {
        "index": index + 1,
        "type": stream.media,
        "protocol": stream.protocol,
        **({"codec": _codec(rtp.codec, stream)} if rtp and rtp.codec else {}),
        "streams": [_stream(view, received.get(view.kind), stream, offset) for view in sent],
        "flags": [*_media_flags(sent, stream), *_echo_flags(dialogue, leg)],
        "ingress SSRCs": heard(rtp),
        "egress SSRCs": heard(received.get("rtp")),
    }


def _codec(name: str, stream: Stream) -> str:
    """As rtpmap has it; the name alone where the participant has not said it."""
    for each in stream.codecs:
        if each.name == name:
            return f"{name}/{each.clock_rate}{'/2' if name == NAMES['opus'] else ''}"
    return name


def _media_flags(sent: Sequence[FlowView], stream: Stream) -> Iterator[str]:
    """`stream` is what the participant says of the medium, `sent` what comes from it."""
    yield "initialized"
    if any(view.moves == "asymmetric" for view in sent):
        yield "asymmetric"
    if stream.direction in ("sendrecv", "recvonly"):
        yield "send"
    if stream.direction in ("sendrecv", "sendonly"):
        yield "recv"
    if [view.kind for view in sent] == ["rtp"]:
        yield "rtcp-mux"
    if stream.fingerprint:
        yield "DTLS-SRTP"
        if stream.setup in ("active", "passive"):
            yield f"DTLS role {'passive' if stream.setup == 'active' else 'active'}"
    if stream.cryptos:
        yield "SDES"
    if any(view.ice != "off" for view in sent):
        yield "ICE"
    if stream.ice and stream.ice.trickle:
        yield "trickle ICE"
    if stream.ice and stream.ice.lite:
        yield from ("ICE controlling", "ICE-lite peer")
    if any(view.transcoded for view in sent):
        yield "transcoding"


def _echo_flags(dialogue: Dialogue, leg: Leg) -> list[str]:
    if not dialogue.echo:
        return []
    return ["echo"] if leg in dialogue.echoed else ["blackhole"]


def _stream(view: FlowView, back: FlowView | None, stream: Stream, offset: float) -> dict[str, Any]:
    """`view` is what comes from the participant, `back` what goes to it."""
    endpoint = _endpoint((view.source[0], view.source[1] or 0))
    seen = view.statistics.last_seen if view.statistics else None
    last, suite = round(seen + offset) if seen else 0, view.statistics.suite if view.statistics else None
    ssrc = ssrc_of(view)
    return {
        "local port": view.local[1],
        "local address": view.local[0],
        "family": _family(view.local[0]),
        "endpoint": endpoint,
        "advertised endpoint": _endpoint(back.target) if back else endpoint,
        **({"crypto suite": suite} if suite else {}),
        "last packet": last,
        "last kernel packet": last if view.path == "kernel" else 0,
        "last user packet": last if view.path == "engine" else 0,
        **({} if ssrc is None else {"SSRC": ssrc}),
        "flags": _flags(view, stream),
        "stats": _counts(view),
        "stats_out": _counts(back),
    }


def _flags(view: FlowView, stream: Stream) -> list[str]:
    flags = ["filled"] if view.kind == "raw" else [view.kind.upper(), "filled"]
    if view.state == "pinned" or view.learned_port is not None:
        flags.append("confirmed")
    flags.append("kernelized" if view.path == "kernel" else "no kernel support")
    if view.statistics and view.statistics.security == "secure" and stream.fingerprint:
        flags.append("DTLS fingerprint verified")
    if view.moves == "handover":
        flags.append("media handover")
    elif view.state != "latching":
        flags.append("strict source address")
    if view.ice != "off":
        flags.append("ICE")
    return flags


def _sum(flows: Sequence[FlowView], kind: str) -> dict[str, int]:
    counts = [_counts(view) for view in flows if view.kind == kind]
    return {key: sum(each[key] for each in counts) for key in ("packets", "bytes", "errors")}


def _counts(view: FlowView | None) -> dict[str, int]:
    found = view.statistics if view else None
    if found is None:
        return {"packets": 0, "bytes": 0, "errors": 0}
    return {"packets": found.packets, "bytes": found.bytes, "errors": found.rejected + found.dropped}


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {"family": _family(endpoint[0]), "address": endpoint[0], "port": endpoint[1]}


def _family(address: str) -> str:
    return "IPv6" if ":" in address else "IPv4"


def shortened(message: Message, dictionary: dict[str, Any], limit: int) -> bytes:
    """Return a reply that is longer than `limit` without what proxies can do without: the lists of SSRCs."""
    dictionary["SSRC"] = {}
    for tag in dictionary.get("tags", {}).values():
        for media in tag["medias"]:
            media["ingress SSRCs"] = media["egress SSRCs"] = []
    short = message.reply(dictionary)
    if len(short) <= limit:
        return short
    return message.reply({"result": "error", "error-reason": "The reply is too long for a datagram; ask over TCP"})
