# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of tests needs in every room."""

pytest_plugins = ("tests.guard", "tests.campaigns", "tests.several")
