# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.ng.bencode import MAX_DEPTH, MAX_ITEMS, Truncated, decode, decode_prefix, encode
from ctl.ng.errors import Malformed

VALUES = st.recursive(
    st.integers(-(10**18), 10**18)
    | st.text(max_size=20)
    | st.binary(max_size=20).map(lambda raw: raw.decode("latin-1")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_encoded_is_decoded_again(value):
    assert decode(encode(value)) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_decoded_or_refused(data):
    try:
        value, end = decode_prefix(data)
    except Malformed:
        return
    assert 0 < end <= len(data)
    assert encode(value) is not None


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"i0e", 0),
        (b"i-42e", -42),
        (b"i007e", 7),
        (b"4:spam", "spam"),
        (b"0:", ""),
        (b"le", []),
        (b"d1:bi1e1:ai2ee", {"b": 1, "a": 2}),
        (b"2:\xff\xfe", b"\xff\xfe".decode("utf-8", "surrogateescape")),
    ],
)
def test_decodes(data, value):
    assert decode(data) == value


def test_bytes_that_are_no_text_come_out_as_they_went_in():
    assert encode(decode(b"d1:k3:\xff\x00\xfee")) == b"d1:k3:\xff\x00\xfee"


@pytest.mark.parametrize("data", [b"", b"i12", b"i", b"5:spam", b"12", b"l", b"d1:k", b"li1e", b"d1:ki1e"])
def test_what_is_cut_off_is_truncated(data):
    with pytest.raises(Truncated):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"i1.5e",
        b"ie",
        b"i--1e",
        b"-1:x",
        b"i" + b"9" * 20 + b"e",
        b"99999999:x",
        b"d1:ki1e1:ki2ee",
        b"di1ei2ee",
        b"i1ei2e",
        b"l" * (MAX_DEPTH + 2) + b"e" * (MAX_DEPTH + 2),
        b"l" + b"i1e" * (MAX_ITEMS + 1) + b"e",
    ],
)
def test_refuses(data):
    with pytest.raises(Malformed) as caught:
        decode(data)
    assert not isinstance(caught.value, Truncated)


def test_floating_point_numbers_are_rounded():
    assert encode([1.6, True]) == b"li2ei1ee"


def test_refuses_to_encode_what_has_no_form():
    with pytest.raises(TypeError, match="NoneType"):
        encode({"key": None})
