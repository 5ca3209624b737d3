# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts in, findings out; and the facts as this kernel tells them."""

import json
import os
import subprocess
from dataclasses import replace

import pytest

from ctl.config import load
from ctl.host import ethtool
from ctl.host.doctor import HostFacts, InterfaceFacts, examine
from ctl.host.ethtool import DriverSettings
from ctl.host.host_facts import gather
from media import opener_process
from media.wire_opener import OPENER_SOCKET, OpenerSettings
from tests.bench.cli import VOXDP
from tests.ctl.running import write_config
from vm import namespace

DRIVER = DriverSettings("ixgbe", lro=False, gro=True, tx_checksum=True, rx_vlan=True, queues=4, queues_max=4)
CARD = InterfaceFacts("eth0", 1500, True, DRIVER, "native", True, True, 0, False)
HOST = HostFacts(
    kernel="6.1.0-30-amd64",
    btf=True,
    cpus=4,
    mode="native",
    clock_source="tsc",
    jit=1,
    jit_harden=0,
    unprivileged_bpf=2,
    obstacles=(),
    bpffs=(),
    loaded=True,
    no_head_room=0,
    port_min=16384,
    port_max=32767,
    unreserved=0,
    config_trouble="",
    interfaces=(CARD,),
    idle_states=(("POLL", 0), ("C1", 2), ("C6", 133)),
)


def card(**changes):
    return {"interfaces": (replace(CARD, **changes),)}


def driver(**changes):
    return card(driver=replace(DRIVER, **changes))


def test_a_fit_host_has_nothing_to_mend():
    findings = examine(HOST)
    assert {finding.status for finding in findings} == {"ok"}
    assert not any(finding.remedy for finding in findings)
    assert len({finding.check for finding in findings}) == len(findings)


@pytest.mark.parametrize(
    ("changes", "check", "status", "remedy"),
    [
        ({"kernel": "5.10.0-33-amd64"}, "kernel", "fail", "apt-get install linux-image"),
        ({"opener": False}, "engine io", "warn", "sudo voxdp attach"),
        ({"compiled": False}, "signalling", "warn", "scripts/setup"),
        ({"engine_io": "af_xdp", "xdp_sockets": False}, "engine io", "warn", 'set media.engine_io to "sockets"'),
        ({"kernel": "weird"}, "kernel", "fail", "apt-get install linux-image"),
        ({"btf": False}, "btf", "fail", "apt-get install linux-image"),
        ({"jit": 0}, "bpf jit", "fail", "sysctl -w net.core.bpf_jit_enable=1"),
        ({"jit_harden": 2}, "bpf jit harden", "warn", "sysctl -w net.core.bpf_jit_harden=1"),
        ({"clock_source": "hpet"}, "clock source", "warn", "echo tsc >"),
        ({"unprivileged_bpf": 0}, "unprivileged bpf", "fail", "sysctl -w kernel.unprivileged_bpf_disabled=1"),
        ({"config_trouble": "media.addresses: x"}, "configuration", "fail", "voxdp config check"),
        ({"mode": "off"}, "relay", "warn", "xdp.mode"),
        (
            {"bpffs": ("/x is not a bpf file system; mount one: mount -t bpf bpf /x",)},
            "bpf file system",
            "fail",
            "mount",
        ),
        ({"loaded": False, **card(attached=None)}, "relay", "fail", "sudo voxdp attach"),
        ({"no_head_room": 3}, "head room", "warn", "generic"),
        ({"unreserved": 9}, "media ports", "fail", "sysctl -w net.ipv4.ip_local_reserved_ports=16384-32767"),
        (card(mtu=0), "eth0", "fail", "xdp.interfaces"),
        (card(name="lo"), "lo", "fail", "media.addresses"),
        (card(up=False), "eth0", "fail", "ip link set eth0 up"),
        (card(attached=None), "eth0", "fail", "sudo voxdp attach"),
        (card(ours=False), "eth0", "fail", "ip link set dev eth0 xdp off"),
        (card(attached="generic"), "eth0", "warn", "sudo voxdp detach; sudo voxdp attach"),
        (driver(driver="e1000e"), "eth0", "warn", "generic"),
        (card(mtu=9000), "eth0 mtu", "fail", "ip link set eth0 mtu 1500"),
        (driver(lro=True), "eth0 offloads", "fail", "ethtool -K eth0 lro off"),
        (card(vlans_above=True), "eth0 offloads", "fail", "ethtool -K eth0 rxvlan off"),
        (driver(driver="veth"), "eth0 offloads", "warn", "ethtool -K PEER tx off"),
        (driver(queues=1), "eth0 queues", "warn", "ethtool -L eth0 combined 4"),
        (card(forwarding=False), "eth0 forwarding", "warn", "sysctl -w net.ipv4.conf.eth0.forwarding=1"),
        (card(rp_filter=1), "eth0 rp_filter", "warn", "sysctl -w net.ipv4.conf.eth0.rp_filter=2"),
    ],
)
def test_what_is_wrong_is_found_and_has_its_remedy(changes, check, status, remedy):
    bad = [finding for finding in examine(replace(HOST, **changes)) if finding.status != "ok"]
    assert [(finding.check, finding.status) for finding in bad] == [(check, status)]
    assert remedy in bad[0].remedy


def test_who_may_not_attach_is_told_who_may():
    found = {each.check: each for each in examine(replace(HOST, obstacles=("CAP_BPF is missing",), loaded=False))}
    assert [found[check].status for check in ("capabilities", "relay")] == ["fail", "fail"]
    assert found["capabilities"].remedy == "sudo voxdp attach"


@pytest.mark.parametrize(
    "changes",
    [
        {"jit": None, "jit_harden": None, "unprivileged_bpf": None, "no_head_room": None},
        {"obstacles": ("CAP_BPF is missing",)},
        card(driver=replace(DriverSettings(), driver="virtio_net"), forwarding=None, rp_filter=None),
        {"mode": "generic", **card(attached="generic", mtu=9000)},
        driver(queues=4, queues_max=64),
    ],
)
def test_what_is_not_known_or_not_needed_is_no_fault(changes):
    assert {finding.status for finding in examine(replace(HOST, **changes))} == {"ok"}


@pytest.fixture
def veth():
    name = f"vxd-{os.getpid()}"
    namespace.create(name)
    with namespace.entered(name):
        subprocess.run(["ip", "link", "add", "a0", "mtu", "1400", "type", "veth", "peer", "name", "a1"], check=True)
        subprocess.run(["ip", "link", "set", "a0", "up"], check=True)
        yield
    namespace.remove(name)


def test_the_kernel_is_asked_as_ethtool_asks_it(veth):
    found = ethtool.settings("a0")
    assert (found.driver, found.lro, found.tx_checksum) == ("veth", False, True)
    assert (ethtool.mtu("a0"), ethtool.is_up("a0"), ethtool.is_up("a1")) == (1400, True, False)
    subprocess.run(["ethtool", "-K", "a0", "tx", "off", "gro", "on"], check=True, capture_output=True)
    assert (ethtool.settings("a0").tx_checksum, ethtool.settings("a0").gro) == (False, True)
    assert found.queues == 1


def test_an_interface_that_is_not_there(veth):
    assert ethtool.settings("nothing") == DriverSettings()
    assert (ethtool.mtu("nothing"), ethtool.is_up("nothing")) == (0, False)


def test_the_command_tells_people_and_programs(tmp_path):
    file = write_config(tmp_path, xdp={"mode": "native", "interfaces": ["nothing0"]})
    done = subprocess.run([VOXDP, "-c", file, "doctor"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FAIL  nothing0" in done.stdout
    assert "> sudo voxdp attach" in done.stdout
    assert done.stderr.endswith("failed; each has its remedy behind >\n")
    done = subprocess.run([VOXDP, "-c", file, "doctor", "-j"], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert found["failed"] == sum(each["status"] == "fail" for each in found["findings"])
    assert all(each.keys() == {"check", "status", "text", "remedy"} for each in found["findings"])


def test_a_host_without_xdp_is_fit_for_the_engine(tmp_path):
    file = write_config(tmp_path, xdp={"mode": "off"})
    done = subprocess.run([VOXDP, "-c", file, "doctor", "-j"], capture_output=True, text=True, check=False)
    assert {each["check"]: each["status"] for each in json.loads(done.stdout)["findings"]}["relay"] == "warn"


@pytest.mark.parametrize(
    ("changes", "status", "text", "remedy"),
    [
        ({}, "ok", "processors sleep as the host lets them, as configured", ""),
        ({"latency": 0}, "ok", "while the engine has flows, POLL is the deepest idle state, left within 0 µs", ""),
        ({"latency": 20}, "ok", "while the engine has flows, C1 is the deepest idle state, left within 2 µs", ""),
        (
            {"latency": 0, "idle_states": (("WFI", 1), ("sleep", 40))},  # as on ARM
            "ok",
            "while the engine has flows, WFI is the deepest idle state, left within 1 µs",
            "",
        ),
        (
            {"latency": 133},
            "warn",
            "every idle state is left within 133 µs, so that a bound of 133 changes nothing",
            "set media.cpu_dma_latency to 132 or less",
        ),
        (
            {"latency": 0, "idle_states": ()},
            "warn",
            "the kernel has no idle states to choose among, so that media.cpu_dma_latency changes nothing",
            "on a virtual machine: modprobe cpuidle_haltpoll force=1",
        ),
        (
            {"latency": 0, "latency_trouble": "nobody opens it; run: voxdp attach"},
            "warn",
            "nobody opens it",
            "voxdp attach",
        ),
        (
            {"latency": 0, "latency_trouble": "it is not there; set it to -1", "idle_states": ()},
            "warn",
            "it is not there",
            "set it to -1",
        ),
    ],
)
def test_a_bound_is_possible_and_changes_something(changes, status, text, remedy):
    found = {each.check: each for each in examine(replace(HOST, **changes))}["cpu latency"]
    assert (found.status, found.text, found.remedy) == (status, text, remedy)


def test_who_may_open_the_device_of_this_host(open_directory):
    """Root's engine opens it itself; nobody's has it opened by who was told so, and else it is named."""
    directory = open_directory()
    opener = directory / OPENER_SOCKET
    mine, theirs = ({"owner": owner, "mode": "native"} for owner in ("", "nobody"))
    assert latency_of(directory, mine) == ""
    named = "the engine may not open /dev/cpu_dma_latency, and nobody does it for it"
    assert latency_of(directory, theirs) == named
    for told, text in (False, named), (True, ""):
        opener_process.start(OpenerSettings(opener, ("lo",), 65534, 65534, cpu_latency=told), directory / "log")
        assert latency_of(directory, theirs) == text
    opener_process.stop(opener)


def latency_of(directory, xdp):
    file = write_config(directory, xdp=xdp, media={"cpu_dma_latency": 20}, run={"directory": str(directory)})
    return gather(load(file)).latency_trouble.partition(";")[0]


def test_af_xdp_takes_the_relay_and_who_opens_its_sockets():
    found = {each.check: each for each in examine(replace(HOST, engine_io="af_xdp"))}
    assert found["engine io"].status == "ok"
    found = {each.check: each for each in examine(replace(HOST, engine_io="af_xdp", mode="off"))}
    assert (found["engine io"].status, found["engine io"].remedy) == ("warn", 'set media.engine_io to "sockets"')
    for changes, text in (
        ({"mode": "off"}, "sockets, as xdp.mode is off"),
        ({"mode": "generic"}, "sockets, as xdp.mode is generic"),
        ({"engine_io": "sockets"}, "sockets, as configured"),
    ):
        found = {each.check: each for each in examine(replace(HOST, **changes))}
        assert (found["engine io"].status, found["engine io"].text) == ("ok", text)
