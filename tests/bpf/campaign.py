# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.bpf.campaign --packets N`: random packets on random flows, the kernel against the model.

Reports packets a second and differences. A round is told by seed and number alone, so that a campaign can be resumed
(`--first-round`), and a difference looked at again (`--rounds 1`).
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from cffi import FFI
from ctl.kernel._libbpf import ffi

from tests.bpf import harness, model, traffic

FRAME_BYTES = 2048
BATCH = 500
BATCHES = 4
"""Of one generation of rules each, in a round; what the kernel counted goes on from one to the next."""
ROUND = BATCH * BATCHES
FRAMES = 100
DIFFERENCES_SHOWN = 5
SOURCE = Path(__file__).with_name("batch.c")
STEP = """
struct step {
    uint32_t index, length, verdict, length_after; uint64_t now; uint8_t frame[2048], frame_after[2048];
};
uint32_t run_steps(int program, const void *flows, struct step *steps, uint32_t count);
"""


@dataclass
class Result:
    """What a campaign found: packets by reason, and differences as text."""

    packets: int = 0
    reasons: Counter[int] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


class Campaign:
    """Kernel and model side by side."""

    def __init__(self, relay, seed=1):
        self.relay, self.seed, self.result = relay, seed, Result()
        self.steps_ffi = FFI()
        self.steps_ffi.cdef(STEP)
        with tempfile.TemporaryDirectory() as folder:
            built = f"{folder}/batch.so"
            includes = f"-I{harness.ROOT / 'bpf'}"
            command = [
                "gcc",
                "-O2",
                "-shared",
                "-fPIC",
                "-include",
                "linux/types.h",
                includes,
                "-o",
                built,
                str(SOURCE),
            ]
            subprocess.run(command, check=True)
            self.runner = self.steps_ffi.dlopen(built)
        self.steps = self.steps_ffi.new("struct step[]", BATCH)
        self.memory = self.steps_ffi.cast("void *", int(ffi.cast("uintptr_t", relay.flows)))

    def round(self, number):
        """One table of flows, rewritten for each batch, from first to last packet."""
        self.relay.clear()
        dice = random.Random(self.seed << 32 | number)
        twin = model.Relay(list(harness.ADDRESSES), harness.PORT_MIN, harness.PORT_MAX)
        for batch in range(1, BATCHES + 1):
            traffic.fill(self.relay, twin, dice, generation(dice, batch))
            self.batch(twin, dice, f"round {number}, batch {batch}")
        if self.relay.reasons() != twin.reasons:
            self.differ(f"round {number}: reasons {self.relay.reasons()} instead of {twin.reasons}")
        self.result.packets += ROUND
        self.result.reasons.update({reason: count for reason, (count, _) in twin.reasons.items()})

    def batch(self, twin, dice, place):
        frames = [traffic.random_frame(dice, twin) for _ in range(FRAMES)]
        sent = []
        for step in range(BATCH):
            at = dice.randrange(FRAMES)
            sent.append(bytes(frames[at]))
            self.prepare(self.steps[step], sent[-1], twin.locate(sent[-1]))
            frames[at] = traffic.patched(frames[at], dice)
        done = self.runner.run_steps(self.relay.program.fd, self.memory, self.steps, BATCH)
        if done != BATCH:
            raise RuntimeError(f"{place}: packet {done} could not be run: {sent[done].hex()}")
        for step, data in enumerate(sent):
            self.compare(twin, self.steps[step], data, f"{place}, packet {step}")
        self.compare_state(twin, place)

    def prepare(self, step, data, found):
        """What belongs to no flow names any: the time is of no use then."""
        step.index, step.length = getattr(found, "index", 0), len(data)
        self.steps_ffi.memmove(step.frame, data, len(data))

    def compare(self, twin, step, data, place):
        verdict, out = twin.run(data, step.now)
        after = self.steps_ffi.buffer(step.frame_after, step.length_after)[:]
        if (verdict, out) != (step.verdict, after) and not (
            verdict == step.verdict and only_checksum(out, after) and model.is_partial(twin.locate(data))
        ):
            self.differ(f"{place}: {data.hex()}: {step.verdict} {after.hex()} instead of {verdict} {out.hex()}")

    def compare_state(self, twin, place):
        for index, flow in twin.flows.items():
            found, expected = self.relay.state(index), (harness.pack_track(flow), harness.expected_tally(flow))
            if found != expected:
                self.differ(f"{place}: flow {index}: {found} instead of {expected}")
        events = [event for event in self.relay.events() if event[0] != "rejected"]
        if events != twin.events:
            self.differ(f"{place}: events {events} instead of {twin.events}")
        copies = self.relay.copies()
        if copies != sorted(twin.copies, key=lambda copy: copy[0] != model.PAYLOAD):
            self.differ(f"{place}: copies differ")
        twin.events.clear()
        twin.copies.clear()

    def differ(self, text):
        self.result.differences.append(text)
        if len(self.result.differences) <= DIFFERENCES_SHOWN:
            print(text, file=sys.stderr)


def only_checksum(one, other):
    """The express way does not ask whether a wrong checksum may be one that was left for a card."""
    differing = [at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right]
    return len(one) == len(other) and differing[-1] - differing[0] <= 1


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bpf.campaign", description=__doc__)
    parser.add_argument("--packets", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first-round", type=int, default=0, help="to resume: the round that the last line names")
    options = parser.parse_args()
    with harness.network_namespace():
        return run(options)


def run(options):
    campaign, began = Campaign(harness.Harness(), options.seed), time.monotonic()
    rounds = -(-options.packets // ROUND)
    told = began
    for number in range(options.first_round, options.first_round + rounds):
        campaign.round(number)
        if time.monotonic() - told > 10 or number == options.first_round + rounds - 1:
            told = time.monotonic()
            tell(campaign.result, told - began, number + 1)
    return 1 if campaign.result.differences else 0


def generation(dice, batch):
    """No two of a table alike in their lower halves, as none are that live at once; one of them may be 0."""
    return dice.choice([batch, 0x10000 * batch | (batch > 1) * (100 + batch), dice.getrandbits(16) << 16 | 200 + batch])


def tell(result, seconds, following):
    figures = {"packets": result.packets, "differences": len(result.differences), "next_round": following}
    print(json.dumps(figures | {"packets_per_second": round(result.packets / seconds)}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
