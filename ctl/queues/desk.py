# SPDX-License-Identifier: GPL-3.0-or-later
"""The queues of every tenant as this host serves them: what signalling tells goes to the board, and back.

The board of a tenant is in PostgreSQL (`provisioning.acd_store`), so any number of hosts serve one queue. This one
tells it, each second and with each event, which calls it has; whatever the board does not know of them it learns, and
what it believes of others here is over. While PostgreSQL is away nobody loses a place: callers hear music, and are
told again.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from ctl.queues.duty import Duties
from ctl.queues.services import duty_of, queue_of, queue_service
from ctl.queues.sounds import BUSY, RINGING, Sounds
from ctl.queues.waiting import Attended, Stage, call_for, calls_back, entry_of
from provisioning.acd import (
    Announce,
    Board,
    CallBack,
    Offer,
    Overflow,
    QueueRule,
    StopRinging,
)
from provisioning.acd import Effect as BoardEffect
from provisioning.errors import ProvisioningError
from provisioning.routing import Refusal
from sip.effects import CallEnded, Effect, Joined, Leg, Target, Unreached, Waiting
from sip.views import CallView

TICK_SECONDS = 1.0
FIND_SECONDS = 5.0
NORMAL, BUSY_CAUSE, NO_ANSWER, UNREACHABLE = 16, 17, 19, 41
NEVER = frozenset({1, 22, 28})
"""Causes of Q.850 after which the same number is not called again: nobody has it, or it is none."""
DEFAULT_MUSIC = QueueRule("").music
CALLED_BACK = "queue/callback"

log = structlog.get_logger()
Change = Callable[[Board], list[BoardEffect]]


class Signalling(Protocol):
    """What is asked of the conductor."""

    def connect(self, call: str, targets: Iterable[Target], peer: str = "") -> None:
        """Find somebody for a caller that waits."""

    def give_up(self, call: str) -> None:
        """Seek nobody any more for it."""

    def originate(self, call: str, targets: Iterable[Target], user: str, shown: str, service: str) -> None:
        """Call somebody ourselves."""

    def hang_up(self, call: str, cause: int) -> None:
        """End a call."""

    def waits(self, call: str) -> bool:
        """Whether a call waits, and nobody is sought for it."""


class Ways(Protocol):
    """What is asked of the directory."""

    def agent(self, username: str, seconds: float) -> Target:
        """A user as a target."""

    def onward(self, call: str, tenant: int, caller: str, dialled: str) -> tuple[Target, ...] | Refusal:
        """Where a call goes that the tenant sends on."""


class Boards(Protocol):
    """What is asked of the database."""

    async def act(self, tenant: int, change: Change) -> tuple[list[BoardEffect], Board]:
        """Change the board of a tenant; what is to be done, and the board. Raises ProvisioningError, psycopg.Error."""

    async def occupied(self) -> set[int]:
        """The tenants on whose boards somebody is. Raises as `act` does."""


class Desk:
    """One per host. `told` and `digit` are called from the event loop, `run` is its task."""

    def __init__(self, boards: Boards, signalling: Signalling, ways: Ways, sounds: Sounds) -> None:
        self._boards = boards
        self._signalling = signalling
        self._ways = ways
        self._sounds = sounds
        self._calls: dict[str, Attended] = {}
        self._changes: dict[int, list[Change]] = {}
        self._occupied: set[int] = set()
        self._woken = asyncio.Event()
        self._trouble = ""
        self._attempts = 0
        self._duties = Duties(self._change, signalling, sounds)
        self.counts: Counter[str] = Counter()
        self.full: set[tuple[int, str]] = set()
        """The queues that have as many callers as they may, as of the last look."""

    # --- what signalling tells ---

    def told(self, effect: Effect) -> None:
        """Something happened to a call that waits, or did."""
        match effect:
            case Waiting():
                self._waiting(effect)
            case Joined():
                self._joined(effect)
            case Unreached():
                self._unreached(effect)
            case CallEnded() if effect.service:
                self._ended(effect)

    def digit(self, call: str, leg: Leg, digit: str, _milliseconds: float | None) -> None:
        """A caller who waits wants to be called back; any other digit is nothing."""
        found = self._calls.get(call)
        rule = found.rule if found else None
        if found is None or rule is None or leg != "a" or found.stage is not Stage.WAITING:
            return
        if not rule.callback or digit != rule.callback_digit or not self._signalling.waits(call):
            return
        found.stage, found.number = Stage.ASKED, found.caller
        self._change(found.tenant, lambda board: board.ask_for_callback(found.entry, found.number, time.time()))
        self.counts["called back"] += 1
        self._sounds.say(call, CALLED_BACK, lambda: self._signalling.hang_up(call, NORMAL))

    def release(self, call: str) -> bool:
        """Take a caller out of its queue to send it on; it is back at its place if nobody answers there."""
        found = self._calls.get(call)
        if found is None or found.stage is not Stage.WAITING:
            return False
        found.stage, found.returns = Stage.SENT_ON, True
        self._wake(found.tenant)
        return True

    def here(self) -> Counter[tuple[int, str]]:
        """Return how many calls of this host wait in each queue."""
        waiting = (found for found in self._calls.values() if found.stage is Stage.WAITING)
        return Counter((found.tenant, found.queue) for found in waiting)

    def restore(self, calls: Iterable[CallView], monotonic: float, wall: float) -> None:
        """Take up the calls that a former process had in queues. The clocks: what both showed at one moment."""
        for view in calls:
            queue = queue_of(view.service)
            if queue is None:
                continue
            if calls_back(view.id) and view.joined is None:
                self._signalling.hang_up(view.id, UNREACHABLE)  # its place on the board is as it was
                continue
            joined = wall - (monotonic - (view.attended if view.attended is not None else view.started))
            found = Attended(view.id, entry_of(view.id), *queue, joined, view.caller, trunk=view.trunk, entered=True)
            self._calls[view.id] = found
            if view.joined is not None:
                found.stage, found.agent = (Stage.TALKING, view.peer) if view.peer else (Stage.SENT_ON, "")
            self._wake(found.tenant)

    def _waiting(self, effect: Waiting) -> None:
        duty, queue = duty_of(effect.service), queue_of(effect.service)
        if duty is not None:
            self._duties.take(effect, *duty)
            return
        if queue is None:
            return
        found = self._calls.get(effect.call)
        if found and found.stage is Stage.CALLING_AGENT:
            self._agent_answered(found)
            return
        if found:  # it comes from another queue
            entry = found.entry
            self._change(found.tenant, lambda board: board.leave(entry, time.time()))
        made = Attended(effect.call, effect.call, *queue, time.time(), effect.caller, trunk=effect.trunk)
        self._calls[effect.call] = made
        self.counts["entered"] += 1
        self._change(made.tenant, lambda board: board.join(made.entry, made.queue, time.time(), who=made.caller))

    def _joined(self, effect: Joined) -> None:
        self._sounds.stop(effect.call)
        found = self._calls.get(effect.call)
        if found is None or found.stage is Stage.SENT_ON:
            self._calls.pop(effect.call, None)
        elif found.stage is Stage.CALLING_BACK:
            self._change(found.tenant, lambda board: board.called_back(found.entry, time.time()))
        elif found.stage is Stage.WAITING:
            found.stage, found.agent = Stage.TALKING, effect.peer
            self.counts["answered"] += 1
            self._change(found.tenant, lambda board: board.answered(found.entry, time.time(), effect.peer))

    def _unreached(self, effect: Unreached) -> None:
        found = self._calls.get(effect.call)
        if found is None:
            return
        if found.returns:
            found.stage, found.returns = Stage.WAITING, False
            self._wake(found.tenant)
        elif found.stage in (Stage.SENT_ON, Stage.CALLING_BACK):
            found.again = effect.cause not in NEVER
            self._signalling.hang_up(effect.call, effect.cause)
        else:
            self._change(found.tenant, lambda board: board.refused(found.entry, time.time()))

    def _ended(self, effect: CallEnded) -> None:
        found = self._calls.get(effect.call)
        if found and found.stage is Stage.ASKED:
            found.over = True
            return
        self._calls.pop(effect.call, None)
        if found is None:
            return
        if found.stage is Stage.WAITING:
            self.counts["abandoned"] += 1
        if found.stage is Stage.CALLING_AGENT:
            self._change(found.tenant, lambda board: board.refused(found.entry, time.time()))
        elif found.stage is Stage.CALLING_BACK and found.again:
            self._change(found.tenant, lambda board: board.missed(found.entry, time.time()))
        elif found.stage is not Stage.SENT_ON:
            self._change(found.tenant, lambda board: board.leave(found.entry, time.time()))

    # --- the board ---

    async def run(self) -> None:
        """Serve the queues until cancelled."""
        looked = 0.0
        while True:
            try:
                if time.monotonic() - looked > FIND_SECONDS:
                    self._occupied = await self._boards.occupied()
                    looked, served = time.monotonic(), set(self._tenants())
                    self.full -= {key for key in self.full if key[0] not in served}
                for tenant in self._tenants():
                    await self._serve(tenant)
                self._note("")
            except (ProvisioningError, DatabaseError, PoolTimeout, OSError) as error:
                self._note(str(error).strip() or type(error).__name__)
                self._begin_sounds(None)
                await asyncio.sleep(TICK_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._woken.wait()
            self._woken.clear()

    def _tenants(self) -> list[int]:
        mine = {found.tenant for found in self._calls.values()}
        return sorted(mine | self._changes.keys() | self._occupied)

    async def _serve(self, tenant: int) -> None:
        changes = self._changes.pop(tenant, [])
        calls = {
            found.entry: here
            for found in self._calls.values()
            if found.tenant == tenant and found.entered and (here := found.here) is not None
        }

        def change(board: Board) -> list[BoardEffect]:
            board.learn(calls, time.time())
            effects = [effect for each in changes for effect in each(board)]
            return effects + board.tick(time.time())

        try:
            effects, board = await self._boards.act(tenant, change)
        except BaseException:
            self._changes[tenant] = changes + self._changes.get(tenant, [])
            raise
        self._calls = {call: found for call, found in self._calls.items() if not found.over or found.tenant != tenant}
        self._learn(tenant, board)
        for effect in effects:
            self._carry_out(tenant, effect, board)

    def _learn(self, tenant: int, board: Board) -> None:
        """Note what the board has of queues: their rules, and that somebody is on it."""
        for found in self._calls.values():
            if found.tenant == tenant:
                found.rule, found.entered = board.queues.get(found.queue), True
        lengths = Counter(caller.queue for caller in board.callers.values() if not caller.answered)
        full = {(tenant, rule.name) for rule in board.queues.values() if _at_most(rule, lengths[rule.name])}
        self.full -= {key for key in self.full if key[0] == tenant}
        self.full |= full
        (self._occupied.add if board.callers else self._occupied.discard)(tenant)
        self._begin_sounds(tenant)

    def _begin_sounds(self, tenant: int | None) -> None:
        """Let those who have just come, or been taken up again, hear something. tenant: all of them where None."""
        for found in list(self._calls.values()):
            if found.welcomed or found.stage is not Stage.WAITING or tenant not in (None, found.tenant):
                continue
            found.welcomed = True
            if found.rule and found.rule.welcome:
                self._sounds.say(found.call, found.rule.welcome, partial(self._play_music, found))
            else:
                self._play_music(found)

    def _play_music(self, found: Attended) -> None:
        if found.stage is Stage.WAITING and self._calls.get(found.call) is found:
            self._sounds.repeat(found.call, found.rule.music if found.rule else DEFAULT_MUSIC)

    # --- what the board wants ---

    def _carry_out(self, tenant: int, effect: BoardEffect, board: Board) -> None:
        match effect:
            case CallBack():
                self._call_back(tenant, effect, board)
            case Offer():
                self._offer(tenant, effect, board)
            case StopRinging():
                self._stop_ringing(effect)
            case Overflow():
                self._overflow(effect)
            case Announce():
                self._announce(effect)

    def _of(self, entry: str) -> Attended | None:
        return next((found for found in self._calls.values() if found.entry == entry), None)

    def _offer(self, tenant: int, effect: Offer, board: Board) -> None:
        found = self._of(effect.caller)
        if found is None or not self._signalling.waits(found.call):
            self._change(tenant, lambda each: each.refused(effect.caller, time.time()))
            return
        target = self._ways.agent(board.agents[effect.agent].user, effect.seconds)
        self._signalling.connect(found.call, (target,), effect.agent)

    def _stop_ringing(self, effect: StopRinging) -> None:
        found = self._of(effect.caller)
        if found and found.stage is Stage.CALLING_AGENT:
            self._signalling.hang_up(found.call, NO_ANSWER)
        elif found and found.stage is Stage.WAITING:
            self._signalling.give_up(found.call)

    def _announce(self, effect: Announce) -> None:
        found = self._of(effect.caller)
        if found and found.stage is Stage.WAITING and found.rule and found.rule.position_prompts:
            prompt = f"{found.rule.position_prompts}/{effect.position}"
            self._sounds.say(found.call, prompt, lambda: self._play_music(found))

    def _overflow(self, effect: Overflow) -> None:
        found = self._of(effect.caller)
        if found is None:
            return
        found.stage = Stage.SENT_ON
        self.counts["overflowed"] += 1
        if effect.to is None:
            self._sounds.say(found.call, BUSY, lambda: self._signalling.hang_up(found.call, NO_ANSWER))
            return
        ways = self._ways.onward(found.call, found.tenant, found.caller, effect.to)
        if isinstance(ways, Refusal):
            log.warning("a queue overflows to where nothing leads", queue=found.queue, to=effect.to, why=ways.reason)
            self._signalling.hang_up(found.call, UNREACHABLE)
        else:
            self._sounds.repeat(found.call, found.rule.music if found.rule else DEFAULT_MUSIC)
            self._signalling.connect(found.call, ways)

    # --- callbacks ---

    def _call_back(self, tenant: int, effect: CallBack, board: Board) -> None:
        self._attempts += 1
        caller = board.callers[effect.caller]
        call = call_for(effect.caller, int(time.time()) * 1000 + self._attempts % 1000)
        made = Attended(call, effect.caller, tenant, caller.queue, caller.joined, caller.caller, Stage.CALLING_AGENT,
                        effect.agent, effect.number)  # fmt: skip
        self._calls[call] = made
        user = board.agents[effect.agent].user
        service = queue_service(tenant, caller.queue)
        self._signalling.originate(call, (self._ways.agent(user, effect.seconds),), user, effect.number, service)

    def _agent_answered(self, found: Attended) -> None:
        """The agent is there: now the one who wanted to be called back is called, at the agent's cost."""
        found.stage = Stage.CALLING_BACK
        self._change(found.tenant, lambda board: board.answered(found.entry, time.time(), found.agent))
        ways = self._ways.onward(found.call, found.tenant, "", found.number)
        if isinstance(ways, Refusal):
            log.warning("nobody can be called back there", number=found.number, why=ways.reason)
            found.again = False
            self._sounds.say(found.call, BUSY, lambda: self._signalling.hang_up(found.call, UNREACHABLE))
            return
        self._sounds.repeat(found.call, RINGING)
        self._signalling.connect(found.call, ways, found.agent)

    # --- helpers ---

    def _change(self, tenant: int, change: Change) -> None:
        self._changes.setdefault(tenant, []).append(change)
        self._woken.set()

    def _wake(self, tenant: int) -> None:
        self._changes.setdefault(tenant, [])
        self._woken.set()

    def _note(self, trouble: str) -> None:
        if trouble and not self._trouble:
            log.warning("queues wait for PostgreSQL", why=trouble)
        elif self._trouble and not trouble:
            log.info("queues are served again")
        self._trouble = trouble


def _at_most(rule: QueueRule, length: int) -> bool:
    """Whether a queue has as many callers as it may."""
    return rule.max_length is not None and length >= rule.max_length
