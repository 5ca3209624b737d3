# SPDX-License-Identifier: GPL-3.0-or-later
"""SRTP beside libsrtp, a million packets of every suite: each protects alike, and takes or refuses alike."""

import random

import pytest

from tests.media import srtp_native
from tests.media.srtp_native import MASTER_BYTES, SUITES

PACKETS = 1_000_000


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    return srtp_native.build(tmp_path_factory.mktemp("srtp"))


def compare(native, suite, master):
    rollover = native.ffi.new("unsigned *")
    pair = srtp_native.sessions(suite, master)
    other = srtp_native.other(native, pair)
    assert native.lib.srtp_compare(SUITES[suite], master, other, PACKETS, rollover) == 0
    assert rollover[0] >= 15


@pytest.mark.parametrize("suite", [name for name in SUITES if "192" not in name])
def test_agrees_with_libsrtp(native, suite):
    compare(native, suite, random.Random(suite).randbytes(MASTER_BYTES[SUITES[suite]]))


@pytest.mark.parametrize("suite", [name for name in SUITES if "192" in name])
def test_agrees_with_libsrtp_but_for_its_derivation_of_keys(native, suite):
    """RFC 6188 has another, which test_srtp.py holds ours to."""
    native.lib.srtp_derive_as_libsrtp(True)
    try:
        compare(native, suite, random.Random(suite).randbytes(24) + bytes(14))
    finally:
        native.lib.srtp_derive_as_libsrtp(False)
