# SPDX-License-Identifier: GPL-3.0-or-later
"""What of queues is configured for a host; the queues themselves are objects of tenants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from ctl.queues.services import Duty
from ctl.section import Section

Code = Annotated[str, Field(pattern=r"^([*#][0-9*#]{1,14})?$")]


class QueuesSection(Section):
    """Codes that agents dial from their own phones; an empty one is none."""

    login_code: Code = "*45"
    logout_code: Code = "*46"
    pause_code: Code = "*47"

    @model_validator(mode="after")
    def _differ(self) -> QueuesSection:
        given = [code for code in (self.login_code, self.logout_code, self.pause_code) if code]
        if len(given) != len(set(given)):
            raise ValueError("queues: login_code, logout_code and pause_code must differ")
        return self

    @property
    def codes(self) -> Mapping[str, Duty]:
        """What each code does."""
        wanted: Mapping[str, Duty] = {
            self.login_code: "available",
            self.logout_code: "off",
            self.pause_code: "paused",
        }
        return {code: duty for code, duty in wanted.items() if code}
