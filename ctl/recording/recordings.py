# SPDX-License-Identifier: GPL-3.0-or-later
"""Which calls are recorded, and how what they carry gets to the recorder while it moves between kernel and engine.

A call that the kernel carries stays there: its flows are mirrored. One of the engine is tapped. Each second the flows
of recorded calls are looked at anew. What is recorded is known to the recorder alone, so that a controller that
comes back asks it, and so does one that got no answer. What the recorder does for nobody is ended.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID, uuid4

import structlog

from ctl.config import Config
from ctl.exits import NOT_FOUND, USAGE
from ctl.recording.feeds import Feeds, check_heard, legs_of
from ctl.recording.paths import KEY_VARIABLE, SOCKET_NAME, has_key, spool, store_url
from ctl.sessions.host_carriers import Carriers
from ctl.sessions.media_sessions import MediaSessions
from ctl.sessions.programmer import Programmer
from ctl.signalling.trunk_keeper import key_of
from ctl.verbs.control import ControlError
from media.flows import EngineError
from media.recorder_client import RecorderClient
from media.recording_settings import FILES, LAYOUTS, Format, Layout, RecordingSettings
from provisioning.charging import FIRST_TENANT, owner
from provisioning.plan import EMPTY, RecordingConsent, RecordingPolicy, TenantPlan
from provisioning.snapshot import Snapshot
from provisioning.store import DEFAULT_TENANT
from sip.views import CallView

Consent = Literal["", "given", "announced"]
CONSENTS: tuple[Consent, ...] = ("", "given", "announced")
_NOISE = 13
_PAUSE = 5
"""Looks that pass without a question where none was answered: each could take the second that an answer may take."""

log = structlog.get_logger()


@dataclass(slots=True)
class Recorded:
    """A call that is recorded. settings: None for one that an earlier controller began."""

    id: UUID
    settings: RecordingSettings | None = None


class Recordings:
    """One per controller.

    calls: ids of the calls that are up; tenant: name of the one whose a call is; plans: what all tenants ask for.
    """

    def __init__(
        self,
        config: Config,
        programmer: Programmer,
        sessions: MediaSessions,
        carriers: Carriers,
        calls: Callable[[], Iterable[str]],
        tenant: Callable[[str], str],
        plans: Callable[[], Iterable[TenantPlan]] = tuple,
    ) -> None:
        self._config = config
        self._programmer = programmer
        self._sessions = sessions
        self._calls = calls
        self._tenant = tenant
        self._plans = plans
        self._recorded: dict[str, Recorded] = {}
        self._refused: set[str] = set()
        self._unanswered = False
        self._pause = 0
        self._strays: set[UUID] = set()
        self.finished: Callable[[str, dict[str, Any]], None] = lambda _call, _state: None
        """Told of each recording that has ended."""
        self.client = RecorderClient(config.run.directory / SOCKET_NAME)
        self.feeds = Feeds(programmer, carriers, self.client)

    def restore(self) -> int:
        """Take up what a recorder still records of calls that are up; how many."""
        try:
            states = self.client.states()
        except EngineError:
            return 0
        up = set(self._calls())
        found = [state for state in states if state["call"] in up and not state.get("destination")]
        self._recorded = {state["call"]: Recorded(UUID(state["id"])) for state in found}
        return len(found)

    @property
    def known(self) -> set[UUID]:
        """What is recorded for calls of ours."""
        return {recorded.id for recorded in self._recorded.values()}

    def end_strays(self, known: Collection[UUID]) -> None:
        """End what is under way for none of all who share the recorder: its call ended, or its start was not answered,
        while one of them died or waited in vain. known: what is theirs. What was a stray at the last look too is ended.
        """
        try:
            states = {UUID(state["id"]): state for state in self.client.states()}
            strays = states.keys() - known
            for stray in strays & self._strays:
                state = self.client.stop(stray)
                log.warning("recording ended that was nobody's", call=state["call"], recording=str(stray))
                if not state.get("destination"):
                    self.finished(state["call"], state)
            self._strays = strays - self._strays
        except EngineError:
            self._strays = set()

    def prepare(self) -> None:
        """Have the recorder run where recordings can be sealed: its start takes longer than a proxy waits."""
        section = self._config.recording
        if section.key is None and section.key_file is None:
            return
        try:
            self.ensure()
        except EngineError as error:
            log.error("recorder not started; the first recording will try again", why=str(error))

    def start(self, call: str, consent: Consent = "", **wanted: str) -> UUID:
        """Begin to record a call. wanted: layout and format, if not those configured. Raises ControlError."""
        if call in self._recorded:
            raise ControlError(f"call {call} is recorded already", USAGE)
        settings = self._settings(call, consent, wanted)
        try:
            self.ensure()
            self.client.start(settings)
        except EngineError as error:
            raise ControlError(str(error)) from None
        self._recorded[call] = recorded = Recorded(settings.id, settings)
        self._look_at(call, recorded, up=True)
        log.info("recording started", call=call, recording=str(settings.id), consent=consent)
        return settings.id

    def stop(self, call: str) -> dict[str, Any]:
        """End the recording of a call; what became of it. Raises ControlError."""
        recorded = self._found(call)
        self._refused.add(call)  # by the policy that records all, it would begin again
        state: dict[str, Any] = self._ask(self._end, call, recorded)
        return {**state, "ended": time.time()}

    def pause(self, call: str) -> None:
        """Leave out what is said from now on. Raises ControlError."""
        self._ask(self.client.pause, self._found(call).id)

    def resume(self, call: str) -> None:
        """Take in again what is said. Raises ControlError."""
        self._ask(self.client.resume, self._found(call).id)

    def state(self, call: str) -> dict[str, Any]:
        """What is known of a call's recording; empty if there is none. Raises ControlError."""
        recorded = self._recorded.get(call)
        states = self._ask(self.client.states) if recorded else []
        return next((each for each in states if recorded and each["id"] == str(recorded.id)), {})

    def look(self) -> None:
        """Follow what has changed: flows that moved, calls that ended, calls to be recorded by policy. Each second."""
        if not self._answered():
            return
        if any(policy == "all" for policy in self._policies()):
            self._record_by_policy()
        if not self._recorded and not self._refused:
            return
        up = set(self._calls())
        self._refused &= up
        for call, recorded in list(self._recorded.items()):
            if not self._look_at(call, recorded, call in up):
                return

    def _look_at(self, call: str, recorded: Recorded, up: bool) -> bool:
        """Follow a call or, where it has ended, end its recording; whether to go on, for somebody answers."""
        try:
            if up:
                self._follow(call, recorded)
            else:
                self._end(call, recorded)
        except EngineError as error:
            log.error("recording disturbed", call=call, recording=str(recorded.id), why=str(error))
            self._unanswered = True
            return error.code != "gone"
        return True

    def _answered(self) -> bool:
        """After a disturbance, ask what is recorded still; False while nobody answers that."""
        if not self._unanswered:
            return True
        self._pause -= 1
        if self._pause > 0:
            return False
        try:
            self.ensure()
            under_way = {UUID(state["id"]) for state in self.client.states()}
        except EngineError:
            self._pause = _PAUSE
            return False
        self._unanswered, self._pause = False, 0
        for call, recorded in list(self._recorded.items()):
            if recorded.id not in under_way:
                del self._recorded[call]
                self.feeds.leave(call, recorded.id)
                log.error("recording cut short, the recorder has ended", call=call, recording=str(recorded.id))
        return True

    def close(self) -> None:
        """Let go of the recorder; it ends if it has nothing to record."""
        try:
            if not self.client.states():
                self.client.shutdown()
        except EngineError:
            pass  # there is none
        self.client.close()

    def _policies(self) -> set[RecordingPolicy]:
        usual = self._config.recording.policy
        return {usual, *(plan.recording or usual for plan in self._plans())}

    def _terms(self, tenant: str) -> tuple[RecordingPolicy, RecordingConsent]:
        """What a tenant asks for or, where it says nothing, what is configured."""
        section = self._config.recording
        plan = next((each for each in self._plans() if each.name == tenant), EMPTY)
        return plan.recording or section.policy, plan.recording_consent or section.consent

    def _record_by_policy(self) -> None:
        """Begin with each call that has come up since the last look, if its tenant records all."""
        for call in self._programmer.calls() - self._recorded.keys() - self._refused:
            copied = any(each.copied for each in self._sessions.described(call).get("a", ()))
            if copied or self._terms(self._tenant(call))[0] != "all":  # copies are of a call that is recorded itself
                self._refused.add(call)
                continue
            try:
                self.start(call)
            except ControlError as error:
                self._refused.add(call)
                log.error("call not recorded", call=call, why=str(error))

    def _settings(self, call: str, consent: Consent, wanted: dict[str, str]) -> RecordingSettings:
        section = self._config.recording
        layout: Any = wanted.get("layout") or section.layout
        form: Any = wanted.get("format") or section.format
        if layout not in LAYOUTS or form not in FILES or consent not in CONSENTS:
            raise ControlError(f"layout is one of {', '.join(LAYOUTS)}, format of {', '.join(FILES)}", USAGE)
        tenant = self._tenant(call)
        policy, needed = self._terms(tenant)
        if policy == "off":
            raise ControlError(f"tenant {tenant} records no call; voxdp tenant set {tenant} recording=on-demand", USAGE)
        if needed == "required" and not consent:
            raise ControlError('recording.consent is "required"; say how: --consent given, or announced', USAGE)
        if not has_key(self._config):
            raise ControlError("no key for recordings; set recording.key_file: openssl rand -hex 32 >FILE")
        if not self._programmer.rtp_of(call):
            raise ControlError(f"call {call} has no media yet", NOT_FOUND)
        check_heard(self._sessions, call)
        about = {"call": call, "consent": consent}
        chosen: tuple[Layout, Format] = layout, form
        legs, name = legs_of(self._sessions, call), Feeds.name(call)
        return RecordingSettings(uuid4(), legs, tenant, *chosen, section.rate, about, name)

    def ensure(self) -> None:
        """Have the recorder run. Raises EngineError."""
        section, run = self._config.recording, self._config.run
        if section.key:
            os.environ[KEY_VARIABLE] = section.key.get_secret_value()
        arguments = ["--spool", str(spool(self._config)), "--store", store_url(self._config)]
        arguments += ["--bpffs", str(self._config.xdp.bpffs)]
        arguments += ["--keys", str(section.key_file)] if section.key_file else []
        arguments += ["--ca", str(section.forward_ca)] if section.forward_ca else []
        arguments += [] if has_key(self._config) else ["--keyless"]
        self.client.ensure("ctl.recording.recorder", arguments, run.directory / "recorder.log")

    def _follow(self, call: str, recorded: Recorded) -> None:
        """Copy each flow of the call, and have the recorder know what its legs may send."""
        self._follow_codecs(call, recorded)
        self.feeds.follow(call, recorded.id)

    def _follow_codecs(self, call: str, recorded: Recorded) -> None:
        if recorded.settings is None:
            return
        legs = legs_of(self._sessions, call)
        if legs != recorded.settings.legs:
            recorded.settings = replace(recorded.settings, legs=legs)
            self.client.change(recorded.settings)

    def _end(self, call: str, recorded: Recorded) -> dict[str, Any]:
        """End a recording; what became of it. Raises EngineError."""
        state = self.client.stop(recorded.id)
        del self._recorded[call]
        self.feeds.leave(call, recorded.id)
        self.finished(call, state)
        log.info("recording ended", call=call, recording=str(recorded.id), seconds=round(state["seconds"], 1))
        return state

    def _found(self, call: str) -> Recorded:
        recorded = self._recorded.get(call)
        if recorded is None:
            raise ControlError(f"call {call} is not recorded", NOT_FOUND)
        return recorded

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except EngineError as error:
            raise ControlError(str(error)) from None


def tenant_of(snapshot: Snapshot, call: CallView | None) -> str:
    """Return the name of the tenant whose call it is; None, which proxies signal, is the first one's."""
    trunk = key_of(call.trunk) if call and call.trunk else None
    tenant = owner(snapshot, call.caller, call.dialled, trunk) if call else FIRST_TENANT
    return snapshot.plan(tenant).name or DEFAULT_TENANT
