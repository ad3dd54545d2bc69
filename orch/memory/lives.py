"""What becomes of an execution as a whole is remembered: a record for each notice of its life."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orch.control.runtime import Runtime
from orch.errors import NotFound
from orch.faults import fault
from orch.journal.journal import Journal
from orch.memory.memory import Memory
from orch.memory.noting import LONGEST_SAID, note
from orch.memory.record import LONGEST_TAG
from orch.settings import Settings
from orch.webhooks.message import of_life
from orch.webhooks.telling import TOLD as HEARD
from orch.webhooks.telling import TRIES, lease_for, leave, tell_webhooks
from orch.workflows.external import ASSIGNMENT
from orch.workflows.life import (
    CANCELLED,
    COMPLETED,
    FAILED,
    MIGRATED,
    MODIFIED,
    PAUSED,
    RESUMED,
    RETRIED,
    STARTED,
    TOLD,
)

NOT_KEPT = frozenset(("id", "event", "path", HEARD, TRIES))
"""Of a notice: what its record does not say."""

VERBS = {
    STARTED: "was started",
    PAUSED: "was paused",
    RESUMED: "was resumed",
    RETRIED: "is tried again",
    MIGRATED: "goes on by another version",
    MODIFIED: "goes on with other steps",
    COMPLETED: "completed",
    FAILED: "failed",
    CANCELLED: "was cancelled",
}


def deliver_life(runtime: Runtime, notice: str) -> str:
    """Remember what a notice tells, and tell webhooks, if nobody else does; a word for Flower.

    Harmless if repeated. Raises Unreachable: then the watch brings the notice back.
    """
    content = runtime.journal.take_notice(notice, lease_for(runtime))
    if content is None:
        return "done"
    fault("notice_taken")
    if _is_remembered(runtime.settings, content):
        remember_life(runtime, content)
    before = content.get(HEARD, ())
    done, again = tell_webhooks(runtime, of_life(content), before)
    said = leave(runtime.journal, notice, content, [*before, *done], again)
    return f"{content['word']}: {content['execution']}{said}"


def _is_remembered(settings: Settings, content: Mapping[str, Any]) -> bool:
    """Some are told of because a webhook alone wants to hear of them."""
    told = TOLD[settings.remember]
    return content["word"] in told or (_is_given(content) and FAILED in told)


def remember_life(runtime: Runtime, content: Mapping[str, Any]) -> None:
    """Write the record of a notice; its id is that of the notice."""
    execution, error = str(content["execution"]), content.get("error") or {}
    project = content.get("project") or None
    area, subject = _subject(runtime, content)
    note(
        runtime.journal,
        project,
        str(content["id"]),
        area,
        " ".join(f"{subject} {_told(content)}".split())[:LONGEST_SAID],
        created=content["at"],
        source=execution,
        tags=list(_tags(content, error)),
        related=_before(runtime.journal, project, execution, error),
        data={name: content[name] for name in content if name not in NOT_KEPT},
    )
    fault("notice_remembered")


def _subject(runtime: Runtime, content: Mapping[str, Any]) -> tuple[str, str]:
    """The area, and what it is that is told of: a workflow, or a task that was assigned."""
    workflow = str(content["workflow"])
    if workflow != ASSIGNMENT:
        return "WORKFLOW", workflow
    try:
        step = runtime.plans.get(str(content["plan"])).definition.steps[0]
    except NotFound:
        return "DELEG", "a task"
    return "DELEG", f"task {step.capability} of agent {step.agent}"


def _told(content: Mapping[str, Any]) -> str:
    word, error = str(content["word"]), content.get("error") or {}
    said = "was assigned" if _is_given(content) else VERBS[word]
    if word in (COMPLETED, FAILED, CANCELLED):
        seconds = max(0, content["at"] - content.get("created", content["at"])) / 1000
        said += f" after {seconds:.1f} s"
    by = content.get("by") or error.get("by")
    said += f" by {by}" if by else ""
    why = [error.get("name") if word == FAILED else None, error.get("message")]
    why = [str(each) for each in why if each] or [str(content.get("reason") or "")]
    return said + "".join(f": {each}" for each in why if each)


def _is_given(content: Mapping[str, Any]) -> bool:
    return bool(content["workflow"] == ASSIGNMENT and content["word"] == STARTED)


def _tags(content: Mapping[str, Any], error: Mapping[str, Any]) -> Iterator[str]:
    named = {
        "event": content["word"],
        "workflow": content["workflow"],
        "version": content.get("version"),
        "error": error.get("name"),
        "class": error.get("class"),
    }
    for name, value in named.items():
        if value:
            yield f"{name}:{value}"[:LONGEST_TAG]


def _before(
    journal: Journal, project: str | None, execution: str, error: Mapping[str, Any]
) -> list[str]:
    """The latest record of the execution itself, and of the step that it failed with."""
    sources = [execution]
    if error.get("path"):
        sources.append(f"{execution}:{error['path']}")
    memory = Memory(journal)
    return [
        record.id
        for source in sources
        for record in memory.search(project=project, source=source, limit=1)
    ]
