# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of tests needs in every room."""

from hypothesis import HealthCheck, settings

pytest_plugins = ("tests.guard", "tests.collecting", "tests.campaigns", "tests.several")

# How long an example takes says how busy the machine is. What is slow by itself has a test that measures.
settings.register_profile("busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
