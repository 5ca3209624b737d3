# SPDX-License-Identifier: GPL-3.0-or-later
"""The way from a URI to addresses, asked of a name server of the test's own."""

import asyncio
from contextlib import asynccontextmanager

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from ctl.signalling import resolver as module
from ctl.signalling.resolver import Resolver
from sip.effects import Address, UriTarget, UserTarget
from sip.uri import Uri
from tests.patience import PATIENCE

ZONE = {
    ("full.example.", "NAPTR"): [
        '20 10 "s" "SIP+D2U" "" _sip._udp.full.example.',
        '10 10 "s" "SIPS+D2T" "" _sips._tcp.full.example.',
    ],
    ("_sips._tcp.full.example.", "SRV"): ["10 10 5061 one.example."],
    ("_sip._udp.full.example.", "SRV"): ["20 10 5062 two.example.", "10 10 5060 one.example."],
    ("_sip._tcp.srv.example.", "SRV"): ["10 0 5080 two.example."],
    ("_sip._udp.absent.example.", "SRV"): ["0 0 0 ."],
    ("one.example.", "A"): ["192.0.2.1"],
    ("one.example.", "AAAA"): ["2001:db8::1"],
    ("two.example.", "A"): ["192.0.2.2"],
    ("host.example.", "A"): ["192.0.2.9"],
    ("absent.example.", "A"): ["192.0.2.8"],
    ("inside.evil.example.", "A"): ["127.0.0.1"],
    ("mapped.evil.example.", "AAAA"): ["::ffff:127.0.0.1"],
    ("link.evil.example.", "AAAA"): ["fe80::1"],
    ("many.evil.example.", "A"): ["224.0.0.1"],
    ("any.evil.example.", "A"): ["0.0.0.0"],
}


class NameServer(asyncio.DatagramProtocol):
    """Answers from ZONE; what it knows nothing of does not exist; silent for names in `mute`."""

    def __init__(self):
        self.asked = []
        self.mute = set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, peer):
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if name in self.mute:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        found = ZONE.get((name, kind))
        if found:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *found))
        elif not any(known == name for known, _ in ZONE):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), peer)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The server is in this process, which may be short of the processor for longer than a caller would wait."""
    monkeypatch.setattr(module, "PATIENCE", PATIENCE)
    monkeypatch.setattr(module, "QUESTION_SECONDS", PATIENCE)


@asynccontextmanager
async def asking():
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    client = dns.asyncresolver.Resolver(configure=False)
    client.nameservers, client.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    resolver = Resolver(client, lambda limit: limit)
    try:
        yield resolver, server
    finally:
        resolver.close()
        transport.close()


def shown(addresses):
    return [f"{each.transport}:{each.host}:{each.port}" for each in addresses]


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        (
            "sip:full.example",
            "tls:2001:db8::1:5061 tls:192.0.2.1:5061 udp:2001:db8::1:5060 udp:192.0.2.1:5060 udp:192.0.2.2:5062",
        ),
        ("sips:full.example", "tls:2001:db8::1:5061 tls:192.0.2.1:5061"),
        ("sip:srv.example", "tcp:192.0.2.2:5080"),
        ("sip:host.example", "udp:192.0.2.9:5060"),
        ("sip:host.example:5070;transport=tcp", "tcp:192.0.2.9:5070"),
        ("sip:192.0.2.77", "udp:192.0.2.77:5060"),
        ("sip:absent.example", "udp:192.0.2.8:5060"),
        ("sip:nobody.invalid", ""),
    ],
)
async def test_where_a_uri_leads(uri, found):
    async with asking() as (resolver, _):
        addresses = await resolver.locate(Uri.parse(uri))
        assert " ".join(shown(addresses)) == found
        assert {each.name for each in addresses} <= {Uri.parse(uri).host, ""}


async def test_an_answer_is_kept_as_long_as_it_says(monkeypatch):
    async with asking() as (resolver, server):
        await resolver.locate(Uri.parse("sip:host.example:5060"))
        count = len(server.asked)
        await resolver.locate(Uri.parse("sip:host.example:5060"))
        assert len(server.asked) == count
        monkeypatch.setattr(module.time, "monotonic", lambda: 1e9)
        await resolver.locate(Uri.parse("sip:host.example:5060"))
        assert len(server.asked) == 2 * count


async def test_no_more_is_kept_than_allowed(monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT", 8)
    async with asking() as (resolver, _):
        for number in range(10):
            await resolver.locate(Uri.parse(f"sip:host{number}.invalid:5060"))
        assert len(resolver._kept) == 8


async def test_a_silent_server_costs_a_limited_wait(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    async with asking() as (resolver, server):
        server.mute.add("host.example.")
        assert await resolver.locate(Uri.parse("sip:host.example:5060")) == ()


@pytest.mark.parametrize("name", ["inside", "mapped", "link", "many", "any"])
async def test_nobody_elses_names_lead_inside(name):
    """But a trunk may be on this host, for that is for the operator to say."""
    async with asking() as (resolver, _):
        answered = asyncio.get_running_loop().create_future()
        resolver.later([UriTarget(f"sip:7@{name}.evil.example:5060")], answered.set_result)
        assert await asyncio.wait_for(answered, 2 * PATIENCE) == ()
        assert await resolver.locate(Uri.parse(f"sip:7@{name}.evil.example:5060"))


async def test_targets_with_names_become_one_for_each_address():
    targets = (UserTarget("bert"), UriTarget("sip:7@srv.example"), UriTarget("sip:7@nobody.invalid"))
    async with asking() as (resolver, _):
        assert resolver.needed(targets)
        assert not resolver.needed((UserTarget("bert"), UriTarget("sip:7@192.0.2.1"), UriTarget("tel:7")))
        answered = asyncio.get_running_loop().create_future()
        resolver.later(targets, answered.set_result)
        found = await asyncio.wait_for(answered, 2 * PATIENCE)
        by_address = [(each.uri, each.address) for each in found[1:]]
        assert found[0] == targets[0]
        assert by_address == [
            ("sip:7@srv.example", Address("192.0.2.2", 5080, "tcp")),
        ]
