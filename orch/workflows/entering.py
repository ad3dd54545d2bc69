"""The token comes to a step: what begins there, by its type."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orch.errors import StepError
from orch.workflows.calls import Call, callee
from orch.workflows.commit import Open
from orch.workflows.cron import next_instant
from orch.workflows.definition import StepType
from orch.workflows.durations import parse_duration, parse_instant
from orch.workflows.escalating import ask
from orch.workflows.events import correlation_of, subscription
from orch.workflows.expressions import to_text, truthy
from orch.workflows.external import given_field, waits_for
from orch.workflows.joining import Joined
from orch.workflows.leaving import choose, no_branch
from orch.workflows.message import ADDRESSED, Message, address_field
from orch.workflows.node import Node
from orch.workflows.passage import decide_address
from orch.workflows.paths import iteration_path, join_path
from orch.workflows.policies import Choice, EventPolicy, JoinPolicy, LoopPolicy
from orch.workflows.references import parse_reference
from orch.workflows.routing import MAX_INLINE_LAPS, Routing
from orch.workflows.state import StepStatus, encode
from orch.workflows.view import context_of, output_field, pages_of


class Entering(Routing):
    """A draft that enters steps, one after the other, until the flow rests."""

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
            if node.routes:
                self._address(node, path, context)
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

    def _address(self, node: Node, path: str, context: dict[str, Any]) -> None:
        """Rules decide where the messages of the step go, for as long as it lasts."""
        assert node.rules is not None
        message = Message.of(node, node.input.evaluate(context), self.view.priority)
        address = decide_address(node.rules, message, context)
        self.fields[address_field(path)] = address.dumps()
        if address.rules:
            self.note(ADDRESSED, path, 1, address.as_dict())

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

    def _iterate(self, node: Node, path: str, number: int, previous: Any) -> None:
        """Enter the first step of an iteration, which sees the output of the one before."""
        scope_path = iteration_path(path, number)
        self.view.outputs[scope_path] = previous  # type: ignore[index]
        if self.plan.uses_previous_output(scope_path):
            self.fields[output_field(scope_path)] = encode(previous)
        entry = self.plan.scopes[node.key].entry
        self.enter(entry, join_path(scope_path, entry.id))


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
