# SPDX-License-Identifier: GPL-3.0-or-later
"""Webhooks: what happens is told to those who asked for it, at least once."""
