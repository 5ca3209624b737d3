# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator does with a call that is up, be it by the API or by the command line."""

from __future__ import annotations

import secrets
from typing import Any, Protocol

from ctl.exits import NOT_FOUND, USAGE
from ctl.queues.sounds import Sounds
from ctl.recording.recordings import Recordings
from ctl.sessions.call_media import LEGS
from ctl.sessions.media_sessions import MediaRefused, MediaSessions
from ctl.signalling.conductor import Conductor
from ctl.signalling.directory import Directory
from ctl.signalling.trunk_keeper import key_of
from ctl.verbs.control import ControlError
from provisioning.charging import owner
from provisioning.refresh import SnapshotKeeper
from provisioning.routing import Refusal
from sip.call_table import CallState
from sip.effects import Leg
from sip.views import CallView

MUSIC = "tone/music"


class Waiters(Protocol):
    """What is asked of `ctl.queues.desk.Desk`."""

    def release(self, call: str) -> bool:
        """Take a caller out of its queue; whether it waits in one."""


class CallController:
    """One per controller. Every method raises ControlError with what is wrong, and the remedy."""

    def __init__(
        self,
        conductor: Conductor,
        sessions: MediaSessions,
        recordings: Recordings,
        directory: Directory,
        keeper: SnapshotKeeper,
        waiters: Waiters,
        sounds: Sounds,
    ) -> None:
        self._conductor = conductor
        self._sessions = sessions
        self._recordings = recordings
        self._directory = directory
        self._keeper = keeper
        self._waiters = waiters
        self._sounds = sounds

    def owner(self, call: CallView) -> int:
        """Return whose call it is, a tenant."""
        trunk = key_of(call.trunk) if call.trunk else None
        return owner(self._keeper.current, call.caller, call.dialled, trunk)

    def hang_up(self, call: CallView, cause: int) -> None:
        """End it on both legs, with this cause of Q.850."""
        self._conductor.hang_up(call.id, cause)

    def transfer(self, call: CallView, leg: Leg, target: str) -> str:
        """Send one party to somebody else; return the id of the call that this makes, or the call's own in a queue.

        The other party is hung up when somebody answers there, and until then nothing changes for either. What leaves
        by a trunk is at the tenant's cost.
        """
        waits = call.state == CallState.WAITING
        if not waits and call.state != CallState.TALKING:
            raise ControlError(f"call {call.id} is {call.state}, only one that talks or waits is transferred", USAGE)
        made = call.id if waits else secrets.token_hex(12)
        ways = self._directory.onward(made, self.owner(call), call.caller, target)
        if isinstance(ways, Refusal):
            raise ControlError(f"{target} cannot be called ({ways.status} {ways.reason}); see: voxdp route simulate")
        if waits:
            self._waiters.release(call.id)
            self._conductor.connect(call.id, ways)
        elif not self._conductor.send_on(call.id, leg, made, ways, target, call.caller):
            raise ControlError(f"something is under way in call {call.id}; try again in a moment")
        return made

    def hold(self, call: CallView, leg: Leg) -> None:
        """Let neither party hear the other one, and `leg` hear music; neither phone is told."""
        self._must_talk(call)
        if self._sessions.blocked(call.id):
            raise ControlError(f"call {call.id} is on hold already; see: voxdp call resume", USAGE)
        self._block(call, LEGS)
        self._sounds.repeat(call.id, MUSIC, leg)

    def resume(self, call: CallView) -> None:
        """End a hold."""
        self._must_talk(call)
        if not self._sessions.blocked(call.id):
            raise ControlError(f"call {call.id} is not on hold", USAGE)
        for leg in LEGS:
            self._sounds.stop(call.id, leg)
        self._block(call, ())

    def record(self, call: CallView, action: str, consent: Any, **wanted: str) -> dict[str, Any]:
        """Start, stop, pause or resume the recording of a call, or show how it stands."""
        match action:
            case "start":
                self._recordings.start(call.id, consent, **wanted)
            case "stop":
                return self._recordings.stop(call.id)
            case "pause":
                self._recordings.pause(call.id)
            case "resume":
                self._recordings.resume(call.id)
            case "show":
                pass
            case _:
                raise ControlError("action is start, stop, pause, resume or show", USAGE)
        return self._recordings.state(call.id)

    def _must_talk(self, call: CallView) -> None:
        if call.state != CallState.TALKING:
            raise ControlError(f"call {call.id} is {call.state}, only one that talks is held and resumed", USAGE)

    def _block(self, call: CallView, legs: tuple[Leg, ...]) -> None:
        try:
            self._sessions.block(call.id, legs)
        except MediaRefused as refused:
            raise ControlError(f"call {call.id}: {refused.reason}", NOT_FOUND) from None
