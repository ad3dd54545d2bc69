"""A transition in the making: what is collected while the flow goes from step to step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orch.errors import StepError
from orch.workflows.commit import BranchEnd, End, Event, Open, Page, Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.escalating import Rest
from orch.workflows.frozen import changed
from orch.workflows.node import Node
from orch.workflows.outcome import Failure
from orch.workflows.paths import join_path
from orch.workflows.plan import Plan
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.view import View, beat_field, context_of, variable_field


class Draft(ABC):
    """Collects one transition.

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

    def note(
        self, word: str, path: str = "", attempt: int = 0, detail: Mapping[str, Any] | None = None
    ) -> None:
        self.events.append(Event(word, path, attempt, detail))

    def enter(self, node: Node, path: str) -> None:
        """The token comes to a step.

        It is entered in a loop (by `transition`), not from here: a flow may skip more steps in
        a row than Python allows calls to be nested.
        """
        self.pending.append((node, path))

    def _enter_branch(self, node: Node, path: str, number: int) -> None:
        entry = self.plan.scopes[node.branches[number]].entry
        self.enter(entry, join_path(join_path(path, str(number)), entry.id))

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

    def _failure(self, error: StepError, node: Node, path: str) -> Failure:
        said = error.error_class or ""
        return Failure(error.name, error.message, node.id, path, data=error.data, said_class=said)

    def _drop_beat(self, path: str) -> None:
        """What the attempt said of its progress is of no use any more."""
        if path in self.view.beats and beat_field(path) not in self.drops:
            self.drops.append(beat_field(path))

    # --- what the layers above do ----------------------------------------------------------

    @abstractmethod
    def _enter_next(self) -> None:
        """Enter the step that is next among those that are pending."""

    @abstractmethod
    def route(self, node: Node, path: str, error: dict[str, Any]) -> None:
        """Nothing more will be tried: find who takes the error."""

    @abstractmethod
    def _escalate(
        self, node: Node, path: str, state: StepState, error: dict[str, Any], asked: str = ""
    ) -> Rest | None:
        """Ask somebody about the error; None: nobody is asked."""
