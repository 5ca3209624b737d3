# SPDX-License-Identifier: GPL-3.0-or-later
"""Who waits, who works, and who gets whom: the distribution of calls of a tenant's queues. Pure.

Nothing here is held by a process. A caller is there only as long as its lease, which the node that has the call renews;
an agent rings or talks only as long as its caller is there. So a node that dies takes its callers with it, within
LEASE seconds, and frees every agent; and no agent or caller waits for something that nobody does any more.

Times are seconds of Unix time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

LEASE = 10.0
MISSED_SECONDS = 5.0
"""For so long at least an agent who did not answer is not rung again."""
CALLBACK_SECONDS = 86_400.0
CALLBACK_PAUSES = (300.0, 1800.0)
"""Seconds until somebody who did not answer is called back again, each time longer; then no more."""

AgentState = Literal["off", "available", "paused", "ringing", "talking", "wrap_up"]


@dataclass(frozen=True, slots=True)
class QueueRule:
    """One queue; see `models.Queue`. agents: tier by name, in the order in which they are listed."""

    name: str
    strategy: str = "longest_idle"
    by_priority: bool = False
    ring_seconds: float = 20
    wrap_up_seconds: float = 10
    max_wait_seconds: float | None = None
    max_length: int | None = None
    overflow: str | None = None
    announce_seconds: float | None = None
    callback: bool = False
    skills: Mapping[str, int] = field(default_factory=dict)
    agents: Mapping[str, int] = field(default_factory=dict)
    music: str = "tone/music"
    welcome: str | None = None
    position_prompts: str | None = None
    callback_digit: str = "1"


@dataclass(frozen=True, slots=True)
class Here:
    """A call that a node has in a queue since `joined`. agent: who has taken it; number: whom it calls back."""

    queue: str
    joined: float
    caller: str = ""
    priority: int = 0
    agent: str = ""
    number: str | None = None


@dataclass(slots=True)
class Caller:
    """One who waits, rings or talks. number: to be called back, by whichever node; else `node` has the call."""

    id: str
    queue: str
    joined: float
    lease: float
    node: str = ""
    priority: int = 0
    number: str | None = None
    agent: str | None = None
    answered: bool = False
    until: float | None = None
    """While it rings: when that is given up."""
    announced: float = 0.0
    caller: str = ""
    """Who that is, as people see it."""
    tries: int = 0
    """How often it was called back and did not answer."""
    not_before: float = 0.0
    """When it may be called back."""


@dataclass(slots=True)
class Agent:
    """One who takes calls, as `user`. until: the end of the wrap-up. leaving: pauses, or goes, after this call."""

    name: str
    state: AgentState = "off"
    since: float = 0.0
    until: float | None = None
    offered: float = 0.0
    """When it was last rung."""
    leaving: Literal["off", "paused"] | None = None
    wrap_up_seconds: float | None = None
    skills: Mapping[str, int] = field(default_factory=dict)
    user: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """Ring this agent for this caller, so long."""

    caller: str
    agent: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CallBack:
    """Ring this agent; once it answers, call the number."""

    caller: str
    agent: str
    number: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StopRinging:
    """The offer is over: it rang too long, or the agent has gone."""

    caller: str
    agent: str


@dataclass(frozen=True, slots=True)
class Overflow:
    """The caller has left the queue; to: where it goes, None: nowhere, end the call."""

    caller: str
    to: str | None


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell the caller its place in the queue, 1 being next."""

    caller: str
    position: int


Effect = Offer | CallBack | StopRinging | Overflow | Announce


@dataclass(slots=True)
class Board:
    """All callers and agents of a tenant.

    node: who acts now, "" where that has no calls; only what its own calls need is returned to it.
    """

    node: str
    queues: Mapping[str, QueueRule]
    agents: dict[str, Agent] = field(default_factory=dict)
    callers: dict[str, Caller] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)

    def join(self, caller: str, queue: str, now: float, *, priority: int = 0, who: str = "") -> list[Effect]:
        """A call enters a queue; it leaves at once by overflow if the queue is full, or not there."""
        rule = self.queues.get(queue)
        if rule is None or (rule.max_length is not None and self._length(queue) >= rule.max_length):
            return [Overflow(caller, rule.overflow if rule else None)]
        entered = Caller(caller, queue, now, now + LEASE, self.node, priority, announced=now, caller=who)
        self.callers.setdefault(caller, entered)
        return self.tick(now)

    def book(self, caller: str, queue: str, number: str, now: float, *, priority: int = 0) -> list[Effect]:
        """Somebody is to be called back who has no call, by whichever node; ignored where there is no such queue."""
        if queue in self.queues:
            wanted = Caller(caller, queue, now, now + CALLBACK_SECONDS, "", priority, number, announced=now)
            self.callers.setdefault(caller, wanted)
        return self.tick(now)

    def leave(self, caller: str, now: float) -> list[Effect]:
        """A call is over, or is taken out of its queue."""
        self._remove(caller, now)
        return self.tick(now)

    def ask_for_callback(self, caller: str, number: str, now: float) -> list[Effect]:
        """A caller hangs up and keeps its place; ignored where the queue has no callbacks."""
        found = self.callers.get(caller)
        if found is not None and found.agent is None and self.queues[found.queue].callback:
            found.number, found.node, found.lease = number, "", now + CALLBACK_SECONDS
        return self.tick(now)

    def answered(self, caller: str, now: float, agent: str = "") -> list[Effect]:
        """The agent that was rung has answered. The node that rang it has the call from now on.

        agent: who answered, where that is known; it counts even if somebody else was meant to be rung by now.
        """
        self._take(self.callers.get(caller), agent, now)
        return self.tick(now)

    def _take(self, found: Caller | None, agent: str, now: float) -> None:
        if found is not None and not found.answered and agent in self.agents and found.agent != agent:
            self._reassign(found, agent, now)
        if found is not None and found.agent in self.agents and not found.answered:
            found.answered, found.until, found.node, found.lease = True, None, self.node, now + LEASE
            self._set(self.agents[found.agent or ""], "talking", now)

    def _reassign(self, caller: Caller, agent: str, now: float) -> None:
        """Somebody answered late, whose offer the board has taken back; whoever rings it now goes on waiting."""
        holder = next(iter(self._of(agent)), None)
        if holder is not None and holder.answered:
            return
        if holder is not None:
            self._give_back(holder, now)
        self._give_back(caller, now)
        caller.agent = agent

    def called_back(self, caller: str, now: float) -> list[Effect]:
        """Who was to be called back has answered too: nobody owes a call any more, whatever becomes of this one."""
        found = self.callers.get(caller)
        if found is not None and found.answered:
            found.number = None
        return self.tick(now)

    def missed(self, caller: str, now: float) -> list[Effect]:
        """Who was to be called back did not answer the agent: it keeps its place for another time, but not for ever."""
        found = self.callers.get(caller)
        if found is None or found.number is None or found.tries >= len(CALLBACK_PAUSES):
            return self.leave(caller, now)
        found.not_before = now + CALLBACK_PAUSES[found.tries]
        found.tries += 1
        self._give_back(found, now)
        return self.tick(now)

    def refused(self, caller: str, now: float) -> list[Effect]:
        """The agent that was rung declined, was busy, or could not be reached."""
        found = self.callers.get(caller)
        if found is not None and not found.answered:
            self._give_back(found, now)
        return self.tick(now)

    def set_agent(self, agent: str, state: Literal["off", "available", "paused"], now: float) -> list[Effect]:
        """An agent comes, pauses or goes; in a call, once that is over."""
        found = self.agents.get(agent)
        if found is None:
            return self.tick(now)
        if found.state in ("ringing", "talking"):
            found.leaving = None if state == "available" else state
        elif state != found.state:
            self._set(found, state, now)
        return self.tick(now)

    def renew(self, now: float) -> list[Effect]:
        """This node lives, and so do its calls."""
        for caller in self.callers.values():
            if caller.node == self.node and caller.lease >= now:
                caller.lease = now + LEASE
        return self.tick(now)

    def keep(self, calls: Mapping[str, Here], now: float) -> list[Effect]:
        """This node lives, and has these calls and no others: the board learns what it does not know of them.

        So a database that was away for longer than a lease, or a message that was lost, strands nobody.
        """
        self.learn(calls, now)
        return self.tick(now)

    def learn(self, calls: Mapping[str, Here], now: float) -> None:
        """As `keep`, before anything else is done with the board: nobody is brought together yet."""
        for caller in [each for each in self.callers.values() if each.node == self.node]:
            if caller.id in calls:
                caller.lease = now + LEASE
            elif caller.number is not None:
                self._give_back(caller, now)
            else:
                self._remove(caller.id, now)
        for identity, here in calls.items():
            if identity not in self.callers and here.queue in self.queues and here.number is None:
                self.callers[identity] = Caller(
                    identity, here.queue, here.joined, now + LEASE, self.node, here.priority,
                    announced=now, caller=here.caller,
                )  # fmt: skip
            if here.agent:
                self._take(self.callers.get(identity), here.agent, now)

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: end what is over, bring together who fits, and return what is to be done."""
        for caller in list(self.callers.values()):
            self._expire(caller, now)
        for agent in self.agents.values():
            self._free(agent, now)
        for caller in self._in_order():
            due = caller.agent is None and caller.node in ("", self.node) and caller.not_before <= now
            if self.node and due:
                self._offer(caller, now)
        self._announce(now)
        done, self.effects = self.effects, []
        return done

    def position(self, caller: str) -> int:
        """Return the place of a caller in its queue, 1 being next; 0 if it does not wait."""
        found = self.callers.get(caller)
        if found is None or found.agent is not None:
            return 0
        waiting = [each.id for each in self._in_order() if each.agent is None and each.queue == found.queue]
        return waiting.index(caller) + 1

    def _expire(self, caller: Caller, now: float) -> None:
        rule = self.queues.get(caller.queue)
        if caller.lease < now or rule is None:
            self._remove(caller.id, now)
        elif (caller.until is not None and caller.until <= now) or self._lost_agent(caller):
            self._give_back(caller, now)
        waited_out = (
            rule is not None and rule.max_wait_seconds is not None and now - caller.joined >= rule.max_wait_seconds
        )
        if waited_out and caller.agent is None and caller.id in self.callers and caller.node == self.node:
            self._remove(caller.id, now)
            self.effects.append(Overflow(caller.id, rule.overflow if rule else None))

    def _lost_agent(self, caller: Caller) -> bool:
        """Whether it rings an agent who was deleted or disabled."""
        return caller.agent is not None and not caller.answered and caller.agent not in self.agents

    def _free(self, agent: Agent, now: float) -> None:
        """End a wrap-up that is over, and a call whose caller is not there any more."""
        if agent.state == "wrap_up" and (agent.until is None or agent.until <= now):
            self._set(agent, "available", now)
        if agent.state in ("ringing", "talking") and not self._of(agent.name):
            self._wrap_up(agent, agent.wrap_up_seconds or 0.0, now)

    def _of(self, agent: str) -> list[Caller]:
        return [caller for caller in self.callers.values() if caller.agent == agent]

    def _offer(self, caller: Caller, now: float) -> None:
        rule = self.queues[caller.queue]
        able = [
            self.agents[name] for name in rule.agents if name in self.agents and self._fits(self.agents[name], rule)
        ]
        if not able:
            return
        agent = min(able, key=_order(rule))
        agent.offered = now
        self._set(agent, "ringing", now)
        caller.agent, caller.until = agent.name, now + rule.ring_seconds
        if caller.number is None:
            self.effects.append(Offer(caller.id, agent.name, rule.ring_seconds))
        else:
            caller.node, caller.lease = self.node, now + LEASE
            self.effects.append(CallBack(caller.id, agent.name, caller.number, rule.ring_seconds))

    @staticmethod
    def _fits(agent: Agent, rule: QueueRule) -> bool:
        return agent.state == "available" and all(
            agent.skills.get(skill, 0) >= level for skill, level in rule.skills.items()
        )

    def _give_back(self, caller: Caller, now: float) -> None:
        """The agent did not take it: the caller waits on at its place, the agent has a moment of rest."""
        if caller.agent is None:
            return
        if caller.node == self.node:
            self.effects.append(StopRinging(caller.id, caller.agent))
        if (agent := self.agents.get(caller.agent)) is not None:
            self._wrap_up(agent, max(MISSED_SECONDS, self._rest(caller)), now)
        caller.agent, caller.until, caller.answered = None, None, False
        if caller.number is not None:
            caller.node, caller.lease = "", caller.joined + CALLBACK_SECONDS

    def _remove(self, caller: str, now: float) -> None:
        found = self.callers.get(caller)
        if found is None:
            return
        if found.number is not None and found.agent is not None and found.lease < now:
            self._give_back(found, now)  # the node that rang the agent is gone; who wants to be called back is not
            if found.lease >= now:
                return
        del self.callers[caller]
        if found.agent is not None and found.agent in self.agents:
            if not found.answered and found.node == self.node:
                self.effects.append(StopRinging(caller, found.agent))
            self._wrap_up(self.agents[found.agent], self._rest(found) if found.answered else 0.0, now)

    def _rest(self, caller: Caller) -> float:
        """Return the wrap-up after a call: the agent's own, or the queue's."""
        agent = self.agents.get(caller.agent or "")
        if agent is not None and agent.wrap_up_seconds is not None:
            return agent.wrap_up_seconds
        rule = self.queues.get(caller.queue)
        return rule.wrap_up_seconds if rule else 0.0

    def _wrap_up(self, agent: Agent, seconds: float, now: float) -> None:
        if agent.leaving is not None:
            self._set(agent, agent.leaving, now)
        elif seconds > 0:
            self._set(agent, "wrap_up", now)
            agent.until = now + seconds
        else:
            self._set(agent, "available", now)

    @staticmethod
    def _set(agent: Agent, state: AgentState, now: float) -> None:
        agent.state, agent.since, agent.until = state, now, None
        if state not in ("ringing", "talking"):
            agent.leaving = None

    def _length(self, queue: str) -> int:
        return sum(caller.queue == queue and not caller.answered for caller in self.callers.values())

    def _in_order(self) -> Iterator[Caller]:
        """Yield callers in the order in which they are served; in queues without priorities all have the same."""

        def order(caller: Caller) -> tuple[int, float, str]:
            rule = self.queues.get(caller.queue)
            return (-caller.priority if rule and rule.by_priority else 0, caller.joined, caller.id)

        yield from sorted(self.callers.values(), key=order)

    def _announce(self, now: float) -> None:
        places: dict[str, int] = {}
        for caller in self._in_order():
            if caller.agent is not None:
                continue
            places[caller.queue] = places.get(caller.queue, 0) + 1
            every = self.queues[caller.queue].announce_seconds
            mine = caller.node == self.node and caller.number is None
            if mine and every is not None and now - caller.announced >= every:
                caller.announced = now
                self.effects.append(Announce(caller.id, places[caller.queue]))


def _order(rule: QueueRule) -> Callable[[Agent], tuple[float, ...]]:
    """Return by what agents are chosen, the smallest first: tier, then strategy, then the order of the list."""
    listed = {name: place for place, name in enumerate(rule.agents)}

    def order(agent: Agent) -> tuple[float, ...]:
        by = {"longest_idle": agent.since, "round_robin": agent.offered}.get(rule.strategy, 0.0)
        return (rule.agents[agent.name], by, listed[agent.name])

    return order
