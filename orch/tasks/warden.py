"""The warden: the part of every worker that looks.

A thread of the main process, with a Redis client and a broker connection of its own (a child
may be forked at any moment, so it shares no lock with code that runs in children). It says
that the worker lives and what it holds, takes what is due from the watch, and settles the
attempts of children that died.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from celery import Celery, bootsteps, signals
from celery.worker import WorkController

from orch.app import BROKER_AWAY, broker_away, queue_depth
from orch.control.addresses import node_at
from orch.control.handing_on import HandingOn
from orch.control.runtime import Runtime
from orch.control.workers import PARENT_VARIABLE
from orch.embedded import Lease
from orch.errors import NotFound, OrchError, Unreachable
from orch.journal.line import Line
from orch.rabbitmq import PATIENCE, drop, is_rabbitmq
from orch.settings import Settings
from orch.tasks import request as step_request
from orch.tasks.acknowledging import Acknowledging
from orch.tasks.ageing import Ageing
from orch.tasks.breaker import attempt_of, note_change
from orch.tasks.draining import Draining, is_draining
from orch.tasks.drawn_tokens import drawn_now
from orch.tasks.drawn_tokens import tokens as drawn_tokens
from orch.tasks.giving_back import give_back, give_back_held
from orch.tasks.incarnation import current_incarnation, message_of, parse_owner
from orch.tasks.lookout import LOOK_EVERY, Lookout
from orch.tasks.overdue import Overdue
from orch.tasks.presence import Presence
from orch.tasks.remembering import Remembering
from orch.tasks.step import timeout_of
from orch.tasks.tally import current_tally
from orch.tasks.usage import Usage
from orch.workflows.agents import queues_of_agent
from orch.workflows.node import HEARTBEAT_TIMEOUT, STEP_TIMEOUT, Node
from orch.workflows.outcome import Failed, Failure
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung, rung_of
from orch.workflows.state import StepState, StepStatus

logger = logging.getLogger(__name__)


OVERTAKEN = 2000
"""Ms by which a queue must have overtaken a token before its message counts as lost."""

RESTING = frozenset(
    {
        StepStatus.DISPATCHED,
        StepStatus.RETRYING,
        StepStatus.WAITING,
        StepStatus.JOINING,
        StepStatus.POLLING,
        StepStatus.LISTENING,
        StepStatus.EMITTING,
        StepStatus.CALLING,
        StepStatus.EXTERNAL,
        StepStatus.ESCALATED,
    }
)
"""What does not move while its execution or branch is paused; what runs or has joined may end."""

SHORTER = 4
"""How many times shorter than `watch_interval` a pause may be, where a token is due so soon."""

IDLE = 2.5
"""How many times `watch_interval` a pause is while there is no token at all, and no message comes
to this worker."""

SWEEP, SWEEP_RARELY = 60.0, 600.0
"""Seconds until the next piece of the index is swept; rarely where all of it was seen."""

HELD_MARGIN = 1000
"""Ms that a worker has to know of a step that one of its processes claimed."""

TOLD_TO_END = "its worker was told to end"
"""Why an attempt is lost that must not be made anew."""

LEAVING = 0.05
"""Seconds between looks of a worker that is to leave whether it has finished."""

PLACED = 15_000
"""Ms after which it is asked again where a token belongs for which an agent was chosen."""

SILENT = 500
"""Ms between looks at a token whose worker is silent, and not dead."""


class _Loss(NamedTuple):
    """A process of the pool that is gone, and where it was.

    ``drawn``: that is known, since it had drawn the message. ``waited``: it did something else.
    """

    execution: str
    path: str
    pid: int | None
    reason: str
    drawn: bool = False
    waited: bool = False


class Warden:
    """Looks after tokens. ``served``: names the queues that this worker consumes; ``offered``: what
    it has code for, and what is known of each."""

    lookout: Lookout | None = None
    ageing: Ageing | None = None
    draining: Draining | None = None
    _idle = False

    def __init__(
        self,
        settings: Settings,
        url: str,
        app: Celery,
        *,
        served: Callable[[], list[str]] = list,
        about: dict[str, Any] | None = None,
        lease: Lease | None = None,
        offered: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.incarnation = current_incarnation()
        self.line = Line(settings.namespace, self.incarnation, settings.liveness_ttl)
        self.runtime = Runtime(
            settings, url, app, producer=self._own_producer, opened=self.line.opened
        )
        self.journal = self.runtime.journal
        self.advancer = self.runtime.advancer
        self.lookout = Lookout(self.journal, self.line, self.incarnation, self.hand_on)
        self.served = served
        self.about = about or {}
        kind = {"type": settings.agent_type, "host": socket.gethostname(), **self.about}
        self.presence = Presence(self.journal, self.incarnation, offered or {}, kind)
        self.lease = lease
        self._usage = Usage()
        self.overdue = Overdue(self.runtime)
        self.ageing = Ageing(self.runtime)
        rabbitmq = is_rabbitmq(settings.broker_url or url)
        self.acknowledging = Acknowledging() if rabbitmq else None
        self.remembering = Remembering(self.journal)
        self._lost: queue.SimpleQueue[_Loss] = queue.SimpleQueue()
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._stopping = False
        self._held_at_end: set[str] = set()
        self._alive_said = 0.0
        self._sweep_due = time.monotonic() + SWEEP
        self._streamed = float("-inf")
        self._connection: Any = None
        self._producer: Any = None
        self._away = False
        self._thread = threading.Thread(target=self._run, name="orch-warden", daemon=True)

    # --- life ------------------------------------------------------------------------------

    def start(self) -> None:
        step_request.on_child_lost = self.child_lost
        step_request.on_taken = self.taken
        self._thread.start()

    def stop(self) -> None:
        """End the thread and take the worker off the list of live ones."""
        self._stopping = True
        self.wake()
        self._thread.join(timeout=5)
        try:
            self.presence.tell(last=True)
            for execution in sorted({token.partition(" ")[0] for token in self._held_at_end}):
                give_back_held(self.runtime, execution, None, TOLD_TO_END)
            self.journal.remove_worker(self.incarnation)
        except OrchError:
            logger.debug("the sign of life is left to expire: Redis is away")

    def drain(self) -> None:
        """Say that this worker takes nothing new; it goes on saying what it holds."""
        self._held_at_end = {token for token, _ in step_request.held_messages()} | drawn_now()
        self.served = list
        self._alive_said = 0.0
        self.wake()

    def _go_on_draining(self) -> None:
        """Take nothing new where that is asked, and leave when nothing is left. Raises nothing."""
        if self.draining is None:
            return
        try:
            if self.draining.look():
                self._alive_said = 0.0
                self.say_alive()
        except Unreachable:
            logger.debug("nobody can say whether this worker is to take nothing new")
        try:
            self.draining.go_on()
        except Exception:
            logger.exception("what waits for this worker is left to the watch")

    def hand_on(self, agent: str = "") -> object:
        """Give what lies in the queues of an agent to others, as far as that may be.

        ``agent``: one that is gone; without it, this one.
        """
        name, lists = agent or str(self.about["name"]), self.runtime.lists
        if lists is not None and not any(
            self.journal.read(lists.hold, queue) for queue in queues_of_agent(name)
        ):
            return None
        self.runtime.placing.forget()
        return HandingOn(self.runtime, self._own_producer().connection).hand_on(name)

    def child_lost(self, execution: str, path: str, pid: int | None, reason: str) -> None:
        """Told by the main loop, which must not wait: dealt with by our thread at once."""
        drawn = drawn_tokens.take(pid)
        for each in sorted(drawn, key=lambda each: each.waits):
            waited = each.waits and len(drawn) > 1
            self._lost.put(_Loss(each.execution, each.path, pid, reason, drawn=True, waited=waited))
        self._lost.put(_Loss(execution, path, pid, reason))
        self.wake()

    def taken(self) -> None:
        """Told by the main loop that a message has come: what it leads to may be due at once."""
        if self._idle:
            self._idle = False
            self.wake()

    def _run(self) -> None:
        pause = longest = self.settings.watch_interval
        while not self._stopping:
            try:
                pause = self._until(self._tick())
                if self._away:
                    logger.info("Redis and the broker answer again")
                self._away = False
            except Unreachable as exc:
                self._on_unreachable(exc)
                pause = min(max(pause, longest) * 2, 2.0)
            except Exception:
                logger.exception("the warden met an error that it does not know")
                pause = min(max(pause, longest) * 2, 2.0)
            self._go_on_draining()
            if self.draining is not None and self.draining.leaves:
                pause = min(pause, LEAVING)
            self._sleep(pause)

    def wake(self) -> None:
        """Have the thread look now. A signal handler may call it: no lock is taken."""
        self._wakes.put(None)

    def _sleep(self, pause: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._wakes.get(timeout=pause)
            while True:
                self._wakes.get_nowait()

    def _tick(self) -> int | None:
        """When the next token is due, ms."""
        self._end_with_parent()
        self.journal.read(self.line.check)
        self.say_alive()
        due = self.look()
        self.say_alive()  # by another connection, if it is one
        self._keep_stream()
        self.overdue.end()
        if self.acknowledging is not None:
            self.acknowledging.look()
        if time.monotonic() > self._sweep_due:
            self.journal.forget_expired()
            rest = SWEEP if self.journal.is_sweeping else SWEEP_RARELY
            self._sweep_due = time.monotonic() + rest
        self.remembering.look()
        return due

    def _until(self, due: int | None) -> float:
        """Seconds to sleep until a token is due: never long, nor so short as to look all the time.

        What becomes due in the meantime is in the watch of others too: were the pause any
        shorter, a hundred workers would ask at the instant of each of a thousand timers.
        """
        longest = self.settings.watch_interval
        shortest = longest / SHORTER
        if due is None:
            pause = longest * (IDLE if self._idle else 1)
        else:
            pause = min(max((due - self.journal.clock()) / 1000, shortest), longest)
        if self.lookout is not None and longest <= LOOK_EVERY:
            # Who has died is not seen later for the rhythm of the watch, unless that is meant.
            pause = min(pause, max(self.lookout.rest, shortest))
        return pause

    def _keep_stream(self) -> None:
        if self.settings.stream != "on":
            return
        if time.monotonic() - self._streamed > self.settings.stream_retention / 4:
            self.journal.keep_stream()
            self._streamed = time.monotonic()

    def _on_unreachable(self, exc: Unreachable) -> None:
        if not self._away:
            logger.warning("the warden waits: %s", exc)
        self._away = True
        self._drop_connection()
        if self.lease is not None:
            try:
                self.lease.revive()
            except OrchError as problem:
                logger.warning("%s", problem)

    def _end_with_parent(self) -> None:
        parent = os.environ.get(PARENT_VARIABLE)
        if parent and os.getppid() != int(parent):
            os.environ.pop(PARENT_VARIABLE)
            logger.warning("the process that started this worker is gone; ending")
            os.kill(os.getpid(), signal.SIGTERM)

    # --- signs of life ---------------------------------------------------------------------

    def say_alive(self) -> None:
        """Say that this worker lives and what it holds, if the last time is long enough ago."""
        said_ago = time.monotonic() - self._alive_said
        if said_ago < self.settings.liveness_interval and not self.line.changed:
            return
        offered = self.presence.said()  # the first word to Redis: it opens the line
        self.line.changed = False
        ttl = int(self.settings.liveness_ttl * 1000)
        kept = max(int(self.settings.liveness_limit * 1000) - ttl, 0) if self.line.number else 0
        held = set(step_request.held_messages())
        content = {
            "id": self.incarnation,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "queues": [] if is_draining() else self.served(),
            "draining": is_draining(),
            **self.about,
            **offered,
            "at": self.journal.clock(),
            "holds": sorted({token for token, _ in held} | drawn_now()),
            "messages": sorted({mark for _, mark in held}),
            "line": self.line.number,
            "kept": kept,
            "tally": {n: found.as_list() for n, found in current_tally().read().items()},
            "usage": self._usage.read(),
        }
        self.journal.renew_worker(self.incarnation, json.dumps(content), ttl, kept)
        self._alive_said = time.monotonic()
        self.presence.tell()

    def _settle_lost_children(self) -> None:
        while not self._lost.empty():
            loss = self._lost.get()
            try:
                self._settle_lost_child(loss)
            except Unreachable:
                self._lost.put(loss)
                raise

    def _settle_lost_child(self, loss: _Loss) -> None:
        execution, pid = loss.execution, loss.pid
        if loss.waited:
            give_back_held(self.runtime, execution, pid, loss.reason)
            return
        found = self.journal.read_state(execution, loss.path)
        tokens = [] if found is None else [(loss.path, found[1])]
        if not any(self._was_held(state, pid) for _, state in tokens):
            # Its message was for another item of the same map, behind which it went on.
            tokens = self.journal.running(execution)
        for held_at, state in tokens:
            if not self._was_held(state, pid):
                continue
            if self.draining is not None and self.draining.ended:
                give_back(self.runtime, execution, held_at, state, TOLD_TO_END)
            else:
                self.advancer.lose(execution, held_at, state, loss.reason)
        if loss.drawn:  # the others of its bundle did nothing
            give_back_held(self.runtime, execution, pid, loss.reason)

    def _was_held(self, state: StepState, pid: int | None) -> bool:
        """Whether our process of this number runs it."""
        running = state.status is StepStatus.RUNNING
        return running and parse_owner(state.owner) == (self.incarnation, pid)

    # --- the watch -------------------------------------------------------------------------

    def look(self) -> int | None:
        """Deal with every token that is due; when the next one is, ms."""
        while not self._stopping:
            self._settle_lost_children()  # not after the last of a hundred thousand tokens
            if self.lookout is not None:
                self.lookout.look()
            if is_draining():
                self._go_on_draining()
            if self._idle and not self.journal.is_watched():
                return None
            following, due = self.journal.take_due()
            self._idle = following is None
            if not due:
                return following
            depths: dict[str, int] = {}
            for execution, path in due:
                self.say_alive()
                try:
                    self._look_at(execution, path, depths)
                except Unreachable:
                    raise
                except NotFound as exc:
                    logger.error("token %s of execution %s: %s", path, execution, exc)
                except Exception:
                    # One token that cannot be dealt with must not keep the others waiting.
                    logger.exception("token %s of execution %s", path, execution)
        return None

    def _look_at(self, execution: str, path: str, depths: dict[str, int]) -> None:
        if not path:
            self.advancer.look_at_whole(execution)
            return
        found = self.journal.read_state(execution, path)
        if found is None:
            self.journal.postpone(execution, path, "", 0)
            return
        text, state = found
        if state.status in RESTING and self._rests(execution, path, text, state):
            return
        match state.status:
            case StepStatus.DISPATCHED:
                self._look_at_dispatched(execution, path, text, state, depths)
            case StepStatus.RUNNING:
                self._look_at_running(execution, path, text, state)
            case StepStatus.RETRYING | StepStatus.POLLING:
                self.advancer.redispatch(execution, path, state)
            case StepStatus.WAITING:
                self.advancer.fire(execution, path, state)
            case StepStatus.JOINED | StepStatus.ENTERING:
                self.advancer.join(execution, path)
            case StepStatus.JOINING:
                self._look_at_joining(execution, path, text, state)
            case StepStatus.EMITTING:
                self.advancer.emit(execution, path)
            case StepStatus.LISTENING:
                limit = self.advancer.look_at_listening(execution, path, state)
                # Before an event that came in vain could be forgotten.
                longest = min(self.settings.recheck_limit, self.settings.event_retention / 4)
                due = self._later(state, longest)
                self.journal.postpone(execution, path, text, min(due, limit) if limit else due)
            case StepStatus.CALLING:
                self._look_at_calling(execution, path, text, state)
            case StepStatus.EXTERNAL:
                self._look_at_external(execution, path, text, state)
            case StepStatus.ESCALATED:
                again = self.advancer.look_at_escalated(execution, path, state)
                if again is not None:
                    self.journal.postpone(execution, path, text, again)
            case _:
                self.journal.postpone(execution, path, text, 0)

    def _rests(self, execution: str, path: str, text: str, state: StepState) -> bool:
        """Whether it belongs to a paused execution or branch, and is looked at again much later.

        Its resumption gives every token its place in the watch anew. One script asks and
        postpones: put off after the resumption, a timer that is over would not fire at once.
        """
        soonest = self.journal.clock() + int(self.settings.recheck_interval * 1000)
        due = max(self._later(state, self.settings.recheck_limit), soonest)
        return self.journal.postpone(execution, path, text, due, while_paused=True)

    def _look_at_dispatched(
        self, execution: str, path: str, text: str, state: StepState, depths: dict[str, int]
    ) -> None:
        """Nobody has claimed it in time: is its message still in the queue?

        Empty queue: it was lost. Else a claim of a message that was sent well after ours
        says that ours was overtaken, so lost too. Else it waits its turn: look again when
        the queue should have come so far, but not before it is a quarter older (the queue
        may stand still), and at the latest when it is twice as old.
        """
        key = self.journal.plan_of(execution)
        if key is None:
            return
        node = self.runtime.plans.get(key).node(path)
        allowed, now = node.step.schedule_timeout, self.journal.clock()
        if allowed is not None and now >= state.due:
            self.advancer.time_out_in_queue(execution, path, state, allowed)
            return
        if state.waits_for_limits and self.advancer.look_at_limited(execution, path, state):
            due = now + int(self.settings.recheck_interval * 1000)
            self.journal.postpone(execution, path, text, min(due, state.due) if allowed else due)
            return
        if self._is_of_dead_agent(execution, path, state):
            return
        name = self._queue_of(node, self.runtime.plans.get(key), execution, path)
        if name is None:
            due = now + self.journal.grace
            self.journal.postpone(execution, path, text, min(due, state.due) if allowed else due)
            return
        if name not in depths:
            depths[name] = self._depth(name)
        ahead = state.since + OVERTAKEN - self.journal.mark(execution, name)
        if depths[name] == 0 or ahead < 0:
            self.advancer.redispatch(execution, path, state)
            return
        age = now - state.since
        longest = int(self.settings.dispatch_grace_max * 1000)
        if node.is_placed:
            longest = min(longest, PLACED)  # its agent may be gone
        pause = min(max(ahead, age // 4, self.journal.grace), max(age, self.journal.grace), longest)
        due = now + pause
        if self.ageing is not None:
            plan = self.runtime.plans.get(key)
            due = self.ageing.rise(plan, execution, path, state, pause)
        self.journal.postpone(execution, path, text, min(due, state.due) if allowed else due)

    def _queue_of(self, node: Node, plan: Plan, execution: str, path: str) -> str | None:
        """Where its message lies, or is to go; None: nobody may do it for the present."""
        if not node.is_placed:
            return node.queue
        return self.runtime.placing.queue_of(plan, execution, path)

    def _is_of_dead_agent(self, execution: str, path: str, state: StepState) -> bool:
        """Whether one agent alone was to do it, and is gone or takes nothing new: then its rung
        does not help."""
        agent = rung_of(path).agent if in_rung(path) else ""
        if not agent or self.runtime.placing.fleet(fresh=True).takes(agent):
            return False
        failure = Failure("AgentGone", f"agent {agent} is gone", attempt=state.attempt)
        self.advancer.settle_unowned(execution, path, state, Failed(failure, retryable=False))
        return True

    def _look_at_joining(self, execution: str, path: str, text: str, state: StepState) -> None:
        """A parallel step: out of time, or to be looked at again later."""
        key = self.journal.plan_of(execution)
        if key is None:
            return
        now = self.journal.clock()
        due = now + int(self.settings.recheck_interval * 1000)
        timeout = self.runtime.plans.get(key).node(path).step.timeout
        if timeout is not None and now - state.started >= timeout:
            self.advancer.time_out(execution, path, state, timeout)
            return
        if timeout is not None:
            due = min(due, state.started + timeout)
        self.journal.postpone(execution, path, text, due)

    def _look_at_calling(self, execution: str, path: str, text: str, state: StepState) -> None:
        """A step that waits for a child: out of time, or its child may not have been started,
        or have ended without anybody telling.

        Who started or ended it has nearly always done so; looked at twice as late each time.
        """
        key = self.journal.plan_of(execution)
        if key is None:
            return
        now = self.journal.clock()
        timeout = self.runtime.plans.get(key).node(path).step.timeout
        if timeout is not None and now - state.started >= timeout:
            self.advancer.time_out(execution, path, state, timeout)
            return
        self.advancer.call(execution, path)
        due = self._later(state, self.settings.recheck_interval)
        if timeout is not None:
            due = min(due, state.started + timeout)
        self.journal.postpone(execution, path, text, due)

    def _look_at_external(self, execution: str, path: str, text: str, state: StepState) -> None:
        """Somebody outside does it: out of time, silent, or reported before it was there."""
        key = self.journal.plan_of(execution)
        if key is None:
            return
        step = self.runtime.plans.get(key).node(path).step
        now, due = self.journal.clock(), self._later(state, self.settings.recheck_limit)
        if step.timeout is not None:
            if now - state.started >= step.timeout:
                self.advancer.time_out(execution, path, state, step.timeout)
                return
            due = min(due, state.started + step.timeout)
        if step.heartbeat_timeout is not None:
            last = max(self._last_heard(execution, path, state), state.since)
            if now - last >= step.heartbeat_timeout:
                allowed, silent = step.heartbeat_timeout, now - last
                self.advancer.time_out_silent(execution, path, state, allowed, silent)
                return
            due = min(due, last + step.heartbeat_timeout)
        self.advancer.take_report(execution, path)
        self.journal.postpone(execution, path, text, due)

    def _later(self, state: StepState, longest: float) -> int:
        """When to look again: twice as late each time, up to ``longest`` seconds from now."""
        now = self.journal.clock()
        return now + min(max(now - state.since, self.journal.grace), int(longest * 1000))

    def _look_at_running(self, execution: str, path: str, text: str, state: StepState) -> None:
        """Is the attempt out of time, or its worker gone, or does its worker not hold it?

        The last happens when Redis came back without its last second: the outcome was
        committed, and the commit is lost.
        """
        now = self.journal.clock()
        key = self.journal.plan_of(execution)
        if key is None:
            return
        node = node_at(self.journal, self.runtime.plans.get(key), execution, path)
        timeout = timeout_of(self.runtime, node)
        if timeout is not None and now - state.started >= timeout:
            self.advancer.time_out(execution, path, state, timeout)
            self._count_late(node, execution, path, state, STEP_TIMEOUT)
            return
        owner, _ = parse_owner(state.owner)
        worker = self.journal.read_worker(owner)
        if worker is None or worker[1] <= 0:
            self._look_at_silent(execution, path, text, state, node, worker and worker[0])
            return
        said, ttl = worker
        knows = said["at"] > state.started + HELD_MARGIN
        holds = f"{execution} {path}" in said["holds"]
        if knows and not holds and message_of(state.owner) not in said.get("messages", ()):
            self.advancer.lose(execution, path, state, f"worker {owner} does not hold it")
            return
        due = now + max(ttl, 50)
        if timeout is not None:
            due = min(due, state.started + timeout)
        allowed = node.step.heartbeat_timeout
        if allowed is not None:
            last = self._last_heard(execution, path, state)
            if said["at"] >= last + allowed:
                # The worker lives, so it is the step that is silent.
                self.advancer.time_out_silent(execution, path, state, allowed, now - last)
                self._count_late(node, execution, path, state, HEARTBEAT_TIMEOUT)
                return
            soon = now + int(self.settings.watch_interval * 1000)
            due = min(due, max(last + allowed, soon))
        self.journal.postpone(execution, path, text, due)

    def _count_late(
        self, node: Node, execution: str, path: str, state: StepState, name: str
    ) -> None:
        """A service that hangs is told to the breaker of its capability by nobody else."""
        attempt = attempt_of(execution, path, state.attempt)
        found = self.journal.count_late(node.capability, attempt, name)
        if found is not None:
            note_change(node.capability, found, name)

    def _look_at_silent(
        self,
        execution: str,
        path: str,
        text: str,
        state: StepState,
        node: Node,
        said: dict[str, Any] | None,
    ) -> None:
        """Its worker gives no sign of life: it is dead, or slow, or Redis was away.

        One that is slow or frozen, and still connected, has longer to come back; but not for a
        step that is silent as well, and for longer than it may be. ``said``: what it said last.
        """
        owner, _ = parse_owner(state.owner)
        now = self.journal.clock()
        waits = False
        if self.lookout is not None:
            waits = not self.lookout.settled or (
                said is not None and self.lookout.sees(owner, said.get("line", 0))
            )
        allowed = node.step.heartbeat_timeout
        if waits and allowed is not None and self.lookout is not None and self.lookout.settled:
            waits = now - self._last_heard(execution, path, state) < allowed
        if not waits:
            self.advancer.lose(execution, path, state, f"worker {owner} is gone")
            return
        due = now + SILENT
        timeout = timeout_of(self.runtime, node)
        if timeout is not None:
            due = min(due, state.started + timeout)
        self.journal.postpone(execution, path, text, due)

    def _last_heard(self, execution: str, path: str, state: StepState) -> int:
        """When the attempt said last that it goes on, ms."""
        beat = self.journal.read_beats(execution, [path]).get(path)
        heard = beat is not None and beat.attempt == state.attempt
        return max(state.started, beat.at) if beat is not None and heard else state.started

    # --- the broker ------------------------------------------------------------------------

    def _depth(self, name: str) -> int:
        try:
            return queue_depth(self.runtime.app, name, self._own_producer().connection)
        except BROKER_AWAY as exc:
            raise Unreachable(f"the broker does not answer: {exc}") from exc

    def _own_producer(self) -> Any:
        """Raises Unreachable where it takes a connection, and there is nobody to connect to."""
        if self._producer is None:
            self._connection = self.runtime.app.connection_for_write()
            if self.acknowledging is not None:
                self._connect()
            self._producer = self.runtime.app.amqp.Producer(self._connection, auto_declare=False)
        return self._producer

    def _connect(self) -> None:
        """To RabbitMQ, in one try: others come with the next looks."""
        try:
            self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE)
        except BROKER_AWAY as exc:
            raise broker_away(str(self.runtime.app.conf.broker_url), exc) from exc

    def _drop_connection(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                if self.acknowledging is not None:
                    drop(connection)
                else:
                    connection.close()
            except Exception:
                logger.debug("closing a broken connection", exc_info=True)


class WardenStep(bootsteps.StartStopStep):
    """Starts the warden with the worker; made known by `orch.tasks.worker`.

    A worker that is told to end stops its steps in the reverse order, so this one before the
    pool, whose steps may take a while yet. Until they are done the worker must be believed to
    live, so the warden only notes that nothing new is taken, and ends with the worker.
    """

    requires = frozenset({"celery.worker.components:Pool"})

    def __init__(self, parent: WorkController, **options: Any) -> None:
        super().__init__(parent, **options)
        self.warden: Warden | None = None

    def start(self, parent: WorkController) -> None:
        step_request.see_dead_children_at_once(parent.pool)
        make = parent.app.orch_make_warden
        self.warden = warden = make(parent)
        warden.draining = Draining(parent, warden.journal, warden.incarnation, warden.hand_on)
        warden.draining.begin(warden.wake)
        warden.start()
        signals.worker_shutdown.connect(self._end, sender=parent, weak=False)

    def stop(self, parent: WorkController) -> None:
        if self.warden is not None:
            self.warden.drain()

    terminate = stop

    def _end(self, **_: Any) -> None:
        if self.warden is not None:
            self.warden.stop()
            if self.warden.runtime.tracing is not None:
                self.warden.runtime.tracing.close()
