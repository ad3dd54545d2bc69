"""What a person may do about an escalation, and what that means for its step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orch.errors import AlreadyDecided, InputError, NotAllowed
from orch.workflows.approving import Approval
from orch.workflows.commit import Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.definition import StepType
from orch.workflows.escalating import (
    begin_work,
    complete,
    misses_of,
    resolve,
    resting_transition,
)
from orch.workflows.escalation import (
    COMMENT_LIMIT,
    DECISIONS,
    MOST_COMMENTS,
    Escalation,
    Ruling,
)
from orch.workflows.rungs import RungName
from orch.workflows.validation import sentences_of

if TYPE_CHECKING:
    from orch.workflows.move import Move
    from orch.workflows.node import Node


def decide_ruling(move: Move, node: Node, path: str, ruling: Ruling) -> Transition:
    """Raises AlreadyDecided, NotAllowed, InputError; then nothing is changed."""
    record = move.view.escalations.get(path)
    if record is None or not record.open or record.ends:
        raise not_open(path, record)
    holder = record.held(move.now)
    if holder and holder != ruling.by and ruling.word != "comment":
        raise NotAllowed(
            f"step {path!r} is claimed by {holder} until {_instant(record.held_until)}",
            hint="ask for its release, or wait until the claim is over",
        )
    if ruling.word not in DECISIONS:
        return _note(move, path, record, ruling)
    if in_compensation(path) and ruling.word not in ("retry", "skip"):
        raise NotAllowed(
            f"step {path!r} undoes what was done, and its execution ends anyway",
            hint="decide by retry, or by skip: then it counts as done",
        )
    record = replace(record, by=ruling.by, note=ruling.note[:COMMENT_LIMIT])
    record = replace(record, acknowledged=record.acknowledged or ruling.at)
    detail = {"decision": ruling.word, "by": ruling.by}
    detail |= {"to": ruling.target} if ruling.target else {}
    detail |= {"note": record.note} if record.note else {}
    move.note("ruled", path, record.was[0], detail)
    match ruling.word:
        case "answer":
            found = _answer(move, node, path, record, ruling)
        case "retry":
            found = _retry(move, node, path, record, ruling)
        case "skip":
            found = _skip(move, node, path, record, ruling)
        case "reroute":
            found = _reroute(move, node, path, record, ruling)
        case _:
            found = _end(move, node, path, record, ruling)
    return replace(found, cancels_below=bool(record.work) or found.cancels_below)


def not_open(path: str, record: Escalation | None) -> AlreadyDecided:
    """Why there is nothing to decide; who was faster, if somebody was."""
    if record is None:
        return AlreadyDecided(f"step {path!r} is not escalated")
    by = f" by {record.by}" if record.by else ""
    at = f" at {_instant(record.resolved)}" if record.resolved else ""
    return AlreadyDecided(
        f"step {path!r} is dealt with already: {record.decision or 'ended'}{by}{at}",
        by=record.by,
        decision=record.decision,
        hint="nothing is changed by this",
    )


def _note(move: Move, path: str, record: Escalation, ruling: Ruling) -> Transition:
    """What changes who deals with it, and not what becomes of it."""
    now, by = move.now, ruling.by
    detail: dict[str, Any] = {"do": ruling.word, "by": by}
    match ruling.word:
        case "claim":
            _at_a_person(path, record)
            seen = record.acknowledged or now
            changed = record.changed(holder=by, held_until=ruling.until, acknowledged=seen)
            detail["until"] = ruling.until
        case "release":
            if not record.held(now):
                raise NotAllowed(f"step {path!r} is claimed by nobody")
            changed = record.changed(holder="", held_until=0)
        case "delegate":
            _at_a_person(path, record)
            if not ruling.target:
                raise InputError("delegate to whom? Name a queue, or `@somebody`")
            detail["to"] = ruling.target
            if ruling.target.startswith("@"):
                to = ruling.target[1:]
                changed = record.changed(holder=to, held_until=ruling.until)
            else:
                changed = record.changed(queue=ruling.target, holder="", held_until=0)
        case _:
            text = ruling.note.strip()
            if not text:
                raise InputError("the comment is empty")
            said = {"by": by, "at": ruling.at, "text": text[:COMMENT_LIMIT]}
            changed = record.changed(comments=(*record.comments, said)[-MOST_COMMENTS:])
            detail["text"] = said["text"]
    move.note("inbox", path, record.was[0], detail)
    return resting_transition(move, path, changed)


def _at_a_person(path: str, record: Escalation) -> None:
    if not record.queue or record.work:
        raise NotAllowed(
            f"step {path!r} waits for nobody at the moment: its rung {record.rung} "
            f"({record.kind}) is at work",
            hint="it can be skipped, rerouted or aborted; or wait for what the rung comes to",
        )


def _answer(move: Move, node: Node, path: str, record: Escalation, ruling: Ruling) -> Transition:
    if record.asked is None:
        raise NotAllowed(
            f"step {path!r} has failed and is no approval",
            hint="decide by retry, skip, reroute, compensate or abort",
        )
    output = Approval.of(record.asked).answer(ruling.value, ruling.by, ruling.note)
    return _completed(move, node, path, record, "answer", output)


def _retry(move: Move, node: Node, path: str, record: Escalation, ruling: Ruling) -> Transition:
    _at_a_person(path, record)
    if record.asked is not None:
        raise NotAllowed(f"step {path!r} is an approval: there is nothing to retry; answer it")
    if node.type is not StepType.TASK or not node.is_work:
        raise NotAllowed(
            f"step {path!r} is a {_kind_of(node)}, and is not tried again by itself",
            hint="skip it with an output, or reroute to a step",
        )
    given = (ruling.value,) if ruling.given else ()
    name = RungName(record.ladder, record.rung)
    again = begin_work(move, node, path, record.changed(given=given), name)
    return resting_transition(move, path, again)


def _kind_of(node: Node) -> str:
    return "task of somebody outside" if node.external else str(node.type)


def _skip(move: Move, node: Node, path: str, record: Escalation, ruling: Ruling) -> Transition:
    output = ruling.value
    human = _form_of(move, path, record)
    misses = misses_of(node, output)
    if not misses and human is not None:
        wrong = sentences_of(human, output)
        misses = f"the output does not fit the rung's `form`: {'; '.join(wrong)}" if wrong else ""
    if misses:
        raise InputError(misses, hint="nothing is changed; give an output that fits")
    move.note("skipped_by", path, record.was[0], {"by": ruling.by})
    return _completed(move, node, path, record, "skip", output)


def _form_of(move: Move, path: str, record: Escalation) -> Mapping[str, Any] | None:
    if record.asked is not None:
        return None
    rung = move.plan.rung(path, record.ladder, record.rung)
    return rung.human.form if rung is not None and rung.human is not None else None


def _completed(
    move: Move, node: Node, path: str, record: Escalation, decision: str, output: Any
) -> Transition:
    move.view.escalations[path] = record  # type: ignore[index]
    error = move.mapping_error(node, path, output)
    if error is not None:
        raise InputError(
            f"step {path!r} would fail with this output: {error.name}: {error.message}",
            hint="nothing is changed; give one that its `output` mapping can read",
        )
    return complete(move, node, path, record, decision, output)


def _reroute(move: Move, node: Node, path: str, record: Escalation, ruling: Ruling) -> Transition:
    target = ruling.target
    siblings = move.plan.scopes[node.scope].nodes
    if target in siblings:
        resolve(move, node, path, record, "reroute")
        return move.reroute(node, path, record.base(move.now), dict(record.error or {}), target)
    _at_a_person(path, record)
    again = begin_work(move, node, path, record.changed(given=()), RungName(capability=target))
    return resting_transition(move, path, again)


def _end(move: Move, node: Node, path: str, record: Escalation, ruling: Ruling) -> Transition:
    """What ends the execution is done behind this, by whoever sees it first."""
    del node
    again = record.changed(decision=ruling.word, until=move.now, remind=0, work="")
    return resting_transition(move, path, again)


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
