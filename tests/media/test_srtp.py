# SPDX-License-Identifier: GPL-3.0-or-later
"""SRTP against the RFCs' formulas and vectors, and its windows against a model; beside libsrtp: test_srtp_beside.py."""

import random
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from media.flows import EngineKeys
from tests.media import srtp_native
from tests.media.srtp_native import MASTER_BYTES, SUITES, WINDOW

OK, MALFORMED, FORGED, REPLAYED, CROWDED, WORN = range(6)


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    return srtp_native.build(tmp_path_factory.mktemp("srtp"))


class Half:
    """One key, used to send or to receive."""

    def __init__(self, native, suite, master, sends, mki=b""):
        self.native = native
        self.history = native.ffi.new("struct srtp_history *")
        self.context = native.ffi.new("uint64_t[]", srtp_native.CONTEXT_BYTES // 8)
        self.keys = keys = native.ffi.new("struct srtp_keys *", {"suite": SUITES[suite], "mki_length": len(mki)})
        keys.master[0 : len(master)] = master
        keys.mki[0 : len(mki)] = mki
        assert native.lib.srtp_open(self.context, keys, self.history, sends) == 0

    def _run(self, function, packet):
        room = self.native.ffi.new("uint8_t[]", len(packet) + 200)
        room[0 : len(packet)] = packet
        length = self.native.ffi.new("size_t *", len(packet))
        status = function(self.context, room, length)
        return status, bytes(self.native.ffi.buffer(room, length[0])) if status == OK else b""

    def protect(self, packet):
        return self._run(self.native.lib.srtp_protect, packet)

    def unprotect(self, packet):
        return self._run(self.native.lib.srtp_unprotect, packet)

    def protect_rtcp(self, packet):
        return self._run(self.native.lib.srtcp_protect, packet)

    def unprotect_rtcp(self, packet):
        return self._run(self.native.lib.srtcp_unprotect, packet)


@pytest.fixture
def halves(native):
    """A sender and a receiver of one suite and key."""

    def make(suite="AES_CM_128_HMAC_SHA1_80", mki=b"", seed=1):
        master = random.Random(seed).randbytes(MASTER_BYTES[SUITES[suite]])
        return Half(native, suite, master, True, mki), Half(native, suite, master, False, mki)

    return make


def rtp(index, ssrc=0xCAFEBABE, payload=b"\xab" * 160):
    return bytes([0x80, 0]) + (index & 0xFFFF).to_bytes(2, "big") + bytes(4) + ssrc.to_bytes(4, "big") + payload


RTCP = bytes.fromhex("80c80006cafebabe") + bytes(range(20))


def prf(key, salt, label, length):
    """RFC 3711 section 4.3.3, and RFC 6188 section 3 for longer keys."""
    start = bytearray(salt.ljust(14, b"\0") + bytes(2))
    start[7] ^= label
    return encrypt_ctr(key, bytes(start), bytes(length))


def encrypt_ctr(key, start, data):
    return Cipher(algorithms.AES(key), modes.CTR(start)).encryptor().update(data)


def exclusive(*values):
    length = max(map(len, values))
    total = 0
    for value in values:
        total ^= int.from_bytes(value, "big") << 8 * (length - len(value))
    return total.to_bytes(length, "big")


def gcm_iv(salt, ssrc, index):
    """RFC 7714 section 8.1."""
    return exclusive(bytes(2) + ssrc + index.to_bytes(6, "big"), salt)


def by_formula(suite, master, packet, index, mki=b""):
    """The protected packet, header of 12 bytes, as RFC 3711, 6188 and 7714 say it is made.

    The identifier of the key goes before the tag, and is no part of what that covers; with AEAD it goes behind.
    """
    aead = "HMAC" not in suite
    key, salt = master[: -12 if aead else -14], master[-12 if aead else -14 :]
    header, payload, ssrc = packet[:12], packet[12:], packet[8:12]
    session = prf(key, salt, 0, len(key))
    session_salt = prf(key, salt, 2, len(salt))
    if aead:
        return header + AESGCM(session).encrypt(gcm_iv(session_salt, ssrc, index), payload, header) + mki
    start = exclusive(session_salt + bytes(2), bytes(4) + ssrc + index.to_bytes(6, "big") + bytes(2))
    sealed = header + encrypt_ctr(session, start, payload)
    code = hmac.HMAC(prf(key, salt, 1, 20), hashes.SHA1())
    code.update(sealed + (index >> 16).to_bytes(4, "big"))
    return sealed + mki + code.finalize()[: 4 if suite.endswith("32") else 10]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("mki", [b"", b"\x07", bytes(range(128))], ids=len)
def test_follows_the_formulas(native, suite, mki):
    master = random.Random(suite).randbytes(MASTER_BYTES[SUITES[suite]])
    sender = Half(native, suite, master, True, mki)
    for index in (*range(65530, 65545), 90000, 120000, 131070, 160000, 190000, *range(196600, 196620)):
        packet = rtp(index, payload=random.Random(index).randbytes(index % 300))
        assert sender.protect(packet) == (OK, by_formula(suite, master, packet, index, mki))


def test_the_formulas_follow_the_vectors():
    """RFC 3711 appendix B.3, RFC 6188 sections 7.2 and 7.4, RFC 7714 section 16.1.1."""
    key, salt = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139"), bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    assert prf(key, salt, 0, 16).hex() == "c61e7a93744f39ee10734afe3ff7a087"
    assert prf(key, salt, 2, 14).hex() == "30cbbc08863d8c85d49db34a9ae1"
    assert prf(key, salt, 1, 20).hex() == "cebe321f6ff7716b6fd4ab49af256a156d38baa4"
    key = bytes.fromhex("f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6")
    salt = bytes.fromhex("3b04803de51ee7c96423ab5b78d2")
    assert prf(key, salt, 0, 32).hex() == "5ba1064e30ec51613cad926c5a28ef731ec7fb397f70a960653caf06554cd8c4"
    assert prf(key, salt, 2, 14).hex() == "fa31791685ca444a9e07c6c64e93"
    assert prf(key, salt, 1, 20).hex() == "fd9c32d39ed5fbb5a9dc96b30818454d1313dc05"
    key, salt = (
        bytes.fromhex("73edc66c4fa15776fb57f9505c17136550ffda71f3e8e5f1"),
        bytes.fromhex("c8522f3acd4ce86d5add78edbb11"),
    )
    assert prf(key, salt, 0, 24).hex() == "31874736a8f1143870c26e4857d8a5b2c4a354407faadabb"
    assert prf(key, salt, 2, 14).hex() == "2372b82d639b6d8503a47adc0a6c"
    assert prf(key, salt, 1, 20).hex() == "355b10973cd95b9eacf4061c7e1a7151e7cfbfcb"
    packet = bytes.fromhex("8040f17b8041f8d35501a0b2") + b"Gallia est omnis divisa in partes tres"
    iv = gcm_iv(b"Quid pro quo", packet[8:12], 0xF17B)
    assert iv.hex() == "51753c6580c2726f20718414"
    assert AESGCM(bytes(range(16))).encrypt(iv, packet[12:], packet[:12]).hex() == (
        "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce"
    )


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("mki", [b"", b"\x01", b"\0\0\0\7"])
def test_there_and_back(halves, suite, mki):
    sender, receiver = halves(suite, mki)
    for index in range(65500, 65600):
        status, packet = sender.protect(rtp(index))
        assert (status, len(packet)) == (OK, 172 + len(mki) + (16 if "GCM" in suite else int(suite[-2:]) // 8))
        assert receiver.unprotect(packet) == (OK, rtp(index))
        assert receiver.unprotect(packet)[0] == REPLAYED
    for index in range(1, 20):
        status, packet = sender.protect_rtcp(RTCP)
        at = len(RTCP) + (16 if "GCM" in suite else 0)
        assert packet[at : at + 4] == (1 << 31 | index).to_bytes(4, "big")
        assert receiver.unprotect_rtcp(packet) == (OK, RTCP)
        assert receiver.unprotect_rtcp(packet)[0] == REPLAYED


@pytest.mark.parametrize("suite", SUITES)
def test_no_damaged_packet_is_accepted(halves, suite):
    sender, receiver = halves(suite, b"\x09")
    whole, report = sender.protect(rtp(7))[1], sender.protect_rtcp(RTCP)[1]
    for packet, unprotect in ((whole, receiver.unprotect), (report, receiver.unprotect_rtcp)):
        for place in range(1, len(packet)):
            damaged = packet[:place] + bytes([packet[place] ^ 0x10]) + packet[place + 1 :]
            assert unprotect(damaged)[0] in (FORGED, MALFORMED), place
        for length in range(8, len(packet)):
            assert unprotect(packet[:length])[0] in (FORGED, MALFORMED)
        assert unprotect(packet)[0] == OK


def test_key_identifier_must_be_ours(halves):
    sender, _ = halves(mki=b"\1\2")
    _, receiver = halves(mki=b"\1\3")
    assert receiver.unprotect(sender.protect(rtp(1))[1])[0] == FORGED


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"])
def test_a_flow_has_an_identifier_of_each_legs_keys(engine, call, settled, suite):
    """What a leg sends names its key; what it is sent names ours, or none."""
    dice = random.Random(suite)
    theirs, ours, plain = (EngineKeys(suite, dice.randbytes(MASTER_BYTES[SUITES[suite]]), mki) for mki in MKIS)
    facing_a = replace(call.facing_a, open=theirs, seal=plain)
    facing_b = replace(call.facing_b, open=plain, seal=ours)
    engine.set_pair(facing_a, facing_b)
    for index in (1, 2):
        for sender, receiver, flow, opened, sealed in (
            (call.a, call.b, facing_a, theirs, plain),
            (call.b, call.a, facing_b, plain, ours),
        ):
            sender.send(by_formula(suite, opened.key, rtp(index), index, opened.mki), flow.key)
            assert receiver.receive()[0] == by_formula(suite, sealed.key, rtp(index), index, sealed.mki)
    call.a.send(by_formula(suite, theirs.key, rtp(3), 3, b"\x03"), facing_a.key)
    call.a.send(by_formula(suite, theirs.key, rtp(3), 3), facing_a.key)
    assert settled(engine, facing_a, 4).forged == 2


MKIS = b"\x01\x02", b"\x09", b""


def test_window_follows_the_model(halves):
    """Any order within 1,024 is accepted, once; what is older is not."""
    sender, receiver = halves()
    packets = {index: sender.protect(rtp(index))[1] for index in range(60000, 72000)}
    chance, seen, highest, last = random.Random(3), set(), 0, 60000
    for _ in range(30_000):
        last = min(71999, max(60000, last + chance.choice((1, 1, 1, 2, -1, -512, -1023, -1024, 700, 900))))
        expected = OK if last > highest or (highest - last < WINDOW and last not in seen) else REPLAYED
        assert receiver.unprotect(packets[last])[0] == expected
        if expected == OK:
            seen.add(last)
            highest = max(highest, last)
    assert highest > 66000


def test_nothing_recorded_is_accepted_again(halves):
    """A quarter of an hour, replayed at every distance; the beginning of the call after its roll-over too."""
    sender, receiver = halves()
    packets = [sender.protect(rtp(index, payload=b"x"))[1] for index in range(65535 - 2000, 65535 + 43_000)]
    assert all(receiver.unprotect(packet)[0] == OK for packet in packets)
    assert not any(receiver.unprotect(packet)[0] == OK for packet in packets)


def test_no_index_is_sent_twice(halves):
    """The same packet, or another with its number: refused, as a key stream may serve one text only."""
    sender, _ = halves()
    assert sender.protect(rtp(10))[0] == OK
    assert sender.protect(rtp(10))[0] == REPLAYED
    assert sender.protect(rtp(10, payload=b"other"))[0] == REPLAYED
    assert sender.protect(rtp(9))[0] == OK
    assert sender.protect(rtp(10 + WINDOW))[0] == OK
    assert sender.protect(rtp(10))[0] == REPLAYED


@pytest.mark.parametrize("suite", ["AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM"])
def test_a_key_ends_with_its_last_index(halves, suite):
    """What follows would have the first index again: nothing is sent, and what was recorded then is not heard."""
    sender, receiver = halves(suite)
    first, report = sender.protect(rtp(0))[1], sender.protect_rtcp(RTCP)[1]
    assert receiver.unprotect(first)[0] == receiver.unprotect_rtcp(report)[0] == OK
    for half in (sender, receiver):
        for stream in half.history.streams:
            stream.highest = (2**31 if stream.rtcp else 2**48) - 2
    last = sender.protect(rtp(65535))
    assert (last[0], receiver.unprotect(last[1])[0]) == (OK, OK)
    assert sender.protect(rtp(0))[0] == receiver.unprotect(first)[0] == WORN
    assert sender.protect_rtcp(RTCP)[0] == OK
    assert sender.protect_rtcp(RTCP)[0] == WORN
    assert receiver.unprotect_rtcp(report)[0] == REPLAYED


@pytest.mark.parametrize("sends", [True, False])
def test_an_ssrc_that_left_does_not_come_back(halves, sends):
    """6 at a time and 64 in all; one that gave way could begin anew with an index that was used."""
    sender, receiver = halves()
    half = sender if sends else receiver

    def use(ssrc, index):
        if sends:
            return sender.protect(rtp(index, ssrc))[0]
        return receiver.unprotect(halves()[0].protect(rtp(index, ssrc))[1])[0]

    assert [use(ssrc, 1) for ssrc in range(64)] == [OK] * 64
    assert use(63, 2) == OK
    assert use(0, 2) == CROWDED
    assert use(1000, 1) == CROWDED
    assert half.history.closed_count == 58


def test_cost_is_near_that_of_the_primitives(native, capsys):
    """A nanosecond count of a busy machine says little; four times the usual one says that something is wrong."""
    cost = native.ffi.new("double[2]")
    for suite, number in SUITES.items():
        master = bytes(MASTER_BYTES[number])
        best = [1e9, 1e9]
        for _ in range(5):
            assert native.lib.srtp_cost(number, master, 25600, cost, cost + 1)
            best = [min(one, other) for one, other in zip(best, cost, strict=True)]
        print(f"{suite}: protect {best[0]:.0f} ns, unprotect {best[1]:.0f} ns")
        assert max(best) < 1200
