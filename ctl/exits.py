# SPDX-License-Identifier: GPL-3.0-or-later
"""Exit codes of the command line."""

OK = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
NOT_FOUND = 4
DENIED = 5
TIMED_OUT = 124
INTERRUPTED = 130
