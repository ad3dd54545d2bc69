"""A notice is posted to a URL."""

from __future__ import annotations

import http.client
import ssl

from orch import posting
from orch.errors import HookFailed
from orch.escalation.notice import Notice
from orch.escalation.variables import variable
from orch.hooks import WebhookHook, check_url, shown_url


def post(hook: WebhookHook, notice: Notice) -> None:
    """Raises HookFailed."""
    url = hook.url or variable(hook, hook.url_env or "")
    secret = variable(hook, hook.secret_env) if hook.secret_env is not None else None
    token = variable(hook, hook.token_env) if hook.token_env is not None else None
    send_signed(
        f"hook {hook.name!r}",
        url,
        notice.id,
        notice.body(),
        timeout=hook.timeout,
        secret=secret,
        token=token,
        target=hook.target,
    )


def send_signed(
    what: str,
    url: str,
    id: str,
    body: str,
    *,
    timeout: float,
    secret: str | None = None,
    token: str | None = None,
    target: str | None = None,
) -> None:
    """Any 2xx is an acceptance; a redirect is not followed. Raises HookFailed.

    ``what`` and ``target``: who is told, and the URL, as they may be shown.
    """
    try:
        check_url(url)
        shown = target or shown_url(url)
        answer = posting.post(url, id, body, timeout=timeout, secret=secret, token=token)
    except ssl.SSLCertVerificationError as exc:
        message = f"{what}: the certificate of {shown}: {exc.verify_message}"
        raise HookFailed(message, retryable=False) from None
    except (OSError, http.client.HTTPException) as exc:
        message = f"{what}: {shown} does not answer: {type(exc).__name__}"
        raise HookFailed(f"{message}: {exc}"[:500], retryable=True) from None
    except ValueError as exc:
        raise HookFailed(f"{what}: {exc}", retryable=False) from None
    if not answer.accepts:
        message = f"{what}: {shown} answers with HTTP {answer.status}"
        raise HookFailed(message, retryable=answer.may_pass)
