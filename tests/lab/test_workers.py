# SPDX-License-Identifier: GPL-3.0-or-later
"""Two processes share the signalling: phones of one call those of the other, and an operator sees one system."""

import json
import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.lab.conftest import lab_with
from tests.lab.test_phones import Phones, held_and_keyed, part
from vm.baresip import Account, Baresip
from vm.controller import DOMAIN, Controller
from vm.process import LabError, inside, run
from vm.sipp import Sipp

FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
SCENARIO = Path(__file__).parents[1] / "bench" / "caller.xml"
WORKERS = 2
CALLS, RATE = 60, 20
TRUNK = """
[sip.limits]
requests_per_source = 0
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
def served(cluster, channels=0):
    """A lab with voxdp as two workers, and a carrier that answers all calls."""
    with lab_with(cluster, "two") as lab:
        more = TRUNK.format(address=lab.b.address, channels=channels)
        controller = Controller(lab, more=more, workers=WORKERS)
        assert f"go to {WORKERS} workers" in controller.attach()
        controller.start()
        controller.add_user("alice", "secret-of-alice")
        Sipp(lab, lab.b, "carrier", ["-sn", "uas"])
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
    lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children}
    return sorted(pid for pid, words in lines.items() if b"ctl.workers.worker" in words)


def phone(lab, controller, name, endpoint, slot=0):
    """A phone that is registered."""
    controller.add_user(name, f"secret-of-{name}")
    account = Account(name, DOMAIN, f"secret-of-{name}", endpoint.relay, "PCMU/8000", answer="auto")
    found = Baresip(lab, endpoint, account, 440, slot)
    found.registered()
    return found


def fetch(lab, page):
    return run(*inside(lab.relay, ["python3", "-c", FETCH, f"http://127.0.0.1:8080{page}"]))


def ready(lab):
    """Whether voxdp says that it can take calls."""
    try:
        return "workers" in {part["name"] for part in json.loads(fetch(lab, "/readyz"))["components"]}
    except LabError:  # 503 until it can
        return False


def wait_until(true, seconds=20.0):
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
        assert len(controller.ask("reg", "list")) == 5
        for bob in phones:
            alice.dial(f"sip:{bob.account.user}@{DOMAIN}")
            alice.established()
            bob.established()
            (call,) = controller.until("calls", "call", "list", count=1)
            shown = controller.ask("call", "show", call["id"][:8])
            assert shown["id"] == call["id"]
            flows = controller.ask("flow", "list")
            assert {flow["call"] for flow in flows} == {call["id"]}
            assert controller.ask("flow", "show", flows[0]["id"])["id"] == flows[0]["id"]
            assert controller.ask("flow", "explain", call["id"])[0]["cause"]
            assert controller.command("call", "hangup", call["id"])
            bob.closed()
            alice.closed()
        controller.until("records", "cdr", "list", count=4)
        caller = calling(lab, "caller", CALLS, RATE, 500)
        assert caller.finish(60).failed == 0
        status = controller.ask("sip", "status")
        assert [worker["worker"] for worker in status["workers"]] == [1, 2]
        records = controller.until("records", "cdr", "list", "-n", "500", count=CALLS + 4, timeout=20)
        assert len({record["call"] for record in records}) == CALLS + 4
        assert {record["sip_status"] for record in records} == {200}
        wait_until(lambda: ended_calls(lab) == CALLS + 4)  # each worker reports once a second
        assert "steered" not in controller.log()


def ended_calls(lab):
    lines = fetch(lab, "/metrics").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("voxdp_calls_total{"))


def test_a_worker_that_is_killed_comes_back_to_its_calls_and_the_other_loses_none(cluster):
    with served(cluster) as (lab, controller):
        caller = calling(lab, "caller", CALLS, RATE, 20_000)
        controller.until("calls", "call", "list", count=CALLS, timeout=20)
        before = workers_of(controller)
        os.kill(before[0], signal.SIGKILL)
        killed = time.monotonic()
        after = wait_until(lambda: len(found := workers_of(controller)) == WORKERS and found != before and found, 10)
        assert time.monotonic() - killed < 5
        assert len(set(after) & set(before)) == 1
        controller.until("calls", "call", "list", count=CALLS, timeout=20)
        wait_until(lambda: ready(lab))
        outcome = caller.finish(60)
        assert (outcome.successful, outcome.failed) == (CALLS, 0)
        records = controller.until("records", "cdr", "list", "-n", "500", count=CALLS, timeout=20)
        assert len({record["call"] for record in records}) == CALLS
        assert controller.until("flows", "flow", "list", count=0) == []


def test_channels_hold_over_both_and_a_drain_ends_when_the_calls_have(cluster):
    channels = 5
    with served(cluster, channels) as (lab, controller):
        caller = calling(lab, "caller", CALLS, RATE, 6_000)
        controller.until("calls", "call", "list", count=channels, timeout=10)
        highest = 0
        while caller.process.status is None:
            (trunk,) = controller.ask("trunk", "status")
            highest = max(highest, trunk["calls"], len(controller.look("call", "list")))
            time.sleep(0.2)
        assert highest == channels
        outcome = caller.outcome()
        assert outcome.successful >= channels
        talking = calling(lab, "talking", 2, 2, 4_000)
        controller.until("calls", "call", "list", count=2)
        assert "no new calls; 2 go on" in controller.command("sip", "drain")
        assert calling(lab, "late", 2, 2, 100, 5070).finish(20).successful == 0
        assert talking.finish(20).successful == 2
        controller.command("sip", "drain", "--end")
        assert calling(lab, "later", 2, 2, 100).finish(20).successful == 2
        assert controller.stop() == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_another_number_of_workers_goes_on_with_the_calls(cluster, workers):
    with served(cluster) as (lab, controller):
        caller = calling(lab, "caller", 20, 20, 35_000)
        controller.until("calls", "call", "list", count=20, timeout=20)
        flows = {flow["id"] for flow in controller.ask("flow", "list")}
        controller.kill()
        text = controller.config.read_text()
        controller.config.write_text(text.replace(f"workers = {WORKERS}", f"workers = {workers}"))
        controller.start()
        assert len(workers_of(controller)) == (workers if workers > 1 else 0)
        controller.until("calls", "call", "list", count=20)
        assert {flow["id"] for flow in controller.ask("flow", "list")} == flows
        outcome = caller.finish(90)
        assert (outcome.successful, outcome.failed) == (20, 0)
        records = controller.until("records", "cdr", "list", "-n", "500", count=20, timeout=20)
        assert len({record["call"] for record in records}) == 20


def test_phones_on_connections_of_either_worker_are_called_held_and_transferred(cluster):
    """Where its call is decided and where its connection is are two things; a transfer joins calls of both."""
    with lab_with(cluster, "two") as lab:
        listen = [f"tcp:{place.relay}:5060" for place in (lab.a, lab.b)]
        controller = Controller(lab, listen=listen, workers=WORKERS)
        controller.attach()
        controller.start()
        phones = Phones(lab, controller, "tcp")
        for _ in range(2):
            held_and_keyed(phones)
        phones.connect(phones.alice, phones.bob)
        time.sleep(2)  # as long as it takes to say "one moment": users who talk are told of each second
        first = phones.alice.dialog()
        phones.connect(phones.alice, phones.carol)
        phones.alice.transfer(f"<{phones.uri('bob')}?Replaces={quote(first, safe='')}>")
        phones.alice.closed()
        controller.carried(90)
        part(phones.bob, phones.carol)
        assert controller.ask("sip", "status")["handed"] > 0
