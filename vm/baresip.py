# SPDX-License-Identifier: GPL-3.0-or-later
"""baresip 1.0 as a phone without a sound card: a tone goes in from a file, what is heard comes out as a file.

Without a jitter buffer: its own takes a new peer's packets for late ones if their numbers happen to be lower.
It is steered over its ctrl_tcp module: netstrings of JSON, commands in, responses and events out.
"""

from __future__ import annotations

import json
import re
import select
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm import audio, namespace
from vm.lab import Lab
from vm.process import PATIENCE, POLL, LabError
from vm.topology import Endpoint

CONTROL_HOST = "127.0.0.1"
CONTROL_PORT = 4444
SIP_PORT = 5060
TONE_SECONDS = 180
NOTHING = "listcalls"
"""A command that changes nothing."""
TRACED_OK = re.compile(r"^SIP/2\.0 200 OK\s(.*?)^\s*$", re.MULTILINE | re.DOTALL)
REGISTERED = re.compile(r"200 OK \(.*\) \[\d+ bindings?\]")

CONFIG = """\
poll_method epoll
sip_listen {address}:{sip_port}
call_local_timeout 30
call_max_calls 4
audio_source aufile,{directory}/tone.wav
audio_player aubridge,nil
audio_alert aubridge,nil
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
audio_level no
audio_buffer 40-160
jitter_buffer_delay 0-0
rtp_ports {rtp_port}-{rtp_last}
rtcp_mux no
statmode_default off
snd_path {directory}
ctrl_tcp_listen {control_host}:{control_port}
module_path {modules}
module g711.so
module g722.so
module opus.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
{further}module ice.so
module_tmp account.so
module_app menu.so
module ctrl_tcp.so
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Who the phone is. registrar: host of the server it registers with; None: none, calls go direct.

    transport: udp, tcp or tls. answer: auto, or manual: it rings until it is told what to do.
    """

    user: str
    domain: str
    password: str = ""
    registrar: str | None = None
    codecs: str = "PCMU/8000"
    transport: str = "udp"
    answer: str = "auto"
    encryption: str = ""
    """Of media, in baresip's words: srtp, srtp-mand, dtls_srtp; none if empty."""
    ice: bool = False
    """Full ICE (RFC 5245), with a candidate for each of its addresses."""

    def line(self) -> str:
        """The account as baresip's file has it."""
        parts = [
            f"<sip:{self.user}@{self.domain};transport={self.transport}>",
            f"answermode={self.answer}",
            f"audio_codecs={self.codecs}",
        ]
        if self.encryption:
            parts.append(f"mediaenc={self.encryption}")
        if self.ice:
            parts.append("medianat=ice")
        if self.registrar is None:
            return ";".join([*parts, "regint=0"])
        port = 5061 if self.transport == "tls" else 5060
        server = f'outbound="sip:{self.registrar}:{port};transport={self.transport}"'
        return ";".join([*parts, f"auth_pass={self.password}", server, "regint=3600"])


class Baresip:
    """One running phone; it answers every call by itself. It ends with the lab.

    slot: 0 for the first phone at an endpoint, 1 for the next: it moves all of its ports. ipv6: it speaks nothing else.
    trace: its log has every message that it sends and receives.
    """

    def __init__(
        self,
        lab: Lab,
        endpoint: Endpoint,
        account: Account,
        tone: int,
        slot: int = 0,
        ipv6: bool = False,
        trace: bool = False,
    ) -> None:
        self.account = account
        self._ipv6 = ipv6
        self.endpoint = endpoint
        self.directory = lab.directory / account.user
        self._slot = slot
        self._configure(tone)
        command = ("baresip", *(("-6",) if ipv6 else ()), *(("-s",) if trace else ()), "-f", str(self.directory))
        # Without patience: it would wait for the answer to its unregistration from a server that may be gone.
        self.process = lab.spawn(endpoint.namespace, *command, log=f"{account.user}.log", patience=0.0)
        self._unread = b""
        self._events: list[dict[str, Any]] = []
        self._control = self._connect()
        lab.own(self._control)

    def registered(self, timeout: float = PATIENCE) -> None:
        """Wait until the registrar has accepted this phone; LabError with its answer if it does not."""
        self.process.wait_for("registration", lambda text: bool(REGISTERED.search(text)), timeout)

    def dial(self, target: str) -> None:
        """Call a SIP URI."""
        self.command("dial", target)

    def hangup(self) -> None:
        """End the current call."""
        self.command("hangup")

    def hold(self) -> None:
        """Hold the current call, by a re-INVITE with a=sendonly."""
        self.command("hold")

    def resume(self) -> None:
        """Take the held call back."""
        self.command("resume")

    def dtmf(self, digits: str) -> None:
        """Press keys: RFC 4733 events in the audio stream."""
        for digit in digits:
            self.command("sndcode", digit)

    def transfer(self, target: str) -> None:
        """Send the other party of the current call to a SIP URI, by REFER."""
        self.command("transfer", target)

    def dialog(self) -> str:
        """The dialog of the call that it has made last, as Replaces names it (RFC 3891); the trace must be on."""
        answers = [text for text in TRACED_OK.findall(self.process.text()) if re.search(r"CSeq: \d+ INVITE", text)]
        if not answers:
            raise LabError(f"{self.account.user}: no call of its own was answered; see {self.process.log}")
        found = [
            re.search(pattern, answers[-1]) for pattern in (r"Call-ID: (\S+)", r"To: .*tag=(\S+)", r"From: .*tag=(\S+)")
        ]
        call, to, from_ = (match[1] if match else "" for match in found)
        return f"{call};to-tag={to};from-tag={from_}"

    def established(self, timeout: float = PATIENCE) -> None:
        """Wait until the next call is up."""
        self.wait("CALL_ESTABLISHED", timeout)

    def closed(self, timeout: float = PATIENCE) -> str:
        """Wait until the call is over and return the reason that the phone shows."""
        return str(self.wait("CALL_CLOSED", timeout).get("param", ""))

    def wait(self, kind: str, timeout: float = PATIENCE) -> dict[str, Any]:
        """The next event of a kind; what came before it is forgotten. LabError if none comes.

        The phone tells of it first and then does what belongs to it, such as to send its ACK. It answers a command
        when that is done.
        """
        deadline = time.monotonic() + timeout
        while True:
            while self._events:
                event = self._events.pop(0)
                if event.get("type") == kind:
                    self.command(NOTHING)
                    return event
            if not self._receive(deadline - time.monotonic()):
                raise LabError(f"{self.account.user}: no {kind} within {timeout:g} s; see {self.process.log}")

    def command(self, name: str, parameters: str = "") -> str:
        """Give a command and return the phone's answer; LabError if it refuses or stays silent."""
        message = json.dumps({"command": name, "params": parameters, "token": name}).encode()
        self._control.sendall(b"%d:%s," % (len(message), message))
        deadline = time.monotonic() + PATIENCE
        while self._receive(deadline - time.monotonic()):
            for place, event in enumerate(self._events):
                if event.get("response") and event.get("token") == name:
                    del self._events[place]
                    return self._accepted(name, event)
        raise LabError(f"{self.account.user}: no answer to '{name}' within {PATIENCE:g} s; see {self.process.log}")

    def heard(self) -> list[Path]:
        """What came in, one WAV file per call, oldest first, once they are complete; LabError while a call goes on.

        The phone tells of a call's end before it ends the file.
        """
        deadline = time.monotonic() + PATIENCE
        while not all(map(_complete, self._recordings())):
            if time.monotonic() > deadline:
                raise LabError(f"{self.account.user}: the recording goes on; see {self.process.log}")
            time.sleep(POLL)
        return self._recordings()

    def hears(self, frequency: float, seconds: float = 1.0, timeout: float = PATIENCE) -> audio.Heard:
        """Wait until so many seconds of a clear tone came in by the call at hand; what has come then, or at `timeout`.

        A phone that is held up sends and takes its sound in pieces: how long it takes is the machine's matter. What
        comes after a hold is not recorded.
        """
        deadline = time.monotonic() + timeout
        while True:
            growing = [path for path in self._recordings() if not _complete(path)]
            found = audio.judge(audio.read_growing(growing[-1])) if growing else audio.NOTHING
            if (found.is_tone(frequency) and found.seconds >= seconds) or time.monotonic() > deadline:
                return found
            time.sleep(5 * POLL)

    def kill(self) -> None:
        """End it by SIGKILL: nobody hears of it, as when the power is cut."""
        self._control.close()
        self.process.kill()

    def stop(self) -> None:
        """Unregister and end."""
        self._control.close()
        self.process.stop()

    def _recordings(self) -> list[Path]:
        return sorted(self.directory.glob("dump-*-dec.wav"))

    def _accepted(self, name: str, answer: dict[str, Any]) -> str:
        if not answer.get("ok"):
            raise LabError(f"{self.account.user}: '{name}' was refused: {answer.get('data')}")
        return str(answer.get("data", ""))

    def _configure(self, tone: int) -> None:
        self.directory.mkdir()
        audio.write_tone(self.directory / "tone.wav", tone, TONE_SECONDS)
        rtp_port = 10000 + 1000 * self._slot
        config = CONFIG.format(
            address=f"[{self.endpoint.address6}]" if self._ipv6 else self.endpoint.address,
            sip_port=SIP_PORT + 10 * self._slot,
            rtp_port=rtp_port,
            rtp_last=rtp_port + 999,
            control_host=CONTROL_HOST,
            control_port=CONTROL_PORT + self._slot,
            directory=self.directory,
            modules=_modules(),
            # At its start it makes a key of RSA, which takes longer than all else.
            further="module dtls_srtp.so\n" if self.account.encryption.startswith("dtls") else "",
        )
        (self.directory / "config").write_text(config)
        (self.directory / "accounts").write_text(self.account.line() + "\n")
        (self.directory / "contacts").write_text("")

    def _connect(self) -> socket.socket:
        self.process.wait_for("readiness", lambda text: "baresip is ready" in text)
        try:
            return namespace.connect(self.endpoint.namespace, (CONTROL_HOST, CONTROL_PORT + self._slot), PATIENCE)
        except OSError as failure:
            raise LabError(f"{self.account.user}: no control connection ({failure}); see {self.process.log}") from None

    def _receive(self, timeout: float) -> bool:
        """Read what is there into `_events`; False if nothing came in time."""
        if not select.select([self._control], [], [], max(timeout, 0.0))[0]:
            return False
        data = self._control.recv(65536)
        if not data:
            raise LabError(f"{self.account.user}: baresip ended; see {self.process.log}")
        self._unread += data
        while (message := self._netstring()) is not None:
            self._events.append(json.loads(message))
        return True

    def _netstring(self) -> bytes | None:
        length, colon, rest = self._unread.partition(b":")
        if not colon or len(rest) <= int(length):
            return None
        self._unread = rest[int(length) + 1 :]
        return rest[: int(length)]


def _complete(recording: Path) -> bool:
    """Whether the header tells of the whole file, which is so when it is closed."""
    data = recording.read_bytes()
    return len(data) >= 8 and struct.unpack_from("<I", data, 4)[0] == len(data) - 8


def _modules() -> Path:
    for place in sorted(Path("/usr/lib").glob("**/baresip/modules")):
        return place
    raise LabError("baresip is not installed; run: scripts/setup")
