# SPDX-License-Identifier: GPL-3.0-or-later
"""What a controller makes of the relay that it finds, and of what happens to it later."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from ctl.config import load
from ctl.kernel.attach_record import AttachRecord
from ctl.kernel.attaching import attach_settings
from ctl.kernel.libbpf import Link
from ctl.kernel.loader import attach, detach
from ctl.kernel.pins import Pins
from ctl.network.media_interfaces import DataPlaneError
from ctl.network.nexthop import NextHops
from ctl.sessions.host_carriers import Carriers

DEVICE = Path("/dev/cpu_dma_latency")
BOTH = {"left", "right.0"}
ADDRESSES = {"left": "192.0.2.1", "right.0": "2001:db8::1"}


class Host:
    """A configuration, the relay attached by it, and controllers that come and go."""

    def __init__(self, directory: Path, bpffs: Path) -> None:
        self.directory, self.hops = directory, NextHops()
        self.sections: dict[str, dict[str, Any]] = {
            "media": {"addresses": list(ADDRESSES.values()), "port_min": 10000, "port_max": 10099},
            "xdp": {"bpffs": str(bpffs)},
            "run": {"directory": str(directory / "run"), "state": str(directory / "state")},
        }
        self.pins = Pins(bpffs)
        self._carriers: Carriers | None = None
        (directory / "run").mkdir()

    @property
    def config(self) -> Any:
        lines = []
        for name, keys in self.sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        file = self.directory / "voxdp.toml"
        file.write_text("\n".join(lines) + "\n")
        return load(file)

    def attach(self) -> None:
        attach(attach_settings(self.config, self.hops))

    def carriers(self) -> Carriers:
        """The next controller's, after the former has ended."""
        self.end()
        self._carriers = Carriers(self.config, self.hops)
        return self._carriers

    def end(self) -> None:
        if self._carriers:
            self._carriers.close()
        self._carriers = None

    def close(self) -> None:
        self.end()
        detach(self.pins.bpffs, self.directory / "run")
        self.hops.close()


@pytest.fixture
def host(cabled, bpffs: Path, open_directory: Callable[[], Path]) -> Iterator[Host]:
    with IPRoute() as netlink:
        for name, address in ADDRESSES.items():
            index = netlink.link_lookup(ifname=name)[0]
            length = 64 if ":" in address else 24
            netlink.addr("add", index=index, address=address, prefixlen=length, flags=0x02)  # no waiting for duplicates
    host = Host(open_directory(), bpffs)
    host.attach()
    yield host
    host.close()


def test_a_relay_as_attached_carries_every_interface(host: Host) -> None:
    carriers = host.carriers()
    assert carriers.look().attached == BOTH
    assert (carriers.trouble, carriers.bare) == ("", {})
    assert carriers.interfaces == {"192.0.2.1": "left", "2001:db8::1": "right.0"}
    assert carriers.table is not None
    assert set(carriers.table.config.addresses) == set(ADDRESSES.values())


def test_without_a_relay_the_engine_carries_all_until_it_is_attached(host: Host) -> None:
    detach(host.pins.bpffs, host.directory / "run")
    carriers = host.carriers()
    assert (carriers.look().attached, carriers.look().refusal, carriers.kernel) == (frozenset(), "", None)
    assert set(carriers.bare) == BOTH
    host.attach()
    assert carriers.look().attached == BOTH
    assert carriers.kernel is not None


def test_a_detached_interface_is_attached_again(host: Host) -> None:
    carriers = host.carriers()
    kernel = carriers.kernel
    Link.from_pin(host.pins.link("left")).destroy()
    assert carriers.look().attached == BOTH
    assert carriers.kernel is kernel
    Link.from_pin(host.pins.link("left")).destroy()
    assert carriers.look().attached == {"right.0"}, "the next attempt has to wait"
    assert carriers.bare == {"left": "not attached"}


def test_a_relay_that_cannot_be_trusted_is_refused_at_the_start_and_left_later(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    carriers = host.carriers()
    record = AttachRecord.path(host.directory / "run")
    told = json.loads(record.read_text())
    record.write_text(json.dumps(told | {"tag": "0" * 16}))
    assert (carriers.look().attached, carriers.trouble) == (BOTH, ""), "it may be an upgrade under way"
    monkeypatch.setattr("ctl.kernel.relay_watch.UPGRADE_SECONDS", 0.0)
    assert carriers.look().attached == frozenset()
    assert f"has tag {told['tag']}, but {'0' * 16} was attached; run: voxdp attach" in carriers.trouble
    assert carriers.kernel is None
    host.attach()
    assert carriers.look().attached == BOTH
    assert carriers.trouble == ""
    record.unlink()
    with pytest.raises(DataPlaneError, match="no record of what was attached; run: voxdp attach"):
        host.carriers()


def test_a_relay_of_another_version_keeps_its_calls_and_gets_no_new_ones(host: Host) -> None:
    carriers = host.carriers()
    kernel = carriers.kernel
    newer = host.pins.directory.with_name("v99")
    host.pins.directory.rename(newer)
    plane = carriers.look()
    assert "a relay of another version is pinned in" in plane.refusal
    assert plane.attached == BOTH, "what lives there is not moved"
    assert carriers.kernel is kernel
    newer.rename(host.pins.directory)
    assert (carriers.look().refusal, carriers.kernel) == ("", kernel)
    host.pins.directory.rename(newer)
    with pytest.raises(DataPlaneError, match="attach and run one version of voxdp"):
        host.carriers()


@pytest.mark.parametrize("change", [{"port_max": 10199}, {"addresses": ["192.0.2.1"]}])
def test_a_relay_for_another_configuration_is_refused(host: Host, change: dict[str, Any]) -> None:
    host.sections["media"].update(change)
    with pytest.raises(DataPlaneError, match="has other media addresses or ports than the configuration"):
        host.carriers()


def test_named_interfaces_and_limits_reach_the_plan(host: Host) -> None:
    host.sections["media"].update(police=2.0)
    plane = host.carriers().look()
    assert (plane.police, [each.address for each in plane.addresses]) == (2.0, list(ADDRESSES.values()))


def test_with_xdp_off_nothing_is_looked_for(host: Host) -> None:
    host.sections["xdp"]["mode"] = "off"
    carriers = host.carriers()
    assert carriers.look().attached == frozenset()
    assert set(carriers.bare.values()) == {"xdp.mode is off"}


def test_the_engine_receives_by_af_xdp_wherever_the_relay_is_attached(host: Host) -> None:
    carriers = host.carriers()

    def interfaces() -> set[str]:
        carriers.look()
        return {wire.interface for wire in carriers.io.wires}

    assert (interfaces(), carriers.io.trouble) == (BOTH, "")
    assert carriers.io.description.startswith("AF_XDP on ")
    assert carriers.engine.routed
    assert {key for key in carriers.io.packets() if key[1] == "dropped"} == {(name, "dropped") for name in BOTH}
    detach(host.pins.bpffs, host.directory / "run")
    assert interfaces() == set()
    assert "the kernel relay, which leads packets to AF_XDP sockets, is not attached" in carriers.io.trouble
    host.attach()
    assert (interfaces(), carriers.io.trouble) == (BOTH, "")
    pid = carriers.process.pid
    carriers.process.stop()
    carriers.restart_engine()
    assert carriers.process.pid != pid
    assert (interfaces(), carriers.io.trouble) == (BOTH, "")
    assert_shared(host, carriers)
    host.sections["media"].update(engine_io="sockets")
    assert (carriers.process.client.wires().wires != (), host.carriers().io.wires) == (True, ())


def test_the_engine_is_told_how_processors_may_sleep_and_health_tells_it(host: Host) -> None:
    host.sections["media"].update(cpu_dma_latency=100_000)
    carriers = host.carriers()
    way, _, bound = carriers.engine_description.partition("; ")
    assert (way.startswith("AF_XDP on "), bound) == (True, "processors wake within 100000 µs once there are flows")
    shared = Carriers(host.config, host.hops, owner="worker-1")
    assert (shared.latency.held, shared.process.pid) == (False, carriers.process.pid)
    shared.close()
    pid = carriers.process.pid
    carriers.process.stop()
    carriers.restart_engine()
    carriers.look()
    assert carriers.process.pid != pid
    assert DEVICE in [entry.readlink() for entry in Path(f"/proc/{carriers.process.pid}/fd").iterdir()]
    host.sections["media"].update(cpu_dma_latency=-1)
    assert host.carriers().engine_description == way


def assert_shared(host: Host, carriers: Carriers) -> None:
    """A worker of the signalling has the controller's engine, next hops for AF_XDP, and leaves its sockets alone."""
    worker = Carriers(host.config, host.hops, owner="worker-1")
    assert (worker.process.pid, worker.engine.routed, worker.io.wires) == (carriers.process.pid, True, ())
    worker.close()
    assert carriers.process.alive()
