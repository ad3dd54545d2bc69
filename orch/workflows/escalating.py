"""From rung to rung: what a failure that nobody takes becomes, until somebody has dealt with it.

A rung that works (`retry`, `reassign`, `fallback`) has a token of its own below the step, which
is claimed, settled, retried and lost like any other. What it comes to, and the end of a rung's
time, and what a person decides, each are one transition of the step: the next rung is entered,
or the step has an end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orch.errors import ErrorClass, NotAllowed
from orch.workflows.again import attempt_at_once, deferred, limited, policy_of, retried
from orch.workflows.approving import Approval
from orch.workflows.choosing import choose_agent
from orch.workflows.commit import Event, Open, Transition
from orch.workflows.compensating import in_compensation
from orch.workflows.definition import StepType
from orch.workflows.escalation import (
    Escalation,
    escalation_field,
    escalation_id,
    waits_in,
)
from orch.workflows.failing import class_in
from orch.workflows.holes import Hole, hole_fields
from orch.workflows.ladder import HumanRung, Rung
from orch.workflows.outcome import (
    Completed,
    Deferred,
    Entered,
    Failed,
    Failure,
    Limited,
    Lost,
    Outcome,
    Released,
)
from orch.workflows.rungs import RungName, rung_of, rung_path, subject_of
from orch.workflows.state import StepState, StepStatus, encode
from orch.workflows.validation import sentences_of
from orch.workflows.view import context_of, node_of

if TYPE_CHECKING:
    from orch.workflows.draft import Draft
    from orch.workflows.move import Move
    from orch.workflows.node import Node

INVALID_OUTPUT = "InvalidOutput"


@dataclass(frozen=True)
class Rest:
    """How a step waits while it is escalated."""

    state: StepState
    due: int
    listens: str = ""


def raise_escalation(
    move: Draft, node: Node, path: str, state: StepState, error: Mapping[str, Any], asked: str = ""
) -> Rest | None:
    """What the failure of a step becomes; None: nobody is asked, or nobody is left.

    ``asked``: the name of the path that the error asks for.
    """
    record = _open_record(move, path)
    # That of a step that was cancelled, and is tried again, is open: its ladder begins anew.
    climbs = record is not None and record.asked is None
    if record is not None and climbs and state.status is StepStatus.ESCALATED:
        return climb(move, node, path, replace(record, error=error))
    context = {**context_of(move.view, path), "error": error}
    found = move.plan.ladder_for(path, error, context, asked)
    if found is None:
        return None
    name, _ = found
    was = (state.attempt, state.failures, state.lost, state.started)
    last = move.view.escalations.get(path)
    failed = tuple(a.name for a in move.view.agents if a.incarnation == _incarnation(state))
    seq, works = (last.seq, last.works) if last else (0, 0)
    record = Escalation(move.now, error, was=was, ladder=name, seq=seq, works=works, agents=failed)
    return climb(move, node, path, record)


def _incarnation(state: StepState) -> str:
    """Whose attempt it was: a worker's life is the first part of the owner."""
    return state.owner.partition("/")[0]


def climb(move: Draft, node: Node, path: str, record: Escalation) -> Rest | None:
    """Enter the next rung; None: there is none, or it says so."""
    rungs = move.plan.ladder(path, record.ladder)
    poison = class_in(record.error or {}) == ErrorClass.POISON
    for number, rung in enumerate(rungs[record.rung :], record.rung + 1):
        if rung.fail:
            if not record.rung:
                record = _told_at_once(move, path, record, number)
            break
        if not _may_enter(node, rung) or (poison and (rung.retry or rung.reassign)):
            continue
        if rung.reassign is not None:
            wanted = rung.reassign.to_agent
            key = f"{move.view.execution}/{path}"
            agent = choose_agent(move.view.agents, node.common_queue, wanted, record.agents, key)
            if agent is None:
                why = f"no live agent serves it that fits `{wanted}`"
                detail = {"rung": number, "kind": rung.kind, "skipped": why}
                move.note("rung", path, record.was[0], detail)
                continue
            record = replace(record, agents=(*record.agents, agent.name))
        return _enter(move, node, path, record, number, rung)
    if record.rung:
        resolve(move, node, path, record, "fail")
    return None


def _told_at_once(move: Draft, path: str, record: Escalation, number: int) -> Escalation:
    """Nobody is asked, but the hooks hear of it."""
    record = record.changed(rung=number, kind="fail", since=move.now)
    detail = {"rung": number, "kind": "fail"} | ({"ladder": record.ladder} if record.ladder else {})
    move.note("escalated", path, record.was[0], detail)
    tell(move, path, record, "raised")
    return record


def _may_enter(node: Node, rung: Rung) -> bool:
    """Whether the rung can do anything for a step of this type."""
    works = node.type is StepType.TASK and node.is_work
    return works or not (rung.retry or rung.reassign)


def ask(move: Draft, path: str, asked: Mapping[str, Any]) -> Rest:
    """The token comes to a step that a person does. Raises StepError for what cannot be asked."""
    rung = Approval.of(asked).rung
    last = move.view.escalations.get(path)
    record = Escalation(
        move.now,
        asked=asked,
        was=(1, 0, 0, move.now),
        kind="approval",
        since=move.now,
        until=move.now + rung.within if rung.within else 0,
        seq=last.seq + 1 if last else 1,
        works=last.works if last else 0,
    )
    record = _at_person(record, Rung(human=rung), move.now)
    detail = {"queue": record.queue} | ({"until": record.until} if record.until else {})
    move.note("asked", path, 1, detail)
    return rest(move, path, record, "raised")


def _enter(move: Draft, node: Node, path: str, record: Escalation, number: int, rung: Rung) -> Rest:
    now, first = move.now, record.rung == 0
    until = now + rung.within if rung.within else 0
    record = record.changed(
        rung=number,
        kind=rung.kind,
        queue="",
        since=now,
        until=until,
        work="",
        given=(),
        remind=0,
        reminders=0,
        holder="",
        held_until=0,
    )
    if rung.human is not None:
        record = _at_person(record, rung, now)
    else:
        agent_name = record.agents[-1] if rung.reassign is not None else ""
        name = RungName(record.ladder, number, agent=agent_name)
        record = begin_work(move, node, path, record, name)
    detail: dict[str, Any] = {"rung": number, "kind": rung.kind}
    detail |= {"ladder": record.ladder} if record.ladder else {}
    detail |= {"to": rung.fallback.capability} if rung.fallback is not None else {}
    detail |= {"queue": record.queue} if record.queue else {}
    detail |= {"until": record.until} if record.until else {}
    move.note("escalated" if first else "rung", path, record.was[0], detail)
    return rest(move, path, record, "raised" if first else "rung")


def _at_person(record: Escalation, rung: Rung, now: int) -> Escalation:
    human = rung.human
    assert human is not None
    return replace(
        record,
        queue=human.queue,
        until=human.awake(record.until) if record.until else 0,
        remind=human.awake(now + human.remind_every) if human.remind_every else 0,
    )


def rest(move: Draft, path: str, record: Escalation, told: str = "") -> Rest:
    """The step waits on; ``told``: of what the hooks hear."""
    move.fields[escalation_field(path)] = record.dumps()
    move.view.escalations[path] = record  # type: ignore[index]
    if told:
        tell(move, path, record, told)
    return Rest(record.state(move.now), record.due(move.now), waits_in(record.queue))


def tell(move: Draft, path: str, record: Escalation, event: str) -> None:
    """Leave a notice, which is delivered behind the transition."""
    error = record.error or {}
    about = {
        "id": f"{escalation_id(move.view.execution, path)}:{record.seq}",
        "event": event,
        "execution": move.view.execution,
        "workflow": move.view.workflow,
        "path": path,
        "rung": record.rung,
        "kind": record.kind,
        "queue": record.queue,
        "ladder": record.ladder,
        "at": move.now,
        "error": {name: error[name] for name in ("name", "class", "message") if name in error},
        "decision": record.decision,
        "by": record.by,
        "raised": record.raised,
        "acknowledged": record.acknowledged,
        "until": record.until,
        "step": move.plan.node(path).id,
        "capability": node_of(move.plan, move.view, path).capability,
    }
    move.notices[str(about["id"])] = encode(
        {k: v for k, v in about.items() if v not in ("", 0, {})}
    )


def begin_work(
    move: Draft, node: Node, path: str, record: Escalation, name: RungName
) -> Escalation:
    """Open the token that works for the step."""
    works = record.works + 1
    at = rung_path(path, name, works)
    made = node_of(move.plan, move.view, at)
    retry = made.step.retry
    pause = retry.interval if record.kind == "retry" and retry is not None else 0
    status = StepStatus.RETRYING if pause else StepStatus.DISPATCHED
    due = move.now + pause
    state = StepState(status, since=move.now, due=due if pause else 0)
    move.opens[at] = Open(at, state, due if pause else move.now + move.grace)
    return replace(record, work=at, works=works)


def resolve(move: Draft, node: Node, path: str, record: Escalation, decision: str) -> None:
    """It is dealt with: somebody decided, or a rung helped, or nobody is left."""
    done = record.changed(
        decision=record.decision or decision, resolved=move.now, work="", given=(), queue=""
    )
    move.fields[escalation_field(path)] = done.dumps()
    move.view.escalations[path] = done  # type: ignore[index]
    detail = {"decision": done.decision, "rung": done.rung, "by": done.by}
    told = {name: value for name, value in detail.items() if value}
    move.note("resolved", path, record.was[0], told)
    tell(move, path, replace(done, queue=record.queue), "resolved")


def _open_record(move: Draft, path: str) -> Escalation | None:
    found = move.view.escalations.get(path)
    return found if found is not None and found.open else None


# --- the work of a rung --------------------------------------------------------------------


def decide_work(
    move: Move, node: Node, path: str, state: StepState, outcome: Outcome
) -> Transition:
    """What an attempt in a rung came to: it helped, it is tried again, or the next rung is due.

    ``node``: of the work at ``path``.
    """
    subject, now = subject_of(path), move.now
    record, own = _open_record(move, subject), node_of(move.plan, move.view, subject)
    if record is None or record.work != path:
        # Nobody waits for it: its step has moved on, and this is a message that came late.
        told = Event("cancelled", path, state.attempt)
        return Transition(path, state.ended(StepStatus.CANCELLED, now), events=(told,))
    match outcome:
        case Completed(output, text):
            return _helped(move, own, subject, path, state, record, output, text)
        case Released() | Entered():
            told = Event("released", path, state.attempt)
            return attempt_at_once(path, state, now, move.grace, told)
        case Deferred(due, said):
            return deferred(path, state, now, due, said)
        case Limited():
            return limited(path, state, now, outcome)
        case Lost(reason, poison):
            lost = replace(state, lost=state.lost + 1)
            interrupted = node.step.delivery == "at_most_once"
            detail: dict[str, Any] = {"reason": reason} | ({"poison": True} if poison else {})
            told = Event("lost", path, state.attempt, detail)
            if not poison and not interrupted:
                return attempt_at_once(path, lost, now, move.grace, told)
            move.events.append(told)
            name = "Interrupted" if interrupted and not poison else "WorkerLost"
            failure = Failure(name, reason, own.id, subject, state.attempt)
            state = lost
        case Failed(failure) as failed:
            policy = policy_of(node, failed)
            next_one = retried(policy, move.view.execution, path, state, failure, now)
            if next_one is not None:
                return next_one
            state = replace(state, failures=state.failures + 1)
        case _:
            raise AssertionError(f"the work of a rung does not end by {outcome}")
    return _did_not_help(move, own, subject, path, state, record, failure)


def _helped(
    move: Move,
    own: Node,
    subject: str,
    path: str,
    state: StepState,
    record: Escalation,
    output: Any,
    text: str | None,
) -> Transition:
    misses = misses_of(own, output)
    if misses:
        failure = Failure(INVALID_OUTPUT, misses, own.id, subject, state.attempt)
        return _did_not_help(move, own, subject, path, state, record, failure)
    move.note("completed", path, state.attempt)
    asked = "reroute" if rung_of(path).capability else "retry"
    decision = asked if record.kind in ("human", "approval") else record.kind
    found = complete(move, own, subject, record, decision, output, text)
    return _from_work(found, path, state.ended(StepStatus.COMPLETED, move.now), record)


def complete(
    move: Move,
    node: Node,
    path: str,
    record: Escalation,
    decision: str,
    output: Any,
    text: str | None = None,
) -> Transition:
    """The escalated step has an output after all."""
    move.decision = decision
    why = {"skip": "skipped", "fallback": "fallback"}.get(decision)
    if why is not None and not in_compensation(path):
        move.fields |= hole_fields(path, [Hole.of(path, why, record.error, record.by)])
    return move.complete_attempt(node, path, record.base(move.now), output, text)


def _did_not_help(
    move: Move,
    own: Node,
    subject: str,
    path: str,
    state: StepState,
    record: Escalation,
    failure: Failure,
) -> Transition:
    failure = replace(failure, attempt=failure.attempt or state.attempt)
    error = failure.as_dict()
    move.note("failed", path, state.attempt, {"error": error})
    move.texts[f"!{path}"] = encode(error)
    ended = state.ended(StepStatus.FAILED, move.now)
    if record.kind == "human" or record.asked is not None:
        # A person let it be tried: it comes back to where it was.
        again = record.changed(error=error, work="", given=())
        found = resting_transition(move, subject, again, "rung")
    else:
        found = move.end_badly(own, subject, record.base(move.now), error)
    return _from_work(found, path, ended, record)


def _from_work(found: Transition, path: str, state: StepState, record: Escalation) -> Transition:
    """The transition of the step, as that of the work which leads to it."""
    assert found.state is not None
    own = Open(found.path, found.state, found.due, found.listens)
    return replace(
        found,
        path=path,
        state=state,
        due=None,
        listens="",
        opens=(own, *found.opens),
        guard=(found.path, record.was[0], str(record.seq)),
    )


def misses_of(node: Node, output: Any) -> str:
    """What an output lacks of the step's `outputSchema`; '' if nothing."""
    schema = node.step.output_schema
    misses = sentences_of(schema, output) if schema is not None else []
    return f"the output misses the step's `outputSchema`: {'; '.join(misses)}" if misses else ""


# --- the step itself ------------------------------------------------------------------------


def is_overdue(record: Escalation, now: int) -> bool:
    """Whether its rung is out of time, or a reminder is due."""
    return 0 < record.until <= now or 0 < record.remind <= now


def decide_overdue(move: Move, node: Node, path: str, state: StepState) -> Transition:
    """The rung is out of time: the next one; or somebody is to be reminded."""
    record = _open_record(move, path)
    if record is None:
        raise NotAllowed(f"step {path!r} is not escalated any more")
    if not 0 < record.until <= move.now:
        return _remind(move, path, record)
    cancels = bool(record.work)
    move.note("overdue", path, record.was[0], {"rung": record.rung} if record.rung else None)
    if record.asked is not None:
        found = expire(move, node, path, record)
    else:
        error = dict(record.error or {})
        found = move.end_badly(node, path, record.base(move.now), error)
    return replace(found, cancels_below=cancels)


def _remind(move: Move, path: str, record: Escalation) -> Transition:
    human = _human_of(move, path, record)
    every = human.remind_every if human is not None else None
    again = record.changed(
        remind=human.awake(move.now + every) if human is not None and every else 0,
        reminders=record.reminders + 1,
    )
    move.note("reminded", path, record.was[0], {"queue": record.queue, "times": again.reminders})
    return resting_transition(move, path, again, "reminder")


def _human_of(move: Move, path: str, record: Escalation) -> HumanRung | None:
    if record.asked is not None:
        return Approval.of(record.asked).rung
    rung = move.plan.rung(path, record.ladder, record.rung)
    return rung.human if rung is not None else None


def resting_transition(move: Move, path: str, record: Escalation, told: str = "") -> Transition:
    """The step waits on, changed."""
    return move.rested(path, rest(move, path, record, told))


def expire(move: Move, node: Node, path: str, record: Escalation) -> Transition:
    """Nobody has answered in time: the default, or a failure."""
    asked = record.asked or {}
    if "default" in asked:
        output = Approval.of(asked).answer(asked["default"])
        return complete(move, node, path, record, "default", output)
    message = f"nobody answered step {node.id!r} in time"
    failure = Failure("ApprovalExpired", message, node.id, path, record.was[0])
    resolve(move, node, path, record, "expired")
    return move.fail_attempt(node, path, record.base(move.now), failure)
