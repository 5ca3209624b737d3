# SPDX-License-Identifier: GPL-3.0-or-later
"""bpf/flow.h means the same to clang, to the C compiler behind cffi, and in cache lines; the program stays small."""

import json
import subprocess

import pytest
from ctl.kernel._libbpf import ffi, lib

from tests.bpf import harness

LINE = 64
LINES = ["flow_rule", "flow_track"]
PAIRS = ["flow_wide", "flow_tally"]
STRUCTS = ["flow", "flow_ledger", *LINES, *PAIRS, "reason_count", "event", "relay_config"]
SIZES = {
    "flow": 128,
    "flow_ledger": 256,
    "flow_rule": LINE - 8,
    "flow_track": LINE,
    **dict.fromkeys(PAIRS, 128),
    "event": 144,
}
VERIFIED_LIMIT = 50_000
JITED_LIMIT = 32_768


@pytest.fixture(scope="module")
def btf():
    harness.require_object()
    dump = subprocess.run(
        ["bpftool", "-j", "btf", "dump", "file", str(harness.OBJECT)], capture_output=True, check=True
    )
    return json.loads(dump.stdout)["types"]


@pytest.mark.parametrize("name", STRUCTS)
def test_offsets_agree(btf, name):
    struct = next(kind for kind in btf if kind["kind"] == "STRUCT" and kind["name"] == name)
    seen_by_clang = {member["name"]: member["bits_offset"] // 8 for member in struct["members"]}
    assert seen_by_clang == offsets(name)
    assert struct["size"] == ffi.sizeof(f"struct {name}")


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    assert ffi.sizeof(f"struct {name}") == SIZES[name]


def test_lines_begin_where_cache_lines_do():
    assert offsets("flow") == {"rule": 0, "police_time": LINE - 8, "track": LINE}
    assert offsets("flow_ledger") == {"wide": 0, "tally": 128}


def test_enumerations_agree(btf):
    for kind in btf:
        if kind["kind"] == "ENUM" and kind["name"] in ("reason", "flow_state", "flow_action", "event_type"):
            assert all(getattr(lib, value["name"]) == value["val"] for value in kind["values"])


def test_maps(relay):
    for name, size in (("flows", 128), ("ledgers", 256)):
        found = relay.object.map(name)
        assert (found.key_size, found.value_size, found.max_entries) == (4, size, harness.ENTRIES)
    assert relay.object.map("events").max_entries == 1 << 20
    assert relay.reason_map.max_entries == lib.REASONS


def test_program_stays_small(relay, capsys):
    verified, jited = relay.program.verified_instructions, relay.program.info.jited_prog_len
    with capsys.disabled():
        print(f"\nrelay: {verified} instructions verified of {VERIFIED_LIMIT}, {jited} bytes JITed of {JITED_LIMIT}")
    assert verified <= VERIFIED_LIMIT
    assert jited <= JITED_LIMIT


def offsets(name):
    """As the C compiler has them."""
    return {field: place.offset for field, place in ffi.typeof(f"struct {name}").fields}
