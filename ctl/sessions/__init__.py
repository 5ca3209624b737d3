# SPDX-License-Identifier: GPL-3.0-or-later
"""Media sessions: from two session descriptions to planned directions, ports and flows."""
