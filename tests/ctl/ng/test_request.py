# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from ctl.ng.errors import NgError
from ctl.ng.request import Request, canonical


@pytest.mark.parametrize("text", ["delete delay", "delete-delay", "Delete_Delay", " delete--delay "])
def test_one_key_however_it_is_spelled(text):
    assert canonical(text) == "delete-delay"


def test_numbers_come_as_integers_and_as_digits():
    request = Request.of({"delete delay": "30", "TOS": 184, "ptime": "", "limit": "many"})
    assert request.number("delete-delay") == 30
    assert request.number("tos") == 184
    assert request.number("ptime") is None
    with pytest.raises(NgError, match="limit: not a number"):
        request.number("limit")


def test_words_of_lists_may_be_flags_with_a_prefix():
    request = Request.of(
        {"flags": ["replace-origin", "rtcp-mux-demux", "SDES-off", "trust address"], "replace": ["session connection"]}
    )
    assert request.flags == {"trust-address"}
    assert set(request.list("replace")) == {"origin", "session-connection"}
    assert request.list("rtcp-mux") == ("demux",)
    assert request.list("sdes") == ("off",)


def test_codecs_may_be_a_dictionary_or_flags_and_keep_their_spelling():
    request = Request.of({"flags": ["codec-strip-PCMA", "transcode-opus/48000/2"], "codec": {"strip": ["G722"]}})
    assert request.codecs == {"strip": ("G722", "PCMA"), "transcode": ("opus/48000/2",)}


def test_a_transport_may_be_a_flag():
    assert Request.of({"flags": ["RTP/SAVP"]}).text("transport-protocol") == "RTP/SAVP"


def test_one_flag_stands_for_all_that_browsers_want():
    request = Request.of({"flags": ["WebRTC"]})
    assert request.text("transport-protocol") == "UDP/TLS/RTP/SAVPF"
    assert (request.list("ice"), request.list("rtcp-mux"), request.list("sdes")) == (
        ("force",),
        ("offer", "require"),
        ("off",),
    )
    assert request.flags == {"trickle-ice", "no-rtcp-attribute", "generate-mid"}


def test_one_string_may_hold_everything():
    request = Request.of(
        {"command": "offer", "rtpp-flags": "loop-protect replace-origin direction=[pub priv] ICE=remove via-branch=1"}
    )
    assert request.command == "offer"
    assert request.flags == {"loop-protect"}
    assert request.list("replace") == ("origin",)
    assert request.words("direction") == ("pub", "priv")
    assert request.list("ice") == ("remove",)
    assert request.text("via-branch") == "1"


@pytest.mark.parametrize("value", [None, [], {}, True, ""])
def test_what_is_of_no_use_is_missing(value):
    request = Request.of({"call-id": value})
    assert request.text("call-id") is None
    with pytest.raises(NgError, match=r"^No call-id in message$"):
        request.required("call-id", "No call-id in message")


def test_nothing_in_it_can_make_reading_fail():
    request = Request.of({"flags": {"a": 1}, "codec": ["x"], "replace": 7, "ICE": [None, 3], "rtpp-flags": [1]})
    assert request.flags == frozenset()
    assert request.list("ice") == ("3",)


@pytest.mark.parametrize(
    "text", ["[", "]]]", "a=[b", "a=]b[", "=[x]", "a=[[[[[[[[[[[[b]]]]]]]]]]]]", "sdp-attr=x sdp-attr-add-none-y"]
)
def test_brackets_may_be_anyhow(text):
    request = Request.of({"command": "offer", "rtpp-flags": text})
    assert request.command == "offer"


def test_brackets_within_brackets_are_lists_and_dictionaries():
    request = Request.of({"rtpp-flags": "codec=[transcode=[PCMA PCMU] strip=[EVS]] direction=[a b] x=[k=[p=[1 2]]]"})
    assert request.codecs == {"transcode": ("PCMA", "PCMU"), "strip": ("EVS",)}
    assert request.values["x"] == {"k": {"p": ["1", "2"]}}
