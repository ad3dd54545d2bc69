"""Behind a step: the flow goes on, or a branch, an item or the execution ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orch.errors import StepError
from orch.workflows.commit import BranchEnd, End, Open
from orch.workflows.compensating import in_compensation
from orch.workflows.definition import StepType
from orch.workflows.draft import Draft
from orch.workflows.expressions import to_text, truthy
from orch.workflows.node import Node
from orch.workflows.outcome import Failure
from orch.workflows.paths import ROOT, in_handler, is_below, join_of, join_path, split
from orch.workflows.policies import Choice
from orch.workflows.state import LIVE, ExecutionStatus, StepStatus, encode
from orch.workflows.validation import check_output
from orch.workflows.view import context_of, output_field


class Leaving(Draft):
    """A draft, and how steps and scopes are left."""

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
