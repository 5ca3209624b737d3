# SPDX-License-Identifier: GPL-3.0-or-later
"""Under load, controllers are killed and the program is upgraded: every packet arrives."""

from collections.abc import Iterator

import pytest

from ctl.kernel.flowtable import FlowTable
from ctl.kernel.loader import attach
from ctl.kernel.pins import Pins
from tests.ctl.kernel.load import CALLER, FIRST_PORT, PORTS, RELAY, Load, kill_a_controller, write_flows

PACKETS = 1_000_000
KILLS, UPGRADES = 3, 20


@pytest.fixture
def load(cabled, quiet, attached: Pins, rtp) -> Iterator[Load]:
    write_flows(attached, cabled.right)
    load = Load.begin(rtp(CALLER, (RELAY, FIRST_PORT)), cabled.ends)
    yield load
    load.close()


def test_nothing_is_lost_while_controllers_are_killed_and_programs_upgraded(settings, attached: Pins, load) -> None:
    """Upgrades also happen with nobody there; whoever adopts the flows then finds them as they were."""
    before = rules(attached)
    programs = set()
    for _ in range(KILLS):
        kill_a_controller(attached)
        programs |= {attach(settings).program_id for _ in range(UPGRADES // KILLS + 1)}
    assert len(programs) >= UPGRADES
    assert rules(attached) == before
    load.finish(least=PACKETS)
    table = FlowTable.open(attached.directory)
    flows = table.read_many(PORTS)
    assert sum(flow.packets for flow in flows) == load.sent
    assert sum(flow.dropped + flow.rejected for flow in flows) == 0
    assert table.generation(table.index("198.51.100.1", 12000)), "no controller had written"
    table.close()


def rules(pins: Pins) -> list[object]:
    table = FlowTable.open(pins.directory)
    try:
        return [table.rule(port) for port in PORTS]
    finally:
        table.close()
