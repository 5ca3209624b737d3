# SPDX-License-Identifier: GPL-3.0-or-later
"""As many relay addresses as there can be, of both families in turn."""

import pytest
from ctl.kernel._libbpf import lib

from ctl.kernel.flowrule import FlowRule, FlowState
from ctl.kernel.flowtable import FlowTable, RelayConfig
from ctl.kernel.libbpf import BpfObject
from tests.bpf import harness, model
from tests.bpf.packets import CALLER, CALLER6, frame, frame6

TEXTS = tuple(f"10.0.{slot}.1" if slot % 2 else f"2001:db8:0:{slot}::1" for slot in range(int(lib.RELAY_ADDRESSES)))
PORT = 10_000
PORTS = (10_000, 10_999)


@pytest.fixture(scope="module")
def full():
    """A relay with a flow at the same port of every address; each sends back to whom it came from."""
    harness.require_object()
    config = RelayConfig(lib.VOXDP_LAYOUT, TEXTS, *PORTS)
    sizes = dict.fromkeys(harness.FLOW_MAPS, len(TEXTS) * 65536)
    loaded = BpfObject.open(harness.OBJECT, map_sizes=sizes, rodata=config.encode())
    loaded.load()
    table = FlowTable(*map(loaded.map, (*harness.FLOW_MAPS, "reasons")), config)
    for text in TEXTS:
        peer = CALLER6 if ":" in text else CALLER
        rule = FlowRule(FlowState.PINNED, peer, (text, PORT), peer, ifindex=model.INGRESS)
        table.write(table.index(text, PORT), rule)
    yield loaded.program("relay"), table
    table.close()
    loaded.close()


@pytest.mark.parametrize("text", TEXTS)
def test_each_address_has_its_own_flows(full, text):
    program, table = full
    packet = frame6(to=(text, PORT)) if ":" in text else frame(to=(text, PORT))
    for _ in range(2):
        assert program.test_run(packet).retval == model.TX
    assert table.read(table.index(text, PORT)).packets == 2


@pytest.mark.parametrize(
    "packet",
    [
        frame(to=("0.0.0.0", PORT)),
        frame(to=("0.0.0.0", PORT), source=("0.0.0.0", 4000)),
        frame(to=("10.0.0.1", PORT)),
        frame6(to=("2001:db8:0:1::1", PORT)),
        frame6(to=("::ffff:10.0.1.1", PORT)),
        frame6(to=("::", PORT)),
    ],
    ids=["0.0.0.0", "0.0.0.0 from there", "a slot of IPv6", "a slot of IPv4", "an IPv4 address in IPv6", "::"],
)
def test_no_other_address_is_theirs(full, packet):
    program, table = full
    before = table.reasons()["pass_not_ours"].packets
    result = program.test_run(packet)
    assert (result.retval, result.data) == (model.PASS, packet)
    assert table.reasons()["pass_not_ours"].packets == before + 1
