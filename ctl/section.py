# SPDX-License-Identifier: GPL-3.0-or-later
"""What every table of the configuration is; apart from `ctl.config`, so that tables stand where their concern is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file: closed, and constant once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)
