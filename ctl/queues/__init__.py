# SPDX-License-Identifier: GPL-3.0-or-later
"""Queues at work: callers who wait, and the agents who are found for them."""
