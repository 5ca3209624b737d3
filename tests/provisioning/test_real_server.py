# SPDX-License-Identifier: GPL-3.0-or-later
"""All that the embedded PostgreSQL passes, a server elsewhere passes: by TCP and TLS, with a password."""

import re

import pytest


@pytest.mark.campaign("tests.provisioning.real_server", hurried=True)
@pytest.mark.timeout(1800)
def test_a_server_that_is_not_ours_passes_the_same_tests(campaign) -> None:
    passed = re.search(r"^(\d+) passed", campaign().splitlines()[-1])
    assert passed
    assert int(passed[1]) > 80
