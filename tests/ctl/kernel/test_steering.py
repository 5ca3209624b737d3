# SPDX-License-Identifier: GPL-3.0-or-later
"""Datagrams on one port reach the socket that sip/steering.py names, in whatever form their Call-ID comes."""

from __future__ import annotations

import os
import random
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf import STEERING_OBJECT
from ctl.kernel import steering
from ctl.kernel.libbpf import BpfError, BpfObject
from ctl.kernel.steering import Steering
from sip.steering import DEPTH, MAX_WORKERS, SLOTS, owner
from tests.sip.test_steering import FORMS, HEAD

WORKERS = 3
MESSAGES = 4000
VERIFIED_LIMIT = 100_000
NOBODY = 65534
FILLERS = (b"Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK-1\r\n", b"Call-Info: <x>\r\n", b"ix: no\r\n", b"Call-I\r\n")


@pytest.fixture
def pinned(bpffs: Path) -> Iterator[Path]:
    steering.pin(bpffs, 0, 0)
    yield bpffs
    steering.unpin(bpffs)
    assert not steering.directory(bpffs).exists()


def shared(host: str, count: int) -> list[socket.socket]:
    """So many sockets on one port that is free."""
    found: list[socket.socket] = []
    for _ in range(count):
        each = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        each.bind((host, found[0].getsockname()[1] if found else 0))
        found.append(each)
    return found


def receivers(sockets: list[socket.socket], sender: socket.socket, message: bytes) -> list[int]:
    """Which of the sockets have the message, after it was sent to their port."""
    sender.sendto(message, sockets[0].getsockname())
    ready, _, _ = select.select(sockets, [], [], 5)
    assert all(each.recv(65535) == message for each in ready)
    return [sockets.index(each) for each in ready]


def generated(dice: random.Random) -> bytes:
    """A message whose Call-ID stands somewhere, in some form, or nowhere."""
    lines = [dice.choice(FILLERS) for _ in range(dice.randrange(12))]
    if dice.random() < 0.9:
        name = dice.choice((b"Call-ID", b"call-id", b"CALL-ID", b"i", b"I")) + dice.choice((b"", b" ", b"\t "))
        gap = dice.choice((b"", b" ", b"\r\n ", b" \r\n\t", b"\n "))
        value = bytes(dice.randrange(33, 256) for _ in range(dice.randrange(1, 120)))
        lines.insert(
            dice.randrange(len(lines) + 1), name + b":" + gap + value + dice.choice((b"\r\n", b" \r\n", b"\n"))
        )
    body = bytes(dice.randrange(256) for _ in range(dice.randrange(200)))
    return HEAD + b"".join(lines) + b"\r\n" + body


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kernel_and_python_agree(pinned: Path, host: str) -> None:
    dice = random.Random(7)
    padding = b"Subject: %s\r\n" % (b"x" * (DEPTH - 300))
    messages = [HEAD + lines for lines in FORMS]
    messages += [HEAD + padding + b"x" * size + b"\r\nCall-ID: deep-down\r\n" for size in range(200, 290)]
    messages += [generated(dice) for _ in range(MESSAGES)]
    sockets = shared(host, WORKERS)
    program = Steering.open(pinned)
    assert program is not None
    program.share(10, sockets)
    program.close()
    found = set()
    with socket.socket(sockets[0].family, socket.SOCK_DGRAM) as sender:
        for message in messages:
            expected = owner(message, WORKERS)
            (receiver,) = receivers(sockets, sender, message)
            assert expected in (receiver, None), message
            found.add(expected)
    assert found == {None, *range(WORKERS)}
    for each in sockets:
        each.close()


def test_addresses_have_sockets_of_their_own(pinned: Path) -> None:
    program = Steering.open(pinned)
    assert program is not None
    groups = [shared("127.0.0.1", 2), shared("127.0.0.2", 2)]
    for number, sockets in enumerate(groups):
        program.share(2 * number, sockets)
    message = HEAD + b"Call-ID: abc\r\n"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for sockets in groups:
            assert receivers(sockets, sender, message) == [owner(message, 2)]
    for each in (each for sockets in groups for each in sockets):
        each.close()


def test_datagrams_wait_for_a_worker_that_is_not_there(pinned: Path) -> None:
    """The socket is kept open by another process; its next reader finds what came meanwhile."""
    program = Steering.open(pinned)
    assert program is not None
    sockets = shared("127.0.0.1", 2)
    program.share(0, sockets)
    message = HEAD + b"Call-ID: abc\r\n"
    mine = owner(message, 2)
    assert mine is not None
    kept = sockets[mine].dup()
    sockets[mine].close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(100):
            sender.sendto(message, kept.getsockname())
    assert [kept.recv(65535) for _ in range(100)] == [message] * 100
    kept.close()
    sockets[1 - mine].close()


def test_pinning_again_replaces_and_another_user_is_told_the_remedy(bpffs: Path) -> None:
    assert Steering.open(bpffs) is None
    steering.pin(bpffs, 0, 0)
    steering.pin(bpffs, NOBODY, NOBODY)
    place = steering.directory(bpffs)
    assert sorted(path.name for path in place.iterdir()) == ["listeners", "sockets", "steer"]
    assert place.stat().st_uid == NOBODY
    child = os.fork()
    if child == 0:
        os.setresuid(NOBODY - 1, NOBODY - 1, NOBODY - 1)
        try:
            Steering.open(bpffs)
        except BpfError as error:
            os._exit(0 if "xdp.owner" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    steering.unpin(bpffs)
    steering.unpin(bpffs)


def test_its_owner_needs_no_capability(bpffs: Path) -> None:
    steering.pin(bpffs, NOBODY, NOBODY)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        program = Steering.open(bpffs)
        if program is None:
            os._exit(1)
        sockets = shared("127.0.0.1", 2)
        program.share(0, sockets)
        message = HEAD + b"Call-ID: abc\r\n"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            os._exit(0 if receivers(sockets, sender, message) == [owner(message, 2)] else 2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    steering.unpin(bpffs)


def test_the_verifier_takes_it_and_its_numbers_are_those_of_python() -> None:
    loaded = BpfObject.open(STEERING_OBJECT)
    loaded.load()
    assert loaded.program("steer").verified_instructions <= VERIFIED_LIMIT
    header = Path(STEERING_OBJECT).with_name("steering.h").read_text()
    assert f"STEERING_SLOTS\t   {SLOTS}" in header
    assert f"STEERING_DEPTH\t   {DEPTH}" in header
    listeners, sockets = loaded.map("listeners"), loaded.map("sockets")
    assert sockets.max_entries >= listeners.max_entries * MAX_WORKERS
    loaded.close()
