"""What an outcome means: how the flow goes on from where somebody has acted, until it rests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orch.errors import ErrorClass, StepError
from orch.workflows.asking import OWN_FALLBACK
from orch.workflows.commit import Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.entering import Entering
from orch.workflows.escalating import INVALID_OUTPUT, Rest, misses_of, raise_escalation, resolve
from orch.workflows.expressions import truthy
from orch.workflows.external import given_field
from orch.workflows.failing import class_in, is_meant
from orch.workflows.holes import Hole, hole_fields, tolerated
from orch.workflows.joining import Joined
from orch.workflows.message import address_field
from orch.workflows.node import Node
from orch.workflows.outcome import Failure
from orch.workflows.paths import split
from orch.workflows.policies import LoopPolicy, PollPolicy
from orch.workflows.quarantine import QUARANTINE, Quarantined, quarantine_field
from orch.workflows.references import Reference
from orch.workflows.resolving import resolution_fields
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.view import context_of, state_field


class Move(Entering):
    """One transition, from what came of an attempt, a check, a join or a decision."""

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
        if node.routes and "[" in path:
            self.drops.append(address_field(path))  # of thousands of items, nobody asks again
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

    def _fail_joined(
        self, node: Node, path: str, state: StepState, error: dict[str, Any]
    ) -> Transition:
        self.note("failed", path, 1, {"error": error})
        return self.end_badly(node, path, replace(state, attempt=1), error)


def with_holes(done: Transition, holes: Sequence[Hole]) -> Transition:
    """The step has gone on without some of what it should have done."""
    if not holes or done.state is None or done.state.status is not StepStatus.COMPLETED:
        return done
    fields = hole_fields(done.path, holes)
    return replace(done, fields=(*done.fields, *fields.items()))
