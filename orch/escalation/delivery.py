"""Delivers the notices of escalations: to the memory, the hooks, and the statistics."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from orch.control.runtime import Runtime
from orch.escalation.hooks import deliver
from orch.escalation.notice import Notice, wants
from orch.escalation.remembering import remember
from orch.faults import fault
from orch.webhooks.message import of_escalation
from orch.webhooks.telling import (
    TOLD,
    TRIES,
    lease_for,
    leave,
    tell_each,
    tell_webhooks,
)


def deliver_notice(runtime: Runtime, notice: str) -> str:
    """Deliver a notice, if nobody else does; a word for Flower. Harmless if repeated.

    A hook that fails is told again later, and the others are not told twice. Raises Unreachable:
    then the watch brings the notice back.
    """
    journal = runtime.journal
    hooks = runtime.settings.hooks
    lease = lease_for(runtime, sum(hook.timeout for hook in hooks))
    content = journal.take_notice(notice, lease)
    if content is None:
        return "done"
    fault("notice_taken")
    remember(runtime, content)
    if content["event"] == "resolved":
        journal.note_resolved({n: v for n, v in content.items() if n not in (TOLD, TRIES)})
    before, found = content.get(TOLD, ()), Notice.of(content)
    sends = {hook.name: partial(deliver, hook, found) for hook in hooks if wants(hook, found)}
    done, again = tell_each(found.id, sends, before, "hook ")
    heard, waiting = tell_webhooks(runtime, of_escalation(found), before)
    told = [*before, *done, *heard]
    return _said(content) + leave(journal, notice, content, told, [*again, *waiting])


def _said(content: Mapping[str, Any]) -> str:
    to = f" to {content['queue']}" if content.get("queue") else ""
    return f"{content['event']}{to}: {content['execution']}:{content['path']}"
