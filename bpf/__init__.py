# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel relay: C for the kernel, built into an object that ships with the package."""

from pathlib import Path

ROOM = Path(__file__).parent
RELAY_OBJECT = ROOM / "relay.bpf.o"
BASELINE_OBJECT = ROOM / "baseline.bpf.o"
"""Empty programs: what the relay is measured against, and what the lab's endpoints need on their veths."""
