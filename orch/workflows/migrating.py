"""Whether an execution can go on by another plan, token by token, and what that changes.

Every token that lives must find a step of the same type at its path, or at the one to which it
is mapped, and that step must count and wait by the same rules. All that does not fit is told at
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import filterfalse

from orch.workflows.calls import callee
from orch.workflows.definition import StepType
from orch.workflows.escalation import Escalation
from orch.workflows.ladder import Rung
from orch.workflows.node import Node
from orch.workflows.paths import ROOT, in_handler, join_path, split, split_lap
from orch.workflows.plan import Plan
from orch.workflows.policies import JoinPolicy, MapPolicy
from orch.workflows.rungs import in_rung
from orch.workflows.state import LIVE, StepState, StepStatus

MOVABLE = frozenset(
    {
        StepStatus.DISPATCHED,
        StepStatus.RETRYING,
        StepStatus.WAITING,
        StepStatus.POLLING,
        StepStatus.LISTENING,
    }
)
"""Where nobody but the journal knows the path: no worker, no child and no branch has it."""


@dataclass(frozen=True)
class Misfit:
    """Why the token at ``path`` cannot go on by the other plan."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


@dataclass(frozen=True)
class Fitting:
    """What a migration changes, if there are no ``misfits``.

    ``seen``: path -> state, as text, of every token that lives. ``moves``: path -> its new one.
    ``sends``: paths that need a message, since theirs lies in another queue or names another
    path. ``looks``: paths of which other limits hold now.
    """

    seen: Mapping[str, str]
    moves: Mapping[str, str]
    sends: tuple[str, ...] = ()
    looks: tuple[str, ...] = ()
    misfits: tuple[Misfit, ...] = ()


def fit(
    old: Plan,
    new: Plan,
    fields: Mapping[str, str],
    mapping: Mapping[str, str] | None = None,
    reopened: Iterable[str] = (),
    escalations: Mapping[str, Escalation] | None = None,
) -> Fitting:
    """Whether what lives in ``fields``, those of the steps' hash, can go on by ``new``.

    ``mapping``: id, or path without laps, of a step -> id, or path, of one of the same scope
    in ``new``. ``reopened``: paths that live again when a failed execution is retried.
    ``escalations``: of the steps, by their paths.
    """
    return _Fitter(old, new, fields, mapping or {}, frozenset(reopened), escalations or {}).run()


class _Fitter:
    def __init__(
        self,
        old: Plan,
        new: Plan,
        fields: Mapping[str, str],
        mapping: Mapping[str, str],
        reopened: frozenset[str],
        escalations: Mapping[str, Escalation],
    ) -> None:
        self.escalations = escalations
        self.old = old
        self.new = new
        self.mapping = mapping
        self.texts = {path: text for path, text in fields.items() if path[0] not in "=!?"}
        states = {path: StepState.loads(text) for path, text in self.texts.items()}
        self.tokens = {p: s for p, s in states.items() if s.status in LIVE or p in reopened}
        self.subscriptions = {p[1:]: text for p, text in fields.items() if p[0] == "?"}
        self.laps: dict[str, int] = {}
        for path in filterfalse(in_rung, states):
            scope, own = split(path)
            self.laps[scope] = max(self.laps.get(scope, 1), split_lap(own)[1])
        self.misfits: list[Misfit] = []
        self.moves: dict[str, str] = {}

    def run(self) -> Fitting:
        sends, looks = [], []
        unused = set(self.mapping)
        for path, state in sorted(self.tokens.items()):
            before = self.old.node(path)
            if in_rung(path):
                sends += self._work(path, state, before)
                continue
            named = next((n for n in (before.key, before.id) if n in self.mapping), None)
            if named is not None:
                unused.discard(named)
                self._move(path, state, before, self.mapping[named])
            goal = self.moves.get(path, path)
            after = self._node(path, goal, state, moved=named is not None)
            if after is None:
                continue
            self._check(path, state, before, after)
            self._check_ahead(path, goal)
            waits = state.status is StepStatus.DISPATCHED
            if waits and (goal != path or _address(before) != _address(after)):
                sends.append(goal)
            if _limit(before) != _limit(after):
                looks.append(goal)
        for name in sorted(unused):
            self._misfit("", f"no step that is on its way is called {name!r}")
        return Fitting(
            {path: self.texts[path] for path in self.tokens},
            self.moves,
            tuple(sends),
            tuple(looks),
            tuple(self.misfits),
        )

    def _misfit(self, path: str, reason: str) -> None:
        self.misfits.append(Misfit(path, reason))

    def _node(self, path: str, goal: str, state: StepState, *, moved: bool) -> Node | None:
        if moved and goal == path:
            return None  # it was told why it cannot be moved
        try:
            return self.new.node(goal)
        except KeyError:
            self._misfit(path, f"is {state.status.value}, and the other version has no such step")
            return None

    def _move(self, path: str, state: StepState, before: Node, target: str) -> None:
        scope_path, own = split(path)
        goal_scope, _, step_id = target.rpartition("/")
        try:
            scope = self.new.scope(scope_path)
        except KeyError:
            self._misfit(path, "the other version has no scope like the one that it is in")
            return
        if (goal_scope and goal_scope != scope.key) or step_id not in scope.nodes:
            place = f"in {scope.key!r}" if scope.key else "at its top"
            self._misfit(path, f"is mapped to {target!r}, which is no step {place} there")
            return
        goal = join_path(scope_path, step_id, split_lap(own)[1])
        if goal == path:
            self._misfit(path, "is mapped to itself")
        elif state.status not in MOVABLE or before.branches:
            self._misfit(
                path, f"is {state.status.value}, and cannot take another name until it is at rest"
            )
        elif goal in self.texts:
            self._misfit(path, f"is mapped to {goal!r}, which was run already")
        else:
            self.moves[path] = goal

    def _work(self, path: str, state: StepState, before: Node) -> list[str]:
        """The work of a rung goes on with its step; its path, if its message goes elsewhere."""
        try:
            after = self.new.node(path)
        except KeyError:
            return []  # it is told of the step that its ladder is another one
        waits = state.status is StepStatus.DISPATCHED
        return [path] if waits and _address(before) != _address(after) else []

    # --- one token ---------------------------------------------------------------------------

    def _check(self, path: str, state: StepState, before: Node, after: Node) -> None:
        if _nature(before) != _nature(after):
            self._misfit(path, f"is a {_kind(before)}, and {_kind(after)} in the other version")
            return
        for reason in self._differences(path, state, before, after):
            self._misfit(path, reason)
        if in_handler(path) and self._handler(self.old, path) != self._handler(self.new, path):
            self._misfit(path, "the other version has another error handler in its place")
        if self._misses_output(path, state, after):
            self._misfit(
                path, "reads the output of the step before it, which this version does not keep"
            )

    def _differences(self, path: str, state: StepState, before: Node, after: Node) -> Iterator[str]:
        if state.waits:
            yield "holds branches or items that wait to be tried again"
        if state.status is StepStatus.ESCALATED:
            yield from self._other_ladder(path, before, after)
        if before.policy is not None and after.policy is not None:
            if len(after.branches) != state.total:
                yield f"has {state.total} branches, and {len(after.branches)} in the other version"
            elif before.policy != after.policy:
                rules = "`join`, `tolerate`, `maxConcurrency`, `resolve`"
                yield f"is joined by other rules there ({rules})"
        if before.mapped is not None and after.mapped is not None:
            policies = [JoinPolicy.of_items(m.tolerate, state.total) for m in _maps(before, after)]
            if policies[0] != policies[1]:
                yield "is joined by other rules in the other version (`tolerate`)"
        if before.event is not None and after.event is not None:
            if before.event.emits != after.event.emits:
                yield "waits for an event in one version and emits one in the other"
            elif before.event.asked.name != after.event.asked.name:
                yield f"is about another event there: {after.event.asked.name!r}"
        if before.external and before.capability != after.capability:
            yield f"is left to those who do {after.capability!r} there"
        both = before.step.subworkflow is not None and after.step.subworkflow is not None
        if both and callee(before).name != callee(after).name:
            yield f"calls another workflow there: {callee(after).name!r}"

    def _other_ladder(self, path: str, before: Node, after: Node) -> Iterator[str]:
        record = self.escalations.get(path)
        if before.is_approval != after.is_approval:
            yield "is done by a person in one of the versions alone"
        if record is None or record.asked is not None:
            return
        if _ladder(self.old, path, record) != _ladder(self.new, path, record):
            named = f" {record.ladder!r}" if record.ladder else ""
            yield (
                f"is escalated, at rung {record.rung}, and its ladder{named} is another one in "
                f"the other version"
            )

    def _handler(self, plan: Plan, path: str) -> str:
        number = int(path.split("/")[1])
        handlers = plan.definition.error_handlers
        return handlers[number].handler if number < len(handlers) else ""

    def _misses_output(self, path: str, state: StepState, after: Node) -> bool:
        """Whether it would read `$.output`, which was not kept for it."""
        if state.status is StepStatus.RUNNING and after.poll is None:
            return False
        if not any(read[0] == "output" for read in after.input_reads):
            return False
        return not self.old.uses_previous_output(split(path)[0])

    # --- what is ahead of it -------------------------------------------------------------------

    def _check_ahead(self, path: str, goal: str) -> None:
        """A path is run once; none of those that may follow may have been run already."""
        scope_path, _ = split(goal)
        found: set[str] = set()
        seen = {goal}
        todo = [goal]
        while todo:
            at = todo.pop()
            for target in steps_after(self.new, self.new.node(at)):
                following = self.new.follow(at, target)
                if following in seen:
                    continue
                seen.add(following)
                if following != path and following in self.texts:
                    found.add(following)
                elif split_lap(split(following)[1])[1] <= self.laps[scope_path]:
                    todo.append(following)
        if found:
            ran = ", ".join(repr(p) for p in sorted(found))
            self._misfit(path, f"the other version would come to {ran} again, which was run")


def steps_after(plan: Plan, node: Node) -> Iterator[str]:
    """Ids of all steps of the scope to which a step may lead, whatever becomes of it."""
    yield from node.targets()
    yield from (action.next for action in node.on_error)
    if node.scope == ROOT:
        nodes = plan.scopes[ROOT].nodes
        names = (handler.handler for handler in plan.definition.error_handlers)
        yield from (name for name in names if name in nodes and name != node.id)


def _ladder(plan: Plan, path: str, record: Escalation) -> tuple[Rung, ...] | None:
    try:
        return plan.ladder(path, record.ladder)
    except KeyError:
        return None


def _maps(before: Node, after: Node) -> Iterator[MapPolicy]:
    for node in (before, after):
        assert node.mapped is not None
        yield node.mapped


def _address(node: Node) -> tuple[str, str, bool]:
    """Where its message goes, and whether rules may say otherwise."""
    return node.task_name, node.queue, node.routes


def _limit(node: Node) -> tuple[int | None, ...]:
    listens = node.event.asked.timeout if node.event else None
    return node.step.timeout, node.step.heartbeat_timeout, listens


def _nature(node: Node) -> tuple[StepType, bool, bool]:
    return node.type, node.is_work, node.external


def _kind(node: Node) -> str:
    more = " with a poll" if node.poll is not None else ""
    more += " that is done outside" if node.external else ""
    return node.type.value + more
