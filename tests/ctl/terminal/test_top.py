# SPDX-License-Identifier: GPL-3.0-or-later
"""The screen of `voxdp top`: what it shows, what its keys do, and that it leaves the terminal as it was."""

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from fcntl import ioctl

import pytest

from ctl.commands import top
from ctl.terminal.top import HELP, SORTS, Top
from tests.bench.cli import VOXDP, serving
from tests.patience import PATIENCE

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def flow(number, **changes):
    row = {
        "id": f"192.0.2.1:{20000 + number}",
        "call": "5bc8f8e83d4f2db6d54eff10",
        "leg": "a",
        "kind": "rtp",
        "codec": "PCMU",
        "source": {"address": "198.51.100.1", "port": 4000 + number},
        "target": {"address": "203.0.113.1", "port": 5000},
        "path": "kernel",
        "state": "pinned",
        "packets": 100 * number,
        "packets_per_second": 50.0,
        "loss_pct": 0.0,
        "jitter_ms": 1.0,
        "rtt_ms": None,
        "mos": 4.4 - number / 100,
        "rejected": 0,
        "reason": "",
    }
    return row | changes


def make(rows=None, **state):
    top = Top(**state)
    top.feed(rows if rows is not None else [flow(number) for number in range(50)], 10.0, "12:00:00")
    return top


def press(top, *keys):
    for key in keys:
        top.key(key)
    return top


def text(top, width=80, height=24):
    return top.frame(width, height, color=False)


def first(top):
    return text(top)[3].split()[0]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 8), (20, 3)])
@pytest.mark.parametrize("keys", [(), ("R",), ("?",), ("/", "x")])
def test_a_frame_fills_the_screen_and_no_more(width, height, keys):
    for color in (False, True):
        lines = press(make(), *keys).frame(width, height, color)
        assert len(lines) == height
        assert max(len(ANSI.sub("", line)) for line in lines) <= max(width, 16)


def test_the_worst_is_first_and_named_above():
    top = make()
    assert first(top) == "192.0.2.1:20049"
    head = text(top)
    assert head[0] == "voxdp top 12:00:00  1 call  50 flows: 50 kernel, 0 engine"
    assert head[1] == "2.5k packets/s  worst MOS 3.91"
    assert head[2].startswith("ID")
    assert "MOS^" in head[2]
    assert head[-1] == HELP


def test_eighty_columns_hold_what_matters():
    assert text(make())[2].replace("^", "").split() == [
        "ID",
        "CALL",
        "LEG",
        "CODEC",
        "PATH",
        "PPS",
        "LOSS%",
        "JITms",
        "RTTms",
        "MOS",
    ]


def test_packets_a_second_are_those_between_two_figures():
    top = make([flow(1, packets=100)])
    top.feed([flow(1, packets=130)], 10.5, "12:00:01")
    assert text(top)[3].split()[5] == "60"
    top.feed([flow(1, packets=0)], 11.0, "12:00:02")  # another call at this port
    assert text(top)[3].split()[5] == "50"


def test_keys_sort_and_reverse():
    top = make(sort="packets")
    assert first(top) == "192.0.2.1:20049"
    assert first(press(top, "Z")) == "192.0.2.1:20000"
    for _ in SORTS:
        press(top, ">")
    assert top.sort == "packets"
    assert press(top, "<").sort == "rate"


def test_the_bar_moves_and_the_list_follows():
    top = make(sort="id")
    assert press(top, "down", "down").selected()["id"] == "192.0.2.1:20002"
    assert press(top, "up").selected()["id"] == "192.0.2.1:20001"
    assert press(top, "end").selected()["id"] == "192.0.2.1:20049"
    assert text(top)[-2].startswith("192.0.2.1:20049")
    assert press(top, "home", "up").selected()["id"] == "192.0.2.1:20000"
    text(top)
    assert press(top, "pagedown").selected()["id"] == "192.0.2.1:20020"


def test_the_bar_stays_on_its_flow_when_the_order_changes():
    top = press(make(sort="id"), "down", "down")
    top.feed([flow(2), flow(60)], 11.0, "12:00:01")
    assert press(top, "Z").selected()["id"] == "192.0.2.1:20002"


def test_a_filter_is_typed_and_holds_at_once():
    top = press(make(), "/", *"mos<3.93")
    assert text(top)[-1] == "/mos<3.93_"
    assert len(top.shown()) == 2
    press(top, "backspace", "enter")
    assert (top.typing, top.filter) == (None, "mos<3.9")
    assert len(press(top, "escape").shown()) == 50


def test_a_filter_that_cannot_be_read_says_so_and_hides_nothing():
    top = press(make(), "/", *"mos<", "enter")
    assert "is no number" in text(top)[-1]
    assert len(top.shown()) == 50


def test_rtcp_is_shown_on_demand():
    top = make([flow(1), flow(2, kind="rtcp", codec=None, mos=None)])
    assert len(top.shown()) == 1
    assert len(press(top, "R").shown()) == 2


def test_a_pause_stops_everything():
    top = press(make([flow(1, packets=5)]), "p")
    top.feed([flow(1, packets=9)], 11.0, "12:00:09")
    assert (top.rows[0]["packets"], top.now) == (5, "12:00:00")
    assert "PAUSED" in text(top)[1]


def test_stale_figures_are_called_so():
    top = make()
    top.trouble = "no controller at /run/voxdp"
    assert text(top)[0] == "voxdp top  no controller at /run/voxdp; the figures are of 12:00:00"


def test_a_flow_in_full():
    top = make([flow(1)])
    why = {"why": "forwarded by XDP", "cause": "far_side_silent", "text": "nothing comes back", "remedy": "see"}
    top.detail = {**flow(1), "mos_min": 3.2, "explanation": why}
    lines = text(top)
    assert lines[0] == "flow 192.0.2.1:20001 of call 5bc8f8e83d4f2db6d54eff10"
    assert lines[1:4] == ["forwarded by XDP", "far side silent: nothing comes back", "see"]
    assert any("198.51.100.1:4001" in line for line in lines)
    assert press(top, "escape").detail is None


def test_without_flows():
    top = press(make([]), "down", "enter", "Z")
    assert text(top)[1] == "0 packets/s  worst MOS unknown"
    assert top.selected() is None


def test_flows_that_carry_nothing_are_counted_and_stand_out():
    """Not those of which nothing is known yet, nor RTCP, which is silent for seconds."""
    rates = (50.0, 0.0, None)
    rows = [flow(number, packets_per_second=rate) for number, rate in enumerate(rates, 1)]
    top = make([*rows, flow(4, kind="rtcp", packets_per_second=0.0)])
    assert text(top)[1] == "50 packets/s  worst MOS 4.37  1 silent"
    (silent,) = (line for line in top.frame(80, 24)[4:] if "192.0.2.1:20002" in line)
    assert "\x1b[33m  0\x1b[0m" in silent


def test_q_quits():
    assert press(make(), "q").done


def test_it_runs_in_a_terminal_and_leaves_it_as_it_was():
    with serving(40) as config:
        terminal, inside = pty.openpty()
        ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        before = termios.tcgetattr(inside)
        environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
        command = [VOXDP, "-c", config, "top", "-w", "0.2"]
        process = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environment)
        seen = read_until(terminal, "q quit")
        assert "1 call" not in seen
        assert "10 calls  20 flows: 20 kernel" in seen
        os.write(terminal, b"\x1b[B\r")
        assert "flowing: packets come from" in read_until(terminal, "Esc back")
        os.write(terminal, b"\x1b")
        read_until(terminal, "q quit")
        os.write(terminal, b"q")
        assert "\x1b[?1049l" in read_until(terminal, "\x1b[?1049l")
        assert process.wait(PATIENCE) == 0
        assert termios.tcgetattr(inside) == before
        os.close(inside)
        os.close(terminal)


def read_until(terminal, wanted, seconds=PATIENCE):
    seen, deadline = "", time.monotonic() + seconds
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"{wanted!r} did not come: {seen[-500:]!r}"
        seen += os.read(terminal, 65536).decode()
    return seen


def test_a_key_that_a_slow_line_has_cut_is_whole_again(monkeypatch):
    monkeypatch.setattr(top, "SEQUENCE_SECONDS", PATIENCE)
    reader, writer = os.pipe()
    with os.fdopen(reader) as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        os.write(writer, b"\x1b")
        rest = threading.Timer(0.05, os.write, (writer, b"[B\r"))
        rest.start()
        assert list(top._keys(PATIENCE)) == ["down", "enter"]
        rest.join()
    os.close(writer)


def test_a_pipe_is_told_what_to_use():
    done = subprocess.run([VOXDP, "top"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (2, "voxdp: top needs a terminal; in a pipe use: voxdp flow watch\n")
