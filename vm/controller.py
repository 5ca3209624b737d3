# SPDX-License-Identifier: GPL-3.0-or-later
"""voxdp itself in the lab: configured for the relay's namespace, driven by its own command line as people do."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from typing import Any, Literal

from ctl.terminal.client import CommandError, ask_raw
from vm import namespace
from vm.lab import Lab
from vm.process import PATIENCE, LabError, Process, as_user, inside, run

Mode = Literal["native", "generic", "off"]
DOMAIN = "voxdp.lab"
POLL = 0.1
LOOKS: dict[str, dict[str, Any]] = {
    "call list": {},
    "cdr list": {"count": 50, "user": ""},
    "flow list": {"call": ""},
    "queue board": {"tenant": ""},
    "reg list": {},
}
"""Commands that are waited on, and what each asks the controller without options."""

CONFIG = """\
[sip]
listen = {listen}
domain = "{domain}"
algorithms = ["MD5"]  # baresip 1.0 gives up a registration whose challenges name another one
workers = {workers}
lateness = 0  # what else runs on the host is no load of ours
{sip}

[media]
addresses = {addresses}
port_min = 20000
port_max = {port_max}
quarantine = 1
timeout = {timeout:g}
{media}

[xdp]
mode = "{mode}"
interfaces = {interfaces}
bpffs = "{bpffs}"
owner = "{user}"

[database]
directory = "{directory}/postgresql"

[run]
directory = "{directory}/run"
state = "{directory}/state"
"""


class Controller:
    """`voxdp attach`, `voxdp run` and questions to it. Nothing runs until `attach` and `start`.

    listen: where signalling listens, if not at the relay's addresses; None: there is none. more: further tables of
    the configuration. sip, media: further lines of the tables [sip] and [media]. workers: processes that share the
    signalling. user: who owns the relay's pins and runs everything but `attach` and `detach`; root if empty.
    timeout: seconds without media after which a call is ended.
    """

    def __init__(
        self,
        lab: Lab,
        mode: Mode = "native",
        user: str = "",
        timeout: float = 120.0,
        listen: Sequence[str] | None = (),
        more: str = "",
        port_max: int = 20999,
        media: str = "",
        workers: int = 1,
        sip: str = "",
    ) -> None:
        self._lab = lab
        self._mode = mode
        self._user = user
        self._timeout = timeout
        self._listen = listen
        self._more = more
        self._port_max = port_max
        self._sip, self._media = sip, media
        self._workers = workers
        self._process: Process | None = None
        self.config = lab.directory / "voxdp.toml"
        self.config.write_text(self._settings())
        if user:
            self._give_away()

    @property
    def pid(self) -> int:
        """Process id of `voxdp run`."""
        return self._running().pid

    def attach(self) -> str:
        """Load the kernel relay and attach it; returns what the command printed."""
        return self._command("", "attach")

    def detach(self) -> str:
        """Take the kernel relay off the interfaces again."""
        return self._command("", "detach")

    def start(self) -> float:
        """Start `voxdp run` and return the seconds until it answered; LabError with its last line if it does not."""
        began = time.monotonic()
        command = ("voxdp", "-c", self.config, "run")
        self._process = process = self._lab.spawn(self._lab.relay, *command, log="voxdp.log", user=self._user)
        while True:
            try:
                self.look("flow", "list")
                return time.monotonic() - began
            except LabError as refusal:
                self._check(process, began, refusal)
            time.sleep(POLL)

    def ready(self) -> None:
        """Wait until it can take calls; LabError with what is missing if it cannot. Those that live need not wait."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.fetch("/readyz")
                return
            except LabError as refusal:
                if time.monotonic() > deadline:
                    raise LabError(f"voxdp run is not ready after {PATIENCE:g} s: {refusal}") from None
            time.sleep(POLL)

    def fetch(self, page: str) -> str:
        """A page of its HTTP server; LabError with what it says if that is not 200, or if there is none yet."""
        with contextlib.closing(HTTPConnection("127.0.0.1", 8080, timeout=PATIENCE)) as connection:
            try:
                connection.sock = namespace.connect(self._lab.relay, ("127.0.0.1", 8080), PATIENCE)
                connection.request("GET", page)
                answer = connection.getresponse()
                text = answer.read().decode()
            except (OSError, HTTPException) as failure:
                raise LabError(f"no answer for {page}: {failure}") from None
        if answer.status != 200:
            raise LabError(f"{answer.status} for {page}: {text}")
        return text

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        self._running().kill()

    def stop(self) -> int:
        """End it by SIGTERM and return its exit status."""
        return self._running().stop()

    def ended(self, timeout: float = PATIENCE) -> int:
        """Wait until it has ended by itself and return its exit status."""
        return self._running().wait(timeout)

    def log(self) -> str:
        """What `voxdp run` has printed since the first start."""
        return self._running().text()

    def add_user(self, name: str, password: str) -> None:
        """Make a user of the lab's domain, as `voxdp user add` asks for it."""
        self.tell("user.add", {"key": name, "values": {"password": password}})

    def ask(self, *words: str) -> Any:
        """The answer to a command, from its JSON."""
        return json.loads(self.command("-j", *words))

    def look(self, *words: str) -> Any:
        """As `ask`, but by the control socket if it can: waits would keep a processor busy with starting commands."""
        verb = " ".join(words)
        if verb not in LOOKS:
            return self.ask(*words)
        return self.tell(verb.replace(" ", "."), LOOKS[verb])

    def tell(self, verb: str, arguments: dict[str, Any]) -> Any:
        """The answer of the control socket, which is there at once; LabError if it refuses."""
        try:
            return json.loads(ask_raw(self._lab.directory / "run", verb, arguments, PATIENCE))
        except CommandError as refusal:
            raise LabError(str(refusal)) from None

    def command(self, *words: str, stdin: str | None = None, timeout: float = PATIENCE) -> str:
        """Run one voxdp command in the relay's namespace; LabError with its own error line if it fails."""
        return self._command(self._user, *words, stdin=stdin, timeout=timeout)

    def until(self, what: str, *words: str, count: int, timeout: float = PATIENCE) -> list[dict[str, Any]]:
        """Ask for a list until it has `count` entries; LabError when it has not in time.

        A refusal is no answer yet: what is in the database cannot be had until that has started anew.
        """
        began = time.monotonic()
        while True:
            try:
                found: list[dict[str, Any]] = self.look(*words)
            except LabError as refusal:
                self._check(self._running(), began, refusal, timeout)
            else:
                if len(found) == count:
                    return found
                if time.monotonic() - began > timeout:
                    asked = f"voxdp {' '.join(words)}"
                    raise LabError(f"{len(found)} {what} after {timeout:g} s, not {count}; see '{asked}'")
            time.sleep(POLL)

    def carried(self, least: int, timeout: float = PATIENCE) -> list[dict[str, Any]]:
        """Wait until one call's flows of RTP have carried so many packets; return them, that of leg a first."""
        deadline = time.monotonic() + timeout
        while True:
            flows = [flow for flow in self.look("flow", "list") if flow["kind"] == "rtp"]
            if len(flows) == 2 and min(flow["packets"] for flow in flows) >= least:
                return sorted(flows, key=lambda flow: str(flow["leg"]))
            if time.monotonic() > deadline:
                raise LabError(f"too few packets after {timeout:g} s: {flows}")
            time.sleep(POLL)

    def _command(self, user: str, *words: str, stdin: str | None = None, timeout: float = PATIENCE) -> str:
        command = ["env", "-i", *self._variables(), "voxdp", "-c", str(self.config), *words]
        line = inside(self._lab.relay, ["setpriv", *as_user(user), "--", *command])
        return run(*line, stdin=stdin, timeout=timeout, shown=f"voxdp {' '.join(words)}")

    def _give_away(self) -> None:
        """Make the user's directories; LabError if it cannot reach the program at all."""
        voxdp = shutil.which("voxdp", path=self._lab.environment()["PATH"]) or "voxdp"
        try:
            run("setpriv", *as_user(self._user), "--", "test", "-x", voxdp)
        except LabError:
            raise LabError(f"{self._user} cannot execute {voxdp}; clone to where every user may enter") from None
        for name in ("postgresql", "run", "state"):
            directory = self._lab.directory / name
            directory.mkdir(exist_ok=True)
            run("chown", "-R", self._user, directory)

    def _settings(self) -> str:
        topology = self._lab.topology
        usual = [f"{address}:5060" for address in topology.relay_addresses]
        listen = [] if self._listen is None else list(self._listen) or usual
        settings = CONFIG.format(
            listen=json.dumps(listen),
            domain=DOMAIN,
            addresses=json.dumps(topology.relay_addresses),
            interfaces=json.dumps(topology.relay_interfaces),
            timeout=self._timeout,
            port_max=self._port_max,
            sip=self._sip,
            media=self._media,
            workers=self._workers,
            mode=self._mode,
            bpffs=self._lab.bpffs,
            user=self._user,
            directory=self._lab.directory,
        )
        return settings + self._more

    def _variables(self) -> list[str]:
        return [f"{name}={value}" for name, value in self._lab.environment().items()]

    def _running(self) -> Process:
        if self._process is None:
            raise LabError("voxdp run was not started")
        return self._process

    def _check(self, process: Process, began: float, refusal: LabError, patience: float = PATIENCE) -> None:
        if process.status is not None:
            raise LabError(f"voxdp run ended with {process.status}: {process.last_line()}")
        if time.monotonic() - began > patience:
            raise LabError(f"voxdp run does not answer after {patience:g} s: {refusal}")
