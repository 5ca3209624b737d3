# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller knows of calls that live: the shapes the API shows, and the interface it asks.

Each method is told the tenant, None meaning all of them; a call of another tenant is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from provisioning.models import Dialled

CallId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{1,128}$")]


class View(BaseModel):
    """Something shown: more may be added to it, nothing renamed."""

    model_config = ConfigDict(extra="allow")


class LiveCall(View):
    """A call that is up or being set up; seconds since its answer, None before."""

    id: str
    state: str
    caller: str
    dialled: str
    seconds: int | None = None
    path: str | None = None
    packets: int = 0
    lost: int = 0


class LiveFlow(View):
    """One direction of a stream of a call."""

    id: str
    call: str


class Registration(View):
    """A contact that is registered; expires: in so many seconds."""

    user: str
    contact: str
    received: str | None = None
    expires: int
    q: float | None = None


class Statistics(View):
    """Sums of this moment."""

    calls: int
    flows: int
    registrations: int


class CallControl(BaseModel):
    """What to do with a call.

    leg: who is transferred, or hears music on hold: `a`, the caller, or `b`. target: where to, for a transfer. cause:
    of Q.850, for a hang-up. layout, format, consent: of a recording that is to start, if not as configured.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Literal["hangup", "transfer", "hold", "resume", "record_start", "record_pause", "record_resume",
                    "record_stop"]  # fmt: skip
    leg: Literal["a", "b"] = "a"
    target: Dialled | None = None
    cause: Annotated[int, Field(ge=1, le=127)] = 16
    layout: Literal["", "stereo", "mixed", "a", "b"] = ""
    format: Literal["", "wav", "opus"] = ""
    consent: Literal["", "given", "announced"] = ""


class MediaControl(BaseModel):
    """What a leg is to hear, or what of it is not to be heard: `leg` hears what play, stop and dtmf are about, and says
    what block and unblock are about.

    sounds: as they are named below `media.prompts`, one after the other; times 0: until it is stopped; start_ms: what
    is left out at the beginning. digits: for dtmf, each `ms` long with a pause between, volume in -dBm0. what: all that
    the leg sends, its sound (silence is sent), or its digits.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Literal["play", "stop", "dtmf", "block", "unblock"]
    leg: Literal["a", "b"]
    sounds: Annotated[list[Annotated[str, Field(max_length=255)]], Field(max_length=64)] = []
    times: Annotated[int, Field(ge=0, le=1_000_000)] = 1
    start_ms: Annotated[int, Field(ge=0, le=86_400_000)] = 0
    digits: Annotated[str, Field(pattern=r"^[0-9*#A-Da-d]{0,16}$")] = ""
    ms: Annotated[int, Field(ge=40, le=8000)] = 160
    pause_ms: Annotated[int, Field(ge=20, le=8000)] = 60
    volume: Annotated[int, Field(ge=1, le=63)] = 10
    what: Literal["media", "sound", "digits"] = "media"


class MediaChanged(View):
    """What came of it. play: the sound's token, and its length in ms; dtmf: ms that it takes; stop: whether there was
    anything; block and unblock: which legs are not heard now, and of which the sound or the digits are not.
    """

    token: int | None = None
    ms: int | None = None
    stopped: bool | None = None
    media: list[Literal["a", "b"]] | None = None
    sound: list[Literal["a", "b"]] | None = None
    digits: list[Literal["a", "b"]] | None = None


class LiveRefused(Exception):
    """The call cannot be done that to, and why."""


class UnknownCall(Exception):
    """There is no such call, or it is another tenant's."""


class Live(Protocol):
    """Implemented by the controller. The dictionaries are like the models above."""

    async def calls(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        """Return the calls."""

    async def call(self, tenant: int | None, call: str) -> dict[str, Any]:
        """Return one call with its legs and flows. Raises UnknownCall."""

    async def control(self, tenant: int | None, call: str, control: CallControl) -> dict[str, Any]:
        """Do something with a call and return it. Raises UnknownCall, LiveRefused."""

    async def media(self, tenant: int | None, call: str, control: MediaControl) -> dict[str, Any]:
        """Change what the legs of a call hear; return what came of it. Raises UnknownCall, LiveRefused."""

    async def flows(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        """Return the flows."""

    async def registrations(self, tenant: int | None) -> Sequence[dict[str, Any]]:
        """Return the contacts that are registered."""

    async def statistics(self, tenant: int | None) -> dict[str, Any]:
        """Return sums."""
