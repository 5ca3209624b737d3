# SPDX-License-Identifier: GPL-3.0-or-later
import asyncio
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from provisioning.embedded import EmbeddedPostgres
from provisioning.migrate import migrate
from tests.lab import evidence
from vm import audio
from vm.baresip import Account, Baresip
from vm.capture import Capture
from vm.controller import DOMAIN, Controller
from vm.lab import Lab
from vm.process import run

TONES = {"alice": 440, "bob": 1000}


class World:
    """A lab in which voxdp runs, as root if as no other user, and alice and bob are registered."""

    def __init__(self, lab, mode, user, timeout, encryption=("", ""), codecs=("PCMU/8000",) * 2, ice=(), **tables):
        self.lab = lab
        self.controller = Controller(lab, mode, user, timeout, **tables)
        if mode != "off":
            self.controller.attach()
        self.controller.start()
        self.controller.ready()
        self._ice = ice
        self.alice = self.phone("alice", lab.a, encryption=encryption[0], codecs=codecs[0])
        self.bob = self.phone("bob", lab.b, encryption=encryption[1], codecs=codecs[1])
        for phone in (self.alice, self.bob):
            phone.registered()
        self.wires = [Capture(lab, lab.a), Capture(lab, lab.b)]

    def phone(self, name, endpoint, password=None, slot=0, answer="auto", encryption="", codecs="PCMU/8000"):
        """A phone whose user exists; with another password if one is given."""
        self.controller.add_user(name, f"secret-of-{name}")
        word = password or f"secret-of-{name}"
        ice = name in self._ice
        account = Account(name, DOMAIN, word, endpoint.relay, codecs, answer=answer, encryption=encryption, ice=ice)
        return Baresip(self.lab, endpoint, account, TONES.get(name, 700), slot)

    def connect(self, caller, called):
        """Place a call and wait until both phones have it."""
        caller.dial(f"sip:{called.account.user}@{DOMAIN}")
        caller.established()
        called.established()

    def flows(self, kind="rtp"):
        """The flows of a kind, from the controller."""
        return [flow for flow in self.controller.look("flow", "list") if flow["kind"] == kind]

    def carried(self, least):
        """Wait until every RTP flow has carried that many packets; return the flows."""
        return self.controller.carried(least)

    def carried_more(self, packets):
        """Wait until every RTP flow has carried so many packets from now on; return the flows."""
        return self.carried(max(flow["packets"] for flow in self.carried(0)) + packets)

    def talked(self):
        """Wait until alice and bob have heard each other's tone clearly in the call at hand."""
        for phone, tone in ((self.alice, TONES["bob"]), (self.bob, TONES["alice"])):
            heard = phone.hears(tone)
            assert heard.is_tone(tone), (phone.account.user, heard)

    def finish(self, first, second):
        """Hang up and return the call's record once it is in the database and no flow is left."""
        first.hangup()
        second.closed()
        first.closed()
        assert self.controller.until("flows", "flow", "list", count=0) == []
        return self.controller.until("records", "cdr", "list", count=1)[0]

    def seen(self):
        """The captures at alice's and bob's wire, ended."""
        return [wire.stop() for wire in self.wires]

    def tones_heard(self):
        """Whether alice hears bob's tone and bob hears alice's in every call so far."""
        pairs = ((self.alice, TONES["bob"]), (self.bob, TONES["alice"]))
        heard = [(tone, audio.judge(audio.read(path))) for phone, tone in pairs for path in phone.heard()]
        return [(tone, round(each.frequency)) for tone, each in heard if each.is_tone(tone)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    evidence.forget()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    if report.failed:
        report.sections += evidence.sections()
    return report


@pytest.fixture(scope="session")
def cluster():
    """A database as the first start of voxdp leaves it. Making one takes seconds, laying over it does not."""
    with tempfile.TemporaryDirectory(prefix="voxdp-cluster-") as directory:
        Path(directory).chmod(0o711)
        made = Path(directory) / "postgresql"
        asyncio.run(make_cluster(made))
        yield made


async def make_cluster(directory):
    async with EmbeddedPostgres(directory) as conninfo:
        await asyncio.to_thread(migrate, conninfo)


@contextmanager
def lab_with(cluster, shape):
    """A lab in which voxdp finds its database made."""
    with Lab(shape) as lab:
        lay_over(cluster, lab.directory / "postgresql")
        yield lab


def lay_over(original, place):
    """Mount the directory at `place`; what is written stays beside that, and is gone with the lab."""
    upper, work = place.with_name("layers") / "changed", place.with_name("layers") / "changing"
    for made in (place, upper, work):
        made.mkdir(parents=True)
    shutil.copystat(original, place)
    layers = f"lowerdir={original},upperdir={upper},workdir={work},metacopy=on"
    run("mount", "-t", "overlay", "overlay", "-o", layers, place)


@pytest.fixture
def two(cluster):
    """Endpoints in two networks, the relay between them."""
    with lab_with(cluster, "two") as lab:
        yield lab


@pytest.fixture
def one():
    """Both endpoints behind one interface of the relay; nothing runs there."""
    with Lab("one") as lab:
        yield lab


@pytest.fixture
def world(cluster):
    """Make a lab with voxdp and two phones: world(shape, mode, user, timeout, encryption)."""

    def make(shape="two", mode="native", user="", timeout=120, encryption=("", ""), **options):
        lab = stack.enter_context(lab_with(cluster, shape))
        return World(lab, mode, user, timeout, encryption, **options)

    with ExitStack() as stack:
        yield make
