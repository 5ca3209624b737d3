# SPDX-License-Identifier: GPL-3.0-or-later
from ctl.ng import cookies
from ctl.ng.cookies import Cookies


def test_a_reply_is_kept_for_30_to_60_seconds():
    kept = Cookies(0.0)
    kept.keep(b"late", b"1", 29.0)
    assert kept.find(b"late", 31.0) == b"1"
    assert kept.find(b"late", 59.0) == b"1"
    assert kept.find(b"late", 62.0) is None


def test_an_old_one_is_gone_after_a_long_silence():
    kept = Cookies(0.0)
    kept.keep(b"c", b"1", 1.0)
    assert kept.find(b"c", 1000.0) is None
    assert len(kept) == 0


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(cookies, "MAX_BYTES", 1000)
    kept = Cookies(0.0)
    for number in range(1000):
        kept.keep(b"%d" % number, bytes(100), 1.0)
    assert len(kept) <= 20
