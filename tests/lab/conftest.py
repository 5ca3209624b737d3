# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from vm.lab import Lab


@pytest.fixture
def two():
    """Endpoints in two networks, the relay between them."""
    with Lab("two") as lab:
        yield lab


@pytest.fixture
def one():
    """Both endpoints behind one interface of the relay."""
    with Lab("one") as lab:
        yield lab
