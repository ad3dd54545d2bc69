"""From one step to the next: what is written where a step ends, well, as most of them do.

`decide` follows the flow to find out what an outcome means. Where it always goes straight on, to
one step that begins with a message, all that is written is known beforehand but for the instant,
the worker and the output: `Straight` puts that together for a fraction of the cost. A property
test holds both to the same `Link`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeGuard, TypeVar

from orch.workflows.commit import BranchEnd, End, Event, Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.entries import CLAIMED, COMPLETED, Passage, pack, passage, shortened
from orch.workflows.frozen import changed
from orch.workflows.handoff import Handoff, needed_behind
from orch.workflows.node import Node
from orch.workflows.outcome import Completed, Outcome
from orch.workflows.paths import KNOWN_PATHS, ROOT, join_of, split
from orch.workflows.plan import Plan
from orch.workflows.rungs import in_rung
from orch.workflows.state import ExecutionStatus, StepState, StepStatus, encode
from orch.workflows.view import INPUT_FIELD, ITEM_MARK, View, output_field


@dataclass(slots=True)
class Link:
    """What one script writes, if the step at ``path`` is still in the state ``before``.

    ``written``: flat name, value, … of the steps' hash; ``watched``: flat instant, path, …;
    ``fields``: flat name, value, … of the record. ``following``: a step with which the worker goes
    on itself, or '', and ``taken`` its state. ``events``: entries of the history; ``short``: the
    last of them in fewer bytes, as it is stored behind the others, where that is known. ``reads``:
    fields of the record that the next step needs. ``text``: of the state ``taken``, or ''.
    """

    path: str
    before: str
    state: str
    written: list[str]
    watched: list[str | int]
    fields: list[str]
    events: list[bytes]
    short: bytes
    following: str
    taken: StepState | None
    text: str
    reads: Sequence[str]


def link_of(
    transition: Transition, before: str, handoff: Handoff | None, now: int, *, terse: bool
) -> Link:
    """Of what was decided. ``handoff``: of a token that the transition opens.

    ``terse``: quiet items leave no entries.
    """
    assert transition.state is not None
    over = handoff.open if handoff is not None else None
    written: list[str] = []
    watched: list[str | int] = []
    for opened in transition.opens:
        if opened is over:
            continue
        written += (opened.path, opened.state.dumps())
        if opened.due:
            watched += (opened.due, opened.path)
    written += (part for pair in transition.texts for part in pair)
    events = [event.dumps(now) for event in transition.events]
    taken: StepState | None = None
    if handoff is not None and over is not None:
        taken = handoff.taken(now)
        watched += (now + handoff.lease, over.path)
        if not (handoff.quiet and terse):
            events.append(handoff.claimed().dumps(now))
    return Link(
        path=transition.path,
        before=before,
        state=transition.state.dumps(),
        written=written,
        watched=watched,
        fields=[part for pair in transition.fields for part in pair],
        events=events,
        short=b"",
        following="" if over is None else over.path,
        taken=taken,
        text="" if taken is None else taken.dumps(),
        reads=() if handoff is None or over is None else handoff.reads,
    )


T = TypeVar("T")

NULL = encode(None)
_TAKEN = StepState(StepStatus.RUNNING)


@dataclass(frozen=True)
class Straight:
    """What always follows when a step has ended well: the step ``node`` at ``path``.

    ``reads``: what that one needs of the record, beside the input if ``reads_input``. ``keeps``:
    the field in which the output is kept for it, or ''. ``passage``: how the history tells of both,
    where that is known.
    """

    node: Node
    path: str
    reads: tuple[str, ...]
    reads_input: bool
    keeps: str
    passage: Passage | None

    def link(
        self,
        view: View,
        path: str,
        state: StepState,
        text: str | None,
        now: int,
        grace: int,
        taker: tuple[str, int] | None,
        before: str = "",
    ) -> Link:
        """What is written when the attempt ``state`` at ``path`` has come to ``text``, its JSON.

        ``text``: None where there is no output. ``taker``: owner and lease, ms, of the worker if it
        goes on itself. ``before``: ``state`` as it is stored, if the caller knows.
        """
        following = self.path
        written = [] if text is None else [f"={path}", text]
        taken: StepState | None = None
        found = None
        if taker is not None and self.passage is not None and state.attempt == 1:
            found = self.passage.entries(now, taker[0], state.owner)
        events, short = found or ([pack(now, COMPLETED, path, state.attempt, None)], b"")
        if taker is None:
            opened = StepState(StepStatus.DISPATCHED, since=now)
            written = [following, opened.dumps(), *written]
            due = now + grace
        else:
            owner, lease = taker
            due = now + lease
            taken = changed(_TAKEN, since=now, owner=owner, started=now)
            if found is None:
                claim = pack(now, CLAIMED, following, 1, {"worker": owner})
                short = shortened(claim, owner, state.owner)
                events.append(claim)
        return Link(
            path=path,
            before=before or state.dumps(),
            state=state.ended(StepStatus.COMPLETED, now).dumps(),
            written=written,
            watched=[due, following],
            fields=[self.keeps, NULL if text is None else text] if self.keeps else [],
            events=events,
            short=short,
            following="" if taker is None else following,
            taken=taken,
            text="" if taken is None else taken.dumps(),
            reads=() if taker is None else self.needed(view),
        )

    def needed(self, view: View) -> Sequence[str]:
        """What is to be read for it: the input only if the step before did not see it."""
        if self.reads_input and view.input is None:
            return (*self.reads, INPUT_FIELD)
        return self.reads


def straight_from(plan: Plan, path: str) -> Straight | None:
    """What always follows the step at ``path``; None: it takes `decide` to know."""
    known: dict[str, Straight | None] = plan.straight
    return _once(known, plan, path, _straight_from)


def _once(known: dict[str, T], plan: Plan, path: str, find: Callable[[Plan, str], T]) -> T:
    """What is found of a path, and known from then on."""
    if path not in known:
        if len(known) >= KNOWN_PATHS:
            known.clear()
        known[path] = find(plan, path)
    return known[path]


def _straight_from(plan: Plan, path: str) -> Straight | None:
    if _asks_more(plan, path):
        return None
    node = plan.node(path)
    if not isinstance(node.next, str):
        return None
    following = plan.scopes[node.scope].nodes[node.next]
    if not following.plain or following.rules or following.step.schedule_timeout:
        return None
    target, scope_path = plan.follow(path, node.next), split(path)[0]
    reads = needed_behind(plan, target)
    if any(name.startswith(ITEM_MARK) for name in reads) or plan.is_quiet(target):
        return None
    return Straight(
        node=following,
        path=target,
        reads=tuple(name for name in reads if name != INPUT_FIELD),
        reads_input=INPUT_FIELD in reads,
        keeps=output_field(scope_path) if plan.uses_previous_output(scope_path) else "",
        passage=passage(path, target),
    )


def ended_plainly(outcome: Outcome, view: View, state: StepState) -> TypeGuard[Completed]:
    """Whether an attempt has ended well, and nothing else is to be said of it or cleared away."""
    plain = isinstance(outcome, Completed) and outcome.fallback is None
    return plain and not view.beats and state.status is StepStatus.RUNNING


def text_of(outcome: Completed) -> str | None:
    """Its output as JSON; None: it has none."""
    if outcome.output is None:
        return None
    return encode(outcome.output) if outcome.text is None else outcome.text


def plain_end(
    plan: Plan, view: View, path: str, state: StepState, outcome: Outcome, now: int
) -> Transition | None:
    """What is decided where a branch of a parallel step always ends with the step at ``path``, and
    that is all; None: it takes `decide` to know."""
    if not ended_plainly(outcome, view, state):
        return None
    ended = _once(plan.ends, plan, path, _end_from)
    if ended is None:
        return None
    text = text_of(outcome)
    return Transition(
        path=path,
        state=state.ended(StepStatus.COMPLETED, now),
        plan=plan.key,
        texts=() if text is None else ((f"={path}", text),),
        branch=changed(ended, text=NULL if text is None else text),
        events=(Event("completed", path, state.attempt),),
    )


def _end_from(plan: Plan, path: str) -> BranchEnd | None:
    """The end of a branch, but for its text."""
    scope_path = split(path)[0]
    up = join_of(scope_path)
    if _asks_more(plan, path) or up is None or plan.node(path).next is not None:
        return None
    around = plan.node(up[0])
    policy = around.policy
    if policy is None or policy.resolver is not None or policy.lanes:
        return None
    if around.mapped is not None or around.loop is not None or not around.branches:
        return None
    if plan.uses_previous_output(scope_path):
        return None
    return BranchEnd(up[0], scope_path, True, "")


def last_end(
    plan: Plan, view: View, path: str, state: StepState, outcome: Outcome, now: int
) -> Transition | None:
    """As `plain_end`, where an execution always ends with the step at ``path``, completed."""
    if not ended_plainly(outcome, view, state) or not _once(plan.lasts, plan, path, _is_last):
        return None
    text = text_of(outcome)
    output = NULL if text is None else text
    return Transition(
        path=path,
        state=state.ended(StepStatus.COMPLETED, now),
        plan=plan.key,
        texts=() if text is None else ((f"={path}", text),),
        fields=((output_field(ROOT), output),) if plan.uses_previous_output(ROOT) else (),
        end=End(ExecutionStatus.COMPLETED, output=output),
        events=(Event("completed", path, state.attempt), _COMPLETED),
    )


_COMPLETED = Event("ended", detail={"status": ExecutionStatus.COMPLETED.value})


def _is_last(plan: Plan, path: str) -> bool:
    if split(path)[0] != ROOT or _asks_more(plan, path) or plan.node(path).next is not None:
        return False
    return plan.result is None and plan.definition.output is None


def _asks_more(plan: Plan, path: str) -> bool:
    """Whether the end of a step that ended well has more to say than that, and what follows."""
    if in_compensation(path) or in_rung(path) or plan.compensates():
        return True
    node = plan.node(path)
    asks = node.output or node.choice or node.poll or node.step.output_schema or node.rules
    return not node.is_work or bool(asks)
