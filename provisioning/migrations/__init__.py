# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered SQL files, applied in order and never changed once released."""
