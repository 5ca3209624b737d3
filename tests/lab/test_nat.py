# SPDX-License-Identifier: GPL-3.0-or-later
"""Phones behind NAT that forgets them after seconds, and one whose network goes away without a word."""

import select
import threading
import time

from tests.ctl.certificates import Authority
from vm import audio, namespace, nat, topology
from vm.baresip import Account, Baresip
from vm.controller import DOMAIN
from vm.process import inside, run, until

INSIDE, OUTSIDE = "198.18.1.50", "198.18.1.51"
MEMORY = 3.0
TLS = """
[sip.tls]
certificate = "{certificate}"
key = "{key}"
"""


class Nat:
    """Translates SIP by UDP: phones send to INSIDE, the relay sees OUTSIDE, at another port once they were silent.

    Like a router's: only what comes from the phone keeps its mapping. passed: datagrams from the phone.
    """

    def __init__(self, lab):
        for address in (INSIDE, OUTSIDE):
            topology.add_address(lab.a, address)
        self._lab, self._relay = lab, (lab.a.relay, 5060)
        self._inner = namespace.datagram_socket(lab.a.namespace, (INSIDE, 5060))
        self._outer, self._phone, self._heard = None, None, 0.0
        self.mappings = self.passed = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nat")
        self._thread.start()

    def close(self):
        self._over.set()
        self._thread.join()
        for each in filter(None, (self._inner, self._outer)):
            each.close()

    def _run(self):
        while not self._over.is_set():
            ready, _, _ = select.select([each for each in (self._inner, self._outer) if each], [], [], 0.05)
            # What has come by now came in time, as this itself may be held up.
            if self._outer and self._inner not in ready and time.monotonic() - self._heard > MEMORY:
                self._outer.close()
                self._outer = None
                continue
            if self._outer in ready:
                self._inner.sendto(self._outer.recv(65535), self._phone)
            if self._inner in ready:
                self._out()

    def _out(self):
        data, self._phone = self._inner.recvfrom(65535)
        if self._outer is None:
            self._outer = namespace.datagram_socket(self._lab.a.namespace, (OUTSIDE, 0))
            self.mappings += 1
        self._heard = time.monotonic()
        self.passed += 1
        self._outer.sendto(data, self._relay)


def test_a_phone_behind_nat_stays_reachable_and_a_connection_to_nobody_ends(world):
    world = world(sip="nat_keepalive = 1")
    nat = Nat(world.lab)
    world.lab.own(nat)
    world.controller.add_user("carol", "secret")
    carol = Baresip(world.lab, world.lab.a, Account("carol", DOMAIN, "secret", INSIDE), 700, slot=1)
    carol.registered()
    registered = nat.passed
    until(lambda: nat.passed >= registered + 2 * MEMORY)  # an answer to OPTIONS each second, and nothing else
    assert nat.mappings == 1, "forgotten in between"
    world.bob.dial(f"sip:carol@{DOMAIN}")
    carol.established()
    world.bob.hangup()
    carol.closed()

    world.controller.add_user("dave", "secret")
    dave = Baresip(
        world.lab, world.lab.a, Account("dave", DOMAIN, "secret", world.lab.a.relay, transport="tcp"), 700, slot=2
    )
    dave.registered()
    before = {each["user"] for each in world.controller.ask("reg", "list")}
    assert before == {"alice", "bob", "carol", "dave"}
    run(*inside(world.lab.a.namespace, ["ip", "link", "set", world.lab.a.interface, "down"]))
    left = world.controller.until("registrations", "reg", "list", count=3)
    assert {each["user"] for each in left} == before - {"dave"}


def test_phones_that_connected_through_nat_are_called_by_their_connections(world, tmp_path):
    """Contacts and media name an address that leads nowhere; what comes from there comes through the router."""
    certificate, key = Authority(tmp_path).issue("voxdp", DOMAIN)
    listen = ["udp:198.18.1.1:5060", "udp:198.18.2.1:5060", "tcp:198.18.1.1:5060", "tls:198.18.1.1:5061"]
    world = world(sip="nat_keepalive = 1", listen=listen, more=TLS.format(certificate=certificate, key=key))
    home = nat.home(world.lab, int(MEMORY))
    tones = {"tcp": 700, "tls": 550}
    for transport in tones:
        world.controller.add_user(transport, "secret")
    accounts = [Account(name, DOMAIN, "secret", home.relay, transport=name) for name in tones]
    plain, secure = (Baresip(world.lab, home, each, tones[each.user], slot) for slot, each in enumerate(accounts))
    plain.registered()
    secure.registered()
    contacts = {each["user"]: each["contact"] for each in world.controller.ask("reg", "list")}
    assert all(nat.PHONE in contacts[name] for name in tones)
    connections = nat.connections(world.lab)
    assert len(connections) == 2
    time.sleep(2 * MEMORY)  # nothing but keep-alives of TCP goes by meanwhile

    for caller, callee in ((world.bob, plain), (world.bob, secure), (plain, secure)):
        world.connect(caller, callee)
        world.carried(100)
        callee.hangup()
        caller.closed()
        callee.closed()
    expected = ((plain, (1000, 550)), (secure, (1000, 700)), (world.bob, (700, 550)))
    for phone, heard in expected:
        for path, tone in zip(phone.heard(), heard, strict=True):
            assert audio.judge(audio.read(path)).is_tone(tone), (phone.account.user, tone)
    assert nat.connections(world.lab) == connections, "none was lost, and none was opened toward a phone"
