# SPDX-License-Identifier: GPL-3.0-or-later
"""Real phones, one of IPv4 and one of IPv6, or both of IPv6, talk to each other through the kernel relay."""

import pytest

from vm import audio
from vm.baresip import Account, Baresip
from vm.controller import DOMAIN, Controller
from vm.process import inside, run

SIX = """
[[media.interfaces]]
name = "six-a"
address = "{a}"

[[media.interfaces]]
name = "six-b"
address = "{b}"
"""
TONES = {"alice": 440, "bob": 1000}


@pytest.fixture
def controller(two):
    places = (two.a, two.b)
    listen = [address for each in places for address in (f"{each.relay}:5060", f"[{each.relay6}]:5060")]
    controller = Controller(two, listen=listen, more=SIX.format(a=two.a.relay6, b=two.b.relay6))
    controller.attach()
    controller.start()
    controller.ready()
    return controller


@pytest.mark.parametrize("families", [(4, 6), (6, 6)], ids=["IPv4 and IPv6", "IPv6"])
def test_phones_hear_each_other(two, controller, families):
    phones, places = [], (two.a, two.b)
    for (name, tone), place, family in zip(TONES.items(), places, families, strict=True):
        controller.add_user(name, "secret")
        registrar = f"[{place.relay6}]" if family == 6 else place.relay
        account = Account(name, DOMAIN, "secret", registrar)
        phones.append(Baresip(two, place, account, tone, ipv6=family == 6))
    if families == (4, 6):  # as neighbours on one host are: checksums are left for a card that there is not
        for place in places:
            run(*inside(place.namespace, ["ethtool", "-K", place.interface, "tx", "on"]))
    alice, bob = phones
    for phone in phones:
        phone.registered()
    alice.dial(f"sip:bob@{DOMAIN}")
    alice.established()
    bob.established()
    flows = controller.carried(150)
    assert {flow["path"] for flow in flows} == {"kernel"}
    wanted = [place.address6 if family == 6 else place.address for place, family in zip(places, families, strict=True)]
    assert [flow["source"]["address"] for flow in flows] == wanted
    for phone, tone in ((alice, TONES["bob"]), (bob, TONES["alice"])):
        assert phone.hears(tone).is_tone(tone)
    alice.hangup()
    bob.closed()
    (record,) = controller.until("records", "cdr", "list", count=1)
    assert min(each["packets"] for each in record["directions"]) >= 150
    assert sum(each["lost"] for each in record["directions"]) == 0
    for phone, heard in ((alice, TONES["bob"]), (bob, TONES["alice"])):
        (path,) = phone.heard()
        assert audio.judge(audio.read(path)).is_tone(heard)
