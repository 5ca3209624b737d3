# SPDX-License-Identifier: GPL-3.0-or-later
"""No search for garbage while tests are collected: there is hardly any, and what is looked at grows with each of them.

Nor is what was collected looked at ever after: it stays to the end.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
