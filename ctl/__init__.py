# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller: loads and programs the kernel relay, carries out what signalling decides, talks to people."""
