"""Notices: what is told outside of an escalation. They wait in an outbox until they are delivered.

The id of a notice is `EXECUTION:PATH:NUMBER`; it is the same however often it is delivered.
"""

from __future__ import annotations

NOTICE_MARK = "notice:"
"""Begins the member of the watch that brings a notice back."""

ESCALATION_QUEUE = "escalation"
"""The queue of the tasks that deliver notices."""

EVENTS = ("raised", "rung", "reminder", "resolved")
"""What is told: it was raised, another rung has begun, nobody has acted yet, it is dealt with."""


ASSIGNED = "assigned"
"""Not of an escalation: an agent outside is to be sent its task; the id of that is the notice."""


EMITTED = "emitted"
"""Nor of one: an event was triggered of which webhooks want to hear."""


def notice_task(event: str) -> str:
    """Name of the Celery task that delivers a notice."""
    return f"orch.{ESCALATION_QUEUE}.{event}"


def execution_of(notice: str) -> str:
    return notice.partition(":")[0]
