"""Tells webhooks, each of them until it has taken it; what may pass is tried again, ever later."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from orch.agents.secret import read_secret
from orch.control.runtime import Runtime
from orch.errors import HookFailed, StepError
from orch.escalation.webhook import send_signed
from orch.faults import fault
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.webhooks.message import Message, of_event
from orch.webhooks.registry import WebhookRegistry
from orch.webhooks.webhook import Webhook

logger = logging.getLogger(__name__)

LEASE = 5_000
"""Ms for which one process has a notice to itself, beside what its hooks may take."""

MOST_TRIES = 10
"""How often a hook is told of one notice; then it is given up, and the log says so."""

FIRST_PAUSE, LONGEST_PAUSE = 5_000, 3_600_000
"""Ms between tries; twice as long each time."""

TOLD, TRIES = "told", "tries"
"""Beside the notice in the outbox: the hooks that were told, and how often it was tried."""


def send(settings: Settings, webhook: Webhook, message: Message) -> None:
    """Once, and now. Raises HookFailed."""
    what = f"webhook {webhook.id}"
    try:
        secret = None
        if webhook.secret is not None:
            secret = read_secret(settings, webhook.secret).get_secret_value()
    except StepError as exc:
        raise HookFailed(f"{what}: {exc.message}", retryable=True, hint=exc.hint) from None
    send_signed(
        what, webhook.url, message.id, message.body(), timeout=webhook.timeout, secret=secret
    )


def tell_webhooks(
    runtime: Runtime, message: Message, told: Sequence[str]
) -> tuple[list[str], list[str]]:
    """As `tell_each`, of the webhooks that want to hear of it."""
    wanting = WebhookRegistry(runtime.journal).wanting(message.type, message.workflow)
    sends = {
        f"webhook:{each.id}": partial(send, runtime.settings, each, message) for each in wanting
    }
    return tell_each(message.id, sends, told)


def tell_each(
    notice: str, sends: Mapping[str, Callable[[], None]], told: Sequence[str], kind: str = ""
) -> tuple[list[str], list[str]]:
    """Tell all that were not told before: those that were told now, and those that are to be told
    again. ``sends``: by name, what tells one, once, and raises HookFailed; ``told``: names of those
    before; ``kind``: what the log calls them, before their name."""
    done, again = [], []
    for name, send_it in sends.items():
        if name in told:
            continue
        try:
            send_it()
        except HookFailed as error:
            what = "and is told again" if error.retryable else "and is given up"
            logger.warning("%s%s was not told of %s, %s: %s", kind, name, notice, what, error)
            if error.retryable:
                again.append(name)
                continue
        done.append(name)
    return done, again


def leave(
    journal: Journal,
    notice: str,
    content: Mapping[str, Any],
    told: Sequence[str],
    again: Sequence[str],
) -> str:
    """Take a notice off the outbox, or have it told again later to those that did not take it.

    What is to be said of it, for Flower. Raises Unreachable.
    """
    tries = int(content.get(TRIES, 0)) + 1
    if not again or tries >= MOST_TRIES:
        journal.leave_notice(notice, None)
        return f"; given up: {', '.join(again)}" if again else ""
    pause = min(FIRST_PAUSE * 2 ** (tries - 1), LONGEST_PAUSE)
    left = {**content, TOLD: list(told), TRIES: tries}
    journal.leave_notice(notice, left, journal.clock() + pause)
    return f"; again in {pause // 1000} s: {', '.join(again)}"


def lease_for(runtime: Runtime, timeout: float = 0) -> int:
    """Ms that a notice may take to be told; ``timeout``: s, what others than webhooks take."""
    all = WebhookRegistry(runtime.journal).list()
    return LEASE + int((timeout + sum(each.timeout for each in all)) * 1000)


def deliver_event(runtime: Runtime, notice: str) -> str:
    """Tell of an event that was triggered, if nobody else does; a word for Flower.

    Harmless if repeated. Raises Unreachable: then the watch brings the notice back.
    """
    content = runtime.journal.take_notice(notice, lease_for(runtime))
    if content is None:
        return "done"
    fault("notice_taken")
    message = of_event(content)
    done, again = tell_webhooks(runtime, message, content.get(TOLD, ()))
    told = [*content.get(TOLD, ()), *done]
    return f"{message.type}{leave(runtime.journal, notice, content, told, again)}"
