# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written of a call's media: nothing that goes without saying, and all of it can be read again."""

import json

from ctl.sessions.call_media import CallMedia, Media
from ctl.sessions.security import CryptoLine, Protection, Spoken
from ctl.sessions.streams import Codec, Stream
from ctl.sessions.treatment import Treatments
from tests.ctl.world import ALICE, BOB, World, sdp

LINE = CryptoLine(1, "AES_CM_128_HMAC_SHA1_80", "a2V5")
STREAM = Stream("audio", "RTP/SAVP", "192.0.2.10", 4000, 4001, "192.0.2.10", codecs=(Codec(0, "PCMU", 8000),), ptime=20)
MEDIA = Media(
    relays={"a": "192.0.2.1", "b": "198.51.100.1"},
    ports={"a": (20000, None), "b": (20002, None)},
    streams={"a": (STREAM,), "b": (STREAM,)},
    offered=(Spoken("RTP/SAVP", (LINE,)),),
    protections={"a": (Protection(sends=LINE),), "b": (Protection(),)},
)
SAID = {
    "relays": {"a": "192.0.2.1"},
    "ports": {"a": [20000]},
    "latching": [],
    "shown": {},
    "offered": [],
    "protections": {"a": [{"sends": None, "receives": None, "fingerprint": "", "active": False}]},
    "streams": {
        "a": [
            {
                "media": "audio",
                "protocol": "RTP/AVP",
                "address": "192.0.2.10",
                "rtp_port": 4000,
                "ptime": None,
                "rtcp_port": 4001,
                "signalling": "192.0.2.10",
                "rtcp_mux": False,
                "direction": "sendrecv",
                "codecs": [{"payload_type": 0, "name": "PCMU", "clock_rate": 8000, "parameters": ""}],
                "telephone_events": [],
                "cryptos": [],
                "fingerprint": "",
                "setup": "",
            }
        ]
    },
}
"""As it was written when everything was said."""


def test_what_is_written_is_read_again():
    treatments = Treatments(frozenset("b"), silenced=frozenset("a"), digits_blocked=frozenset("ab"))
    media = CallMedia(MEDIA, MEDIA, "a", treatments)
    assert CallMedia.from_json(json.loads(json.dumps(media.to_json()))) == media


def test_nothing_is_written_that_goes_without_saying():
    written = CallMedia(MEDIA).to_json()["agreed"]
    assert "latching" not in written
    assert written["streams"]["a"][0]["codecs"] == [{"payload_type": 0, "name": "PCMU", "clock_rate": 8000}]
    assert "rtcp_mux" not in written["streams"]["a"][0]


def test_a_journal_that_says_everything_is_read_too():
    read = CallMedia.from_json({"agreed": SAID, "proposed": None, "offerer": None, "blocked": []})
    assert read.agreed.streams["a"][0].codecs == (Codec(0, "PCMU", 8000),)
    assert read.agreed.protections == {"a": (Protection(),)}


def test_what_is_written_is_kept_until_something_changes(world: World) -> None:
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB)
    offered = world.sessions.snapshot_text("call")
    world.sessions.answer("call", "b", sdp(BOB), BOB, 0.0)
    answered = world.sessions.snapshot_text("call")
    assert offered != answered
    assert world.sessions.snapshot_text("call") is answered
    assert json.loads(answered) == json.loads(json.dumps(world.sessions.snapshot("call")))
    world.sessions.block("call", ["a"])
    assert json.loads(world.sessions.snapshot_text("call"))["treatments"]["blocked"] == ["a"]
    assert world.sessions.snapshot_text("nobody's") == "{}"
