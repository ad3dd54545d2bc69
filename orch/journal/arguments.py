"""How the parts of a transition are given to the scripts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orch.journal.heads import error_name, of_error
from orch.workflows.commit import BranchEnd, End, Event, Open, Transition
from orch.workflows.state import StepStatus


def opened_tokens(opens: Iterable[Open]) -> list[list[Any]]:
    """Path, state and when to look at it (ms, 0: never), of each."""
    return [[o.path, o.state.dumps(), o.due or 0] for o in opens]


def branch_end(branch: BranchEnd | None) -> list[Any]:
    """The join, the branch's place in it, whether it went well, its output; then, where others wait
    for its end, "[" or "/", and the entry of each with its state and when to look at it."""
    if branch is None:
        return []
    told: list[Any] = [branch.join, branch.scope, int(branch.ok), branch.text]
    if branch.waiting:
        told.append("[" if branch.of_item else "/")
        told.append([[e, state.dumps(), state.due] for e, state in branch.waiting])
    return told


def end_words(end: End | None) -> list[str]:
    """Status, output, error, and the name of the error as it is counted."""
    if end is None:
        return []
    return [end.status.value, end.output or "", end.error or "", error_head(error_name(end.error))]


def subscriptions(opens: Iterable[Open]) -> list[tuple[str, str]]:
    """Fields of the execution: what each of its tokens waits for."""
    return [(f"?{o.path}", o.listens) for o in opens if o.listens]


def listeners(execution: str, opens: Iterable[Open]) -> list[str]:
    """Members of the set of all that wait for something, sorted by what that is."""
    return [f"{o.listens} {execution} {o.path}" for o in opens if o.listens]


def end_of(transition: Transition | None) -> End | None:
    """How an execution ends with its first transition, if it does."""
    return transition.end if transition is not None else None


def end_fields(transition: Transition | None, now: int) -> dict[str, str]:
    """Fields of the record of an execution whose flow ends with its first transition."""
    end = end_of(transition)
    if end is None:
        return {}
    if not end.status.ended:
        return {"status": end.status.value, "failing": end.error or ""}
    found = {"status": end.status.value, "ended": str(now)}
    if end.output is not None:
        found["output"] = end.output
    if end.error is not None:
        found["error"] = end.error
    return found


def error_head(name: str) -> str:
    """What executions that ended with it are found by; '': nothing."""
    return of_error(name) if name else ""


def kept_texts(transition: Transition, now: int) -> Iterable[tuple[str, str]]:
    """What is written of a step that was cancelled while it ran, and has done what it does."""
    if transition.kept is None or transition.state is None:
        return
    yield transition.path, transition.state.ended(StepStatus.CANCELLED, now).dumps()
    if transition.kept:
        yield f"={transition.path}", transition.kept


def kept_event(transition: Transition, attempt: int, now: int) -> bytes:
    """The line of the history that says so."""
    return Event("kept", transition.path, attempt).dumps(now) if transition.kept else b""
