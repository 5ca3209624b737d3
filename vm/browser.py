# SPDX-License-Identifier: GPL-3.0-or-later
"""Chromium without a screen as a telephone: the page of webphone.js, a tone for a microphone.

It is steered over the pipe of its DevTools: JSON that ends with a zero byte, commands in, results and events out.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from vm import audio
from vm.lab import Lab
from vm.process import PATIENCE, POLL, LabError
from vm.topology import Endpoint

SCRIPT = Path(__file__).with_name("webphone.js")
PAGE = '<!DOCTYPE html><meta charset="utf-8"><audio autoplay></audio><script>{script}</script>'
TONE_SECONDS = 60
OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # root has none
    "--no-first-run",
    "--disable-gpu",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
)


@dataclass(frozen=True, slots=True)
class Page:
    """What the page is told. url: of the server. codec: the only one it speaks, as a MIME type; "": all it has.

    microphone: else its sound is made in the page, and the page may know no address of the host: its candidates have
    names of mDNS.
    """

    url: str
    user: str
    password: str
    domain: str
    codec: str = ""
    microphone: bool = True


class Browser:
    """One running browser with one page. certificate: of the server, which no authority that it knows has signed."""

    def __init__(self, lab: Lab, endpoint: Endpoint, certificate: Path, tone: int) -> None:
        directory = lab.directory / "browser"
        directory.mkdir()
        audio.write_tone(directory / "tone.wav", tone, TONE_SECONDS)
        (directory / "page.html").write_text(PAGE.format(script=SCRIPT.read_text()))
        self._in, self._out = (_pipe(lab, directory / name) for name in ("commands", "results"))
        self.process = lab.spawn(
            endpoint.namespace,
            *("sh", "-c", 'exec "$@" 3<"$0"/commands 4>"$0"/results', directory, "chromium"),
            *OPTIONS,
            f"--user-data-dir={directory}/profile",
            f"--use-file-for-fake-audio-capture={directory}/tone.wav",
            f"--ignore-certificate-errors-spki-list={_key_hash(certificate)}",
            "about:blank",
            log="browser.log",
            patience=0.0,
        )
        self._numbers = itertools.count(1)
        self._unread = b""
        target = self._command("Target.createTarget", url=f"file://{directory}/page.html")["targetId"]
        self._session = self._command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._loaded()

    def open(self, page: Page) -> None:
        """Make the telephone and connect it to its server."""
        self.run(f"globalThis.phone?.socket.close(); globalThis.phone = new WebPhone({json.dumps(asdict(page))});")
        self.run("phone.connect()")

    def run(self, expression: str, timeout: float = PATIENCE) -> Any:
        """The value of an expression of the page, once it has one; LabError with what it threw."""
        result = self._command(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            session=self._session,
            timeout=timeout,
        )
        if thrown := result.get("exceptionDetails"):
            raise LabError(f"the page: {thrown.get('exception', {}).get('description') or thrown['text']}")
        return result["result"].get("value")

    def until(self, state: str, timeout: float = PATIENCE) -> None:
        """Wait until the telephone is `idle`, `ringing` or `talking`; LabError if it is not in time."""
        found = self.run(f"phone.until('{state}', {timeout * 1000:g})", timeout + 5.0)
        if found != state:
            raise LabError(f"the page: {found}, not {state}, after {timeout:g} s")

    def media(self, timeout: float = PATIENCE) -> dict[str, str]:
        """By which `codec`, `dtls` state and `address` of the other side media comes, once all are known."""
        return dict(self.run(f"phone.media({timeout * 1000:g})", timeout + 5.0))

    def hears(self, seconds: float = 1.5) -> audio.Heard:
        """What comes in during the next seconds, judged."""
        return audio.judge(self.run(f"phone.hear({seconds:g})", seconds + PATIENCE))

    def until_hears(self, frequency: float, timeout: float = PATIENCE) -> audio.Heard:
        """Listen until a clear tone comes in, and return what was heard last: a browser held up makes up for sound."""
        deadline = time.monotonic() + timeout
        while not (heard := self.hears()).is_tone(frequency) and time.monotonic() < deadline:
            pass
        return heard

    def _loaded(self, timeout: float = PATIENCE) -> None:
        deadline = time.monotonic() + timeout
        while self.run("document.readyState + typeof WebPhone") != "completefunction":
            if time.monotonic() > deadline:
                raise LabError(f"chromium has not loaded the page after {timeout:g} s; see {self.process.log}")
            time.sleep(POLL)

    def _command(self, method: str, session: str = "", timeout: float = PATIENCE, **parameters: Any) -> dict[str, Any]:
        number, deadline = next(self._numbers), time.monotonic() + timeout
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._in, json.dumps(message).encode() + b"\0")
        while True:
            for answer in self._answers():
                if answer.get("id") == number:
                    return self._accepted(method, answer)
            left = deadline - time.monotonic()
            if self.process.status is not None:
                raise LabError(f"chromium ended with {self.process.status}: {self.process.last_line()}")
            if left <= 0:
                raise LabError(f"chromium: no answer to {method} within {timeout:g} s; see {self.process.log}")
            if select.select([self._out], [], [], min(left, 0.5))[0]:
                self._unread += os.read(self._out, 1 << 20)

    def _answers(self) -> list[dict[str, Any]]:
        *whole, self._unread = self._unread.split(b"\0")
        return [json.loads(each) for each in whole]

    @staticmethod
    def _accepted(method: str, answer: dict[str, Any]) -> dict[str, Any]:
        if "error" in answer:
            raise LabError(f"chromium: {method}: {answer['error'].get('message')}")
        return dict(answer["result"])


class _Descriptor:
    """A descriptor that the lab closes."""

    def __init__(self, number: int) -> None:
        self._number = number

    def close(self) -> None:
        """Let go of it; a second time does nothing."""
        if self._number >= 0:
            os.close(self._number)
            self._number = -1


def _pipe(lab: Lab, path: Path) -> int:
    """Open for both ways, so that neither side waits for the other."""
    os.mkfifo(path)
    number = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    lab.own(_Descriptor(number))
    return number


def _key_hash(certificate: Path) -> str:
    """The SHA-256 of the public key, as the browser names the ones it is to believe."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(encoded)
    return base64.b64encode(digest.finalize()).decode()
