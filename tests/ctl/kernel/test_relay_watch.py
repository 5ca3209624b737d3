# SPDX-License-Identifier: GPL-3.0-or-later
"""What people with privileges may do to an attached relay, and what a controller without any says of it."""

import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ctl.kernel import xdp
from ctl.kernel.attach_record import AttachRecord
from ctl.kernel.flowtable import FlowTable
from ctl.kernel.libbpf import BpfError, Link, Map
from ctl.kernel.loader import AttachError, attach, detach, mend
from ctl.kernel.pins import Pins
from ctl.kernel.relay_watch import NOT_ATTACHED, RelayWatch, Untrusted
from tests.ctl.kernel.conftest import NOBODY, Loaded
from tests.patience import PATIENCE

WATCH = """
from pathlib import Path
from ctl.kernel.pins import Pins
from ctl.kernel.relay_watch import RelayWatch
watch = RelayWatch(Pins(Path(sys.argv[2])), Path(sys.argv[3]))
watch.check()
print([watch.trouble(name) for name in ("left", "right.0")])
"""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(settings, attached: Pins, clock: Clock) -> RelayWatch:
    watch = RelayWatch(attached, settings.state_dir, clock)
    watch.check()
    return watch


def test_a_relay_as_it_was_attached_is_no_trouble_also_to_its_owner(settings, watch, run_as) -> None:
    assert (watch.trouble("left"), watch.trouble("right.0")) == ("", "")
    attach(replace(settings, owner_uid=NOBODY, owner_gid=NOBODY))
    settings.state_dir.chmod(0o755)
    done = run_as(NOBODY, WATCH, settings.bpffs, settings.state_dir)
    assert (done.stdout, done.stderr) == ("['', '']\n", "")


def test_a_detached_link_is_told_and_mended(settings, attached: Pins, watch) -> None:
    Link.from_pin(attached.link("left")).destroy()
    assert (watch.trouble("left"), watch.trouble("right.0")) == (NOT_ATTACHED, "")
    assert mend(settings)
    assert (watch.trouble("left"), watch.trouble("right.0")) == ("", "")


def test_a_removed_pin_is_told_and_mended(settings, attached: Pins, watch) -> None:
    attached.link("left").unlink()
    assert watch.trouble("left") == NOT_ATTACHED
    deadline = time.monotonic() + PATIENCE
    while xdp.attached(socket.if_nametoindex("left")) and time.monotonic() < deadline:
        time.sleep(0.01)  # the kernel lets go of a link by and by
    assert mend(settings)
    assert watch.trouble("left") == ""


def test_what_was_detached_on_purpose_is_not_mended(settings, attached: Pins) -> None:
    detach(settings.bpffs, settings.state_dir)
    assert not mend(settings)
    assert not attached.exist()


def test_an_interface_that_is_gone_is_told(watch) -> None:
    assert watch.trouble("nowhere") == "there is no such interface"


def test_somebody_elses_program_is_told_and_named_and_never_replaced(settings, attached: Pins, watch, baseline) -> None:
    foreign = baseline("empty_pass")
    Link.from_pin(attached.link("left")).destroy()
    theirs = Link.attach_xdp(foreign, socket.if_nametoindex("left"), "native")
    assert watch.trouble("left") == f"XDP program {foreign.id} of somebody else is there; see: voxdp xdp status"
    with pytest.raises(AttachError, match=f"left: another XDP program is attached: id {foreign.id}, name empty_pass"):
        mend(settings)
    assert theirs.program_id == foreign.id
    theirs.destroy()


def test_a_program_that_took_the_place_of_ours_on_our_link_is_told_after_a_second(attached, watch, clock, baseline):
    foreign = baseline("empty_pass")
    with Link.from_pin(attached.link("left")) as link:
        link.update(foreign)
    assert watch.trouble("left") == ""
    clock.now += 1.1
    assert watch.trouble("left") == f"XDP program {foreign.id} has taken the place of ours; run: voxdp attach"
    assert watch.trouble("right.0") == ""


def test_an_upgrade_is_no_trouble(settings, watch) -> None:
    attach(settings)
    assert (watch.trouble("left"), watch.trouble("right.0")) == ("", "")


def test_a_pinned_program_with_another_tag_is_refused(attached: Pins, watch, baseline) -> None:
    foreign = baseline("empty_pass")
    attached.program.unlink()
    foreign.pin(attached.program)
    with pytest.raises(Untrusted, match=rf"relay has tag {foreign.tag}, but .* was attached; run: voxdp attach"):
        watch.check()


def test_what_was_pinned_or_recorded_since_is_checked_anew(settings, attached: Pins, watch, clock, baseline) -> None:
    watch.follow()
    watch.follow()
    foreign = baseline("empty_pass")
    attached.program.unlink()
    foreign.pin(attached.program)
    watch.follow()  # may be an upgrade
    clock.now += 1.1
    with pytest.raises(Untrusted, match=r"but .* was attached"):
        watch.follow()
    attach(settings)
    watch.follow()
    AttachRecord.remove(settings.state_dir)
    watch.follow()
    clock.now += 1.1
    with pytest.raises(Untrusted, match="no record of what was attached"):
        watch.follow()


def test_a_relay_that_works_on_other_maps_is_refused(attached: Pins, watch, loaded: Loaded) -> None:
    """The same program, loaded apart: its tag is right, but what is written to the pinned flows never reaches it."""
    attached.program.unlink()
    loaded.program.pin(attached.program)
    with pytest.raises(Untrusted, match=r"works on other maps than the pinned ones; run: voxdp attach"):
        watch.check()


def test_without_a_record_nothing_is_trusted(settings, attached: Pins, watch) -> None:
    AttachRecord.remove(settings.state_dir)
    with pytest.raises(Untrusted, match=r"no record of what was attached; run: voxdp attach"):
        watch.check()
    path = AttachRecord.path(settings.state_dir)
    for broken in ("", "[]", '{"layout": 3}', "{"):
        path.write_text(broken)
        assert AttachRecord.read(settings.state_dir) is None
    attach(settings)
    watch.check()
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_configuration_cannot_be_changed_under_the_program(attached: Pins) -> None:
    with Map.from_pin(attached.map("config")) as config:
        value = config.lookup(bytes(config.key_size))
        with pytest.raises(BpfError, match="Operation not permitted"):
            config.update(bytes(config.key_size), value)


def test_a_directory_that_a_stranger_made_is_not_used(settings, bpffs: Path, run_as) -> None:
    bpffs.chmod(0o1777)
    assert run_as(NOBODY, "os.mkdir(sys.argv[2])", bpffs / "voxdp").stderr == ""
    with pytest.raises(AttachError, match=rf"voxdp was made by user id {NOBODY}; look at it, then: rm -r"):
        attach(settings)
    (bpffs / "voxdp").rmdir()


def test_nobody_else_can_make_or_move_anything_among_the_pins(settings, attached: Pins, run_as) -> None:
    settings.bpffs.chmod(0o1777)
    code = """
base = sys.argv[2]
for attempt in (
    lambda: os.rename(base, base + "x"),
    lambda: os.rmdir(base),
    lambda: os.mkdir(base + "/v9"),
    lambda: os.listdir(base),
    lambda: os.symlink("/tmp", base + "/v5/flows2"),
    lambda: os.chmod(base, 0o777),
):
    try:
        attempt()
        print("let in")
    except PermissionError:
        print("refused")
"""
    done = run_as(NOBODY, code, attached.root)
    assert done.stdout.split() == ["refused"] * 6, done.stderr


def test_attaching_again_gives_our_link_our_program_back_and_the_flows_go_on(settings, attached, pair, baseline):
    table = FlowTable.open(attached.directory)
    table.write_pair(*pair)
    with Link.from_pin(attached.link("left")) as link:
        link.update(baseline("empty_pass"))
        report = attach(settings)
        assert link.program_id == report.program_id
    assert list(table.active()) == [index for index, _ in pair]
    table.close()
