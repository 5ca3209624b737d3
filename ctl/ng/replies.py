# SPDX-License-Identifier: GPL-3.0-or-later
"""The reply to `query` and `delete`, from which proxies take what they account for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ctl.ng.calls import Call, Dialogue, Participant, Subscription
from ctl.ng.framing import Message
from ctl.sessions.programmer import FlowView
from ctl.sessions.streams import Endpoint, Stream

Views = Mapping[str, Sequence[FlowView]]
"""Flows by session."""


Streams = Mapping[str, Sequence[Stream]]
"""M-lines by session."""


def call_statistics(call: Call, views: Views, streams: Streams, tag: str | None = None) -> dict[str, Any]:
    """Return what is known of a call; with `tag`, of that participant and whom it talks to alone."""
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
        "SSRC": dict(_ssrcs(flows)),
        "tags": {
            **{_name(call, each): _tag(call, each, views, streams) for each in shown},
            **{each.subscriber.tag: _subscriber(call, each, views, streams) for each in listening},
        },
        "totals": {"RTP": _sum(flows, "rtp"), "RTCP": _sum(flows, "rtcp")},
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


def _tag(call: Call, participant: Participant, views: Views, streams: Streams) -> dict[str, Any]:
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
        "medias": list(_medias(call, participant, views, streams)),
        "VSC": [],
    }


def _subscriber(call: Call, subscription: Subscription, views: Views, streams: Streams) -> dict[str, Any]:
    """What is sent to a subscriber is among what went out, and in no total: it came in as somebody else's."""
    subscriber, flows = subscription.subscriber, views.get(subscription.session, ())
    whom = dict.fromkeys(_name(call, source) for source, _ in subscription.sources)
    dialogue = Dialogue(subscription.session, subscription.sources[0][0], subscriber)
    medias = [
        _media(dialogue, subscriber, [view for view in flows if view.stream == index], stream, index)
        for index, stream in enumerate(streams.get(subscription.session, ()))
    ]
    return {
        "tag": subscriber.tag,
        "created": int(subscriber.created),
        "subscriptions": [{"tag": each, "type": "pub/sub"} for each in whom],
        "subscribers": [],
        "medias": [{**each, "flags": [flag for flag in each["flags"] if flag != "recv"]} for each in medias],
        "VSC": [],
    }


def _medias(call: Call, participant: Participant, views: Views, streams: Streams) -> Iterator[dict[str, Any]]:
    """One entry for each m-line, of the first dialogue that has media."""
    for dialogue in call.dialogues_of(participant):
        flows, described = views.get(dialogue.session, ()), streams.get(dialogue.session, ())
        for index, stream in enumerate(described):
            yield _media(dialogue, participant, [view for view in flows if view.stream == index], stream, index)
        if described:
            return


def _media(
    dialogue: Dialogue, participant: Participant, flows: Sequence[FlowView], stream: Stream, index: int
) -> dict[str, Any]:
    leg = dialogue.leg_of(participant)
    sent = [view for view in flows if view.leg == leg]
    received = {view.kind: view for view in flows if view.leg != leg}
    rtp = next((view for view in sent if view.kind == "rtp"), None)
    flags = ["initialized", "send", "recv"]
    if [view.kind for view in sent] == ["rtp"]:
        flags.append("rtcp-mux")
    if any(view.ice != "off" for view in sent):
        flags.append("ICE")
    return {
        "index": index + 1,
        "type": stream.media,
        "protocol": stream.protocol,
        **({"codec": rtp.codec} if rtp and rtp.codec else {}),
        "streams": [_stream(view, received.get(view.kind)) for view in sent],
        "flags": flags,
        "ingress SSRCs": [{"SSRC": ssrc} for ssrc in _seen(rtp)],
        "egress SSRCs": [{"SSRC": ssrc} for ssrc in _seen(received.get("rtp"))],
    }


def _stream(view: FlowView, back: FlowView | None) -> dict[str, Any]:
    """`view` is what comes from the participant, `back` what goes to it."""
    endpoint = _endpoint((view.source[0], view.source[1] or 0))
    seen = view.statistics.last_seen if view.statistics else None
    return {
        "local port": view.local[1],
        "local address": view.local[0],
        "family": _family(view.local[0]),
        "endpoint": endpoint,
        "advertised endpoint": _endpoint(back.target) if back else endpoint,
        "last packet": int(seen or 0),
        **({"SSRC": ssrc} if (ssrc := next(iter(_seen(view)), None)) else {}),
        "flags": _flags(view),
        "stats": _counts(view),
        "stats_out": _counts(back),
    }


def _flags(view: FlowView) -> list[str]:
    flags = ["filled"] if view.kind == "raw" else [view.kind.upper(), "filled"]
    if view.state == "pinned" or view.learned_port is not None:
        flags.append("confirmed")
    flags.append("kernelized" if view.path == "kernel" else "no kernel support")
    flags.append("strict source address")
    return flags


def _ssrcs(flows: Sequence[FlowView]) -> Iterator[tuple[str, dict[str, Any]]]:
    for view in flows:
        for ssrc in _seen(view):
            assert view.statistics is not None
            yield (
                str(ssrc),
                {
                    "bytes": view.statistics.bytes,
                    "packets": view.statistics.packets,
                    "cumulative loss": view.statistics.lost,
                    **dict(_mos(view)),
                },
            )


def _mos(view: FlowView) -> Iterator[tuple[str, dict[str, Any]]]:
    """MOS times ten, jitter in ms, round trip in us, loss in percent; nothing before it was measured."""
    quality = view.quality
    if quality is None or quality.mos_avg is None or view.statistics is None:
        return
    expected = view.statistics.packets + view.statistics.lost
    figures = {
        "jitter": round(view.statistics.jitter_ms or 0),
        "packet loss": round(100 * view.statistics.lost / expected) if expected else 0,
        "round-trip time": round((view.round_trip_avg or 0) * 1e6),
    }
    yield "average MOS", {"MOS": round(quality.mos_avg * 10), **figures, "samples": quality.intervals}
    if quality.mos_min is not None:
        yield "lowest MOS", {"MOS": round(quality.mos_min * 10), **figures}


def _seen(view: FlowView | None) -> list[int]:
    ssrc = view.statistics.ssrc if view and view.kind == "rtp" and view.statistics else None
    return [] if ssrc is None else [ssrc]


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
