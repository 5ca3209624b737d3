# SPDX-License-Identifier: GPL-3.0-or-later
"""SRTP through the media sessions: lines in and out, who opens and seals, and the way back to the kernel."""

import random
from base64 import b64decode, b64encode
from dataclasses import replace
from functools import partial

import pytest

from ctl.kernel.flowrule import TO_STACK, FlowAction, FlowState
from ctl.sessions.media_sessions import MediaRefused
from ctl.sessions.relay_choice import ANY, Facing
from media.flows import EngineFlow, EngineKeys
from tests.ctl.world import ALICE, AUDIO, BOB, PLANE, World, address, m_lines, rtp_port, sdp

OURS = "sha-256 " + ":".join(["CC"] * 32)
PEER = "sha-256 " + ":".join(["DD"] * 32)
PLANE = replace(PLANE, fingerprint=OURS)
SUITE = "AES_CM_128_HMAC_SHA1_80"


def key(seed: int) -> bytes:
    return random.Random(seed).randbytes(30)


def secured(where: str, seed: int, profile: str = "RTP/SAVP", tag: int = 1) -> bytes:
    text = AUDIO.replace("RTP/AVP", profile)
    return sdp(where, f"{text}a=crypto:{tag} {SUITE} inline:{b64encode(key(seed)).decode()}\r\n")


def by_dtls(where: str, setup: str, profile: str = "UDP/TLS/RTP/SAVP") -> bytes:
    return sdp(where, f"{AUDIO.replace('RTP/AVP', profile)}a=fingerprint:{PEER}\r\na=setup:{setup}\r\n")


def attributes(body: bytes, name: bytes) -> list[bytes]:
    return [line.partition(b":")[2] for line in body.splitlines() if line.startswith(b"a=" + name)]


def pair(world: World, number: int) -> tuple[EngineFlow, EngineFlow]:
    """The engine's flows of one kind, Alice's first: RTP is number 0, RTCP 1."""
    kind = ("rtp", "rtcp")[number]
    one, other = (flow for flow in world.engine.flows.values() if flow.kind == kind)
    return one, other


def flows(world: World, kind: str = "rtp") -> list[tuple[str, str]]:
    return [(each.path, each.reason) for each in world.sessions.query("call") if each.kind == kind]


@pytest.fixture
def lab(world: World) -> World:
    world.plane = PLANE
    world.restart()
    return world


def test_a_callee_without_the_callers_suites_gets_keys_of_ours_when_it_has_refused_those(lab: World) -> None:
    first, again = (
        lab.sessions.offer("call", "a", secured(ALICE, 1), ALICE, 0.0, toward=BOB, attempt=i) for i in (0, 1)
    )
    assert [line.split()[1] for line in attributes(first, b"crypto")] == [SUITE.encode()]
    suites = {line.split()[1]: line.split() for line in attributes(again, b"crypto")}
    tag, _, inline = suites[b"AEAD_AES_256_GCM"]
    theirs = b64encode(random.Random(7).randbytes(44))
    text = (
        AUDIO.replace("RTP/AVP", "RTP/SAVP") + f"a=crypto:{tag.decode()} AEAD_AES_256_GCM inline:{theirs.decode()}\r\n"
    )
    to_alice = lab.sessions.answer("call", "b", sdp(BOB, text), BOB, 0.0)
    (line,) = attributes(to_alice, b"crypto")
    assert line.split()[:2] == [b"1", SUITE.encode()]
    assert flows(lab) == [("engine", "SRTP keys differ")] * 2
    facing_a, facing_b = pair(lab, 0)
    assert facing_a.open == EngineKeys(SUITE, key(1))
    assert facing_b.open == EngineKeys("AEAD_AES_256_GCM", random.Random(7).randbytes(44))
    ours = EngineKeys("AEAD_AES_256_GCM", b64decode(inline.removeprefix(b"inline:")))
    assert ours in (facing_a.seal, facing_b.seal)


def test_one_side_alone_is_opened_and_sealed(lab: World) -> None:
    to_bob, to_alice = lab.call(a=secured(ALICE, 1))
    assert m_lines(to_bob)[0].split()[2] == b"RTP/AVP"
    assert attributes(to_bob, b"setup") == [b"actpass"]
    assert attributes(to_bob, b"fingerprint") == [OURS.encode()]
    assert m_lines(to_alice)[0].split()[2] == b"RTP/SAVP"
    (line,) = attributes(to_alice, b"crypto")
    assert line.startswith(b"1 " + SUITE.encode() + b" inline:")
    assert b64encode(key(1)) not in to_alice
    assert flows(lab) == [("engine", "SRTP on one side only")] * 2
    facing_a, facing_b = pair(lab, 0)
    assert (facing_a.open, facing_a.seal) == (EngineKeys(SUITE, key(1)), None)
    assert facing_b.open is None
    assert b64encode(facing_b.seal.key) in line


def test_shared_keys_stay_in_the_kernel(lab: World) -> None:
    to_bob, to_alice = lab.call(a=secured(ALICE, 1), b=secured(BOB, 2, "RTP/AVP"))
    assert b64encode(key(1)) in to_bob
    assert b64encode(key(2)) in to_alice
    assert flows(lab) == [("kernel", "")] * 2


def test_dtls_ends_here(lab: World) -> None:
    to_bob, to_alice = lab.call(a=by_dtls(ALICE, "actpass"), b=by_dtls(BOB, "active", "RTP/AVP"))
    assert attributes(to_alice, b"setup") == [b"active"]
    assert len(attributes(to_bob, b"crypto")) == 4
    assert flows(lab) == [("engine", "DTLS-SRTP ends here")] * 2
    facing_a, facing_b = pair(lab, 0)
    assert (facing_a.dtls.active, facing_b.dtls.active) == (True, False)
    assert facing_a.dtls.fingerprint == b"\xdd" * 32
    assert facing_a.open is None


def test_rtcp_is_protected_by_the_same_keys_on_its_own_flow(lab: World) -> None:
    lab.call(a=secured(ALICE, 1))
    assert flows(lab, "rtcp") == [("engine", "SRTP on one side only")] * 2
    rtp, rtcp = pair(lab, 0)[0], pair(lab, 1)[0]
    assert (rtp.kind, rtcp.kind, rtp.open) == ("rtp", "rtcp", rtcp.open)
    assert not rtp.mux


def test_a_call_that_becomes_plain_goes_back_to_the_kernel(lab: World) -> None:
    lab.call(a=secured(ALICE, 1))
    to_bob, to_alice = lab.call()
    assert flows(lab) == [("kernel", "")] * 2
    assert b"crypto" not in to_bob + to_alice
    lab.call(a=secured(ALICE, 3))
    assert flows(lab) == [("engine", "SRTP on one side only")] * 2


def test_hold_and_resume_keep_keys(lab: World) -> None:
    _, first = lab.call(a=secured(ALICE, 1))
    _, held = lab.call(a=secured(ALICE, 1) + b"a=sendonly\r\n")
    _, resumed = lab.call(a=secured(ALICE, 1))
    lines = {tuple(attributes(body, b"crypto")) for body in (first, held, resumed)}
    assert len(lines) == 1


def test_a_restart_finds_the_same_flows(lab: World) -> None:
    lab.call(a=secured(ALICE, 1))
    state, have = lab.sessions.snapshot("call"), [pair(lab, 0), pair(lab, 1)]
    lab.restart()
    assert lab.sessions.restore("call", state) == 0
    assert [pair(lab, 0), pair(lab, 1)] == have


def test_required_means_both(lab: World) -> None:
    lab.sessions.data_plane = replace(PLANE, srtp="required")
    with pytest.raises(MediaRefused, match="SRTP is required"):
        lab.call()
    with pytest.raises(MediaRefused, match="without a suite or fingerprint that was offered") as refused:
        lab.call(a=secured(ALICE, 1))
    assert refused.value.status == 488
    lab.call(a=secured(ALICE, 1), b=secured(BOB, 2))
    assert flows(lab) == [("kernel", "")] * 2


def test_off_means_neither(lab: World) -> None:
    lab.sessions.data_plane = replace(PLANE, srtp="off")
    with pytest.raises(MediaRefused, match="switched off"):
        lab.call(a=secured(ALICE, 1))
    to_bob, to_alice = lab.call(a=secured(ALICE, 1, "RTP/AVP"), b=secured(BOB, 2, "RTP/AVP"))
    assert b"crypto" not in to_bob + to_alice
    assert flows(lab) == [("kernel", "")] * 2


def test_a_party_that_requires_srtp_has_it_on_both_sides_or_no_call(lab: World) -> None:
    strict, loose, none = (Facing(srtp=policy) for policy in ("required", "preferred", "off"))
    offer = partial(lab.sessions.offer, "call", "a", source=ALICE, now=0.0, toward=BOB)
    for here, there in ((strict, loose), (loose, strict), (ANY, strict), (strict, none), (none, strict)):
        with pytest.raises(MediaRefused, match="SRTP is required") as refused:
            offer(sdp=sdp(ALICE), here=here, there=there)
        assert refused.value.status == 488
    to_bob = offer(sdp=secured(ALICE, 1), here=loose, there=strict)
    assert m_lines(to_bob)[0].split()[2] == b"RTP/SAVP"
    with pytest.raises(MediaRefused, match="that was offered"):
        lab.sessions.answer("call", "b", sdp(BOB), BOB, 0.0)
    lab.sessions.rollback("call", 0.0)
    offer(sdp=secured(ALICE, 1), here=loose, there=strict)
    lab.sessions.answer("call", "b", secured(BOB, 2), BOB, 0.0)
    assert flows(lab) == [("kernel", "")] * 2


def test_a_party_without_srtp_has_none_and_the_other_one_has_its_own(lab: World) -> None:
    none = Facing(srtp="off")
    offer = partial(lab.sessions.offer, "call", "a", source=ALICE, now=0.0, toward=BOB)
    with pytest.raises(MediaRefused, match="switched off"):
        offer(sdp=secured(ALICE, 1), here=none)
    to_bob = offer(sdp=secured(ALICE, 1), there=none)
    assert m_lines(to_bob)[0].split()[2] == b"RTP/AVP"
    assert b"crypto" not in to_bob
    assert b"fingerprint" not in to_bob
    to_alice = lab.sessions.answer("call", "b", sdp(BOB), BOB, 0.0)
    assert len(attributes(to_alice, b"crypto")) == 1
    assert flows(lab) == [("engine", "SRTP on one side only")] * 2


def test_the_policy_of_an_exchange_outlives_a_restart(lab: World) -> None:
    lab.sessions.data_plane = replace(PLANE, srtp="off")
    offer = partial(lab.sessions.offer, "call", "a", source=ALICE, now=0.0, toward=BOB)
    offer(sdp=secured(ALICE, 1), here=Facing(srtp="required"), there=Facing(srtp="required"))
    state = lab.sessions.snapshot("call")
    lab.restart()
    lab.sessions.data_plane = replace(PLANE, srtp="off")
    lab.sessions.restore("call", state)
    to_alice = lab.sessions.answer("call", "b", secured(BOB, 2), BOB, 0.0)
    assert len(attributes(to_alice, b"crypto")) == 1
    assert flows(lab) == [("kernel", "")] * 2


def test_who_requires_srtp_can_be_called_by_ourselves(lab: World) -> None:
    offer = lab.sessions.attend("call", "a", b"", ALICE, 0.0, Facing(srtp="required"))
    assert m_lines(offer)[0].split()[2] == b"RTP/SAVP"
    lab.sessions.answer("call", "a", secured(ALICE, 1, tag=4), ALICE, 0.0)
    assert all(flow.seal or flow.open for flow in pair(lab, 0))


def test_plain_calls_are_not_touched(lab: World) -> None:
    to_bob, to_alice = lab.call()
    assert b"crypto" not in to_bob + to_alice
    assert b"fingerprint" not in to_bob + to_alice


def awaited(world: World) -> set[tuple[str, int]]:
    """The ports where the engine keeps what comes, each of which the kernel lets through."""
    rules = [world.table.at(local) for local in world.engine.bound]
    assert {(rule.action, rule.seat) for rule in rules} <= {(FlowAction.ENGINE, TO_STACK)}
    return set(world.engine.bound)


def offered(world: World, body: bytes = b"", **options: str) -> set[tuple[str, int]]:
    """Offer to Bob; return the ports that he may send a hello to with his answer."""
    to_bob = world.sessions.offer("call", "a", body or secured(ALICE, 1), ALICE, 0.0, toward=BOB, **options)
    return {(address(to_bob), rtp_port(to_bob) + above) for above in (0, 1)}


def test_a_hello_that_comes_before_the_answer_is_kept(lab: World) -> None:
    ports = offered(lab, by_dtls(ALICE, "actpass"))
    assert awaited(lab) == ports
    assert {local for local, _ in lab.table.writes} == ports
    lab.sessions.answer("call", "b", by_dtls(BOB, "active", "RTP/AVP"), BOB, 0.0)
    assert awaited(lab) == set()
    assert {flow.key for flow in lab.engine.flows.values() if flow.dtls and not flow.dtls.active} == ports
    assert not set(lab.table.offs) & ports


def test_nobody_waits_for_a_hello_where_no_fingerprint_was_offered(lab: World) -> None:
    offered(lab, sdp(ALICE))
    assert (lab.engine.bound, lab.engine.requests) == (set(), 0)


def test_ports_that_waited_are_given_up_where_the_kernel_carries_the_call(lab: World) -> None:
    ports = offered(lab)
    assert awaited(lab) == ports
    lab.sessions.answer("call", "b", secured(BOB, 2, "RTP/AVP"), BOB, 0.0)
    assert awaited(lab) == set()
    assert {lab.table.at(local).state for local in ports} == {FlowState.PINNED}
    assert {lab.table.at(local).action for local in ports} == {FlowAction.FORWARD}


@pytest.mark.parametrize("end", ["rollback", "delete", "another offer", "reconcile"])
def test_ports_that_waited_are_given_up_with_their_offer(lab: World, end: str) -> None:
    ports = offered(lab)
    if end == "rollback":
        lab.sessions.rollback("call", 1.0)
    elif end == "delete":
        lab.sessions.delete("call", 1.0)
    elif end == "another offer":
        offered(lab, sdp(ALICE))
    else:
        lab.restart()
        lab.programmer.reconcile(())
    assert awaited(lab) == set()
    assert {lab.table.at(local).state for local in ports} == {FlowState.OFF}


def test_each_side_that_rings_is_waited_for_until_one_has_answered(lab: World) -> None:
    first, second = offered(lab), offered(lab, side="1")
    assert awaited(lab) == first | second
    lab.sessions.answer("call", "b", by_dtls(BOB, "active", "RTP/AVP"), BOB, 0.0)
    assert awaited(lab) == second
    lab.sessions.settle("call", 1.0)
    assert awaited(lab) == set()


def test_a_controller_or_engine_that_comes_back_waits_on(lab: World) -> None:
    ports, state = offered(lab), lab.sessions.snapshot("call")
    lab.restart()
    lab.engine.bound.clear()
    lab.sessions.restore("call", state)
    lab.programmer.reconcile({"call"})
    assert awaited(lab) == ports
    lab.engine.bound.clear()
    lab.programmer.engine_restarted()
    assert awaited(lab) == ports


def test_an_engine_that_cannot_wait_does_not_keep_an_offer_back(lab: World) -> None:
    lab.engine.gone = True
    offered(lab)
    lab.engine.gone = False
    lab.sessions.answer("call", "b", by_dtls(BOB, "active", "RTP/AVP"), BOB, 0.0)
    assert flows(lab) == [("engine", "DTLS-SRTP ends here")] * 2


def test_a_reinvite_leaves_flows_that_go_on_as_they_are(lab: World) -> None:
    lab.call(a=secured(ALICE, 1), b=secured(BOB, 2, "RTP/AVP"))
    lab.table.writes.clear()
    offered(lab)
    assert (awaited(lab), lab.table.writes) == (set(), [])
