# SPDX-License-Identifier: GPL-3.0-or-later
"""What the conductor knows of each leg: where its media goes, and the keys that it tells by INFO."""

from dataclasses import replace
from functools import partial

from structlog.testing import capture_logs

from ctl.sessions.relay_choice import Facing, RelayAddress
from sip.effects import OfferMedia, Pressed
from tests.ctl.signalling.test_conductor import ANNA, BERT, RELAYS, SDP, Host, call, in_dialog, register, talk


async def test_keys_told_by_info_are_heard_of_and_can_be_blocked(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        told = []
        host.conductor.listeners.append(told.append)
        accepted, _ = talk(host)
        (identity,) = (view.id for view in host.core.calls())
        key = partial(in_dialog("INFO", accepted, 3).with_body, b"Signal=5\r\n", "application/dtmf-relay")
        host.say(key(), ANNA)
        assert [message.method for message in host.heard(BERT)] == ["INFO"]
        blocked = replace(host.sessions.treatments(identity), digits_blocked=frozenset("a"))
        host.sessions._calls[identity].treatments = blocked
        host.say(key().replaced("CSeq", ["4 INFO"]).replaced("Via", ["SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKk"]), ANNA)
        assert host.heard(BERT) == []
        assert [each for each in told if isinstance(each, Pressed)] == [Pressed(identity, "a", "5", None)] * 2


async def test_each_party_has_its_media_where_its_profile_says(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        named = (RelayAddress(RELAYS[0], "in"), RelayAddress(RELAYS[1], "out", "203.0.113.99"))
        host.sessions.data_plane = replace(host.sessions.data_plane, relays=named)
        host.users.sides = {("carrier", ""): Facing("out", latch=True, dtmf="inband"), ("", "anna"): Facing("in")}
        sdp = SDP.format("192.0.2.10", 4000).encode()
        offer = OfferMedia(
            999, "call", "a", sdp, "192.0.2.10", "192.0.2.11", "192.0.2.1", "", "", "carrier", user="anna"
        )
        host.conductor.perform([offer])
        media = host.sessions.snapshot("call")["proposed"]
        assert (media["relays"], media["shown"]) == ({"a": RELAYS[0], "b": RELAYS[1]}, {"b": "203.0.113.99"})
        assert (media["latching"], media["dtmf"]) == (["b"], {"b": "inband"})


async def test_who_signals_by_websocket_is_spoken_ice_with_and_has_one_port(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        offer = OfferMedia(
            *(999, "call", "a", SDP.format("192.0.2.10", 4000).encode(), "192.0.2.10", "192.0.2.11"),
            toward_transport="wss",
        )
        host.conductor.perform([offer])
        media = host.sessions.snapshot("call")["proposed"]
        assert media["policies"] == {"a": "remove", "b": "lite"}
        assert media["ices"]["b"][0]["lite"] is True
        assert media["terms"]["mux"] == {"offered": "also"}


async def test_a_tenant_that_requires_srtp_has_no_plain_call(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        register(host, "bert", BERT)
        for side in ("anna", "bert"):
            host.users.sides = {("", side): Facing(srtp="required")}
            with capture_logs() as lines:
                call(host)
            assert (host.heard(ANNA)[-1].status, host.heard(BERT)) == (488, [])
            (why,) = [each["why"] for each in lines if each["event"] == "media refused"]
            assert why.startswith("SRTP is required; offer")
            assert not host.sessions.calls()


async def test_what_is_wrong_with_us_is_logged_and_not_told(tmp_path, table, hops):
    async with Host(tmp_path, table, hops) as host:
        host.users.sides = {("", "anna"): Facing("nowhere")}
        register(host, "bert", BERT)
        with capture_logs() as lines:
            call(host)
        refused = host.heard(ANNA)[-1]
        assert (refused.status, refused.reason) == (503, "No Media Available")
        assert b"nowhere" not in refused.to_bytes()
        (line,) = [each for each in lines if each["event"] == "media refused"]
        assert (line["log_level"], line["why"]) == (
            "warning",
            "there is no media interface nowhere; configured are none",
        )
