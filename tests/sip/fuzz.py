# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.sip.fuzz [--count N] [--seed S] [TARGET ...]`: every parser of signalling, fed with damaged input.

An input must be read or be refused by the parser's own error, within 50 ms of CPU. The first that is neither is written
to a file and named; exit 1. VOXDP_CORPUS adds its messages to the seeds.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from sip.core import Core
from sip.effects import Address
from sip.errors import ParseError, ProtocolError
from sip.framing import Framer
from sip.headers import AuthValue, CSeq, NameAddr, Via
from sip.info import pressed
from sip.message import Request
from sip.params import Params
from sip.parser import parse
from sip.sdp import SessionDescription
from sip.settings import Settings
from sip.stun import binding_response, is_stun
from sip.transfer import referral, replaced_dialog
from sip.uri import Uri

SLOWEST = 0.05
PEER, OURS = Address("192.0.2.7", 5060), Address("198.51.100.1", 5060)
SPLICES = (
    *(b"\r\n", b"\r\n ", b"\x00", b"\xff", b'"', b"<", b">", b";", b",", b"=", b":", b"@", b"[", b"]", b"%", b"\\"),
    *(b"*", b"sip:", b"sips:", b"tel:+1", b"99999999999999999999", b"-1", b"z9hG4bK", b";tag=", b";lr", b"SIP/2.0"),
    *(b"Digest ", b"\r\nVia: ", b"\r\nContact: *", b"\r\nContent-Length: ", b"\r\nl: 0", b"\r\nRequire: 100rel"),
    *(b"\r\n\r\n", b"a=", b"m="),
)
HEAD = (
    b"Via: SIP/2.0/UDP 192.0.2.7:5060;rport;branch=z9hG4bK-1, SIP/2.0/TCP [2001:db8::1];branch=z9hG4bK2\r\n"
    b'Max-Forwards: 70\r\nFrom: "Anna \\"A\\"" <sip:anna@example.org>;tag=a\r\n'
    b"To: <sip:bert@example.org;user=phone>\r\nCall-ID: f81d4fae@192.0.2.7\r\nCSeq: 7 %b\r\n"
    b"Contact: <sip:anna@192.0.2.7:5060;transport=UDP>;q=0.5;expires=60\r\n"
    b'Authorization: Digest username="anna", realm="example.org", nonce="0", uri="sip:b", response="0", nc=1\r\n'
    b"Supported: 100rel, timer\r\nRoute: <sip:p1;lr>, <sip:p2>\r\nSession-Expires: 90;refresher=uac\r\n"
    b"X: folded\r\n  line\r\n"
)
SDP = (
    b"v=0\r\no=anna 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 40000 RTP/SAVP 0 8 101\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abcd\r\n"
    b"a=candidate:1 1 UDP 2130706431 192.0.2.7 40000 typ host\r\na=rtcp:40001 IN IP4 192.0.2.7\r\na=sendrecv\r\n"
)


@dataclass(frozen=True, slots=True)
class Target:
    """A parser: what it is fed with, and how."""

    seeds: Sequence[bytes]
    feed: Callable[[bytes], object]


def message(method: bytes, body: bytes = b"") -> bytes:
    kind = b"Content-Type: application/sdp\r\n" if body else b""
    return b"%b sip:bert@example.org SIP/2.0\r\n%b%bContent-Length: %d\r\n\r\n%b" % (
        method, HEAD % method, kind, len(body), body,
    )  # fmt: skip


MESSAGES = [
    *(message(method) for method in (b"REGISTER", b"OPTIONS", b"BYE", b"CANCEL", b"ACK", b"SUBSCRIBE")),
    *(message(method, SDP) for method in (b"INVITE", b"UPDATE", b"PRACK")),
    b"SIP/2.0 200 OK\r\n" + HEAD % b"INVITE" + b"\r\n",
    b"SIP/2.0 401 Unauthorized\r\n" + HEAD % b"REGISTER" + b'WWW-Authenticate: Digest realm="a", nonce="b"\r\n\r\n',
]


def read(data: bytes) -> None:
    """Parse, read every view, and answer."""
    found = parse(data)
    for view in ("vias", "from_", "to", "call_id", "cseq", "contacts", "routes", "record_routes", "expires", "require"):
        getattr(found, view)
    if isinstance(found, Request):
        found.stamp(PEER.host, PEER.port)
        _ = found.transaction_key
        parse(found.to_bytes())


def refer(data: bytes) -> None:
    """Read where a REFER points."""
    found = parse(b"REFER sip:bert@example.org SIP/2.0\r\n%bRefer-To: %b\r\n\r\n" % (HEAD % b"REFER", data))
    assert isinstance(found, Request)
    referral(found)


def describe(data: bytes) -> None:
    """Parse a session description, and all that it holds."""
    found = SessionDescription.parse(data)
    for medium in found.media:
        _ = medium.codecs, medium.cryptos, medium.candidates, medium.rtcp, medium.fingerprints
        _ = found.direction_of(medium), found.connection_of(medium)
    SessionDescription.parse(found.to_bytes())


def stream(data: bytes) -> None:
    """Cut a stream anywhere."""
    framer, place = Framer(), len(data) // 3
    for piece in (data[:place], data[place : 2 * place], data[2 * place :], data):
        for _ in framer.feed(piece):
            pass


class Receiver:
    """One core that hears everything; it is exchanged before it is full."""

    def __init__(self) -> None:
        self._now, self._heard = 0.0, 0
        self._core = self._fresh()

    def __call__(self, data: bytes) -> None:
        self._heard += 1
        self._now += 0.01
        if self._heard % 5000 == 0:
            self._core = self._fresh()
        self._core.receive(data, PEER, OURS, self._now)
        self._core.expire(self._now)

    def _fresh(self) -> Core:
        settings = Settings("example.org", b"k" * 32, requests_per_source=0.0, ban=0.0)
        count = iter(range(10**9))
        return Core(settings, lambda: f"t{next(count)}", lambda peer: OURS)


def texts(parse_text: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: str(parse_text(data.decode("utf-8", "surrogateescape")))


TARGETS = {
    "message": Target(MESSAGES, read),
    "stream": Target([each + b"\r\n\r\n" + each for each in MESSAGES], stream),
    "core": Target(MESSAGES, Receiver()),
    "uri": Target(
        [b"sip:anna:pw@example.org:5060;transport=tcp;lr?a=b&c=d", b"sips:%41@[2001:db8::1]:5061", b"tel:+1-201;ext=7"],
        texts(Uri.parse),
    ),
    "address": Target(
        [b'"A \\" B" <sip:a@b;x=y>;tag=1;q=0.5', b"sip:a@b;tag=1", b"A B<sip:a@b>"], texts(NameAddr.parse)
    ),
    "via": Target(
        [b"SIP/2.0/UDP a.b:5060;rport;branch=z9hG4bKx;received=::1", b"SIP / 2.0 / TLS [::1]"], texts(Via.parse)
    ),
    "params": Target([b';a=b;c;d="e;f";g=[::1]'], texts(Params.parse)),
    "cseq": Target([b"4711 INVITE"], texts(CSeq.parse)),
    "credentials": Target([HEAD.split(b"Authorization: ")[1].split(b"\r\n")[0]], texts(AuthValue.parse)),
    "refer": Target(
        [
            b"<sip:carl@example.org?Replaces=c%40h%3Bto-tag%3Da%3Bfrom-tag%3Db&Subject=x>;a=b",
            b"sip:carl@example.org;method=INVITE",
        ],
        refer,
    ),
    "replaces": Target([b"c@h;to-tag=a;from-tag=b;early-only"], texts(replaced_dialog)),
    "keys": Target(
        [b"Signal=5\r\nDuration=160\r\n", b"Signal = *\r\n", b"11"],
        lambda data: [pressed(f"application/{kind}", data) for kind in ("dtmf-relay", "dtmf")],
    ),
    "sdp": Target([SDP, SDP.replace(b"audio", b"video") + SDP[SDP.index(b"m=") :]], describe),
    "stun": Target(
        [b"\x00\x01\x00\x08\x21\x12\xa4\x42" + bytes(12) + b"\x80\x22\x00\x04abcd"],
        lambda data: is_stun(data) and binding_response(data, PEER),
    ),
}  # fmt: skip


def spoil(data: bytes, dice: random.Random) -> bytes:
    """The input with one to four pieces taken out, put in, doubled or changed."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        place = dice.randrange(len(changed) + 1)
        match dice.randrange(5):
            case 0:
                changed[place : place + 1] = bytes([dice.randrange(256)])
            case 1:
                del changed[place : place + dice.choice((1, 4, 40))]
            case 2:
                changed[place : place + dice.choice((0, 0, 4))] = dice.choice(SPLICES)
            case 3:
                changed[place:place] = changed[place : place + dice.choice((1, 8, 80))] * dice.choice((1, 2, 50))
            case 4:
                del changed[place:]
    return bytes(changed)


def run(target: Target, count: int, dice: random.Random) -> Iterator[tuple[bytes, str]]:
    """Feed so many inputs; yield those that were neither read nor refused in time, and why."""
    for _ in range(count):
        data = spoil(dice.choice(target.seeds), dice)
        try:
            took = fed(target, data)
            if took > SLOWEST:  # what is slow is slow again; a host that was busy is not
                took = min(took, *(fed(target, data) for _ in range(3)))
        except Exception as error:
            yield data, repr(error)
        else:
            if took > SLOWEST:
                yield data, f"took {took:.3f} s"


def fed(target: Target, data: bytes) -> float:
    """Seconds of CPU that an input takes to be read or refused."""
    began = time.thread_time()
    with suppress(ParseError, ProtocolError):
        target.feed(data)
    return time.thread_time() - began


def corpus() -> list[bytes]:
    """The messages of VOXDP_CORPUS."""
    folder = os.environ.get("VOXDP_CORPUS")
    folders = [Path(folder) / name for name in ("rfc4475", "rfc5118", "kamailio-sip")] if folder else []
    return [path.read_bytes() for each in folders for path in sorted(each.iterdir()) if path.name != "SOURCE"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sip.fuzz")
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS])
    parser.add_argument("--count", type=int, default=10_000_000, help="inputs, shared by the targets")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    names = options.targets or list(TARGETS)
    failed = False
    for name in names:
        target, began = TARGETS[name], time.monotonic()
        if name in ("message", "core", "stream"):
            target = Target([*target.seeds, *corpus()], target.feed)
        for data, why in run(target, options.count // len(names), random.Random(seed)):
            file = Path(gettempdir()) / f"voxdp-fuzz-{name}-{seed}"
            file.write_bytes(data)
            print(f"{name}: {why}: {file}", flush=True)
            failed = True
            break
        print(f"{name}: seed {seed}, {time.monotonic() - began:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
