# SPDX-License-Identifier: GPL-3.0-or-later
"""The table [recording] of the configuration."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import SecretStr, field_validator, model_validator

from ctl.section import Section
from media.recording_settings import parse_destination


class RecordingSection(Section):
    """Recordings of calls: on demand or of every call, kept in a folder or in S3, sealed by keys of tenants."""

    policy: Literal["on-demand", "all"] = "on-demand"
    consent: Literal["required", "not-needed"] = "required"
    """required: whoever starts a recording says how the parties agreed to it."""
    layout: Literal["stereo", "mixed", "a", "b"] = "stereo"
    format: Literal["wav", "opus"] = "wav"
    rate: Literal[8000, 16000, 48000] = 8000
    directory: Path | None = None
    """Of recordings under way; None: `recordings` in run.state."""
    url: str = ""
    """Where they are kept: file:///folder or s3://bucket/prefix; empty: `store` in the directory."""
    key_file: Path | None = None
    """Lines of a tenant, or none for all others, and 64 hex digits; the first of a tenant seals, all of them open."""
    key: SecretStr | None = None
    """The same in place of a file, for VOXDP_RECORDING__KEY."""
    forward_to: str = ""
    """Who gets sound while it is said, where proxies ask for that: tcp://127.0.0.1:9000, or tls:// and any address."""
    forward_ca: Path | None = None
    """Certificates that sign that of the consumer; None: those that the host trusts."""

    @field_validator("forward_to")
    @classmethod
    def _forwardable(cls, value: str) -> str:
        if value:
            scheme, address, _ = parse_destination(value)
            if scheme == "tcp" and not ipaddress.ip_address(address).is_loopback:
                raise ValueError("sound leaves the host by tls:// alone")
        return value

    @model_validator(mode="after")
    def _agreed(self) -> RecordingSection:
        if self.policy == "all" and self.consent == "required":
            raise ValueError('policy "all" asks nobody: set consent to "not-needed", or record on demand')
        return self
