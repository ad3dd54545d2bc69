"""How the flow goes from step to step, until it rests where somebody has to act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orch.errors import ErrorClass, StepError
from orch.workflows.asking import OWN_FALLBACK
from orch.workflows.calls import Call, callee
from orch.workflows.commit import BranchEnd, End, Event, Open, Page, Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.cron import next_instant
from orch.workflows.definition import ErrorAction, StepType
from orch.workflows.durations import parse_duration, parse_instant
from orch.workflows.escalating import (
    INVALID_OUTPUT,
    Rest,
    ask,
    misses_of,
    raise_escalation,
    resolve,
)
from orch.workflows.events import correlation_of, subscription
from orch.workflows.expressions import to_text, truthy
from orch.workflows.external import given_field, waits_for
from orch.workflows.failing import class_in, is_meant
from orch.workflows.frozen import changed
from orch.workflows.holes import Hole, hole_fields, tolerated
from orch.workflows.joining import Joined
from orch.workflows.node import Node
from orch.workflows.outcome import Failure
from orch.workflows.paths import (
    ROOT,
    handler_scope,
    in_handler,
    is_below,
    iteration_path,
    join_of,
    join_path,
    split,
)
from orch.workflows.plan import Plan
from orch.workflows.policies import Choice, EventPolicy, JoinPolicy, LoopPolicy, PollPolicy
from orch.workflows.quarantine import QUARANTINE, Quarantined, quarantine_field
from orch.workflows.references import Reference, parse_reference
from orch.workflows.resolving import resolution_fields
from orch.workflows.state import LIVE, ExecutionStatus, StepState, StepStatus, encode
from orch.workflows.validation import check_output
from orch.workflows.view import (
    CAUSE_FIELD,
    View,
    beat_field,
    context_of,
    error_field,
    output_field,
    pages_of,
    state_field,
    variable_field,
)

MAX_INLINE_LAPS = 1000
"""Laps that one transition may begin; more is a cycle in which no step does anything."""


class Move:
    """Collects one transition while the flow goes from step to step.

    Variables and errors set on the way are seen by the expressions further on.
    """

    def __init__(self, plan: Plan, view: View, now: int, grace: int) -> None:
        self.plan = plan
        self.now = now
        self.grace = grace
        self.view = changed(
            view,
            variables=dict(view.variables),
            outputs=dict(view.outputs),
            errors=dict(view.errors),
            escalations=dict(view.escalations),
        )
        self.opens: dict[str, Open] = {}
        self.texts: dict[str, str] = {}
        self.fields: dict[str, str] = {}
        self.pages: dict[str, Page] = {}
        self.notices: dict[str, str] = {}
        self.decision = ""  # how an escalated step came to its output
        self.drops: list[str] = []
        self.events: list[Event] = []
        self.branch: BranchEnd | None = None
        self.end: End | None = None
        self.pending: list[tuple[Node, str]] = []  # steps to enter, the next one last
        self.laps = 0

    # --- from outside --------------------------------------------------------------------

    def complete_attempt(
        self, node: Node, path: str, state: StepState, output: Any, text: str | None
    ) -> Transition:
        misses = misses_of(node, output)
        if misses:
            failure = Failure(INVALID_OUTPUT, misses, node.id, path, state.attempt)
            return self.fail_attempt(node, path, state, failure)
        if output is not None:
            self.texts[f"={path}"] = encode(output) if text is None else text
        self._drop_beat(path)
        if node.external:
            self.drops.append(given_field(path))
        completed = len(self.events)
        self.note("completed", path, state.attempt)
        try:
            self._set_variables(node, path, output)
        except StepError as error:
            self.events.pop(completed)
            self.texts.clear()
            self.drops.clear()
            return self.fail_attempt(node, path, state, self._failure(error, node, path))
        record = self.view.escalations.get(path)
        if record is not None and record.open and state.status is StepStatus.ESCALATED:
            resolve(self, node, path, record, self.decision or "skip")
        self.after(node, path, output)
        return self.transition(path, self._ended(state, StepStatus.COMPLETED))

    def fail_attempt(self, node: Node, path: str, state: StepState, failure: Failure) -> Transition:
        failure = replace(failure, attempt=state.attempt) if not failure.attempt else failure
        self._drop_beat(path)
        self.note("failed", path, state.attempt, {"error": failure.as_dict()})
        return self.end_badly(node, path, state, failure.as_dict(), failure.escalation)

    def end_badly(
        self, node: Node, path: str, state: StepState, error: dict[str, Any], asked: str = ""
    ) -> Transition:
        """Nothing more will be tried: who takes the error, or is asked about it.

        ``asked``: the path of escalation that the error itself names.
        """
        self.texts[f"!{path}"] = encode(error)
        poison = class_in(error) == ErrorClass.POISON and not in_compensation(path)
        if poison:
            self._set_aside(node, path)
        rest = self._escalate(node, path, state, error, asked)
        if rest is None:
            taken = self._action_for(node, error) is not None
            self.route(node, path, error)
            failed = self.transition(path, self._ended(state, StepStatus.FAILED))
            return replace(failed, listens=QUARANTINE) if poison and not taken else failed
        return self.rested(path, rest)

    def rested(self, path: str, rest: Rest) -> Transition:
        """The step waits for somebody."""
        found = self.transition(path, rest.state)
        return replace(found, due=rest.due, listens=rest.listens)

    def _set_aside(self, node: Node, path: str) -> None:
        """Keep the input of a step that killed its workers."""
        try:
            input = node.input.evaluate(context_of(self.view, path))
        except StepError:
            input = None
        self.fields[quarantine_field(path)] = Quarantined(self.now, input).dumps()

    def _escalate(
        self, node: Node, path: str, state: StepState, error: dict[str, Any], asked: str = ""
    ) -> Rest | None:
        if not self.plan.may_escalate(path) and not asked:
            return None
        record = self.view.escalations.get(path) if state.status is StepStatus.ESCALATED else None
        if record is not None and not record.open:
            record = None
        if record is None and self._other_takes(node, error):
            return raise_escalation(self, node, path, state, error, OWN_FALLBACK)
        taken = self._action_for(node, error) is not None
        if record is not None and (taken or record.ladder == OWN_FALLBACK):
            resolve(self, node, path, record, "fail")  # and whoever else takes it
        if taken:
            return None
        return raise_escalation(self, node, path, state, error, asked)

    def _other_takes(self, node: Node, error: Mapping[str, Any]) -> bool:
        """Whether another capability is to do the step, in which this error ended."""
        asked = node.step.fallback
        if asked is None or asked.capability is None:
            return False
        return is_meant(asked.errors, str(error["name"]), class_in(error))

    def reroute(
        self, node: Node, path: str, state: StepState, error: dict[str, Any], target: str
    ) -> Transition:
        """The step has failed, and the flow goes on at another one of its scope."""
        self._take(split(path)[0], error)
        self.note("routed", path, 0, {"to": target})
        self._step_to(node, path, target)
        return self.transition(path, self._ended(state, StepStatus.FAILED))

    def mapping_error(self, node: Node, path: str, output: Any) -> StepError | None:
        """Why the step's `output` mapping could not read this output, if so."""
        context = context_of(self.view, path) | {"output": output}
        try:
            for _, value in node.output:
                value.evaluate(context)
        except StepError as error:
            return error
        return None

    def check(
        self, node: Node, poll: PollPolicy, path: str, state: StepState, output: Any, text: str
    ) -> Transition:
        """A check of a poll: it is done, or asked again later with what this one gave."""
        checks = state.total + 1
        state = replace(state, total=checks)
        context = context_of(self.view, path) | {"state": output, "output": output}
        try:
            done = truthy(poll.until.evaluate(context))
        except StepError as error:
            return self.fail_attempt(node, path, state, self._failure(error, node, path))
        if done:
            return self.complete_attempt(node, path, state, output, text)
        if poll.asked.max_attempts is not None and checks >= poll.asked.max_attempts:
            message = f"{poll.until.text!r} of step {node.id!r} is not true after {checks} checks"
            data = {"state": output, "checks": checks}
            failure = Failure("PollExhausted", message, node.id, path, state.attempt, data)
            return self.fail_attempt(node, path, state, failure)
        self._drop_beat(path)
        due = self.now + poll.pause(checks)
        self.fields[state_field(path)] = text
        self.note("polled", path, state.attempt, {"due": due})
        again = replace(
            state,
            status=StepStatus.POLLING,
            attempt=state.attempt + 1,
            failures=0,
            lost=0,
            since=self.now,
            owner="",
            due=due,
        )
        return replace(self.transition(path, again), due=due)

    def join(
        self,
        node: Node,
        path: str,
        state: StepState,
        results: tuple[tuple[Any, Mapping[str, Any] | None] | None, ...],
        size: int = 0,
    ) -> Transition:
        """The branches of a parallel step, or a map, are decided; or an iteration ended."""
        if node.loop is not None:
            return self._iterated(node, node.loop, path, state, results[0])
        joined = Joined(results, node, state.last)
        error = joined.error(node, path)
        if joined.verdict is not None:
            self._tell_votes(path, joined, well=error is None)
        if error is not None:
            return self._fail_joined(node, path, state, error)
        if size:
            # They stay where they are, with the items, for as long as the execution is kept.
            found = Reference(self.view.execution, path, len(results), size)
            output = joined.output(found.as_dict())
            done = self.complete_attempt(node, path, state, output, None)
            return with_holes(done, tolerated(path, joined.failures))
        done = self.complete_attempt(node, path, state, joined.outcome(), None)
        done = with_holes(done, tolerated(path, joined.failures))
        cleared = node.mapped is not None and not self.plan.compensates(path)
        if cleared and done.state and done.state.status is StepStatus.COMPLETED:
            return replace(done, clears=(path, state.total))  # its output holds all of it
        return done

    def _tell_votes(self, path: str, joined: Joined, *, well: bool) -> None:
        """Who said what: in the record, and in the history, where an error does not tell it."""
        told = joined.told(path)
        self.fields |= resolution_fields(path, told)
        if well:
            self.note("chosen", path, 1, told)

    def enter_item(self, node: Node, path: str) -> Transition:
        """The token stands before the first step of an item or a branch, and enters it."""
        self.enter(node, path)
        found = self.transition(path, None)
        own = self.opens[path]
        opens = tuple(opened for opened in found.opens if opened.path != path)
        return replace(found, state=own.state, due=own.due, opens=opens, listens=own.listens)

    def _iterated(
        self,
        node: Node,
        loop: LoopPolicy,
        path: str,
        state: StepState,
        result: tuple[Any, Mapping[str, Any] | None] | None,
    ) -> Transition:
        """Behind an iteration: the next one, or the end of the loop.

        The attempt counts the iterations, and the retries of the execution that went down into
        the loop, so that a join is fenced by the one it belongs to.
        """
        output, failure = result or (None, None)
        done = replace(state, total=state.iteration, attempt=1)
        if failure is not None:
            return self._fail_joined(node, path, done, dict(failure))
        try:
            if not self._goes_on(loop, path, output, state.iteration):
                return self.complete_attempt(node, path, done, output, None)
        except StepError as error:
            failed = self._failure(error, node, path).as_dict()
            return self._fail_joined(node, path, done, failed)
        again = replace(
            state, status=StepStatus.JOINING, attempt=state.attempt + 1, left=1, since=self.now
        )
        self._iterate(node, path, state.iteration, output)
        return replace(self.transition(path, again), due=self._look(node, state.started))

    def _goes_on(self, loop: LoopPolicy, path: str, output: Any, iterations: int) -> bool:
        """Whether another iteration follows. Raises StepError where there are too many."""
        context = context_of(self.view, path)
        context |= {"output": output, "index": iterations}
        if iterations and loop.until is not None and truthy(loop.until.evaluate(context)):
            return False
        if loop.while_ is not None and not truthy(loop.while_.evaluate(context)):
            return False
        if iterations >= loop.most:
            raise StepError(
                "MaxIterationsExceeded",
                f"the loop has done {iterations} iterations, and its condition still holds; "
                f"`maxIterations` is {loop.most}",
            )
        return True

    def _loop(self, node: Node, path: str) -> None:
        assert node.loop is not None
        self.note("looping", path, 1)
        if not self._goes_on(node.loop, path, None, 0):
            self._set_variables(node, path, None)
            self.opens[path] = Open(path, self._ended(self._fresh(), StepStatus.COMPLETED))
            self.note("completed", path, 1)
            self.after(node, path, None)
            return
        state = replace(self._fresh(), status=StepStatus.JOINING, started=self.now, total=1, left=1)
        self.opens[path] = Open(path, state, self._look(node, self.now))
        self._iterate(node, path, 0, None)

    def _iterate(self, node: Node, path: str, number: int, previous: Any) -> None:
        """Enter the first step of an iteration, which sees the output of the one before."""
        scope_path = iteration_path(path, number)
        self.view.outputs[scope_path] = previous  # type: ignore[index]
        if self.plan.uses_previous_output(scope_path):
            self.fields[output_field(scope_path)] = encode(previous)
        entry = self.plan.scopes[node.key].entry
        self.enter(entry, join_path(scope_path, entry.id))

    def _fail_joined(
        self, node: Node, path: str, state: StepState, error: dict[str, Any]
    ) -> Transition:
        self.note("failed", path, 1, {"error": error})
        return self.end_badly(node, path, replace(state, attempt=1), error)

    def transition(self, path: str, state: StepState | None) -> Transition:
        """Follow the flow to where it rests, and give all that was collected."""
        while self.pending and self.end is None:
            self._enter_next()
        return Transition(
            path=path,
            state=state,
            plan=self.plan.key,
            opens=tuple(self.opens.values()),
            unwinds=in_compensation(path),
            texts=tuple(self.texts.items()),
            fields=tuple(self.fields.items()),
            branch=self.branch,
            end=self.end,
            events=tuple(self.events),
            pages=tuple(self.pages.items()),
            drops=tuple(self.drops),
            notices=tuple(self.notices.items()),
        )

    def _drop_beat(self, path: str) -> None:
        """What the attempt said of its progress is of no use any more."""
        if path in self.view.beats and beat_field(path) not in self.drops:
            self.drops.append(beat_field(path))

    def note(
        self, word: str, path: str = "", attempt: int = 0, detail: Mapping[str, Any] | None = None
    ) -> None:
        self.events.append(Event(word, path, attempt, detail))

    # --- the flow ------------------------------------------------------------------------

    def enter(self, node: Node, path: str) -> None:
        """The token comes to a step.

        It is entered in a loop (by `transition`), not from here: a flow may skip more steps in
        a row than Python allows calls to be nested.
        """
        self.pending.append((node, path))

    def _enter_next(self) -> None:
        node, path = self.pending.pop()
        if self.laps > MAX_INLINE_LAPS:
            self._give_up(node, path)
            return
        try:
            self._enter(node, path)
        except StepError as error:
            failure = self._failure(error, node, path).as_dict()
            self.texts[f"!{path}"] = encode(failure)
            self.note("failed", path, 1, {"error": failure})
            rest = self._escalate(node, path, self._fresh(), failure)
            if rest is not None:
                self.opens[path] = Open(path, rest.state, rest.due, rest.listens)
                return
            self.opens[path] = Open(path, self._ended(self._fresh(), StepStatus.FAILED))
            self.route(node, path, failure)

    def _enter(self, node: Node, path: str) -> None:
        context = context_of(self.view, path)
        if node.condition is not None and not truthy(node.condition.evaluate(context)):
            self.opens[path] = Open(path, self._ended(self._fresh(), StepStatus.SKIPPED))
            self.note("skipped", path)
            self._go_on(node, path, context.get("output"))
            return
        if node.is_work:
            self._open_entry(path, self._dispatched(node))
            return
        if node.external:
            self._leave_outside(node, path, context)
            return
        if node.is_approval:
            rest = ask(self, path, node.input.evaluate(context) or {})
            self.opens[path] = Open(path, rest.state, rest.due, rest.listens)
            return
        match node.type:
            case StepType.DECISION:
                assert node.choice is not None
                self._decide(node, path, node.choice, context)
            case StepType.WAIT:
                self._wait(node, path, context)
            case StepType.PARALLEL:
                self._fork(node, path)
            case StepType.MAP:
                self._map(node, path, context)
            case StepType.SUBWORKFLOW:
                self._call(node, path)
            case StepType.EVENT:
                assert node.event is not None
                self._event(node, node.event, path, context)
            case StepType.LOOP:
                self._loop(node, path)
            case _:
                raise AssertionError(f"the plan let a step of type {node.type} through")

    def _decide(self, node: Node, path: str, choice: Choice, context: dict[str, Any]) -> None:
        value = choice.expression.evaluate(context)
        target = choose(choice, value)
        if target is None and isinstance(node.next, str):
            target = node.next
        if target is None:
            raise no_branch(node, choice, value)
        self._set_variables(node, path, value)
        self.opens[path] = Open(path, self._ended(self._fresh(), StepStatus.COMPLETED))
        self.note("decided", path, 1, {"value": to_text(value)[:100], "next": target})
        self._step_to(node, path, target)

    def _wait(self, node: Node, path: str, context: dict[str, Any]) -> None:
        assert node.wait is not None and node.step.wait is not None
        value = node.wait.evaluate(context)
        due = instant_of(node, value, self.now)
        # An instant before 1970 is no score that says "live"; one that is past is due now.
        due = max(due, self.now)
        state = replace(self._fresh(), status=StepStatus.WAITING, started=self.now, due=due)
        self.opens[path] = Open(path, state, due)
        self.note("waiting", path, 1, {"until": due})

    def _event(self, node: Node, event: EventPolicy, path: str, context: dict[str, Any]) -> None:
        correlation = correlation_of(event, context)
        detail = {"event": event.asked.name}
        if correlation is not None:
            detail["correlation"] = correlation
        status = StepStatus.EMITTING if event.emits else StepStatus.LISTENING
        state = replace(self._fresh(), status=status, started=self.now)
        due = self.now + self.grace
        listens = ""
        if not event.emits:
            due = min(due, self.now + (event.asked.timeout or self.grace))
            listens = subscription(event.asked.name, correlation)
        self.opens[path] = Open(path, state, due, listens)
        self.note(status.value, path, 1, detail)

    def _leave_outside(self, node: Node, path: str, context: dict[str, Any]) -> None:
        """Somebody outside is to fetch the input, and to report what came of it."""
        self.fields[given_field(path)] = encode(node.input.evaluate(context))
        state = replace(self._fresh(), status=StepStatus.EXTERNAL, started=self.now)
        due = min(self.now + self.grace, node.silence_limit(self.now) or self.now + self.grace)
        self.opens[path] = Open(path, state, due, waits_for(node.capability))
        self.note("external", path, 1, {"capability": node.capability})

    def _call(self, node: Node, path: str) -> None:
        """The child is started by whoever commits this; its input is made then."""
        state = replace(self._fresh(), status=StepStatus.CALLING, started=self.now)
        self.opens[path] = Open(path, state, self._look(node, self.now))
        child = Call(self.view.execution, path, 1).child
        self.note("calling", path, 1, {"workflow": callee(node).name, "child": child})

    def _fork(self, node: Node, path: str) -> None:
        assert node.policy is not None
        total, lanes = len(node.branches), node.policy.lanes
        state = replace(
            self._fresh(),
            status=StepStatus.JOINING,
            started=self.now,
            total=total,
            left=total,
            need=node.policy.need,
            tolerated=node.policy.tolerated,
            opened=lanes,
            votes=node.policy.ballots,
        )
        self.opens[path] = Open(path, state, self._look(node, self.now))
        self.note("forked", path, 1, {"branches": total})
        for number in reversed(range(lanes or total)):
            self._enter_branch(node, path, number)

    def _enter_branch(self, node: Node, path: str, number: int) -> None:
        entry = self.plan.scopes[node.branches[number]].entry
        self.enter(entry, join_path(join_path(path, str(number)), entry.id))

    def _map(self, node: Node, path: str, context: dict[str, Any]) -> None:
        """Open the first items; each that ends opens the next one, in the script that ends it."""
        assert node.mapped is not None
        items = node.mapped.items.evaluate(context)
        found = parse_reference(items)
        if found is not None and found.execution != self.view.execution:
            raise StepError(
                "InvalidItems",
                f"`items` of map {node.id!r} are the results of a map in another execution, "
                f"{found.execution}; let that one collect less, or store them elsewhere",
            )
        if found is None and not isinstance(items, list):
            raise StepError(
                "InvalidItems",
                f"`items` of map {node.id!r} is {encode(items)[:100]}, and must be a list",
            )
        total = found.length if found is not None else len(items)
        self.note("mapping", path, 1, {"items": total})
        if not total:
            self._map_nothing(node, path)
            return
        lanes = min(total, node.mapped.lanes)
        state = replace(
            self._fresh(),
            status=StepStatus.JOINING,
            started=self.now,
            total=total,
            left=total,
            tolerated=JoinPolicy.of_items(node.mapped.tolerate, total).tolerated,
            opened=lanes,
        )
        self.opens[path] = Open(path, state, self._look(node, self.now))
        self.pages |= found.pages(path) if found is not None else pages_of(path, items)
        entry = self.plan.scopes[node.key].entry
        for number in range(lanes):
            first = join_path(iteration_path(path, number), entry.id)
            self._open_entry(first, self._entry_state(entry))

    def _map_nothing(self, node: Node, path: str) -> None:
        output = Joined((), node).output()
        self._set_variables(node, path, output)
        self.opens[path] = Open(path, self._ended(self._fresh(), StepStatus.COMPLETED))
        self.texts[f"={path}"] = encode(output)
        self.note("completed", path, 1)
        self.after(node, path, output)

    def _entry_state(self, entry: Node) -> StepState:
        """Of the first step of an item or a branch that waited: a script can ask no expression."""
        if entry.plain:
            return self._dispatched(entry)
        return replace(self._fresh(), status=StepStatus.ENTERING)

    def _dispatched(self, node: Node) -> StepState:
        return StepState(StepStatus.DISPATCHED, since=self.now, due=node.schedule_limit(self.now))

    def _open_entry(self, path: str, state: StepState) -> None:
        due = self.now + self.grace
        self.opens[path] = Open(path, state, min(due, state.due) if state.due else due)

    def _look(self, node: Node, started: int) -> int:
        """When to look at a step that waits for others to end: soon, or at its timeout."""
        due = self.now + self.grace
        return due if node.step.timeout is None else min(due, started + node.step.timeout)

    def after(self, node: Node, path: str, output: Any) -> None:
        """A step succeeded: its output is seen by the scope, and the token goes on."""
        if in_compensation(path):
            return  # nothing follows
        scope_path = split(path)[0]
        if self.plan.uses_previous_output(scope_path):
            self.fields[output_field(scope_path)] = encode(output)
        self.view.outputs[scope_path] = output  # type: ignore[index]
        self._go_on(node, path, output)

    def _go_on(self, node: Node, path: str, output: Any) -> None:
        if isinstance(node.next, Choice) and node.type is not StepType.DECISION:
            try:
                value = node.next.expression.evaluate(context_of(self.view, path))
                target = choose(node.next, value)
                if target is None:
                    raise no_branch(node, node.next, value)
            except StepError as error:
                self.route(node, path, self._failure(error, node, path).as_dict())
                return
            self._step_to(node, path, target)
        elif isinstance(node.next, str):
            self._step_to(node, path, node.next)
        else:
            self._end_scope(split(path)[0], output)

    def _step_to(self, node: Node, path: str, target: str) -> None:
        following = self.plan.scopes[node.scope].nodes[target]
        self.laps += following.index <= node.index
        self.enter(following, self.plan.follow(path, target))

    def _end_scope(self, scope_path: str, output: Any) -> None:
        if scope_path == ROOT:
            self._end_execution(output)
        elif in_handler(scope_path + "/") and join_of(scope_path) is None:
            self._end_handled()
        else:
            self._complete_branch(scope_path, output)

    def _complete_branch(self, scope_path: str, output: Any) -> None:
        scope = self.plan.scope(scope_path)
        if scope.item_of is not None and scope.item_of.collect is not None:
            context = context_of(self.view, join_path(scope_path, scope.entry.id))
            context["output"] = output
            try:
                output = scope.item_of.collect.evaluate(context)
            except StepError as error:
                failure = Failure(error.name, f"`collect` of the map: {error.message}")
                self._fail_branch(scope_path, failure.as_dict())
                return
        self._end_branch(scope_path, True, encode(output), self._ballot(scope_path, output))

    def _ballot(self, scope_path: str, output: Any) -> str:
        up = join_of(scope_path)
        policy = self.plan.node(up[0]).policy if up is not None else None
        return policy.ballot(output) if policy is not None else ""

    def _fail_branch(self, scope_path: str, error: Mapping[str, Any]) -> None:
        self._end_branch(scope_path, False, encode({**error, **self._item_name(scope_path)}))

    def _item_name(self, scope_path: str) -> dict[str, str]:
        """What an item is called, if its map says so."""
        scope = self.plan.scope(scope_path)
        if scope.item_of is None or scope.item_of.name is None:
            return {}
        try:
            context = context_of(self.view, join_path(scope_path, scope.entry.id))
            return {"item": to_text(scope.item_of.name.evaluate(context))}
        except StepError:
            return {}  # it has a number, and the failure matters more than its name

    def _end_execution(self, output: Any) -> None:
        if self.plan.result is not None:
            context = context_of(self.view, ROOT)
            context["output"] = output
            try:
                output = self.plan.result.evaluate(context)
            except StepError as error:
                failure = Failure(error.name, f"`result` of the workflow: {error.message}")
                self._fail_execution(failure.as_dict())
                return
        if self.plan.definition.output is not None:
            misses = check_output(self.plan.definition, output)
            if misses:
                message = f"the output misses the workflow's schema: {'; '.join(misses)}"
                self._fail_execution(Failure("InvalidOutput", message).as_dict())
                return
        self.end = End(ExecutionStatus.COMPLETED, output=encode(output))
        self.note("ended", detail={"status": ExecutionStatus.COMPLETED.value})

    def _end_handled(self) -> None:
        """An error handler is done: it told somebody, but the work was not done."""
        self._fail_execution(dict(self.view.cause or {}))

    def _fail_execution(self, error: Mapping[str, Any]) -> None:
        if self.plan.compensates():
            self.end = End(ExecutionStatus.COMPENSATING, error=encode(error))
            self.note("compensating", detail={"error": error})
            return
        self.end = End(ExecutionStatus.FAILED, error=encode(error))
        detail = {"status": ExecutionStatus.FAILED.value, "error": error}
        self.note("ended", detail=detail)

    def _end_branch(self, scope_path: str, ok: bool, text: str, ballot: str = "") -> None:
        up = join_of(scope_path)
        assert up is not None
        join, number = up
        opened = self.opens.get(join)
        if opened is None:
            self.branch = replace(self._branch_end(join, scope_path, ok, text), ballot=ballot)
            return
        # The step around it is opened by this very transition, so the count is ours to keep.
        self.texts[f"{'=' if ok else '!'}{scope_path}"] = text
        state = replace(
            opened.state, left=opened.state.left - 1, failed=opened.state.failed + (not ok)
        )
        state = state.with_ballot(ballot, number)
        if state.decided:
            state = replace(state, status=StepStatus.JOINED)
            self.opens[join] = Open(join, state, self.now + self.grace)
            self._cancel_below(join)
            return
        if 0 < state.opened < state.total:
            self._enter_branch(self.plan.node(join), join, state.opened)
            state = replace(state, opened=state.opened + 1)
        self.opens[join] = replace(opened, state=state)

    def _branch_end(self, join: str, scope_path: str, ok: bool, text: str) -> BranchEnd:
        node = self.plan.node(join)
        entries: Sequence[str] = ()
        if node.mapped is not None:
            entries = (node.key,)
        elif node.policy is not None and node.policy.lanes:
            entries = node.branches[node.policy.lanes :]
        found = (self.plan.scopes[key].entry for key in entries)
        waiting = tuple((entry.id, self._entry_state(entry)) for entry in found)
        return BranchEnd(join, scope_path, ok, text, waiting, of_item=node.mapped is not None)

    def _cancel_below(self, join: str) -> None:
        self.pending = [step for step in self.pending if not is_below(step[1], join)]
        for path, opened in list(self.opens.items()):
            if is_below(path, join) and opened.state.status in LIVE:
                self.opens[path] = Open(path, self._ended(opened.state, StepStatus.CANCELLED))
                self.note("cancelled", path)

    # --- errors --------------------------------------------------------------------------

    def route(self, node: Node, path: str, error: dict[str, Any]) -> None:
        """Nothing more will be tried: find who takes the error."""
        if in_compensation(path):
            return  # it is noted
        scope_path = split(path)[0]
        action = self._action_for(node, error)
        if action is not None:
            self._take(scope_path, error)
            self.note("routed", path, 0, {"to": action.next})
            self._step_to(node, path, action.next)
            return
        if join_of(scope_path) is not None:
            self._fail_branch(scope_path, error)
        elif in_handler(path):
            self.note("handler_failed", path, 0, {"error": error})
            self._fail_execution(dict(self.view.cause or error))
        else:
            self._handle(path, error)

    def _action_for(self, node: Node, error: Mapping[str, Any]) -> ErrorAction | None:
        """The first `onError` that takes the error."""
        for action in node.on_error:
            if is_meant(action.errors, error["name"], class_in(error)):
                return action
        return None

    def _handle(self, path: str, error: dict[str, Any]) -> None:
        found = self.plan.handler_for(error["name"], class_in(error))
        if found is None:
            self._fail_execution(error)
            return
        index, handler = found
        nodes = self.plan.scopes[ROOT].nodes
        target = nodes.get(handler.handler)
        if target is not None and target.id == split(path)[1].partition("#")[0]:
            self._fail_execution(error)  # a handler cannot handle its own failure
            return
        if target is not None and self._handled_before(error):
            return
        self.note("routed", path, 0, {"to": handler.handler, "handler": True})
        if target is not None:
            self._take(ROOT, error)
            self.fields[CAUSE_FIELD] = encode(error)
            self.enter(target, self.plan.follow(path, target.id))
            return
        self.fields[CAUSE_FIELD] = encode(error)
        self.view = replace(self.view, cause=error)
        scope = handler_scope(index)
        self._take(scope, error)
        entry = self.plan.scopes[scope].entry
        self.enter(entry, join_path(scope, entry.id))

    def _handled_before(self, error: dict[str, Any]) -> bool:
        """A handler step was already entered once: a failure on its way is final.

        Without this, a handler whose own steps fail would be entered for ever, and on paths
        that exist already.
        """
        if self.view.cause is None:
            return False
        self._fail_execution(error)
        return True

    def _take(self, scope_path: str, error: dict[str, Any]) -> None:
        self.view.errors[scope_path] = error  # type: ignore[index]
        self.fields[error_field(scope_path)] = encode(error)

    def _give_up(self, node: Node, path: str) -> None:
        """Nobody takes this error: what takes it may lie in the same cycle.

        It ends no more than the own scope, so that an execution never ends beside tokens that
        live in other branches.
        """
        failure = Failure(
            "EndlessDecision",
            f"the flow went back {MAX_INLINE_LAPS} times without a step that does anything; "
            f"the last is {node.id!r}",
            node.id,
            path,
        ).as_dict()
        scope_path = split(path)[0]
        if join_of(scope_path) is not None:
            self.laps = 0
            self._fail_branch(scope_path, failure)
        else:
            self._fail_execution(failure)

    def _failure(self, error: StepError, node: Node, path: str) -> Failure:
        said = error.error_class or ""
        return Failure(error.name, error.message, node.id, path, data=error.data, said_class=said)

    # --- small things --------------------------------------------------------------------

    def _set_variables(self, node: Node, path: str, output: Any) -> None:
        if not node.output:
            return
        context = context_of(self.view, path)
        context["output"] = output
        # All or none: a mapping that fails must not leave half of the variables set.
        values = [(name, value.evaluate(context)) for name, value in node.output]
        for name, found in values:
            self.view.variables[name] = found  # type: ignore[index]
            self.fields[variable_field(name)] = encode(found)

    def _fresh(self) -> StepState:
        return StepState(StepStatus.DISPATCHED, since=self.now)

    def _ended(self, state: StepState, status: StepStatus) -> StepState:
        return state.ended(status, self.now)


def with_holes(done: Transition, holes: Sequence[Hole]) -> Transition:
    """The step has gone on without some of what it should have done."""
    if not holes or done.state is None or done.state.status is not StepStatus.COMPLETED:
        return done
    fields = hole_fields(done.path, holes)
    return replace(done, fields=(*done.fields, *fields.items()))


def choose(choice: Choice, value: Any) -> str | None:
    """The target for a value. Branches that are all of `true` and `false` go by truth."""
    if set(choice.branches) <= {"true", "false"}:
        value = truthy(value)
    text = "null" if value is None else to_text(value)
    return choice.branches.get(text, choice.default)


def no_branch(node: Node, choice: Choice, value: Any) -> StepError:
    return StepError(
        "NoBranch",
        f"{choice.expression.text!r} of step {node.id!r} is {encode(value)[:100]}, and none of "
        f"its branches ({', '.join(sorted(choice.branches))}) is; add it, or a `default`",
    )


def instant_of(node: Node, value: Any, now: int) -> int:
    """When a wait ends, ms. Raises StepError ``InvalidWait`` for what is no time."""
    assert node.step.wait is not None
    try:
        if node.step.wait.duration is not None:
            return now + parse_duration(value)
        if node.step.wait.cron is not None:
            cron, timezone = value
            return next_instant(cron, now, timezone)
        return parse_instant(value)
    except ValueError as error:
        raise StepError("InvalidWait", f"wait of step {node.id!r}: {error}") from error
