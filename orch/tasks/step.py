"""One step: claim -> call -> settle -> continue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from billiard.common import terminate_handler_fired
from celery.exceptions import WorkerShutdown, WorkerTerminate

from orch.agents.capability import Capability
from orch.agents.context import Context
from orch.agents.secret import read_secret
from orch.app import dispatch_link, link_command, others_wait
from orch.control.addresses import node_at
from orch.control.results import iterate
from orch.control.runtime import Runtime
from orch.control.tracing import Attempt
from orch.errors import NotFound, StepError, Unreachable
from orch.fallback import Fallback
from orch.faults import fault
from orch.journal.journal import Claimed, Refused, Settled
from orch.journal.pipelining import Fiber
from orch.journal.scripts import Behind
from orch.journal.wire import Command
from orch.memory.step import StepMemory, recall_for_step
from orch.redaction import without_noted
from orch.tasks.breaker import Guard
from orch.tasks.bundle import Bundle
from orch.tasks.draining import is_draining
from orch.tasks.drawn_tokens import carrier_of, fiber_of, tokens
from orch.tasks.failures import failure_of
from orch.tasks.incarnation import current_incarnation, owner_of
from orch.tasks.keeping import keep_good
from orch.tasks.limits import READS, Reservation, is_limited
from orch.tasks.meant import came_from, is_meant
from orch.tasks.pace import QUICK, is_brief, is_quick, note_pace
from orch.tasks.pulse import UNASKED, Pulse
from orch.tasks.purse import Purse
from orch.tasks.shown import FAILED, Shown, is_watched, show_attempt
from orch.tasks.tally import current_tally
from orch.tasks.turn import Turn
from orch.workflows.budget import EXCEEDED
from orch.workflows.canvas import may_be_claimed_early, may_bundle, shown_as
from orch.workflows.compensating import compensated_path, in_compensation
from orch.workflows.expressions import literal
from orch.workflows.node import Node
from orch.workflows.outcome import Completed, Failed, Failure, Outcome
from orch.workflows.plan import Plan
from orch.workflows.preparing import prepare_call
from orch.workflows.rungs import in_rung, subject_of
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.view import View, context_of, fields_for, node_of, with_output

logger = logging.getLogger(__name__)

Caller = Callable[[Node, Mapping[str, Any], Context], Any]
"""(step, what its expressions see, context) -> its output as JSON."""

FindCaller = Callable[[Node], Caller | None]
"""What does a step, if this worker serves it: has the code, and consumes its queue."""

_UNASKED_CONTEXT = Context()


def serves_nothing_else(node: Node) -> Caller | None:
    del node
    return None


def run_step(
    runtime: Runtime,
    request: Any,
    call: Caller,
    execution: str,
    path: str,
    plan_key: str,
    find: FindCaller = serves_nothing_else,
    others: Sequence[str] = (),
) -> str:
    """Run the attempt that is due at ``path``; the answer is a word for Flower.

    Whatever comes of it is committed to the journal: nothing is raised to Celery. What follows
    is done from the same message, as far as its turn goes. ``others``: where further branches of
    the same parallel step begin, which came with the message.
    """
    try:
        plan = runtime.plans.get(plan_key)
        about = plan.node(path)
        if about.routes:
            find_node = partial(node_at, runtime.journal, plan, execution, path)
            about = runtime.journal.patiently(find_node)
            if about.task_name != getattr(request, "task", about.task_name):
                return _send_on(runtime, request, plan, execution, path)
    except (NotFound, KeyError):
        return "missing"  # a message of a database that was emptied since
    message = Message(runtime, request, call, find, execution, path, about)
    return message.run(plan_key, others)


def _send_on(runtime: Runtime, request: Any, plan: Plan, execution: str, path: str) -> str:
    """A message that came late: rules have sent its step elsewhere since."""
    request.chain = None
    runtime.advancer.apply(plan, execution, (path,), runtime.journal.priority_of(execution))
    return "moved"


class Message:
    """One message, in the process that works on it. ``about``: the step at ``path``, which it is
    for."""

    def __init__(
        self,
        runtime: Runtime,
        request: Any,
        call: Caller,
        find: FindCaller,
        execution: str,
        path: str,
        about: Node,
    ) -> None:
        self.runtime = runtime
        self.request = request
        self.call = call
        self.find = find
        self.execution = execution
        self.about = about
        self.path = path
        self._carrier = carrier_of(request)
        self._fiber = fiber_of(request)
        self._bundled = False
        self._alone_since = 0.0
        self._reservation: Reservation | None = None
        self._span: Attempt | None = None
        self.turn = Turn(
            runtime.settings,
            about,
            time.monotonic(),
            serves=self._may_go_on_with,
            owner=self.owner,
            lease=partial(lease_of, runtime),
            waits=lambda: others_wait(runtime.app, about.queue, runtime.lists),
            message_for=self._message_for,
            asks=self._asks_who_waits,
        )

    def _asks_who_waits(self) -> Command | None:
        lists = self.runtime.lists
        return None if lists is None else lists.asks_for(self.about.queue)

    def _message_for(self, plan: Plan, view: View, path: str) -> Behind:
        """The next link of the message's own chain, or one that is made for it."""
        runtime, links = self.runtime, self.request.chain
        if not links:
            return runtime.first_message(plan, self.execution, (path,), view.priority)
        if links[-1]["args"][:2] != [self.execution, path]:
            return ()
        return link_command(self.request, runtime.lists)

    def _may_go_on_with(self, node: Node) -> bool:
        """Which agent does a step that roams is asked of all, and so takes a message; what is
        limited may have to wait."""
        caller = None if is_draining() or node.roams else self.caller_of(node)
        if caller is None or is_limited(node, caller):
            return False
        # Celery shows a drawn message as the one before it: not for longer than a moment.
        if self._carrier and not is_quick(node.capability):
            return False
        return self._shares_process(node, caller)

    def _shares_process(self, node: Node, caller: Caller) -> bool:
        """Whether others may wait for a step, as those do that are worked on in turns.

        One that may not wait for them itself is not claimed together with theirs: they wait for it
        and what follows, but not for long.
        """
        fiber = self._fiber
        if fiber is None or not fiber.has_others:
            return True
        if not is_brief(node.capability):
            return False
        if fiber.alone:
            return time.monotonic() - self._alone_since < QUICK
        if not may_be_claimed_early(node) or _holds_more(node, caller):
            fiber.alone, self._alone_since = True, time.monotonic()
        return True

    def owner(self) -> str:
        """Of what is done from the message; it bears the mark of the one that Celery knows of."""
        mark = self._carrier or str(getattr(self.request, "id", ""))
        return owner_of(current_incarnation(), mark)

    def caller_of(self, node: Node) -> Caller | None:
        about = self.about
        same = (node.capability, node.queue) == (about.capability, about.queue)
        return self.call if same else self.find(node)

    def run(self, plan_key: str, others: Sequence[str]) -> str:
        path = self.path
        self._shares_process(self.about, self.call)
        if others:
            plan = self.runtime.plans.get(plan_key)
            if self._may_bundle(plan):
                return self._run_bundle(plan, [path, *others])
            self._spread(plan, others)
        claimed = _claim(
            self.runtime, self.request, self.execution, path, plan_key, self.about, self.call
        )
        if isinstance(claimed, Refused):
            self.request.chain = None
            logger.debug("%s of execution %s: %s", path, self.execution, claimed.word)
            return claimed.word.lower()
        plan, claim = claimed
        return self._go_on((plan, path, claim))

    def _go_on(self, following: tuple[Plan, str, Claimed] | None, said: str = "completed") -> str:
        """Do one step after the other, as far as the turn goes."""
        outcome: Outcome | None = None
        while following is not None:
            plan, path, claim = following
            outcome, reply = self._attempt(plan, path, claim)
            if isinstance(reply, Refused):
                return reply.word.lower()
            following = self.turn.go_on()
            if self._fiber is not None and self.turn.items > 1 and is_brief(self.about.capability):
                self._fiber.pipeline.widen()  # the other messages of this map may wait
        if self.request.chain:
            _continue(self.runtime, self.request, self.execution)
        if isinstance(outcome, Failed):
            said = f"{FAILED}{outcome.failure.name}: {outcome.failure.message}"[:200]
        count = self.turn.count
        return said if count <= 1 else f"{said} (the last of {count} steps)"

    def _may_bundle(self, plan: Plan) -> bool:
        """Whether the branches are done by this worker: a moment each, and without a limit."""
        node, runtime = self.about, self.runtime
        quick = is_quick(node.capability) and timeout_of(runtime, node) is None
        quick = quick and not is_limited(node, self.call)
        return quick and may_bundle(plan, node, runtime.settings.handoff)

    def _spread(self, plan: Plan, paths: Sequence[str]) -> None:
        execution = self.execution
        priority = self.runtime.journal.priority_of(execution)
        spread = self.runtime.spread
        self.runtime.advancer.publish(lambda: spread(plan, execution, paths, priority))

    def _run_bundle(self, plan: Plan, paths: Sequence[str]) -> str:
        self._bundled = True
        bundle = Bundle(
            self.runtime,
            plan,
            self.execution,
            paths,
            self.owner(),
            self._perform_bundled,
            self.turn,
            lease_of(self.runtime, self.about),
            self.runtime.journal.priority_of(self.execution),
        )
        self.turn.count = bundle.run()
        self._bundled = False
        said = "completed" if self.turn.count else "done"  # by others
        return self._go_on(self.turn.go_on(), said)

    def _perform(self, plan: Plan, path: str, claim: Claimed) -> tuple[Outcome, View]:
        """Call what the step names."""
        fault("claimed")
        node, runtime = node_of(plan, claim.view, path), self.runtime
        caller = self.caller_of(node)
        assert caller is not None
        if is_limited(node, caller):
            self._reservation = Reservation(runtime, node, path, claim)
            hindered = self._reservation.take(getattr(caller, "limit", None))
            if hindered is not None:
                return hindered, claim.view
        guard: Guard | None = getattr(caller, "breaker", None)
        if guard is not None and (held := guard.ask(node, path, claim)) is not None:
            return held, claim.view
        if in_compensation(path):
            claim = _with_output(runtime, subject_of(path), claim)
        if in_rung(path):
            node = _with_given(node, path, claim.view)
        pulse = None
        if getattr(caller, "needs_context", True):
            pulse = make_pulse(runtime, node, path, claim)
            pulse.report.purse = Purse.of(runtime.journal, plan, node, self.execution, path)
        shown = self._show(plan, node, path, claim.state.attempt)
        if self._fiber is not None:
            with self._calling(self._fiber, path):
                outcome = _timed(runtime, plan, node, path, claim, caller, pulse)
        elif (tracing := runtime.tracing) is None:
            outcome = _timed(runtime, plan, node, path, claim, caller, pulse)
        else:
            request = self.request if path == self.path else None
            with tracing.attempt(plan, node, self.execution, path, claim.state, request) as span:
                outcome = span.outcome = _timed(runtime, plan, node, path, claim, caller, pulse)
            self._span = span
        if guard is not None:
            guard.tell(path, claim, outcome)
        declared: Fallback | None = getattr(caller, "fallback", None)
        if declared is not None or node.step.fallback is not None:
            keep_good(runtime, node, path, claim, outcome, declared)
        if shown is not None:
            shown.end(outcome)
        fault("called")
        view = claim.view
        if pulse is None:
            return outcome, view
        pulse.end()
        beat = pulse.last()
        return outcome, view if beat is None else replace(view, beats={path: beat})

    def _calling(self, fiber: Fiber, path: str) -> AbstractContextManager[None]:
        """Of a drawn message, for which there is no tracing."""
        tokens.note(fiber.number, f"{self.execution} {path}")
        return fiber.calling(self.execution, "" if self._bundled else path)

    def _perform_bundled(self, plan: Plan, path: str, claim: Claimed) -> tuple[Outcome, View]:
        """As `_perform`, of one that is committed with others."""
        found = self._perform(plan, path, claim)
        if self._span is not None:
            self._end_span(path, None)
        return found

    def _end_span(self, path: str, reply: Settled | Refused | None) -> None:
        """Send the span of an attempt, unless somebody else has done so who ended it before."""
        span, self._span = self._span, None
        assert span is not None
        if not isinstance(reply, Refused):
            span.end()
            return
        with suppress(Unreachable):
            found = self.runtime.journal.read_state(self.execution, path)
            if found is not None and found[1].status is StepStatus.CANCELLED:
                span.end(refused=found[1].status.value)

    def _show(self, plan: Plan, node: Node, path: str, attempt: int) -> Shown | None:
        """For those who watch; Celery itself tells of the step that the message is for."""
        app, request = self.runtime.app, self.request
        if not is_watched(request):
            return None
        if path == self.path:
            show_attempt(app, request, shown_as(plan, self.execution, path, attempt))
            return None
        return Shown(app, request, plan, node, self.execution, path, attempt)

    def _attempt(self, plan: Plan, path: str, claim: Claimed) -> tuple[Outcome, Settled | Refused]:
        """Call, and settle what came of it, and with it claim what the turn goes on with."""
        outcome, view = self._perform(plan, path, claim)
        request, execution, turn = self.request, self.execution, self.turn
        reply = self.runtime.advancer.settle(
            plan,
            view,
            path,
            claim.state,
            outcome,
            late=claim.state.owner,
            patience=self.runtime.settings.redis_patience,
            skip_dispatch=lambda paths: left_over(request, execution, paths, turn),
            turn=turn,
            before=claim.text,
        )
        if self._span is not None:
            self._end_span(path, reply)
        if self._reservation is not None:
            self._reservation.end(outcome)
            self._reservation = None
        if isinstance(reply, Refused):
            request.chain = None
            logger.warning(
                "%s of execution %s, attempt %d: its outcome came too late (%s)",
                path,
                execution,
                claim.state.attempt,
                reply.word,
            )
        return outcome, reply


def _holds_more(node: Node, caller: Caller) -> bool:
    """Whether more is held for a step while it runs than its claim."""
    asks = getattr(caller, "needs_context", True) or getattr(caller, "breaker", None) is not None
    return asks or is_limited(node, caller)


def _continue(runtime: Runtime, request: Any, execution: str) -> None:
    """Send the next link of the message's own chain."""
    try:
        dispatch_link(runtime.app, request, runtime.lists)
    except Unreachable as exc:
        logger.warning("next of execution %s not published, the watch will: %s", execution, exc)


def _claim(
    runtime: Runtime,
    request: Any,
    execution: str,
    path: str,
    plan_key: str,
    about: Node,
    call: Caller,
) -> tuple[Plan, Claimed] | Refused:
    journal = runtime.journal
    owner = owner_of(current_incarnation(), carrier_of(request))

    def claim(key: str) -> tuple[Plan, Claimed] | Refused:
        plan = runtime.plans.get(key)
        node = about if key == plan_key else node_at(runtime.journal, plan, execution, path)
        if node.task_name != about.task_name:
            # Another capability does it now, which this message cannot call.
            priority = runtime.journal.priority_of(execution)
            runtime.advancer.apply(plan, execution, (path,), priority)
            return Refused("MOVED")
        if node.roams and not is_meant(runtime, request, plan, execution, path):
            return Refused("MOVED")
        reads = fields_for(plan, path)
        reply = journal.claim(
            execution,
            path,
            owner=owner,
            plan=plan.key,
            queue=came_from(request, node) if node.is_placed else node.queue,
            reads=(*reads, *READS) if is_limited(node, call) else reads,
            lease=lease_of(runtime, node),
            quiet=plan.is_quiet(path),
        )
        return reply if isinstance(reply, Refused) else (plan, reply)

    try:
        reply = journal.patiently(partial(claim, plan_key))
        if isinstance(reply, Refused) and reply.word == "REPLANNED":
            reply = journal.patiently(partial(claim, reply.rest[0]))
        return reply
    except (NotFound, KeyError):
        return Refused("MISSING")  # a message of a database that was emptied since


def _with_given(node: Node, path: str, view: View) -> Node:
    """The work of a rung, with the input that a person has edited, if one has."""
    record = view.escalations.get(subject_of(path))
    if record is None or not record.given:
        return node
    return replace(node, input=literal(record.given[0]))


def _with_output(runtime: Runtime, path: str, claim: Claimed) -> Claimed:
    """A compensation sees the output of the step that it undoes."""
    journal, undone = runtime.journal, compensated_path(path)
    output = journal.patiently(lambda: journal.read_output(claim.view.execution, undone))
    return replace(claim, view=with_output(claim.view, path, output))


def lease_of(runtime: Runtime, node: Node) -> int:
    """When a running attempt must be looked at, ms: at the lease or at one of its timeouts."""
    lease = int(runtime.settings.liveness_ttl * 1000)
    timeout, silence = timeout_of(runtime, node), node.step.heartbeat_timeout
    return min(lease, timeout or lease, silence or lease)


def timeout_of(runtime: Runtime, node: Node) -> int | None:
    """How long an attempt may take, ms: the step says, else what is declared of its capability,
    else the settings; these are for tasks only."""
    if node.step.timeout is not None or not node.is_work:
        return node.step.timeout
    declared = runtime.declarations.timeout(node.capability)
    if declared is not None:
        return declared
    default = runtime.settings.default_timeout
    return None if default is None else int(default * 1000)


def _timed(
    runtime: Runtime,
    plan: Plan,
    node: Node,
    path: str,
    claim: Claimed,
    call: Caller,
    pulse: Pulse | None,
) -> Outcome:
    """As `_call`; counted among what this worker does."""
    tally, began, ok = current_tally(), time.monotonic(), False
    tally.begin(node.capability)
    try:
        outcome = _call(runtime, plan, node, path, claim, call, pulse)
        ok = isinstance(outcome, Completed)
        return outcome
    finally:
        tally.end(node.capability, time.monotonic() - began, ok)


def _call(
    runtime: Runtime,
    plan: Plan,
    node: Node,
    path: str,
    claim: Claimed,
    call: Caller,
    pulse: Pulse | None,
) -> Outcome:
    """Call the capability; whatever it raises becomes a failure under the error's name.

    ``pulse``: None where it asks nothing of its context.
    """
    state, view = claim.state, claim.view
    try:
        context = _UNASKED_CONTEXT
        if pulse is not None:
            context = make_context(runtime, node, path, state, view, pulse)
            spends = getattr(call, "spends", False)
            pulse.report.begin(getattr(call, "cost", None), spends=spends)
        if node.rules is not None:
            recall = partial(recall_for_step, runtime.journal, view.execution)
            node = replace(node, input=prepare_call(plan, node, view, path, recall).input)
        begun = time.monotonic()
        seen = context_of(view, path) if node.input.reads else {}
        output = without_noted(call(node, seen, context))
        note_pace(node.capability, time.monotonic() - begun)
        text = encode(output)
        size = len(text.encode())
        limit = runtime.settings.output_limit
        if size > limit:
            raise StepError(
                "OutputTooLarge",
                f"step {node.id!r} returned {size} bytes of JSON, and {limit} are allowed; "
                f"store it elsewhere and return its place, or raise ORCH_OUTPUT_LIMIT",
            )
        return Completed(output, text)
    except (WorkerShutdown, WorkerTerminate):
        raise  # the worker is ending; the attempt is taken up elsewhere
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and terminate_handler_fired():
            raise  # so is this process of its pool, by a signal
        failure = failure_of(runtime.settings, error, Failure("", "", node.id, path, state.attempt))
        return Failed(failure, retryable=failure.name != EXCEEDED)


def make_pulse(runtime: Runtime, node: Node, path: str, claim: Claimed) -> Pulse:
    state, silence = claim.state, node.step.heartbeat_timeout
    timeout = timeout_of(runtime, node)
    before = claim.view.beats.get(path)
    return Pulse(
        runtime.journal,
        claim.view.execution,
        path,
        state,
        pause=UNASKED if silence is None else silence / 3000,
        look_after=lease_of(runtime, node),
        limit=None if timeout is None else state.started + timeout,
        progress=before.progress if before is not None else None,
    )


def make_context(
    runtime: Runtime, node: Node, path: str, state: StepState, view: View, pulse: Pulse
) -> Context:
    timeout = timeout_of(runtime, node)
    cancelled = _Cancelled(runtime, view.execution, path, state)
    pulse.on_superseded = cancelled.be_told
    before = view.beats.get(path)
    return Context(
        execution_id=view.execution,
        workflow=view.workflow,
        path=path,
        step_id=node.id,
        attempt=state.attempt,
        deadline=None if timeout is None else (state.started + timeout) / 1000,
        is_cancelled=cancelled,
        on_heartbeat=pulse.beat,
        last_progress=before.progress if before is not None else None,
        read_results=partial(iterate, runtime.journal),
        memory=StepMemory(runtime.journal, node.capability, view.execution, path),
        read_secret=partial(read_secret, runtime.settings),
        keep_line=pulse.report.keep_line,
        on_use=pulse.report.use,
        read_left=pulse.report.left,
        call_service=partial(_call_service, runtime),
    )


def _call_service(runtime: Runtime, *args: Any, **given: Any) -> Any:
    from orch.services.calling import ServiceCaller

    caller = ServiceCaller(runtime.journal, partial(read_secret, runtime.settings))
    return caller.call(*args, **given)


class _Cancelled:
    """Whether the attempt is still ours, asked of the journal at most once a second."""

    def __init__(self, runtime: Runtime, execution: str, path: str, state: StepState) -> None:
        self._journal = runtime.journal
        self._token = (execution, path)
        self._owner = state.owner
        self._asked = time.monotonic()
        self._answer = False

    def be_told(self) -> None:
        """A heartbeat was refused."""
        self._answer = True

    def __call__(self) -> bool:
        if self._answer or time.monotonic() - self._asked < 1.0:
            return self._answer
        self._asked = time.monotonic()
        try:
            found = self._journal.read_state(*self._token)
            wanted = in_compensation(self._token[1]) or (
                (status := self._journal.status(self._token[0])) is None or not status.unwinds
            )
        except Unreachable:
            return False
        self._answer = (
            not wanted
            or found is None
            or found[1].status is not StepStatus.RUNNING
            or found[1].owner != self._owner
        )
        return self._answer


def call_capability(capability: Capability) -> Caller:
    """Evaluate the input mapping and call a capability with it."""

    def call(node: Node, seen: Mapping[str, Any], context: Context) -> Any:
        templates = {}
        for key in capability.template_parameters:
            template = node.input.template_at(key)
            if template is not None and not (template.is_literal or template.is_expression):
                templates[key] = template.values(seen)
        return capability.call(node.input.evaluate(seen), context, templates)

    call.needs_context = capability.needs_context  # type: ignore[attr-defined]
    call.cost = capability.cost  # type: ignore[attr-defined]
    call.spends = capability.spends  # type: ignore[attr-defined]
    return call


def left_over(
    request: Any, execution: str, paths: tuple[str, ...], turn: Turn | None = None
) -> tuple[str, ...]:
    """Let the message's own chain carry what it can; the paths that it cannot carry.

    Links of steps that were skipped are dropped, and that of the step which ``turn`` goes on with.
    If the flow went elsewhere, so is the whole rest of the chain.
    """
    links = request.chain
    if not links:
        return paths
    taken = turn.following[1] if turn is not None and turn.following is not None else None
    for position in range(len(links) - 1, -1, -1):
        args = links[position]["args"]
        if args[0] == execution and args[1] == taken:
            del links[position:]
            return paths
        if args[0] == execution and args[1] in paths:
            del links[position + 1 :]
            return tuple(path for path in paths if path != args[1])
    request.chain = None
    return paths
