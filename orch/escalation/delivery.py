"""Delivers the notices of escalations: to the hooks of the settings, and to the statistics."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from orch.control.runtime import Runtime
from orch.faults import fault

logger = logging.getLogger(__name__)

LEASE = 120_000
"""Ms for which one process has a notice to itself."""


def deliver_notice(runtime: Runtime, notice: str) -> str:
    """Deliver a notice, if nobody else does; a word for Flower. Harmless if repeated.

    Raises Unreachable: then the watch brings the notice back.
    """
    journal = runtime.journal
    content = journal.take_notice(notice, LEASE)
    if content is None:
        return "done"
    fault("notice_taken")
    if content["event"] == "resolved":
        journal.note_resolved(content)
    journal.leave_notice(notice, None)
    return _said(content)


def _said(content: Mapping[str, Any]) -> str:
    to = f" to {content['queue']}" if content.get("queue") else ""
    return f"{content['event']}{to}: {content['execution']}:{content['path']}"
