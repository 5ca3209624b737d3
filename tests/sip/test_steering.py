# SPDX-License-Identifier: GPL-3.0-or-later
"""Which worker a message is for, and Call-IDs that are made to be for a certain one."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sip.parser import parse
from sip.steering import DEPTH, SLOTS, call_id_of, drawn_for, kin, owner, slot_of
from tests.sip.conftest import write_invite

HEAD = b"INVITE sip:bert@example.org SIP/2.0\r\n"
FORMS = {
    b"Call-ID: abc@host\r\n": b"abc@host",
    b"CALL-id:abc\r\n": b"abc",
    b"i: abc\r\n": b"abc",
    b"I \t:\t abc \r\n": b"abc",
    b"Call-ID:\r\n  abc\r\n": b"abc",
    b"Call-ID: \r\n\t\r\n abc\r\n": b"abc",
    b"Call-ID: abc\n": b"abc",
    b"Call-ID: cut-o": b"cut-o",
    b"Call-ID:\r\nCall-ID: second\r\n": b"second",
    b"Call-ID:\r\ni:third\r\n": b"third",
    b"Via: x\r\n;i: no\r\nCall-ID: yes\r\n": b"yes",
    b"Call-ID: first\r\ni: second\r\n": b"first",
    b"Call-Info: <x>\r\nCall-I: no\r\nCall-IDs: no\r\nix: no\r\n": None,
    b"Subject: Call-ID: no\r\n": None,
    b"Call-ID: \r\n\r\n": None,
    b"": None,
}


@pytest.mark.parametrize(("lines", "expected"), FORMS.items(), ids=repr)
def test_the_call_id_is_found_in_all_its_forms(lines, expected):
    assert call_id_of(HEAD + lines) == expected


def test_the_start_line_is_no_header_and_what_lies_too_deep_is_not_looked_for():
    assert call_id_of(b"Call-ID: abc\r\n") is None
    padding = b"Subject: %s\r\n" % (b"x" * (DEPTH - len(HEAD) - 11 - 10))
    message = HEAD + padding + b"Call-ID: abcdef\r\n"
    assert message[:DEPTH].endswith(b"\nCall-ID: a")
    assert call_id_of(message) == b"a"
    assert call_id_of(HEAD + b"Subject: xx" + padding[9:] + b"Call-ID: abcdef\r\n") is None


def test_it_is_the_call_id_that_the_parser_reads():
    message = write_invite()
    assert call_id_of(message) == parse(message).call_id.encode()


@pytest.mark.parametrize("workers", [1, 2, 3, 64])
def test_every_message_of_a_call_has_one_owner(workers):
    there = write_invite()
    back = there.replace(b"INVITE sip:bert@example.org SIP/2.0", b"SIP/2.0 200 OK")
    assert owner(there, workers) == owner(back, workers) == zlib.crc32(b"f81d4fae@192.0.2.7") % SLOTS % workers


def test_a_message_without_one_is_whoevers():
    assert owner(write_invite({"Call-ID": None}), 2) is None


@given(st.text("0123456789abcdef", min_size=1, max_size=40), st.integers(0, SLOTS - 1))
def test_a_call_id_can_be_made_for_any_slot(token, slot):
    made = kin(token, slot)
    assert made.startswith(token)
    assert len(made) == len(token) + 3
    assert slot_of(made.encode()) == slot


@given(st.integers(1, 64), st.data())
def test_a_call_id_of_ours_is_its_makers(workers, data):
    worker = data.draw(st.integers(0, workers - 1))
    made = drawn_for(worker, workers, lambda: "f81d4fae7dec")
    assert owner(HEAD + b"Call-ID: " + made.encode() + b"\r\n", workers) == worker


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_the_slots_are_dealt_out_evenly(workers):
    count = 10_000
    found = [slot_of(f"call-{number}@host".encode()) % workers for number in range(count)]
    for worker in range(workers):
        assert found.count(worker) == pytest.approx(count / workers, rel=0.1)
