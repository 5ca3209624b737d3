# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel relay in a network namespace of its own, as far as it hands packets up to an engine."""

from dataclasses import dataclass, replace
from pathlib import Path

from ctl.kernel.flowrule import FlowAction, FlowRule, FlowState
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.loader import AttachSettings, attach, detach
from ctl.kernel.pins import Pins
from media.flows import EngineFlow, EngineHop
from tests.bench.lab import Built, identity, inside, run

PORTS = 30000, 39999


@dataclass(frozen=True)
class Link:
    """One end of a pair of interfaces: its namespace, name and IP address."""

    space: str
    name: str
    address: str


class Wiring(Built):
    """Attached to `own`, whose other end is `peer`; pinned below `folder`."""

    def __init__(self, own: Link, peer: Link, folder: Path) -> None:
        super().__init__()
        self._own = own
        self._folder = folder
        self._bpffs = folder / "bpf"
        index, mac = identity(own.space, own.name)
        self._hop = EngineHop(index, identity(peer.space, peer.name)[1], mac)

    @property
    def pins(self) -> Path:
        """Directory of the relay's maps."""
        return Pins(self._bpffs).directory

    def hand_up(self, pair: tuple[EngineFlow, EngineFlow]) -> tuple[EngineFlow, EngineFlow]:
        """Have the relay leave both flows to the engine; return them with their next hop."""
        a, b = pair
        self._table.write_pair(self._entry(a, b), self._entry(b, a))
        return replace(a, hop=self._hop), replace(b, hop=self._hop)

    def _entry(self, flow: EngineFlow, partner: EngineFlow) -> tuple[int, FlowRule]:
        source, target = (flow.source_address, flow.source_port or 0), (flow.target_address, flow.target_port)
        rule = FlowRule(FlowState.PINNED, source, partner.key, target, FlowAction.ENGINE)
        return self._table.index(*flow.key), rule

    def _build(self) -> None:
        self._bpffs.mkdir(exist_ok=True)
        run("mount", "-t", "bpf", "none", str(self._bpffs))
        self._stack.callback(run, "umount", str(self._bpffs))
        settings = AttachSettings(self._bpffs, (self._own.name,), (self._own.address,), *PORTS, state_dir=self._folder)
        with inside(self._own.space):
            attach(settings)
            self._stack.callback(self._detach)
        self._table = FlowTable.open(self.pins)
        self._stack.callback(self._table.close)

    def _detach(self) -> None:
        with inside(self._own.space):
            detach(self._bpffs, self._folder)
