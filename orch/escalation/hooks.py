"""A notice is delivered to a hook: once, now, or not at all. Whoever calls decides what then."""

from __future__ import annotations

from orch.escalation import command, mail, webhook
from orch.escalation.notice import Notice
from orch.hooks import BaseHook, CommandHook, EmailHook, WebhookHook


def deliver(hook: BaseHook, notice: Notice) -> None:
    """Tell one hook. Raises HookFailed, which says whether it may help to try again."""
    match hook:
        case CommandHook():
            command.run(hook, notice)
        case WebhookHook():
            webhook.post(hook, notice)
        case EmailHook():
            mail.send(hook, notice)
        case _:
            raise TypeError(f"{type(hook).__name__} is no hook")
