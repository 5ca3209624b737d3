# SPDX-License-Identifier: GPL-3.0-or-later
"""One flow from CALLER through RELAY to CALLEE, and the form of a test case: text, packet in, what becomes of it."""

from dataclasses import dataclass, field
from typing import Any

from ctl.kernel.flowrule import mapped
from tests.bpf import model
from tests.bpf.packets import CALLEE, CALLEE6, CALLER, CALLER6, frame, frame6

INDEX = 10000
PARTNER = 65536 + 10002
INDEX6 = 2 * 65536 + 10000
PARTNER6 = 3 * 65536 + 10002
EGRESS = ("10.0.0.2", 10002)
EGRESS6 = ("2001:db8:0:2::1", 10002)
OUT_MACS = bytes.fromhex("0200000000bb0200000000aa")
CLOCK_8000 = round(8000 * 2**42 / 10**9)
OTHER_INTERFACE = 77


@dataclass(frozen=True)
class Case:
    """`packet` comes in on a flow with `flow` changed; it ends by `reason` and, if forwarded, as `out`."""

    text: str
    packet: bytes
    reason: int = model.FORWARDED
    out: bytes | None = None
    flow: dict[str, Any] = field(default_factory=dict)
    verdict: int | None = None
    index: int = INDEX


def packed(endpoint):
    return mapped(endpoint[0]), endpoint[1]


TO_V6 = {"egress": packed(EGRESS6), "target": packed(CALLEE6)}
FROM_V6 = {"source": packed(CALLER6)}
"""Changes of a flow to another family; one that comes as IPv6 is at INDEX6."""


def caller_flow(**changes):
    """The rule of the flow that CALLER sends to; the partner's is `callee_flow`."""
    rule = {
        "generation": 5,
        "state": model.PINNED,
        "source": packed(CALLER),
        "egress": packed(EGRESS),
        "target": packed(CALLEE),
        "macs": OUT_MACS,
        "ifindex": model.INGRESS,
        "clock": CLOCK_8000,
        "partner": PARTNER,
    }
    return model.Flow(**(rule | changes))


def callee_flow(**changes):
    rule = {
        "source": packed(CALLEE),
        "egress": packed(("10.0.0.1", 10000)),
        "target": packed(CALLER),
        "partner": INDEX,
    }
    return caller_flow(**(rule | changes))


def sent(payload=None, **changes):
    """The frame that leaves for CALLEE when a frame of the same payload came from CALLER."""
    return frame(payload, **({"source": EGRESS, "to": CALLEE, "ttl": 63, "macs": OUT_MACS} | changes))


def sent6(payload=None, **changes):
    """The same to CALLEE6."""
    return frame6(payload, **({"source": EGRESS6, "to": CALLEE6, "ttl": 63, "macs": OUT_MACS} | changes))


def ids(cases):
    return [case.text for case in cases]


def check(relay, case):
    """Run one case and hold verdict, bytes and the counter of its reason against it."""
    relay.put(case.index, caller_flow(**case.flow))
    outcome = relay.run(case.packet)
    assert relay.reasons() == {case.reason: [1, len(case.packet)]}
    assert outcome.verdict == (case.verdict or default_verdict(case.reason))
    assert outcome.data.hex() == (case.out or case.packet).hex()
    return outcome


def default_verdict(reason):
    if reason == model.FORWARDED:
        return model.TX
    return model.PASS if reason >= 32 else model.DROP
