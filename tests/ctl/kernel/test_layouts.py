# SPDX-License-Identifier: GPL-3.0-or-later
"""A relay whose flows are laid out differently is upgraded under load, by one built for this from our own sources."""

import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ctl.kernel import layouts
from ctl.kernel.flowrule import FlowRule, FlowState
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.layouts import Takeover, Translation, config_of, fields_of, live_flows
from ctl.kernel.libbpf import BpfObject, Map, Program
from ctl.kernel.loader import AttachError, attach, detach
from ctl.kernel.pins import MAPS, Pins
from tests.ctl.kernel.conftest import CALLEE, CALLER, CONFIG, OBJECTS, Loaded
from tests.ctl.kernel.load import FIRST_PORT, PORTS, RELAY, Load, rules

OLDER = 1
GONE = "\t__u64 gone[8];\n"  # a cache line that only the older layout has
RENAMED = ("resets", "jumps")
TENANT = 77  # the older layout knows of none


@pytest.fixture(scope="module")
def older_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The relay with bigger ledgers, and a field under another name."""
    folder = tmp_path_factory.mktemp("older")
    for source in (*OBJECTS.glob("*.h"), OBJECTS / "relay.bpf.c"):
        text = re.sub(rf"\b{RENAMED[0]}\b", RENAMED[1], source.read_text())
        if source.name == "flow.h":
            assert RENAMED[1] in text
            text = changed(text, "struct flow_ledger {\n", "struct flow_ledger {\n" + GONE)
        (folder / source.name).write_text(text)
    include = f"-I/usr/include/{sysconfig.get_config_var('MULTIARCH')}"
    target = folder / "relay.bpf.o"
    command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", include, "-c", str(folder / "relay.bpf.c")]
    subprocess.run([*command, "-o", str(target)], check=True, timeout=60)
    return target


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    translations = {OLDER: Translation(dict([RENAMED]), _with_tenant)}
    monkeypatch.setattr(layouts, "TRANSLATIONS", translations)
    monkeypatch.setattr("ctl.kernel.loader.TRANSLATIONS", translations)


@pytest.fixture
def older(settings, older_object: Path) -> Iterator[Pins]:
    """The older relay, attached as its own version would have."""
    attach(replace(settings, object_path=older_object))
    pins = Pins(settings.bpffs, OLDER)
    Pins(settings.bpffs).directory.rename(pins.directory)
    yield pins
    detach(settings.bpffs, settings.state_dir)


@pytest.fixture
def load(cabled, quiet, older: Pins, loaded: Loaded, rtp) -> Iterator[Load]:
    """Through the older relay's flows."""
    write_older(older, loaded, rules(cabled.right))
    load = Load.begin(rtp(CALLER, (RELAY, FIRST_PORT)), cabled.ends)
    yield load
    load.close()


def test_nothing_is_lost_when_the_layout_changes_under_load(settings, older: Pins, load: Load, cabled) -> None:
    assert live_flows(older) == len(PORTS)
    assert config_of(older).addresses == CONFIG.addresses
    while load.sent < 200_000:
        load.stopping.wait(0.01)
    report = attach(settings)
    assert (report.taken_over, report.upgraded, report.attached) == (OLDER, ("left", "right.0"), ())
    load.finish(least=600_000)
    assert not older.directory.exists()
    table = FlowTable.open(Pins(settings.bpffs).directory)
    assert {port: table.rule(port) for port in PORTS} == rules(cabled.right)
    flows = table.read_many(PORTS)
    assert sum(flow.packets for flow in flows) == load.sent
    assert sum(flow.lost + flow.dropped + flow.rejected for flow in flows) == 0
    table.close()
    assert tenants(Pins(settings.bpffs)) == {TENANT}
    again = attach(settings)
    assert (again.taken_over, again.upgraded) == (None, ("left", "right.0"))


def test_an_upgrade_that_fails_leaves_the_older_relay_to_go_on(settings, older: Pins, load: Load, cabled) -> None:
    (older.directory / "reasons").unlink()
    with pytest.raises(AttachError, match="big takes no XDP"):
        attach(replace(settings, interfaces=(*settings.interfaces, big_link())))
    assert older.complete()
    assert not Pins(settings.bpffs).exist()
    load.finish(least=100_000)


def test_an_upgrade_that_was_cut_off_is_begun_again(settings, older: Pins, loaded: Loaded) -> None:
    """It had pinned its maps, but not its program."""
    pins = Pins(settings.bpffs)
    pins.directory.mkdir(mode=0o700)
    for each in map(Map.from_id, loaded.program.map_ids):
        if each.name in MAPS:
            each.pin(pins.map(each.name))
    assert pins.exist()
    assert attach(settings).taken_over == OLDER
    assert pins.complete()
    assert sorted(pins.links()) == ["left", "right.0"]
    assert pins.others() == []


def test_an_upgrade_that_was_cut_off_at_its_end_is_completed(settings, older: Pins, loaded: Loaded) -> None:
    """All was pinned, the links were not yet moved: the flows of the new relay are the ones that count."""
    write_older(older, loaded, rules("left"))
    attach(settings)
    pins = Pins(settings.bpffs)
    older.directory.mkdir(mode=0o700)
    for name, path in pins.links().items():
        path.rename(older.link(name))
    report = attach(settings)
    assert (report.taken_over, report.upgraded) == (None, ("left", "right.0"))
    assert sorted(pins.links()) == ["left", "right.0"]
    assert not older.directory.exists()
    assert live_flows(pins) == len(PORTS)


def test_fields_are_found_by_name(older: Pins, loaded: Loaded) -> None:
    with Map.from_pin(older.map("ledgers")) as ledgers:
        then = fields_of(ledgers)
    assert then["gone"] == (0, 64)
    assert then["tally.jumps"][1] == 4
    with Map.from_pin(older.map("flows")) as flows:
        assert fields_of(flows)["rule.generation"] == (0, 4)


def _with_tenant(_flow: Any, ledger: Any) -> None:
    ledger.wide.tenant = TENANT


def tenants(pins: Pins) -> set[int]:
    with Map.from_pin(pins.map("ledgers")) as ledgers:
        return tenants_of(ledgers, PORTS)


def tenants_of(ledgers: Map, ports: Iterable[int]) -> set[int]:
    offset, size = fields_of(ledgers)["wide.tenant"]
    values = [ledgers.lookup(port.to_bytes(4, "little")) for port in ports]
    return {int.from_bytes(value[offset : offset + size], "little") for value in values}


class Two:
    """The older relay and the present one, attached to nothing, and packets of one stream through either."""

    def __init__(self, older_object: Path, bpffs: Path, rtp, loaded: Loaded) -> None:
        entries = dict.fromkeys(("flows", "ledgers"), len(CONFIG.addresses) * 65536)
        relay = BpfObject.open(older_object, map_sizes=entries, rodata=CONFIG.encode())
        relay.load()
        self.pins = Pins(bpffs, OLDER)
        self.pins.directory.mkdir(parents=True)
        for name in ("flows", "ledgers", "config"):
            relay.map(name).pin(self.pins.map(name))
        self.then, self.now, self.table, self._rtp = relay.program("relay"), loaded.program, loaded.table, rtp
        ids = {each.name: each for each in map(Map.from_id, loaded.program.map_ids)}
        self.maps = ids["flows"], ids["ledgers"]

    def send(self, program: Program, *sequences: int) -> None:
        for sequence in sequences:
            program.test_run(self._rtp(CALLER, (RELAY, FIRST_PORT), sequence))


@pytest.fixture
def two(older_object: Path, bpffs: Path, rtp, loaded: Loaded) -> Iterator[Two]:
    two = Two(older_object, bpffs, rtp, loaded)
    rule = FlowRule(FlowState.LEARNING, (CALLER[0], 0), ("198.51.100.1", 10002), CALLEE, ifindex=1, clock_rate=8000)
    write_older(two.pins, loaded, {FIRST_PORT: rule})
    yield two
    shutil.rmtree(two.pins.root)


def test_what_the_older_relay_did_last_is_counted_and_no_loss(two: Two) -> None:
    two.send(two.then, 1, 2, 4)
    takeover = Takeover(two.pins, *two.maps)
    takeover.copy()
    two.send(two.then, 5, 6, 6)
    two.send(two.now, 7, 8, 10)
    assert takeover.catch_up() == 1
    takeover.close()
    found = two.table.read(FIRST_PORT)
    assert (found.packets, found.lost, found.duplicates, found.learned_port) == (9, 2, 1, CALLER[1])


def test_a_flow_that_is_silent_in_the_new_relay_is_taken_as_it_is(two: Two) -> None:
    takeover = Takeover(two.pins, *two.maps)
    takeover.copy()
    two.send(two.then, 1, 2, 4)
    takeover.catch_up()
    takeover.close()
    found = two.table.read(FIRST_PORT)
    assert (found.packets, found.lost, found.learned_port) == (3, 1, CALLER[1])
    two.send(two.now, 5)
    found = two.table.read(FIRST_PORT)
    assert (found.packets, found.lost) == (4, 1)


def test_a_rule_that_was_written_meanwhile_is_taken(two: Two, loaded: Loaded) -> None:
    takeover = Takeover(two.pins, *two.maps)
    takeover.copy()
    before = two.table.rule(FIRST_PORT)
    with Map.from_pin(two.pins.map("flows")) as flows:
        memory = flows.mmap(writable=True)
        at = FIRST_PORT * flows.value_size + fields_of(flows)["rule.state"][0]
        memory[at] = FlowState.OFF
        memory.close()
    takeover.catch_up()
    takeover.close()
    assert before is not None
    assert two.table.rule(FIRST_PORT) == replace(before, state=FlowState.OFF)


def test_what_was_the_flows_and_is_the_ledgers_now_goes_there(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the rule was written meanwhile."""
    monkeypatch.setitem(layouts.TRANSLATIONS, OLDER, Translation(moved={"wide.tenant": "rule.police_interval"}))
    with Map.from_pin(two.pins.map("flows")) as flows:
        at = FIRST_PORT * flows.value_size + fields_of(flows)["rule.police_interval"][0]
        memory = flows.mmap(writable=True)
        memory[at : at + 4] = (70).to_bytes(4, "little")
        takeover = Takeover(two.pins, *two.maps)
        takeover.copy()
        assert tenants_of(two.maps[1], (FIRST_PORT,)) == {70}
        memory[at : at + 4] = (71).to_bytes(4, "little")
        memory.close()
    takeover.catch_up()
    takeover.close()
    with Map.from_id(next(each.id for each in map(Map.from_id, two.now.map_ids) if each.name == "ledgers")) as ledgers:
        assert tenants_of(ledgers, (FIRST_PORT,)) == {71}


def write_older(pins: Pins, loaded: Loaded, wanted: dict[int, FlowRule]) -> None:
    """Write with the present layout, then move flows as they are, and ledgers behind the line that is gone."""
    for index, rule in wanted.items():
        loaded.table.write(index, rule)
    present = {each.name: each for each in map(Map.from_id, loaded.program.map_ids)}
    for name, before in (("flows", 0), ("ledgers", 64)):
        with present[name] as new, Map.from_pin(pins.map(name)) as old:
            source, target = new.mmap(writable=True), old.mmap(writable=True)
            for index in wanted:
                at, to = index * new.value_size, index * old.value_size + before
                target[to : to + new.value_size] = source[at : at + new.value_size]
                source[at : at + new.value_size] = bytes(new.value_size)
            source.close()
            target.close()


def big_link() -> str:
    """An interface that takes no program in native mode."""
    for command in (
        "link add name big mtu 9000 type veth peer name c mtu 9000",
        "link set c up",
        "link set big up",
    ):
        subprocess.run(["ip", *command.split()], check=True, timeout=10)
    return "big"


def changed(text: str, before: str, after: str) -> str:
    assert text.count(before) == 1, before
    return text.replace(before, after)
