# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo: two real phones call each other through voxdp, whose controller is killed in the middle.

Exit status 0 only if everything that is shown was also proven; 1 with one line that says what failed; 130 when
interrupted. Nothing stays behind in any case.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import time
from pathlib import Path

from vm import proof
from vm.baresip import Account, Baresip
from vm.capture import Capture
from vm.controller import DOMAIN, Controller
from vm.lab import Interrupted, Lab
from vm.process import LabError
from vm.proof import Evidence
from vm.screen import Screen
from vm.topology import packets_received

INTERRUPTED = 130
WITHOUT_CONTROLLER = 1.5
TONES = {"alice": 440, "bob": 1000}


def main() -> int:
    """Run the demo as the command line asks and return the exit status."""
    options = _options()
    screen = Screen(sys.stderr if options.json else sys.stdout)
    try:
        return Demo(screen, options).run()
    except LabError as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    except (Interrupted, KeyboardInterrupt):
        print("demo: interrupted; everything it had started is gone", file=sys.stderr)
        return INTERRUPTED


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="Real calls between real phones, carried by XDP.")
    parser.add_argument("--json", action="store_true", help="last line: the result as JSON; all else to stderr")
    parser.add_argument("--talk", type=float, default=3.0, metavar="SECONDS", help="how long each part of a call lasts")
    parser.add_argument("--one-interface", action="store_true", help="both phones behind one interface of the relay")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep logs, captures and recordings there")
    return parser.parse_args()


class Demo:
    """One run."""

    def __init__(self, screen: Screen, options: argparse.Namespace) -> None:
        self._screen = screen
        self._options = options
        self._began = time.monotonic()
        self._kills = 0
        self._calls = 0

    def run(self) -> int:
        """From nothing to the verdict, and back to nothing."""
        self._screen.title("voxdp: two phones, one relay, audio carried by XDP")
        with Lab("one" if self._options.one_interface else "two") as lab:
            try:
                return self._story(lab)
            except LabError:
                self._show_log(lab)
                raise
            finally:
                self._keep(lab)

    def _story(self, lab: Lab) -> int:
        controller = self._start(lab)
        phones = self._register(lab, controller)
        wires = [Capture(lab, lab.a), Capture(lab, lab.b)]
        alice, bob = phones
        self._first_call(lab, controller, alice, bob)
        self._second_call(controller, alice, bob)
        records = controller.until("call records", "cdr", "list", count=self._calls)
        self._screen.title("Call records, from PostgreSQL")
        self._screen.table(controller.command("cdr", "list"))
        at_a, at_b = (wire.stop() for wire in wires)
        hearings = proof.listen("alice", TONES["bob"], alice.heard()) + proof.listen("bob", TONES["alice"], bob.heard())
        evidence = Evidence(lab.topology, at_a, at_b, hearings, records, self._calls, self._kills)
        return self._judge(evidence)

    def _start(self, lab: Lab) -> Controller:
        relay = " and ".join(f"{address}" for address in lab.topology.relay_addresses)
        self._screen.step("network", f"alice {lab.a.address}, bob {lab.b.address}, relay {relay}")
        controller = Controller(lab)
        began = time.monotonic()
        controller.attach()
        interfaces = " and ".join(lab.topology.relay_interfaces)
        self._screen.step("kernel", f"relay attached to {interfaces}, native XDP", time.monotonic() - began)
        began = time.monotonic()
        controller.start()
        controller.ready()
        self._screen.step("controller", "voxdp run with its own PostgreSQL", time.monotonic() - began)
        return controller

    def _register(self, lab: Lab, controller: Controller) -> list[Baresip]:
        phones = []
        for name, endpoint in (("alice", lab.a), ("bob", lab.b)):
            password = secrets.token_urlsafe(12)
            controller.add_user(name, password)
            account = Account(name, DOMAIN, password, endpoint.relay)
            phones.append(Baresip(lab, endpoint, account, TONES[name]))
        for phone in phones:
            phone.registered()
        controller.until("registrations", "reg", "list", count=2)
        self._screen.step("phones", "alice (plays 440 Hz) and bob (plays 1000 Hz), registered by digest")
        return phones

    def _first_call(self, lab: Lab, controller: Controller, alice: Baresip, bob: Baresip) -> None:
        """The controller dies in the middle, and the phone that was called hangs up after its return."""
        self._connect("Call 1: alice calls bob", alice, bob)
        self._show_flows(controller)
        self._crash(lab, controller)
        self._show_flows(controller)
        self._hear(alice, bob)
        self._end(controller, bob, alice)

    def _second_call(self, controller: Controller, alice: Baresip, bob: Baresip) -> None:
        self._connect("Call 2: bob calls alice", bob, alice)
        self._show_flows(controller)
        self._hear(alice, bob)
        self._end(controller, bob, alice)

    def _connect(self, title: str, caller: Baresip, called: Baresip) -> None:
        self._screen.title(title)
        self._calls += 1
        began = time.monotonic()
        caller.dial(f"sip:{called.account.user}@{DOMAIN}")
        caller.established()
        called.established()
        self._screen.step("answered", "both phones talk", time.monotonic() - began)

    def _show_flows(self, controller: Controller) -> None:
        self._screen.live(lambda: controller.command("flow", "list"), self._options.talk)

    def _crash(self, lab: Lab, controller: Controller) -> None:
        before = packets_received(lab.a) + packets_received(lab.b)
        controller.kill()
        self._kills += 1
        time.sleep(WITHOUT_CONTROLLER)
        carried = packets_received(lab.a) + packets_received(lab.b) - before
        self._screen.step("SIGKILL", f"the controller is dead; {carried} packets reached the phones without it")
        seconds = controller.start()
        known = controller.until("calls", "call", "list", count=1)[0]["id"]
        self._screen.step("restarted", f"it knows call {known} again", seconds)

    def _hear(self, alice: Baresip, bob: Baresip) -> None:
        """Talk on until each has heard the other clearly: on a busy host their sound comes in pieces."""
        alice.hears(TONES["bob"])
        bob.hears(TONES["alice"])

    def _end(self, controller: Controller, first: Baresip, second: Baresip) -> None:
        first.hangup()
        second.closed()
        first.closed()
        controller.until("flows", "flow", "list", count=0)
        self._screen.step("ended", f"{first.account.user} hung up; no flow is left")

    def _judge(self, evidence: Evidence) -> int:
        result = evidence.result(time.monotonic() - self._began)
        wrong = proof.complaints(evidence, result)
        self._screen.summary(evidence, result, wrong)
        if self._options.json:
            print(json.dumps(result.as_json()), flush=True)
        for line in wrong:
            print(f"demo: {line}", file=sys.stderr)
        return 1 if wrong else 0

    def _show_log(self, lab: Lab) -> None:
        log = lab.directory / "voxdp.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        for line in lines[-10:]:
            print(f"voxdp.log: {line}", file=sys.stderr)

    def _keep(self, lab: Lab) -> None:
        if self._options.logs is None:
            return
        self._options.logs.mkdir(parents=True, exist_ok=True)
        for pattern in ("*.log", "*.pcap", "*.toml", "*/dump-*.wav"):
            for path in lab.directory.glob(pattern):
                shutil.copy(path, self._options.logs / f"{path.parent.name}-{path.name}")


if __name__ == "__main__":
    sys.exit(main())
