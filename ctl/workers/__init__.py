# SPDX-License-Identifier: GPL-3.0-or-later
"""Several processes for the signalling of one controller: see docs/decisions/0021-workers.md."""
