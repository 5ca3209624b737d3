# SPDX-License-Identifier: GPL-3.0-or-later
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from ctl.host import privileges
from ctl.host.reserved_ports import SYSCTL, ReservedPorts, format_ports, parse_ports
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.libbpf import BpfError, Link, Program
from ctl.kernel.loader import AttachError, attach, detach, status
from ctl.kernel.pins import MAPS, Pins
from ctl.kernel.xdp import attached as xdp_on

NOBODY = 65534


def on(interface: str) -> int | None:
    """Id of the program on an interface."""
    found = xdp_on(socket.if_nametoindex(interface))
    return found.program_id if found else None


def test_attach_pins_everything_and_detach_leaves_nothing(settings) -> None:
    report = attach(settings)
    assert report.attached == ("left", "right.0")
    assert report.reserved_ports == "10000-19999"
    assert sorted(path.name for path in report.pin_dir.iterdir()) == [
        "captures",
        "config",
        "events",
        "flows",
        "ledgers",
        "link_left",
        "link_right%2E0",
        "mirror",
        "queues",
        "reasons",
        "relay",
        "scratch",
        "sources",
        "wires",
    ]
    assert on("left") == on("right.0") == report.program_id
    assert SYSCTL.read_text().strip() == "10000-19999"
    gone = detach(settings.bpffs, settings.state_dir)
    assert (gone.interfaces, gone.released_ports) == (("left", "right.0"), "10000-19999")
    assert not Pins(settings.bpffs).root.exists()
    assert list(settings.state_dir.iterdir()) == []
    assert on("left") is on("right.0") is None
    assert SYSCTL.read_text().strip() == ""
    assert detach(settings.bpffs, settings.state_dir).interfaces == ()


def test_the_pins_belong_to_the_owner_alone(settings) -> None:
    report = attach(replace(settings, owner_uid=NOBODY, owner_gid=NOBODY))
    everything = [report.pin_dir.parent, report.pin_dir, *report.pin_dir.iterdir()]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in everything}
    assert {path.stat().st_uid for path in everything} == {path.stat().st_gid for path in everything} == {NOBODY}
    assert {modes.pop("voxdp"), modes.pop(report.pin_dir.name)} == {0o700}
    assert set(modes.values()) == {0o600}
    detach(settings.bpffs, settings.state_dir)


def test_attaching_again_replaces_the_program_and_keeps_the_flows(settings, attached, pair) -> None:
    table = FlowTable.open(attached.directory)
    table.write_pair(*pair)
    before, links = on("left"), {name: Link.from_pin(path) for name, path in attached.links().items()}
    report = attach(settings)
    assert (report.attached, report.upgraded) == ((), ("left", "right.0"))
    assert before != report.program_id == on("left") == on("right.0")
    assert {link.program_id for link in links.values()} == {report.program_id}
    assert list(FlowTable.open(attached.directory).active()) == [index for index, _ in pair]
    relay = Program.from_pin(attached.program)
    assert relay.id == report.program_id
    assert set(relay.map_ids) >= {each.id for each in status(settings.bpffs).maps}
    assert SYSCTL.read_text().strip() == "10000-19999"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"addresses": ("192.0.2.7",)}, "addresses"),
        ({"port_max": 29999}, "port range"),
        ({"mode": "generic"}, "mode"),
    ],
)
def test_changes_are_refused_while_calls_are_live_and_made_when_not(settings, attached, pair, change, named) -> None:
    table = FlowTable.open(attached.directory)
    table.write_pair(*pair)
    wanted, before = replace(settings, **change), on("left")
    with pytest.raises(AttachError, match=f"{named} changed while 2 flows are live; run voxdp detach first"):
        attach(wanted)
    assert on("left") == before
    for index, _ in pair:
        table.off(index)
    table.close()
    assert attach(wanted).attached == ("left", "right.0")
    found = status(settings.bpffs)
    assert found.config is not None
    assert (found.config.addresses, found.config.port_max) == (wanted.addresses, wanted.port_max)
    assert {each.mode for each in found.interfaces} == {wanted.mode}
    assert SYSCTL.read_text().strip() == f"10000-{wanted.port_max}"


def test_the_limit_for_strangers_is_changed_under_live_calls(settings, attached, pair) -> None:
    table = FlowTable.open(attached.directory)
    table.write_pair(*pair)
    table.close()
    attach(replace(settings, unmatched_rate=500))
    found = FlowTable.open(attached.directory)
    assert (found.config.unmatched_rate, found.config.unmatched_burst) == (500, 500)
    assert len(found.active()) == 2
    found.close()


def test_an_interface_less_in_the_settings_is_let_go(settings, attached) -> None:
    assert attach(replace(settings, interfaces=("left",))).removed == ("right.0",)
    assert on("right.0") is None
    assert on("left")


def test_an_interface_made_anew_gets_a_new_link(settings, attached) -> None:
    with IPRoute() as netlink:
        netlink.link("del", ifname="left")
        netlink.link("add", ifname="left", kind="veth", peer="a")
    report = attach(settings)
    assert (report.attached, report.upgraded) == (("left",), ("right.0",))
    assert on("left") == report.program_id


def test_somebody_elses_program_stays(settings, baseline: Callable[[str], Program]) -> None:
    foreign = baseline("empty_pass")
    link = Link.attach_xdp(foreign, socket.if_nametoindex("right.0"), "native")
    with pytest.raises(AttachError, match=rf"right\.0: another XDP .* id {foreign.id}, name empty_pass, .* xdp off"):
        attach(settings)
    assert on("left") is None
    assert not Pins(settings.bpffs).root.exists()
    (shown,) = (each for each in status(settings.bpffs, ["right.0"]).interfaces)
    assert (shown.program_name, shown.ours) == ("empty_pass", False)
    link.destroy()


def test_calls_of_an_unknown_layout_are_not_cut_off_by_attaching(settings, attached, pair) -> None:
    """The operator detaches it when the calls have ended."""
    table = FlowTable.open(attached.directory)
    table.write_pair(*pair)
    older = attached.directory.with_name("v0")
    attached.directory.rename(older)
    before = on("left")
    with pytest.raises(AttachError, match=r"2 flows live on a relay of layout 0, which .* run voxdp detach first"):
        attach(settings)
    assert on("left") == before
    assert older.exists()
    for index, _ in pair:
        table.off(index)
    table.close()
    assert attach(settings).attached == ("left", "right.0")
    assert (on("left") in (None, before), older.exists()) == (False, False)


def test_a_driver_that_refuses_is_quoted_and_nothing_is_left(settings) -> None:
    with IPRoute() as netlink:
        for name in ("b", "right.0"):
            netlink.link("set", ifname=name, mtu=9000)
    with pytest.raises(AttachError, match=r'right\.0 takes no XDP in native mode: .*Peer MTU.*; use mode = "generic"'):
        attach(settings)
    assert on("left") is None
    assert not Pins(settings.bpffs).root.exists()
    assert list(settings.state_dir.iterdir()) == []
    assert SYSCTL.read_text().strip() == ""
    assert attach(replace(settings, mode="generic")).mode == "generic"
    assert {each.mode for each in status(settings.bpffs).interfaces} == {"generic"}
    detach(settings.bpffs, settings.state_dir)


def test_a_failed_upgrade_leaves_the_former_program(settings, attached, cabled) -> None:
    before = on("left")
    with IPRoute() as netlink:
        netlink.link("add", ifname="big", kind="veth", peer="c")
        for name in ("c", "big"):
            netlink.link("set", ifname=name, mtu=9000)
    with pytest.raises(AttachError, match="big takes no XDP"):
        attach(replace(settings, interfaces=("left", "right.0", "big")))
    assert on("left") == on("right.0") == before == Program.from_pin(attached.program).id
    assert sorted(attached.links()) == ["left", "right.0"]
    assert SYSCTL.read_text().strip() == "10000-19999"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interfaces": ("nowhere",)}, "there is no interface nowhere"),
        ({"interfaces": ()}, "name at least one"),
        ({"addresses": ()}, "1 to 8"),
        ({"addresses": ("192.0.2.1", "192.0.2.1")}, "different"),
        ({"addresses": ("2001:db8::g",)}, "2001:db8::g is not an IP address"),
        ({"port_min": 0}, "range within 1-65535"),
        ({"bpffs": Path("/run")}, "mount -t bpf .* /run"),
        ({"object_path": Path("/nowhere.o")}, "build it"),
    ],
)
def test_wrong_settings_are_one_line_with_a_remedy(settings, change, message) -> None:
    with pytest.raises(AttachError, match=message) as caught:
        attach(replace(settings, **change))
    assert "\n" not in str(caught.value)
    assert on("left") is None


def test_an_owner_who_cannot_reach_the_pins_is_told_how(settings) -> None:
    settings.bpffs.chmod(0o700)
    with pytest.raises(AttachError, match=rf"user id {NOBODY} cannot pass through .*chmod o\+x {settings.bpffs}"):
        attach(replace(settings, owner_uid=NOBODY, owner_gid=NOBODY))


def test_missing_capabilities_are_named(run_as, bpffs: Path) -> None:
    code = """
from pathlib import Path
from ctl.host.privileges import missing_to_attach
print(missing_to_attach(Path(sys.argv[2]), uid, uid))
"""
    done = run_as(NOBODY, code, bpffs)
    assert done.stdout == "['CAP_NET_ADMIN and CAP_PERFMON and CAP_BPF missing; run voxdp as root, by sudo']\n"
    assert privileges.missing_to_attach(bpffs) == []


def test_who_may_not_detach_is_told(settings, attached, run_as) -> None:
    code = """
from pathlib import Path
from ctl.kernel.loader import AttachError, detach
try:
    detach(Path(sys.argv[2]), Path(sys.argv[3]))
except AttachError as error:
    print(error)
"""
    done = run_as(NOBODY, code, settings.bpffs, settings.state_dir)
    assert done.stdout == "CAP_NET_ADMIN and CAP_PERFMON and CAP_BPF missing; run voxdp as root, by sudo\n"
    assert on("left")


def test_no_pin_gives_way_to_another_user(settings, run_as) -> None:
    report = attach(replace(settings, owner_uid=NOBODY, owner_gid=NOBODY))
    code = """
from pathlib import Path
from ctl.kernel.libbpf import Link, Map, Program
for pin in map(Path, sys.argv[2:]):
    for attempt in (Map.from_pin, Program.from_pin, Link.from_pin, Path.unlink, Path.read_bytes):
        try:
            attempt(pin)
            print(attempt, pin)
        except PermissionError:
            pass
        except OSError as error:
            assert error.errno == 13, error
"""
    pins = [*report.pin_dir.iterdir(), report.pin_dir]
    done = run_as(NOBODY - 1, code, *pins)
    assert (done.stdout, done.stderr) == ("", "")
    assert sorted(report.pin_dir.iterdir()) == sorted(pins[:-1])
    detach(settings.bpffs, settings.state_dir)


def test_two_who_attach_at_once_do_not_meet(settings) -> None:
    code = f"from pathlib import PosixPath; from ctl.kernel.loader import *; attach({settings!r})"
    both = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [each.communicate()[1] for each in both] == ["", ""]
    assert on("left") == on("right.0") == status(settings.bpffs).program.id
    detach(settings.bpffs, settings.state_dir)


def test_a_pin_that_is_another_thing_is_refused(settings, attached) -> None:
    attached.map("reasons").unlink()
    Program.from_pin(attached.program).pin(attached.map("reasons"))
    with pytest.raises(BpfError, match="reasons is a bpf-prog, not a bpf-map; run: voxdp detach"):
        FlowTable.open(attached.directory)
    with pytest.raises(AttachError, match="not a bpf-map"):
        attach(settings)


def test_status_of_nothing_is_no_error(settings) -> None:
    found = status(settings.bpffs, ["left", "nowhere"])
    assert (found.program, found.config, found.maps, found.reasons) == (None, None, (), {})
    assert [(each.name, each.ifindex > 0, each.program_id) for each in found.interfaces] == [
        ("left", True, None),
        ("nowhere", False, None),
    ]


def test_status_of_another_users_pins_says_so(settings, attached, run_as) -> None:
    code = """
from pathlib import Path
from ctl.kernel.loader import status
try:
    status(Path(sys.argv[2]))
except OSError as error:
    print(error)
"""
    done = run_as(NOBODY, code, settings.bpffs)
    assert "voxdp belongs to another user; run as that user or as root" in done.stdout, done.stderr


def test_a_file_system_that_may_not_be_passed_holds_no_relay_of_ours(settings, attached, run_as) -> None:
    code = "from pathlib import Path; from ctl.kernel.pins import Pins; print(Pins(Path(sys.argv[2])).exist())"
    assert run_as(NOBODY, code, settings.bpffs).stdout == "True\n"
    settings.bpffs.chmod(0o700)
    assert run_as(NOBODY, code, settings.bpffs).stdout == "False\n"


def test_status_works_for_an_owner_without_capabilities(settings, run_as) -> None:
    attach(replace(settings, owner_uid=NOBODY, owner_gid=NOBODY))
    code = """
from pathlib import Path
from ctl.kernel.loader import status
found = status(Path(sys.argv[2]))
print([each.ours for each in found.interfaces], found.program.name, found.reasons["forwarded"].packets)
"""
    done = run_as(NOBODY, code, settings.bpffs)
    assert done.stdout == "[True, True] relay 0\n", done.stderr
    detach(settings.bpffs, settings.state_dir)


def test_status_tells_program_maps_and_reasons(settings, quiet, attached) -> None:
    Program.from_pin(attached.program).test_run(bytes(64), repeat=3)
    found = status(settings.bpffs)
    assert found.program is not None
    assert found.program.name == "relay"
    assert found.program.verified_instructions > 0
    assert found.program.compiled_size > found.program.translated_size / 4
    assert abs(found.program.loaded_at - attached.program.stat().st_mtime) < 60
    assert {each.name: each.ours for each in found.interfaces} == {"left": True, "right.0": True}
    assert {each.name: each.memory > 0 for each in found.maps} == dict.fromkeys(MAPS, True)
    assert all(each.memory >= 2 * 65536 * 128 for each in found.maps if each.name in ("flows", "ledgers"))
    assert found.reasons["pass_not_ip"].packets == 3


def test_what_is_attached_outlives_whoever_attached_it(settings) -> None:
    code = f"""
import time
from pathlib import PosixPath
from ctl.kernel.libbpf import Program
from ctl.kernel.loader import *
print(attach({settings!r}).program_id, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as attacher:
        assert attacher.stdout is not None
        program_id = int(attacher.stdout.readline())
        os.kill(attacher.pid, signal.SIGKILL)
    assert on("left") == on("right.0") == program_id
    assert FlowTable.open(Pins(settings.bpffs).directory).config.addresses == settings.addresses
    detach(settings.bpffs, settings.state_dir)


def test_leftovers_of_an_attach_that_was_cut_off_are_replaced(settings) -> None:
    pins = Pins(settings.bpffs)
    report = attach(settings)
    for name in ("flows", "relay"):
        (report.pin_dir / name).unlink()
    assert not pins.exist()
    assert attach(settings).attached == ("left", "right.0")
    detach(settings.bpffs, settings.state_dir)


def test_ports_that_were_reserved_before_stay_reserved(settings) -> None:
    SYSCTL.write_text("5060,9999-10001\n")
    attach(settings)
    assert SYSCTL.read_text().strip() == "5060,9999-19999"
    assert detach(settings.bpffs, settings.state_dir).released_ports == "10002-19999"
    assert SYSCTL.read_text().strip() == "5060,9999-10001"


@pytest.mark.parametrize("text", ["", "1", "1-2", "1,3", "5060,16384-32767,65535"])
def test_port_lists_are_read_and_written(text: str) -> None:
    assert format_ports(parse_ports(text + "\n")) == text


def test_the_host_keeps_ports_for_its_own_connections(settings) -> None:
    with pytest.raises(AttachError, match=r"ports 20000-65535 would leave connections of this host 0 of 32768-60999"):
        attach(replace(settings, port_min=20000, port_max=65535))
    assert not Pins(settings.bpffs).exist()
    assert SYSCTL.read_text().strip() == ""


def test_reserving_again_moves_only_our_ports(state_dir: Path, tmp_path: Path) -> None:
    sysctl = tmp_path / "ports"
    sysctl.write_text("105\n")
    ports = ReservedPorts(state_dir, sysctl)
    ports.reserve(100, 110)
    ports.reserve(108, 112)
    assert sysctl.read_text().strip() == "105,108-112"
    assert format_ports(ports.release()) == "108-112"
    assert ports.release() == set()
    assert sysctl.read_text().strip() == "105"
