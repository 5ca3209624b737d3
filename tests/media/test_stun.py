# SPDX-License-Identifier: GPL-3.0-or-later
"""STUN against the vectors of RFC 5769, against a second implementation, and damaged in every place."""

import random
import struct
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from cffi import FFI

from tests.media import stun_messages as stun

ROOT = Path(__file__).resolve().parents[2]
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff"
    "80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249"
    "c1b571a280280004e57a3bcf"
)
IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9fa"
    "a5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
"""RFC 5769 sections 2.1, 2.2 and 2.3."""
PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
DECLARATIONS = """
struct stun_message {
    const uint8_t *data; size_t length; const uint8_t *transaction, *username; size_t username_length, integrity;
    uint64_t tiebreaker; uint32_t priority; unsigned error; int class, role; bool use_candidate, mapped;
    uint16_t mapped_port; uint8_t mapped_address[16]; unsigned unknown_count; uint16_t unknown[8];
};
struct stun_writer { uint8_t *data; size_t length; };
bool stun_owns(const uint8_t *data, size_t length);
bool stun_read(const uint8_t *data, size_t length, struct stun_message *message);
bool stun_authentic(const struct stun_message *message, const char *password);
struct stun_writer stun_begin(uint8_t *data, int class, const uint8_t *transaction);
void stun_put_username(struct stun_writer *writer, const char *to, const char *from);
void stun_put_priority(struct stun_writer *writer, uint32_t priority);
void stun_put_role(struct stun_writer *writer, int role, uint64_t tiebreaker);
void stun_put_use_candidate(struct stun_writer *writer);
void stun_put_mapped(struct stun_writer *writer, const uint8_t *address, uint16_t port);
void stun_put_error(struct stun_writer *writer, int error, const struct stun_message *about);
size_t stun_finish(struct stun_writer *writer, const char *password);
"""
IN_REQUEST, IN_INDICATION, IN_SUCCESS, IN_ERROR = range(4)


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    target = tmp_path_factory.mktemp("stun") / "stun.so"
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-shared", "-fPIC"]
    command += [f"-I{ROOT / 'media'}", f"-I{ROOT / 'bpf'}", "-o", target, ROOT / "media/stun.c", "-lcrypto"]
    subprocess.run(command, check=True, timeout=500)
    ffi = FFI()
    ffi.cdef(DECLARATIONS)
    return SimpleNamespace(ffi=ffi, lib=ffi.dlopen(str(target)))


def read(native, data):
    """The message, with the bytes that it points into; None if it is none."""
    kept = native.ffi.new("uint8_t[]", data)
    message = native.ffi.new("struct stun_message *")
    if not native.lib.stun_read(kept, len(data), message):
        return None
    return SimpleNamespace(it=message, kept=kept)


def written(native, cls, *puts, password=None, transaction=TRANSACTION):
    room = native.ffi.new("uint8_t[]", 640)
    writer = native.ffi.new("struct stun_writer *", native.lib.stun_begin(room, cls, transaction))
    for name, *arguments in puts:
        getattr(native.lib, f"stun_put_{name}")(writer, *arguments)
    length = native.lib.stun_finish(writer, password.encode() if password else native.ffi.NULL)
    return bytes(native.ffi.buffer(room, length))


def test_the_request_of_rfc_5769(native):
    message = read(native, REQUEST).it
    assert (getattr(message, "class"), message.priority, message.role) == (IN_REQUEST, 0x6E0001FF, 1)
    assert message.tiebreaker == 0x932FF9B151263B36
    assert bytes(native.ffi.buffer(message.transaction, 12)) == TRANSACTION
    assert bytes(native.ffi.buffer(message.username, message.username_length)) == b"evtj:h6vY"
    assert (message.use_candidate, message.mapped, message.unknown_count) == (False, False, 0)


@pytest.mark.parametrize(
    ("data", "address"),
    [(IPV4, bytes(10) + b"\xff\xff\xc0\x00\x02\x01"), (IPV6, bytes.fromhex("20010db8123456780011223344556677"))],
    ids=["IPv4", "IPv6"],
)
def test_the_responses_of_rfc_5769(native, data, address):
    message = read(native, data).it
    assert (getattr(message, "class"), message.mapped) == (IN_SUCCESS, True)
    assert bytes(message.mapped_address) == address
    assert message.mapped_port == struct.unpack("=H", struct.pack("!H", 32853))[0]


@pytest.mark.parametrize("data", [REQUEST, IPV4, IPV6])
def test_only_the_right_password_is_believed(native, data):
    parsed = read(native, data)
    assert native.lib.stun_authentic(parsed.it, PASSWORD.encode())
    assert not native.lib.stun_authentic(parsed.it, PASSWORD[:-1].encode())
    assert not native.lib.stun_authentic(parsed.it, b"")


def test_what_was_changed_on_the_way_is_no_message_or_not_believed(native):
    """The fingerprint finds accidents; the digest finds whoever repairs it too."""
    for place in range(len(REQUEST)):
        damaged = bytearray(REQUEST)
        damaged[place] ^= 0x40
        assert read(native, bytes(damaged)) is None, place
    message = stun.Message.parse(REQUEST)
    message.attributes[stun.PRIORITY] = b"\x7e\0\1\xff"
    forged = stun.Message(stun.REQUEST, TRANSACTION, message.attributes).pack()
    assert not native.lib.stun_authentic(read(native, forged).it, PASSWORD.encode())


def test_a_message_cut_anywhere_is_none(native):
    assert all(read(native, REQUEST[:length]) is None for length in range(len(REQUEST)))
    assert read(native, REQUEST + b"\0\0\0\0") is None


def test_values_of_wrong_length_make_no_message(native):
    for type_ in (stun.PRIORITY, stun.CONTROLLED, stun.CONTROLLING, stun.MAPPED, stun.INTEGRITY, stun.ERROR_CODE):
        assert read(native, stun.Message(stun.REQUEST, TRANSACTION, {type_: b"\0\1"}).pack()) is None


def test_other_methods_and_other_protocols_are_not_ours(native):
    assert read(native, stun.Message(0x0003, TRANSACTION).pack()) is None  # Allocate
    for data in (b"", REQUEST[:19], b"\x80" + REQUEST[1:], b"\x14" + REQUEST[1:], REQUEST[:4] + b"\0" * 100):
        assert not native.lib.stun_owns(data, len(data))
    assert native.lib.stun_owns(REQUEST, len(REQUEST))


def test_what_must_be_understood_is_named(native):
    attributes = {0x7F01: b"a", 0xC057: b"may be ignored", 0x0031: b"bcd"}
    message = read(native, stun.Message(stun.REQUEST, TRANSACTION, attributes).pack()).it
    assert list(message.unknown)[: message.unknown_count] == [0x7F01, 0x0031]
    refusal = written(native, IN_ERROR, ("error", 420, message), password=PASSWORD)
    parsed = stun.Message.parse(refusal)
    assert (parsed.kind, parsed.error) == (stun.ERROR, 420)
    assert parsed.attributes[stun.UNKNOWN] == b"\x7f\x01\x00\x31"
    assert parsed.authentic(PASSWORD)


def test_what_stands_behind_the_digest_counts_for_nothing(native):
    body = REQUEST[20:-8] + stun.attribute(stun.USE_CANDIDATE, b"")
    head = struct.pack("!HH", 1, len(body) + 8) + REQUEST[4:20]
    tail = struct.pack("!I", stun.zlib.crc32(head + body) ^ 0x5354554E)
    parsed = read(native, head + body + stun.attribute(stun.FINGERPRINT, tail))
    assert native.lib.stun_authentic(parsed.it, PASSWORD.encode())
    assert not parsed.it.use_candidate


def test_our_messages_are_those_of_the_other_implementation(native):
    ffi = native.ffi
    puts = [("username", b"evtj", b"h6vY"), ("priority", 0x6E0001FF), ("role", 2, 0x932FF9B151263B36)]
    ours = written(native, IN_REQUEST, *puts, ("use_candidate",), password=PASSWORD)
    theirs = stun.check("evtj:h6vY", use=True, priority=0x6E0001FF, tie=0x932FF9B151263B36)
    theirs.transaction = TRANSACTION
    assert ours == theirs.pack(PASSWORD)
    for address, packed in (("192.0.2.1", bytes(10) + b"\xff\xff\xc0\0\2\1"), ("2001:db8::7", None)):
        packed = packed or stun.ip_address(address).packed
        port = struct.unpack("=H", struct.pack("!H", 32853))[0]
        ours = written(native, IN_SUCCESS, ("mapped", ffi.new("uint8_t[]", packed), port), password=PASSWORD)
        value = stun.mapped_value(address, 32853, TRANSACTION)
        assert ours == stun.Message(stun.SUCCESS, TRANSACTION, {stun.MAPPED: value}).pack(PASSWORD)
        assert stun.Message.parse(ours).mapped == (address, 32853)


@pytest.mark.parametrize(("code", "phrase"), [(400, "Bad Request"), (401, "Unauthenticated"), (487, "Role Conflict")])
def test_refusals_say_why(native, code, phrase):
    parsed = stun.Message.parse(written(native, IN_ERROR, ("error", code, native.ffi.NULL)))
    assert (parsed.kind, parsed.error, parsed.attributes[stun.ERROR_CODE][4:]) == (stun.ERROR, code, phrase.encode())


def test_indications_are_told_apart(native):
    message = read(native, written(native, IN_INDICATION)).it
    assert (getattr(message, "class"), message.integrity) == (IN_INDICATION, 0)


def test_mutations_read_as_the_other_implementation_reads_them(native):
    """Random attributes in a whole message: both find the same."""
    dice = random.Random(5769)
    for _ in range(3000):
        types = dice.sample([stun.USERNAME, stun.PRIORITY, stun.USE_CANDIDATE, 0x8022, 0xC001], dice.randint(0, 4))
        values = {each: dice.randbytes(4 if each == stun.PRIORITY else dice.randint(0, 40)) for each in types}
        data = stun.Message(stun.REQUEST, TRANSACTION, values).pack(PASSWORD if dice.random() < 0.5 else None)
        message = read(native, data).it
        username = native.ffi.buffer(message.username, message.username_length) if message.username else None
        assert (bytes(username) if username is not None else None) == values.get(stun.USERNAME)
        assert message.priority == int.from_bytes(values.get(stun.PRIORITY, b""), "big")
        assert message.use_candidate == (stun.USE_CANDIDATE in values)
