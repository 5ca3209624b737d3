# SPDX-License-Identifier: GPL-3.0-or-later
"""What calls and flows show of themselves: quality, metrics, captures, explanations."""
