# SPDX-License-Identifier: GPL-3.0-or-later
"""What every command of the command line shares: the question, the answer, tables, filters."""
