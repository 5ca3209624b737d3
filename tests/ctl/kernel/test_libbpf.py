# SPDX-License-Identifier: GPL-3.0-or-later
import errno
import gc
import os
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ctl.kernel._libbpf import lib

from ctl.kernel.libbpf import BpfError, BpfObject, Link, Map, Program, cpu_count

RELAY = Path(__file__).resolve().parents[3] / "bpf" / "relay.bpf.o"
PASS = 2
REASON = struct.pack("I", 32)


def test_a_program_tells_what_it_is(loaded) -> None:
    program = loaded.program
    assert program.name == "relay"
    assert len(program.tag) == 16
    assert program.verified_instructions > 0
    assert len(program.map_ids) >= 5
    with Program.from_id(program.id) as same:
        assert same.tag == program.tag


def test_a_test_run_gives_verdict_packet_and_time(loaded) -> None:
    frame = bytes(range(64))
    result = loaded.program.test_run(frame, repeat=100, ingress_ifindex=1)
    assert (result.retval, result.data) == (PASS, frame)
    assert result.duration_ns > 0


def test_sizes_and_rodata_are_set_before_loading(loaded) -> None:
    maps = {found.name: found for found in map(Map.from_id, loaded.program.map_ids)}
    assert maps["flows"].max_entries == 2 * 65536
    config = maps[".rodata.config"]
    assert config.lookup(bytes(4))[:4] == struct.pack("I", lib.VOXDP_LAYOUT)
    with pytest.raises(BpfError) as caught:
        config.update(bytes(4), bytes(config.value_size))
    assert caught.value.errno == errno.EPERM


def test_rodata_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="has 184 bytes, got 3"):
        BpfObject.open(RELAY, rodata=b"abc")


def test_per_cpu_values_come_one_for_each_cpu(loaded) -> None:
    reasons = next(found for found in map(Map.from_id, loaded.program.map_ids) if found.name == "reasons")
    loaded.program.test_run(bytes(64), repeat=7)
    values = reasons.lookup_percpu(REASON)
    assert len(values) == cpu_count()
    assert sum(struct.unpack("QQ", value)[0] for value in values) == 7
    with pytest.raises(ValueError, match="use lookup_percpu"):
        reasons.lookup(REASON)
    reasons.update(REASON, bytes(16 * cpu_count()))
    assert sum(struct.unpack("QQ", value)[0] for value in reasons.lookup_percpu(REASON)) == 0


def test_map_memory_is_shared_with_the_kernel(loaded) -> None:
    flows = next(found for found in map(Map.from_id, loaded.program.map_ids) if found.name == "flows")
    memory = flows.mmap(writable=True)
    value = bytes(range(128))
    flows.update(struct.pack("I", 5), value)
    assert memory[5 * 128 : 6 * 128] == value
    memory[6 * 128 : 7 * 128] = value
    assert flows.lookup(struct.pack("I", 6)) == value


def test_wrong_sizes_and_missing_things_are_named(loaded) -> None:
    flows = next(found for found in map(Map.from_id, loaded.program.map_ids) if found.name == "flows")
    with pytest.raises(ValueError, match="key of map flows has 4 bytes, got 1"):
        flows.lookup(b"x")
    with pytest.raises(BpfError) as caught:
        flows.lookup(struct.pack("I", 2 * 65536))
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(BpfError, match="cannot find program nothing"):
        BpfObject.open(RELAY).program("nothing")
    with pytest.raises(BpfError, match="cannot open /nowhere"):
        BpfObject.open(Path("/nowhere"))
    with pytest.raises(BpfError, match="use program relay before load"):
        BpfObject.open(RELAY).program("relay")


def test_what_the_verifier_says_is_in_the_error_and_nowhere_else(tmp_path: Path, capfd) -> None:
    unchecked = "int relay(struct context *ctx) { return *(unsigned char *)(long)ctx->data; }"
    source = f'struct context {{ unsigned data; }};\n__attribute__((section("xdp"), used)) {unchecked}'
    command = ["clang", "-O2", "-target", "bpf", "-x", "c", "-c", "-", "-o", tmp_path / "unchecked.o"]
    subprocess.run(command, input=source.encode(), check=True)
    relay = BpfObject.open(tmp_path / "unchecked.o")
    with pytest.raises(BpfError) as caught:
        relay.load()
    assert caught.value.errno == errno.EACCES
    assert "invalid access to packet" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_pins_outlive_handles(bpffs: Path, loaded) -> None:
    loaded.program.pin(bpffs / "program")
    with Program.from_pin(bpffs / "program") as found:
        assert found.id == loaded.program.id
    with pytest.raises(BpfError) as caught:
        Program.from_pin(bpffs / "nothing")
    assert caught.value.errno == errno.ENOENT


def test_a_link_holds_updates_and_lets_go(loaded, cabled, bpffs: Path, baseline: Callable[[str], Program]) -> None:
    ifindex = socket.if_nametoindex(cabled.left)
    link = Link.attach_xdp(loaded.program, ifindex, "native")
    assert (link.program_id, link.ifindex) == (loaded.program.id, ifindex)
    other = baseline("empty_pass")
    link.update(other)
    assert link.program_id == other.id
    with pytest.raises(BpfError) as caught:
        Link.attach_xdp(loaded.program, ifindex, "native")
    assert caught.value.errno == errno.EBUSY
    link.pin(bpffs / "link")
    again = Link.from_pin(bpffs / "link")
    link.destroy()
    assert again.ifindex == 0


def test_handles_close_their_descriptors(loaded) -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        Program.from_id(loaded.program.id)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before
