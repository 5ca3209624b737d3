# SPDX-License-Identifier: GPL-3.0-or-later
"""What a routing decision costs over ten thousand routes, and what a rate deck of a million prefixes takes."""

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from provisioning.numbering import DialPlan
from provisioning.plan import Member, Route, TenantPlan, Trunk, by_prefix
from provisioning.prefixes import PrefixPrices
from provisioning.premium import CLOSED
from provisioning.routing import Inquiry, Refusal, decide
from provisioning.selection import Circumstances
from provisioning.snapshot import Account, Snapshot
from tests.bench.figures import Figure

ROUTES = 10_000
TRUNKS = 50
DECISIONS = 5_000
ROUNDS = 7
PREFIXES = 1_000_000
MEGABYTE = 1 << 20


def measure() -> Iterator[Figure]:
    yield _decisions()
    yield from _prefixes()


def _decisions() -> Figure:
    snapshot, chance = world(), random.Random(2)
    dialled = [f"00{chance.randrange(10**10, 10**12)}" for _ in range(DECISIONS)]
    medians = []
    for number in range(ROUNDS):
        circumstances, took = Circumstances(datetime.now(UTC), number, chance.random()), []
        for each in dialled:
            began = time.perf_counter()
            decision = decide(Inquiry("anna", each, "localhost"), circumstances, snapshot)
            took.append(time.perf_counter() - began)
            if isinstance(decision.outcome, Refusal):
                raise RuntimeError(f"{each} was refused: {decision.outcome.reason}")
        medians.append(statistics.median(took) * 1e6)
    how = f"{ROUTES} routes of 3 weighted trunks, {DECISIONS} numbers to be normalised; best median of {ROUNDS} rounds"
    return Figure("routing decision, median", min(medians), "us", "<=", 50, how)


def world() -> Snapshot:
    """One tenant with as many routes."""
    chance = random.Random(1)
    trunks = {f"t{number}": Trunk(1, f"t{number}", "h", channel_limit=100) for number in range(TRUNKS)}
    prefixes: dict[str, None] = {"": None}
    while len(prefixes) < ROUTES:
        length = chance.choice((2, 3, 4, 5, 6, 7))
        prefix = str(chance.randrange(10 ** (length - 1), 10**length))
        if not prefix.startswith(("87", "88", "97")):  # closed ones
            prefixes[prefix] = None
    routes = [
        Route(f"r{prefix}", prefix, strategy="weighted",
              trunks=tuple(Member(f"t{chance.randrange(TRUNKS)}", weight=chance.randrange(1, 9)) for _ in range(3)))
        for prefix in prefixes
    ]  # fmt: skip
    opened = dict.fromkeys(CLOSED, "open")
    plan = TenantPlan(1, "default", trunks=trunks, routes=by_prefix(routes), dial_plan="fr", restrictions=opened,
                      dial_plans={"fr": DialPlan("FR")})  # fmt: skip
    anna = Account("localhost", "anna", True, "", "", caller_number="+33123456789")
    return Snapshot.of("localhost", [anna]).planned({1: plan})


def _prefixes() -> Iterator[Figure]:
    """In a process of its own, so that its memory is the deck's."""
    done = subprocess.run([sys.executable, "-m", "tests.bench.routing"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    how = f"{PREFIXES} prefixes of 4 to 11 digits from text to a table that is searched"
    yield Figure("rate deck of a million prefixes, load", found["seconds"], "s", "<=", 10, how)
    yield Figure("rate deck of a million prefixes, memory", found["megabytes"], "MB", "<=", 250,
                 "growth of the process at its highest while loading")  # fmt: skip
    yield Figure("price of a number, median", found["lookup"], "us", "<=", 10, "longest prefix of a million")


def _resident(key: str) -> int:
    """kB of this process by a line of /proc/self/status."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{key}:"))


def _load() -> dict[str, float]:
    chance = random.Random(3)
    lines = b"".join(b"%d\t%d\n" % (chance.randrange(10**3, 10 ** chance.randrange(4, 12)), n % 9999)
                     for n in range(PREFIXES))  # fmt: skip
    before = _resident("VmRSS")
    began = time.perf_counter()
    rows = (line.partition(b"\t") for line in lines.splitlines())
    table = PrefixPrices((prefix.decode(), int(price)) for prefix, _, price in rows)
    seconds = time.perf_counter() - began
    took = []
    for _ in range(20_000):
        number = str(chance.randrange(10**10, 10**12))
        since = time.perf_counter()
        table.price(number)
        took.append(time.perf_counter() - since)
    megabytes = (_resident("VmHWM") - before) / 1024
    return {"seconds": seconds, "megabytes": megabytes, "lookup": statistics.median(took) * 1e6}


if __name__ == "__main__":
    print(json.dumps(_load()))
