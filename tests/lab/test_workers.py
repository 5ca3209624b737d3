# SPDX-License-Identifier: GPL-3.0-or-later
"""Two processes share the signalling: phones of one call those of the other, and an operator sees one system."""

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from sip.steering import slot_of
from tests.lab.conftest import lab_with
from tests.lab.test_operations import words
from tests.lab.test_phones import Phones, ends_with, held_and_keyed, part
from vm.baresip import Account, Baresip
from vm.controller import DOMAIN, Controller
from vm.process import PATIENCE, LabError
from vm.sipp import Sipp

SCENARIO = Path(__file__).parents[1] / "bench" / "caller.xml"
WORKERS = 2
CALLS, RATE = 60, 20
TRUNK = """
[sip.limits]
requests_per_source = 0
amplification = 0
calls_per_user = 0

[[sip.trunks]]
name = "carrier"
domain = "carrier.lab"
proxies = ["sip:{address}:5060"]
probe = 0
channels = {channels}
dial = ["0"]
"""


@contextmanager
def served(cluster, channels=0, workers=WORKERS, sip="", more=""):
    """A lab with voxdp as two workers, and a carrier that answers all calls. sip: lines of that table; more: tables."""
    with lab_with(cluster, "two") as lab:
        key = lab.directory / "recording.key"
        key.write_text("ab" * 32)
        more = TRUNK.format(address=lab.b.address, channels=channels) + more.format(key=key)
        controller = Controller(lab, more=more, workers=workers, sip=sip)
        assert (f"go to {workers} workers" in controller.attach()) is (workers > 1)
        controller.start()
        controller.ready()
        controller.add_user("alice", "secret-of-alice")
        Sipp(lab, lab.b, "carrier", ["-sn", "uas"]).listening()
        yield lab, controller


def calling(lab, name, calls, rate, talk, port=5060):
    """SIPp as Alice, who places so many calls to the carrier."""
    relay = f"{lab.a.relay}:5060"
    limits = ["-r", str(rate), "-m", str(calls), "-d", str(talk)]
    target = ["-s", "0301", "-auth_uri", f"0301@{relay}", relay]
    return Sipp(lab, lab.a, name, ["-sf", str(SCENARIO), *limits, *target], port)


def workers_of(controller):
    """The process ids of the workers, by number."""
    children = Path(f"/proc/{controller.pid}/task/{controller.pid}/children").read_text().split()
    lines = {int(pid): words(Path(f"/proc/{pid}/cmdline")) for pid in children}
    return sorted(pid for pid, found in lines.items() if b"ctl.workers.worker" in found)


def phone(lab, controller, name, endpoint, slot=0):
    """A phone that is registered."""
    controller.add_user(name, f"secret-of-{name}")
    account = Account(name, DOMAIN, f"secret-of-{name}", endpoint.relay, "PCMU/8000", answer="auto")
    found = Baresip(lab, endpoint, account, 440, slot)
    found.registered()
    return found


def ready(controller):
    """Whether voxdp says that it can take calls."""
    try:
        return bool(controller.fetch("/readyz"))
    except LabError:  # 503 until it can
        return False


def wait_until(true, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
    return found


def test_phones_and_calls_of_two_workers(cluster):
    with served(cluster) as (lab, controller):
        assert len(workers_of(controller)) == WORKERS
        alice = phone(lab, controller, "alice2", lab.a, 1)
        phones = [phone(lab, controller, f"bob{number}", lab.b, number) for number in range(1, 5)]
        controller.until("registrations", "reg", "list", count=5)
        for bob in phones:
            alice.dial(f"sip:{bob.account.user}@{DOMAIN}")
            alice.established()
            bob.established()
            (call,) = controller.until("calls", "call", "list", count=1)
            shown = controller.ask("call", "show", call["id"][:8])
            assert shown["id"] == call["id"]
            flows = wait_until(lambda call=call: flows_of_none_but(call["id"], controller))
            assert controller.ask("flow", "show", flows[0]["id"])["id"] == flows[0]["id"]
            assert controller.ask("flow", "explain", call["id"])[0]["cause"]
            assert controller.command("call", "hangup", call["id"])
            bob.closed()
            alice.closed()
        controller.until("records", "cdr", "list", count=4)
        outcome = calling(lab, "caller", CALLS, RATE, 500).finish()
        assert (outcome.successful, outcome.failed) == (CALLS, 0)
        status = controller.ask("sip", "status")
        assert [worker["worker"] for worker in status["workers"]] == [1, 2]
        records = controller.until("records", "cdr", "list", "-n", "500", count=CALLS + 4)
        assert len({record["call"] for record in records}) == CALLS + 4
        assert {record["sip_status"] for record in records} == {200}
        wait_until(lambda: ended_calls(controller) == CALLS + 4)  # each worker reports once a second
        assert "steered" not in controller.log()


def flows_of_none_but(call, controller):
    """All flows, once they are of that call: those of the last one end with it."""
    found = controller.look("flow", "list")
    return {flow["call"] for flow in found} == {call} and found


def ended_calls(controller):
    lines = controller.fetch("/metrics").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("voxdp_calls_total{"))


def test_a_worker_that_is_killed_comes_back_to_its_calls_and_the_other_loses_none(cluster):
    with served(cluster) as (lab, controller):
        caller = calling(lab, "caller", CALLS, RATE, 35_000)
        controller.until("calls", "call", "list", count=CALLS)
        before = workers_of(controller)
        os.kill(before[0], signal.SIGKILL)
        after = wait_until(lambda: len(found := workers_of(controller)) == WORKERS and found != before and found)
        assert len(set(after) & set(before)) == 1
        controller.until("calls", "call", "list", count=CALLS)
        wait_until(lambda: ready(controller))
        outcome = caller.finish()
        assert (outcome.successful, outcome.failed) == (CALLS, 0)
        records = controller.until("records", "cdr", "list", "-n", "500", count=CALLS)
        assert len({record["call"] for record in records}) == CALLS
        assert controller.until("flows", "flow", "list", count=0) == []


def test_recordings_outlive_the_controller_and_end_with_their_calls(cluster):
    """It has none of the calls that workers have; who knows a recording is asked before it is ended as nobody's."""
    more = '[recording]\nconsent = "not-needed"\nkey_file = "{key}"\n'
    with served(cluster, more=more) as (lab, controller):
        caller = calling(lab, "caller", 4, 4, 100_000)
        calls = [call["id"] for call in controller.until("calls", "call", "list", count=4)]
        wait_until(lambda: len(controller.look("flow", "list")) == 16)
        recorded = {call: controller.tell("call.record", {"id": call, "action": "start"})["id"] for call in calls}
        controller.kill()
        controller.start()
        controller.ready()
        time.sleep(25)  # two looks for what is nobody's
        shown = {call: controller.tell("call.record", {"id": call, "action": "show"})["id"] for call in calls}
        assert shown == recorded
        for call in calls:
            controller.command("call", "hangup", call)
        spool, store = (lab.directory / "state" / "recordings" / name for name in ("spool", "store"))
        wait_until(lambda: len(list(store.rglob("*.vxr"))) == 4)
        assert list(spool.iterdir()) == []
        caller.process.stop()


def test_channels_hold_over_both_and_a_drain_ends_when_the_calls_have(cluster):
    channels = 5
    with served(cluster, channels) as (lab, controller):
        caller = calling(lab, "caller", CALLS, RATE, 6_000)
        controller.until("calls", "call", "list", count=channels)
        highest = 0
        while caller.process.status is None:
            (trunk,) = controller.ask("trunk", "status")
            highest = max(highest, trunk["calls"], len(controller.look("call", "list")))
            time.sleep(0.2)
        assert highest == channels
        outcome = caller.outcome()
        assert outcome.successful >= channels
        talking = calling(lab, "talking", 2, 2, 20_000)
        controller.until("calls", "call", "list", count=2)
        wait_until(lambda: ready(controller))
        assert "no new calls; 2 go on" in controller.command("sip", "drain")
        assert not ready(controller)
        assert calling(lab, "late", 2, 2, 100, 5070).finish().successful == 0
        assert talking.finish().successful == 2
        controller.command("sip", "drain", "--end")
        wait_until(lambda: ready(controller))
        assert calling(lab, "later", 2, 2, 100).finish().successful == 2
        assert controller.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_on_sigterm_calls_end_and_no_new_ones_are_taken(cluster, workers):
    with served(cluster, workers=workers, sip="drain = 60") as (lab, controller):
        talking = calling(lab, "talking", 2, 2, 20_000)
        controller.until("calls", "call", "list", count=2)
        os.kill(controller.pid, signal.SIGTERM)
        wait_until(lambda: not ready(controller))
        assert calling(lab, "late", 2, 2, 100, 5070).finish().successful == 0
        assert talking.finish().successful == 2
        assert controller.ended() == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_another_number_of_workers_goes_on_with_the_calls(cluster, workers):
    with served(cluster) as (lab, controller):
        caller = calling(lab, "caller", 20, 20, 35_000)
        controller.until("calls", "call", "list", count=20)
        flows = {flow["id"] for flow in controller.ask("flow", "list")}
        controller.kill()
        text = controller.config.read_text()
        controller.config.write_text(text.replace(f"workers = {WORKERS}", f"workers = {workers}"))
        controller.start()
        wait_until(lambda: len(workers_of(controller)) == (workers if workers > 1 else 0))
        controller.until("calls", "call", "list", count=20)
        wait_until(lambda: {flow["id"] for flow in controller.look("flow", "list")} == flows)
        outcome = caller.finish()
        assert (outcome.successful, outcome.failed) == (20, 0)
        records = controller.until("records", "cdr", "list", "-n", "500", count=20)
        assert len({record["call"] for record in records}) == 20


def worker_of(dialog):
    """The worker that has a call, by its dialog as Replaces names it."""
    return slot_of(dialog.partition(";")[0].encode()) % WORKERS


def consulted(phones):
    """Alice talks to Bob, and in a call of another worker to Carol; the first dialog is returned."""
    phones.connect(phones.alice, phones.bob)
    first = phones.alice.dialog()
    for _ in range(20):
        phones.connect(phones.alice, phones.carol)
        if worker_of(phones.alice.dialog()) != worker_of(first):
            return first
        phones.alice.hangup()
        phones.carol.closed()
        phones.alice.closed()
    raise AssertionError("all calls have come to one worker")


def killed_and_back(lab, controller):
    """All workers die: each leg is served by the one that takes up its call, whosever its Call-ID is."""
    before = workers_of(controller)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(found := workers_of(controller)) == WORKERS and set(found).isdisjoint(before))
    wait_until(lambda: ready(controller))
    controller.until("calls", "call", "list", count=1)


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_phones_of_either_worker_are_called_held_and_transferred(cluster, kind):
    """Where its call is decided and where its connection is are two things; a transfer joins calls of both, at once."""
    with lab_with(cluster, "two") as lab:
        listen = [f"{kind}:{place.relay}:5060" for place in (lab.a, lab.b)]
        controller = Controller(lab, listen=listen, workers=WORKERS)
        controller.attach()
        controller.start()
        controller.ready()
        phones = Phones(lab, controller, kind)
        held_and_keyed(phones)
        for _ in range(2):
            first = consulted(phones)
            phones.alice.transfer(f"<{phones.uri('bob')}?Replaces={quote(first, safe='')}>")
            phones.alice.closed()
            phones.alice.closed()
            controller.carried(90)
            if kind == "udp":
                killed_and_back(lab, controller)
            part(phones.bob, phones.carol)
            ends_with(phones.bob, "carol")
            ends_with(phones.carol, "bob")
            controller.until("calls", "call", "list", count=0)
        assert controller.until("flows", "flow", "list", count=0) == []
        if kind == "tcp":
            assert controller.ask("sip", "status")["handed"] > 0
