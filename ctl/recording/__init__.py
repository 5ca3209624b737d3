# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings: which calls, where to, and the process that writes them."""
