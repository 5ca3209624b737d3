# SPDX-License-Identifier: GPL-3.0-or-later
"""Which calls are recorded, and whose key seals them; the recorder is the real one, but for its process."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from ctl.config import Config
from ctl.kernel.flowrule import FlowFlag
from ctl.recording import recordings as module
from ctl.recording.recordings import Recordings, tenant_of
from ctl.recording.section import RecordingSection
from ctl.sessions.copies import offer
from ctl.sessions.kernel_carrier import KernelCarrier
from ctl.verbs.control import ControlError
from media.flows import EngineError
from media.recorder import Recorder
from media.recording_settings import RecorderError, RecordingSettings
from media.sealed import Keys, SealedError, SealedReader
from provisioning.plan import EMPTY, TenantPlan
from provisioning.snapshot import Account, Snapshot
from sip.views import CallView, LegView
from tests.ctl.world import ALICE, BOB, World, sdp

LINES = {"default": "default " + "aa" * 32, "acme": "acme " + "bb" * 32}
LEG = LegView("confirmed", "c", None, None)


class Client:
    """The recorder, asked without a socket."""

    taps = ""

    def __init__(self, spool: Path, keys: str) -> None:
        self.spool, self.keys, self.silent, self.asked = spool, keys, False, 0
        self.recorder = Recorder(spool, Keys.parse(keys))

    def ensure(self, *_: Any) -> None:
        """It runs."""
        self.ask(lambda: None)

    def start(self, settings: RecordingSettings) -> None:
        self.ask(self.recorder.start, settings, time.monotonic_ns())

    def change(self, settings: RecordingSettings) -> None:
        self.ask(self.recorder.change, settings)

    def source(self, recording: UUID, flow: int, leg: int) -> None:
        self.ask(self.recorder.source, recording, flow, leg)

    def forget(self, flow: int) -> None:
        self.ask(self.recorder.forget_source, flow)

    def states(self) -> list[dict[str, Any]]:
        return self.ask(self.recorder.states)

    def stop(self, recording: UUID) -> dict[str, Any]:
        return self.ask(self.recorder.stop, recording, time.monotonic_ns())

    def begin_anew(self) -> None:
        """Another process has its place, and knows of nothing."""
        self.recorder.close(time.monotonic_ns())
        self.recorder = Recorder(self.spool, Keys.parse(self.keys))

    def ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """What is asked is not answered while it is silent, and refused as over the socket."""
        self.asked += 1
        if self.silent:
            raise EngineError("gone", "no recorder answers")
        try:
            return question(*arguments)
        except RecorderError as error:
            raise EngineError(error.code, str(error)) from None


class Host:
    """The recordings of a host: `up` are its calls, `owners` their tenants."""

    def __init__(self, world: World, path: Path, **section: Any) -> None:
        self.world, self.spool, self.up, self.owners = world, path / "spool", ["call"], {"call": "acme"}
        key_file = path / "keys"
        key_file.write_text("\n".join(LINES.values()))
        self.config = Config(recording=RecordingSection(key_file=key_file, **section))
        self.kernel = KernelCarrier(world.table, world.hops)
        carriers = cast("Any", SimpleNamespace(kernel=self.kernel, engine=None))
        self.recordings = Recordings(
            *(self.config, world.programmer, world.sessions, carriers),
            *(lambda: self.up, self.owners.__getitem__, lambda: self.plans),
        )
        self.plans: list[TenantPlan] = []
        self.ended: list[str] = []
        self.recordings.finished = lambda call, _state: self.ended.append(call)

    def recorded(self) -> dict[str, dict[str, Any]]:
        """What is under way, by call."""
        return {each: state for each in self.up if (state := self.recordings.state(each))}

    def mirrored(self) -> int:
        """How many flows the kernel copies."""
        return sum(bool(rule.flags & FlowFlag.MIRROR) for rule in self.world.table.rules.values())

    def reader(self, recording: UUID | str, keys: str) -> SealedReader:
        return SealedReader(io.BytesIO((self.spool / f"{recording}.vxr").read_bytes()), Keys.parse(keys))


@pytest.fixture
def host(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Host]]:
    """Makes a host; keys: lines of those that its recorder knows."""
    clients: list[Client] = []

    def make(keys: str = "\n".join(LINES.values()), **section: Any) -> Host:
        clients.append(Client(tmp_path / "spool", keys))
        monkeypatch.setattr(module, "RecorderClient", lambda _socket: clients[-1])
        return Host(world, tmp_path, **section)

    yield make
    for client in clients:
        client.recorder.close(time.monotonic_ns())


def test_a_recording_is_sealed_by_the_key_of_the_calls_tenant(host: Callable[..., Host], world: World) -> None:
    made = host()
    world.call()
    found = made.recordings.start("call", "given")
    made.recordings.stop("call")
    reader = made.reader(found, LINES["acme"])
    assert (reader.header.tenant, reader.about["call"], reader.about["consent"]) == ("acme", "call", "given")
    with pytest.raises(SealedError, match="is not there"):
        made.reader(found, LINES["default"])


def test_whose_a_call_is() -> None:
    plans = {1: replace(EMPTY, tenant=1, name="default"), 3: replace(EMPTY, tenant=3, name="acme")}
    anna = Account("example.org", "anna", True, "", "", tenant=3)
    snapshot = replace(Snapshot.of("example.org", [anna]), plans=plans, owners={"+33123": 3})
    view = CallView("call", "talking", "+331", "900", 0, None, 1, LEG, LEG)
    asked = (view, replace(view, caller="anna"), replace(view, dialled="33123"), replace(view, trunk="3/paris"))
    assert [tenant_of(snapshot, each) for each in asked] == ["default", "acme", "acme", "acme"]
    assert tenant_of(snapshot, replace(view, caller="anna", trunk="1/carrier")) == "default"
    assert tenant_of(snapshot, replace(view, caller="anna", trunk="carrier")) == "acme", (
        "a trunk of the file is nobody's"
    )
    assert tenant_of(snapshot, None) == tenant_of(Snapshot.of("example.org", []), view) == "default"


def test_what_a_subscriber_gets_is_recorded_once(host: Callable[..., Host], world: World) -> None:
    made = host(policy="all", consent="not-needed")
    made.up, made.owners["copy"] = ["call", "copy"], "default"
    world.call("call")
    copied = offer(world.sessions.sources("call", "a"), [""], 1)
    world.sessions.offer("copy", "a", copied, ALICE, 0.0)
    world.sessions.answer("copy", "b", sdp(BOB), BOB, 0.0)
    made.recordings.look()
    assert list(made.recorded()) == ["call"]


def test_every_call_is_recorded_from_its_answer_to_its_end(host: Callable[..., Host], world: World) -> None:
    made = host(policy="all", consent="not-needed")
    made.up, made.owners["other"] = ["call", "other"], "default"
    world.sessions.offer("call", "a", sdp(ALICE), ALICE, 0.0, toward=BOB)
    made.recordings.look()
    assert made.recorded() == {}, "it rings"
    world.sessions.answer("call", "b", sdp(BOB), BOB, 1.0)
    made.recordings.look()
    world.call("other")
    made.recordings.look()
    states = made.recorded()
    assert list(states) == ["call", "other"]
    assert made.mirrored() == 4
    owners = {call: made.reader(state["id"], "\n".join(LINES.values())).header.tenant for call, state in states.items()}
    assert owners == {"call": "acme", "other": "default"}
    made.recordings.stop("other")
    made.recordings.look()
    assert list(made.recorded()) == ["call"], "who was told to stop begins no other"
    assert made.mirrored() == 2
    world.sessions.delete("call", 2.0)
    made.up.remove("call")
    made.recordings.look()
    assert made.ended == ["other", "call"]


def test_a_tenant_without_a_key_is_not_recorded_and_the_others_are(host: Callable[..., Host], world: World) -> None:
    made = host(LINES["acme"], policy="all", consent="not-needed")
    made.up, made.owners["other"] = ["call", "other"], "nokey"
    world.call()
    world.call("other")
    with capture_logs() as lines:
        made.recordings.look()
        made.recordings.look()
    assert list(made.recorded()) == ["call"]
    (why,) = [line["why"] for line in lines if line["event"] == "call not recorded"]
    assert "no key for recordings of nokey" in why


def test_nobody_is_recorded_without_consent_where_that_is_required(host: Callable[..., Host], world: World) -> None:
    made = host()
    world.call()
    with pytest.raises(ControlError, match=r"recording\.consent"):
        made.recordings.start("call")
    made.recordings.look()
    assert (made.recorded(), made.mirrored()) == ({}, 0)
    with pytest.raises(ValidationError, match="asks nobody"):
        RecordingSection(policy="all")


def test_each_tenant_says_which_of_its_calls_are_recorded(host: Callable[..., Host], world: World) -> None:
    made = host("\n".join((*LINES.values(), "shop " + "cc" * 32)))
    made.owners |= {"acme's": "acme", "shop's": "shop", "nobody's": "default", "later": "acme", "quiet": "quiet"}
    made.up = list(made.owners)
    made.plans = [
        TenantPlan(2, "acme", recording="all", recording_consent="not-needed"),
        TenantPlan(3, "shop", recording_consent="not-needed"),
        TenantPlan(4, "quiet", recording="off", recording_consent="not-needed"),
    ]
    for call in ("acme's", "shop's", "nobody's", "quiet"):
        world.call(call)
    made.recordings.look()
    assert list(made.recorded()) == ["acme's"]
    made.recordings.start("shop's")
    with pytest.raises(ControlError, match=r"recording\.consent"):
        made.recordings.start("nobody's")
    with pytest.raises(ControlError, match="tenant quiet records no call"):
        made.recordings.start("quiet", "given")
    world.call("later")
    made.recordings.look()
    assert set(made.recorded()) == {"acme's", "shop's", "later"}
    made.plans = []
    made.recordings.look()
    assert set(made.recorded()) == {"acme's", "shop's", "later"}, "what has begun goes on"


def test_a_tenant_that_records_all_and_wants_consent_records_nothing(host: Callable[..., Host], world: World) -> None:
    made = host()
    made.plans = [TenantPlan(2, "acme", recording="all")]
    world.call()
    with capture_logs() as lines:
        made.recordings.look()
        made.recordings.look()
    assert made.recorded() == {}
    (why,) = [line["why"] for line in lines if line["event"] == "call not recorded"]
    assert "consent" in why
    made.recordings.start("call", "announced")
    assert list(made.recorded()) == ["call"]


def test_one_tenant_keeps_out_of_what_all_others_record(host: Callable[..., Host], world: World) -> None:
    made = host(policy="all", consent="not-needed")
    made.owners["other"] = "default"
    made.up = ["call", "other"]
    made.plans = [TenantPlan(2, "acme", recording="off")]
    world.call()
    world.call("other")
    made.recordings.look()
    assert list(made.recorded()) == ["other"]


def two_recorded(made: Host, world: World) -> list[UUID]:
    """Two calls that are recorded, by the ids of their recordings."""
    made.up, made.owners["other"] = ["call", "other"], "acme"
    for call in made.up:
        world.call(call)
    return [made.recordings.start(call, "given") for call in made.up]


def under_way(made: Host) -> set[UUID]:
    return {UUID(state["id"]) for state in made.recordings.client.states()}


def test_a_recording_that_is_lost_costs_no_other_one(host: Callable[..., Host], world: World) -> None:
    made = host()
    first, second = two_recorded(made, world)
    made.recordings.client.stop(first)
    made.up = ["other"]
    with capture_logs() as lines:
        made.recordings.look()
        made.recordings.look()
    assert [line["recording"] for line in lines if line["log_level"] == "error"] == [str(first)] * 2
    assert made.recordings.known == {second}
    made.up = []
    made.recordings.look()
    assert (under_way(made), made.ended) == (set(), ["other"])


def test_calls_that_end_while_the_recorder_is_silent_are_recorded_no_longer(
    host: Callable[..., Host], world: World
) -> None:
    made = host()
    first, second = two_recorded(made, world)
    client = cast("Client", made.recordings.client)
    made.up, client.silent = ["other"], True
    made.recordings.look()
    asked = client.asked
    for _ in range(9):
        made.recordings.look()
    assert client.asked == asked + 2, "each question could wait for a second"
    with pytest.raises(ControlError, match="no recorder answers"):
        made.recordings.stop("other")
    client.silent = False
    for _ in range(5):
        made.recordings.look()
    assert (under_way(made), made.ended) == ({second}, ["call"])
    made.recordings.stop("other")
    assert (under_way(made), made.ended, first in made.recordings.known) == (set(), ["call", "other"], False)


def test_a_recorder_that_died_has_cut_recordings_short_and_can_begin_others(
    host: Callable[..., Host], world: World
) -> None:
    made = host()
    two_recorded(made, world)
    client = cast("Client", made.recordings.client)
    client.begin_anew()
    made.up = ["other"]
    with capture_logs() as lines:
        made.recordings.look()
        made.recordings.look()
    cut = [line["call"] for line in lines if line["event"].startswith("recording cut short")]
    assert (cut, made.recordings.known, made.mirrored()) == (["call", "other"], set(), 0)
    found = made.recordings.start("other", "given")
    assert (under_way(made), made.mirrored()) == ({found}, 2)


def test_a_policy_goes_on_with_another_recorder(host: Callable[..., Host], world: World) -> None:
    made = host(policy="all", consent="not-needed")
    made.up.append("other")
    made.owners["other"] = "acme"
    world.call()
    made.recordings.look()
    (former,) = under_way(made)
    cast("Client", made.recordings.client).begin_anew()
    world.call("other")
    made.up = ["other"]
    made.recordings.look()
    made.recordings.look()
    assert set(made.recorded()) == {"other"}
    assert former not in under_way(made)


def test_what_is_recorded_for_nobody_ends_when_it_is_found_so_twice(host: Callable[..., Host], world: World) -> None:
    made = host()
    first, second = two_recorded(made, world)
    made.recordings.end_strays({first, second})
    made.recordings.end_strays({first})
    assert (under_way(made), made.ended) == ({first, second}, []), "it may have begun since it was asked who knows it"
    made.recordings.end_strays({first, second})
    made.recordings.end_strays({first})
    made.recordings.end_strays({first})
    assert (under_way(made), made.ended) == ({first}, ["other"])
    cast("Client", made.recordings.client).silent = True
    made.recordings.end_strays(set())


def test_only_recordings_of_calls_that_are_up_are_taken_up(host: Callable[..., Host], world: World) -> None:
    made = host()
    first, _ = two_recorded(made, world)
    made.up = ["call"]
    assert (made.recordings.restore(), made.recordings.known) == (1, {first})
