"""Delivers the notices of escalations: to the memory, the hooks, and the statistics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from orch.control.runtime import Runtime
from orch.errors import HookFailed
from orch.escalation.hooks import deliver
from orch.escalation.notice import Notice, wants
from orch.escalation.remembering import remember
from orch.faults import fault
from orch.webhooks.message import of_escalation
from orch.webhooks.telling import MOST_TRIES, TOLD, TRIES, lease_for, leave, tell_webhooks

__all__ = ["MOST_TRIES", "deliver_notice"]

logger = logging.getLogger(__name__)


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
    told, again = _tell(runtime, content)
    done, waiting = tell_webhooks(runtime, of_escalation(Notice.of(content)), told)
    return _said(content) + leave(journal, notice, content, [*told, *done], [*again, *waiting])


def _tell(runtime: Runtime, content: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Tell the hooks that want to know: names of those that were told, and to be told again."""
    notice = Notice.of(content)
    told, again = list(content.get(TOLD, ())), []
    for hook in runtime.settings.hooks:
        if hook.name in told or not wants(hook, notice):
            continue
        try:
            deliver(hook, notice)
        except HookFailed as error:
            kind = "and is told again" if error.retryable else "and is given up"
            logger.warning("hook %s was not told of %s, %s: %s", hook.name, notice.id, kind, error)
            if error.retryable:
                again.append(hook.name)
                continue
        told.append(hook.name)
    return told, again


def _said(content: Mapping[str, Any]) -> str:
    to = f" to {content['queue']}" if content.get("queue") else ""
    return f"{content['event']}{to}: {content['execution']}:{content['path']}"
