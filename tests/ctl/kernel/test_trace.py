# SPDX-License-Identifier: GPL-3.0-or-later
"""What a trace says, and what is missing where it cannot be had; tests/lab traces a call for real."""

import platform
import subprocess
import sys

import pytest

from ctl.commands.trace import bounds, document, histogram, line
from ctl.kernel.pins import Pins
from ctl.kernel.trace import Counts, Tracer, TraceUnavailable, _check_headers, find_bcc
from tests.bench.cli import VOXDP
from tests.ctl.running import write_config

BEFORE = Counts({"forwarded": 100, "off": 5}, {("transmit", "ENOSPC"): 1}, {14: 50}, {1: 40})
NOW = Counts(
    {"forwarded": 1100, "off": 5, "wrong_source": 7, "pass_not_udp": 3},
    {("transmit", "ENOSPC"): 4},
    {14: 80, 16: 20},
    {1: 40, 2: 9},
)


def test_what_has_come_since():
    assert NOW.since(BEFORE) == Counts(
        {"forwarded": 1000, "wrong_source": 7, "pass_not_udp": 3}, {("transmit", "ENOSPC"): 3}, {14: 30, 16: 20}, {2: 9}
    )
    assert NOW.since(NOW) == Counts()


def test_a_line_has_rates_reasons_and_losses():
    assert line(NOW.since(BEFORE), 2.0) == ("500 forwarded/s  4 dropped/s  wrong_source 7  lost in transmit: ENOSPC 3")
    assert line(Counts(), 1.0) == "0 forwarded/s  0 dropped/s"


def test_a_document_has_the_same():
    assert document(NOW.since(BEFORE), 2.0) == {
        "seconds": 2.0,
        "packets_by_reason": {"forwarded": 1000, "wrong_source": 7, "pass_not_udp": 3},
        "lost": [{"in": "transmit", "error": "ENOSPC", "frames": 3}],
        "latency_ns": [{"from": 8192, "to": 16383, "count": 30}, {"from": 32768, "to": 65535, "count": 20}],
        "batch_frames": [{"from": 2, "to": 3, "count": 9}],
    }


def test_a_histogram_has_no_holes():
    lines = histogram({14: 30, 16: 15}, "ns", "frames").splitlines()
    assert [each.split()[0] for each in lines[1:]] == ["8192", "16384", "32768"]
    assert [each.count("#") for each in lines[1:]] == [40, 0, 20]
    assert histogram({}, "ns", "frames") == "ns: none\n"


@pytest.mark.parametrize(("slot", "expected"), [(0, (0, 0)), (1, (1, 1)), (2, (2, 3)), (14, (8192, 16383))])
def test_the_bounds_of_a_slot(slot, expected):
    assert bounds(slot) == expected


def test_debians_bcc_is_found_outside_of_the_environment():
    before = list(sys.path)
    assert find_bcc().__module__ == "bcc"
    assert sys.path == before


@pytest.mark.parametrize("content", [None, "version = '0.1.10'"], ids=["missing", "another package of that name"])
def test_a_missing_bcc_is_named_with_its_package(tmp_path, monkeypatch, content):
    if content:
        (tmp_path / "bcc.py").write_text(content)
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(TraceUnavailable, match="apt-get install python3-bpfcc"):
        find_bcc(str(tmp_path))
    sys.modules.pop("bcc", None)


def test_missing_headers_are_named_with_both_remedies(tmp_path):
    release = platform.release()
    with pytest.raises(TraceUnavailable, match=f"apt-get install linux-headers-{release}$"):
        _check_headers(tmp_path)
    (tmp_path / "6.1.0-1-amd64" / "build").mkdir(parents=True)
    with pytest.raises(TraceUnavailable, match=f"ln -s {tmp_path}/6.1.0-1-amd64 {tmp_path}/{release}$"):
        _check_headers(tmp_path)
    (tmp_path / release / "build").mkdir(parents=True)
    _check_headers(tmp_path)


def test_without_a_relay(tmp_path):
    with pytest.raises(TraceUnavailable, match="run: sudo voxdp attach"):
        Tracer(Pins(tmp_path))
    file = write_config(tmp_path)
    done = subprocess.run([VOXDP, "-c", file, "trace"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "voxdp: the kernel relay is not loaded; run: sudo voxdp attach\n")
