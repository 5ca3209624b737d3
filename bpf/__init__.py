# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel relay: C for the kernel, built into an object that ships with the package."""

from pathlib import Path

RELAY_OBJECT = Path(__file__).with_name("relay.bpf.o")
