# SPDX-License-Identifier: GPL-3.0-or-later
"""Random conversations of proxies, and descriptions reduced to what must be alike in them whoever wrote them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

ECHOES = ("blackhole", "forward", "backwards", "both")
EXTMAP = "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n"
STATIC = ("3", "8", "9", "18")
DYNAMIC = ("96 opus/48000/2", "97 speex/8000", "98 iLBC/8000", "99 AMR/8000", "100 L16/16000")
FLAGS = (
    *("trust-address", "symmetric", "generate-mid", "full-rtcp-attribute", "no-rtcp-attribute", "loop-protect"),
    *("strict-source", "port-latching", "unidirectional", "original-sendrecv"),
)
WAYS = ("sendrecv", "sendonly", "recvonly", "inactive")
FOREIGN = ("a=x-vendor:", "a=T38")
REPLACE = ("origin", "session-connection")
STRIPPED = ("PCMA", "G722", "opus", "telephone-event")
MUX = ("offer", "require", "demux", "accept", "reject")
ORDERED = (("codec-strip-all", "codec-except-PCMU"), ("codec-strip-all", "codec-offer-PCMU"), ("codec-offer-PCMU",))


@dataclass
class Conversation:
    """Requests of one call in order; each is (command, keys)."""

    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def conversations(count: int, seed: int, caller: str, callee: str) -> Iterator[Conversation]:
    """Yield calls: an offer, mostly answered, sometimes offered anew from either side, deleted at the end."""
    for number in range(count):
        dice = random.Random(f"{seed}/{number}")
        yield _conversation(dice, f"call-{number}", caller, callee)


def _conversation(dice: random.Random, call_id: str, caller: str, callee: str) -> Conversation:
    talk = Conversation()
    asked = {
        "flags": dice.sample(FLAGS, dice.randrange(4)),
        "replace": dice.sample(REPLACE, dice.randrange(3)),
        "ICE": "remove",
    }
    stripped = dice.choice((None, None, None, *STRIPPED))
    first = {"call_id": call_id, "from_tag": "a", **asked}
    offer = _description(dice, caller, "alice", 4000)
    if stripped and not _only(offer, stripped):
        hidden = "mask" if stripped in ("PCMA", "G722") and dice.random() < 0.3 else "strip"
        first = {**first, "flags": [*asked["flags"], f"codec-{hidden}-{stripped}"]}
    alone = not stripped and dice.random() < 0.2
    if alone:
        first = {**first, "flags": [*asked["flags"], *dice.choice(ORDERED)]}
    muxed = dice.random() < 0.3
    if muxed and dice.random() < 0.8:
        first = {**first, "rtcp_mux": [dice.choice(MUX)]}
    fax = dice.random() < 0.15
    offer = [*_muxed(dice, offer, muxed), *(_fax(5000) if fax else ())]
    talk.requests.append(("offer", {**first, "sdp": _text(offer)}))
    if dice.random() < 0.85:
        taken = [_alone(line) for line in offer] if alone else offer
        answer = _muxed(dice, _answer(dice, taken, callee, "bob", 6000, stripped), muxed)
        talk.requests.append(
            ("answer", {"call_id": call_id, "from_tag": "a", "to_tag": "b", **asked, "sdp": _text(answer)})
        )
        if dice.random() < 0.4 and "generate-mid" not in asked["flags"] and not muxed and not fax:
            _again(talk, dice, call_id, asked, offer, answer)
    if len(talk.requests) > 1:
        whom = dice.choice(({"flags": ["all"]}, {"from_tags": ["a", "b"]}, {"flags": ["all", "siprec"]}))
        heard = {"call_id": call_id, "to_tag": "rec"}
        talk.requests += (("subscribe request", {**heard, **whom}), ("unsubscribe", heard))
    talk.requests.append(("query", {"call_id": call_id}))
    talk.requests.append(("delete", {"call_id": call_id, "from_tag": "a"}))
    _direct(talk, dice)
    return talk


def _direct(talk: Conversation, dice: random.Random) -> None:
    """What is asked of media, and of header extensions, in some of the descriptions."""
    for _, keys in talk.requests:
        if "sdp" not in keys:
            continue
        if dice.random() < 0.1:
            keys["media_echo"] = dice.choice(ECHOES)
        if dice.random() < 0.1:
            keys["drop_traffic"] = dice.choice(("start", "stop"))
        if dice.random() < 0.1:
            keys["flags"] = [*keys["flags"], "strip-extmap"]
            keys["sdp"] += EXTMAP


def _again(
    talk: Conversation, dice: random.Random, call_id: str, asked: dict[str, Any], first: list[str], second: list[str]
) -> None:
    """A re-INVITE, to hold or to resume, from either side, with what was agreed on."""
    direction = dice.choice(("sendonly", "inactive", "sendrecv"))
    first = _agreed(first, second)
    offer, answer, tags = (first, second, ("a", "b")) if dice.random() < 0.5 else (second, first, ("b", "a"))
    mirrored = {"sendonly": "recvonly"}.get(direction, direction)
    for command, body, way in (("offer", offer, direction), ("answer", answer, mirrored)):
        keys = {"call_id": call_id, "from_tag": tags[0], "to_tag": tags[1], **asked, "sdp": _text(_turned(body, way))}
        talk.requests.append((command, keys))


def _agreed(offer: list[str], answer: list[str]) -> list[str]:
    """The offerer's description with the answer's formats."""
    head = list(offer[: next(i for i, line in enumerate(offer) if line.startswith("m="))])
    if not any(line.startswith("c=") for line in head):
        head.insert(3, next(line for line in offer if line.startswith("c=")))
    ports = [line.split()[1] for line in offer if line.startswith("m=")]
    media = [line for line in answer if line.startswith(("m=", "a="))]
    for place, line in enumerate(media):
        if line.startswith("m="):
            words = line.split()
            media[place] = " ".join([words[0], ports.pop(0), *words[2:]])
    return [*head, *media]


def _description(dice: random.Random, address: str, user: str, port: int) -> list[str]:
    session_connection = dice.random() < 0.7
    lines = ["v=0", f"o={user} {dice.randrange(1, 10**6)} {dice.randrange(1, 99)} IN IP4 {address}", "s=-"]
    if session_connection:
        lines.append(f"c=IN IP4 {address}")
    lines.append("t=0 0")
    for medium in range(dice.choice((1, 1, 1, 2))):
        lines += _audio(dice, port + 2 * medium, None if session_connection else address)
    return lines


def _audio(dice: random.Random, port: int, address: str | None) -> list[str]:
    formats = [*dice.sample(STATIC, dice.randrange(3)), "0"]
    dice.shuffle(formats)
    named = dice.sample(DYNAMIC, dice.randrange(3))
    if dice.random() < 0.6:
        named.append("101 telephone-event/8000")
    every = [*formats, *(each.split()[0] for each in named)]
    lines = [f"m=audio {port} {dice.choice(('RTP/AVP', 'RTP/AVP', 'RTP/AVPF'))} {' '.join(every)}"]
    if address:
        lines.append(f"c=IN IP4 {address}")
    lines += [f"a=rtpmap:{each}" for each in named]
    if "101 telephone-event/8000" in named:
        lines.append("a=fmtp:101 0-15")
    if dice.random() < 0.5:
        lines.append(f"a=ptime:{dice.choice((10, 20, 30))}")
    if dice.random() < 0.4:
        lines.append(f"a={dice.choice(('sendrecv', 'sendonly', 'recvonly', 'inactive'))}")
    if dice.random() < 0.3:
        lines.append(f"a=rtcp:{port + 1}")
    if dice.random() < 0.3:
        lines.append("a=x-vendor:7")
    return lines


def _muxed(dice: random.Random, body: list[str], muxed: bool) -> list[str]:
    """The same with RTCP beside RTP in some of the media, if at all."""
    found: list[str] = []
    for place, line in enumerate(body):
        found.append(line)
        ends = place + 1 == len(body) or body[place + 1].startswith("m=")
        if muxed and ends and any(each.startswith("m=") for each in found) and dice.random() < 0.7:
            found.append("a=rtcp-mux")
    return found


def _alone(line: str) -> str:
    """An m-line of audio with PCMU alone, which is in each of them."""
    return " ".join([*line.split()[:3], "0"]) if line.startswith("m=audio") else line


def _fax(port: int) -> list[str]:
    return [f"m=image {port} udptl t38", "a=T38FaxVersion:0", "a=T38FaxUdpEC:t38UDPRedundancy"]


def _answer(
    dice: random.Random, offer: list[str], address: str, user: str, port: int, stripped: str | None
) -> list[str]:
    """Accept one or two formats of each medium that was offered."""
    lines = ["v=0", f"o={user} {dice.randrange(1, 10**6)} 1 IN IP4 {address}", "s=-", f"c=IN IP4 {address}", "t=0 0"]
    rtpmaps = {line[9:].split()[0]: line for line in offer if line.startswith("a=rtpmap:")}
    for number, line in enumerate(each for each in offer if each.startswith("m=")):
        _, _, protocol, *formats = line.split()
        if protocol == "udptl":
            lines += _fax(dice.choice((0, 7000)))
            continue
        left = [each for each in formats if not _is(each, rtpmaps, stripped)]
        kept = left[: dice.choice((1, 1, 2))]
        lines.append(f"m=audio {port + 2 * number} {protocol} {' '.join(kept)}")
        lines += [rtpmaps[each] for each in kept if each in rtpmaps]
        if "101" in kept:
            lines.append("a=fmtp:101 0-15")
        lines.append("a=ptime:20")
    return lines


def _is(text: str, rtpmaps: dict[str, str], name: str | None) -> bool:
    spelled = {"8": "PCMA", "9": "G722"}.get(text) or rtpmaps.get(text, "a=rtpmap:x none/1").split()[1].split("/")[0]
    return name is not None and spelled == name


def _only(offer: list[str], name: str) -> bool:
    """Whether a medium would be left without a format."""
    rtpmaps = {line[9:].split()[0]: line for line in offer if line.startswith("a=rtpmap:")}
    media = [line.split()[3:] for line in offer if line.startswith("m=")]
    return any(all(_is(each, rtpmaps, name) for each in formats) for formats in media)


def _turned(body: list[str], direction: str) -> list[str]:
    """The same description, one version on, with a direction at the end of each medium."""
    ways = tuple(f"a={name}" for name in WAYS)
    sections: list[list[str]] = [[]]
    for line in body:
        if line.startswith("m="):
            sections.append([])
        if line.startswith("o="):
            words = line.split()
            line = " ".join([*words[:2], str(int(words[2]) + 1), *words[3:]])
        if line not in ways:
            sections[-1].append(line)
    return [*sections[0], *(line for section in sections[1:] for line in (*section, f"a={direction}"))]


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)


@dataclass
class Reduced:
    """A description without what may differ: ports are named by their medium, and what stands elsewhere with newer
    rtpengine, which we go by, is moved there; all other lines are as they were written.
    """

    session: list[str]
    media: list[list[str]]


def reduced(sdp: str | bytes, *, original: bool = False) -> Reduced:
    """Reduce a description that a relay wrote. original: directions were to stay as they came."""
    text = sdp.decode() if isinstance(sdp, bytes) else sdp
    sections: list[list[str]] = [[]]
    for line in text.replace("\r\n", "\n").strip().split("\n"):
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    connection = next((line for line in sections[0] if line.startswith("c=")), None)
    session = [_marked(line) for line in sections[0] if not line.startswith("c=")]
    return Reduced(session, [_medium(lines, connection, original) for lines in sections[1:]])


def reduced_copies(sdp: str | bytes) -> list[list[str]]:
    """Reduce what a subscriber is offered: without fax, which is not copied here, names, labels and directions."""
    dropped = ("a=mid:", "a=label:", "a=inactive", "a=sendonly")
    media = [medium for medium in reduced(sdp).media if not medium[0].startswith("m=image")]
    return [[line for line in medium if not line.startswith(dropped)] for medium in media]


def _medium(lines: list[str], connection: str | None, original: bool) -> list[str]:
    words = lines[0].split()
    port = int(words[1])
    words[1] = "PORT" if port else "0"
    rest = [line for line in lines[1:] if port or not line.startswith(("a=", "c="))]
    if port and connection and not any(line.startswith("c=") for line in rest):
        rest.append(connection)
    named = [
        line.replace(f"a=rtcp:{port + 1}", "a=rtcp:PORT+1").replace(f"a=rtcp:{port}", "a=rtcp:PORT") for line in rest
    ]
    kept = tuple(f"a={name}" for name in WAYS) if original else ()
    return [" ".join(words), *sorted(named, key=lambda line: _place(line, kept))]


def _place(line: str, kept: tuple[str, ...]) -> int:
    """Newer rtpengine begins a medium with some lines, and has those that it does not know behind the others."""
    if not line.startswith("a="):
        return 0
    if line.startswith(("a=mid:", "a=label:")):
        return 1
    return 3 if line.startswith(FOREIGN) else 4 if line in kept else 2


def _marked(line: str) -> str:
    """A mark against loops is any twelve digits."""
    return "a=rtpengine:MARK" if line.startswith("a=rtpengine:") else line
