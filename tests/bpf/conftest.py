# SPDX-License-Identifier: GPL-3.0-or-later
"""The relay, loaded once for all tests of the room and emptied for each."""

import pytest

from tests.bpf.harness import Harness


@pytest.fixture(scope="session")
def loaded():
    return Harness()


@pytest.fixture
def relay(loaded):
    loaded.clear()
    yield loaded
    loaded.clear()
