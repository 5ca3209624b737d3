# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the kernel: C, built into objects that ship with the package."""

from pathlib import Path

RELAY_OBJECT = Path(__file__).with_name("relay.bpf.o")
STEERING_OBJECT = Path(__file__).with_name("steering.bpf.o")
