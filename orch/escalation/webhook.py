"""A notice is posted to a URL."""

from __future__ import annotations

import http.client
import ssl

from orch import posting
from orch.errors import HookFailed
from orch.escalation.notice import Notice
from orch.escalation.variables import variable
from orch.hooks import WebhookHook, check_url


def post(hook: WebhookHook, notice: Notice) -> None:
    """Any 2xx is an acceptance; a redirect is not followed. Raises HookFailed."""
    url = hook.url or variable(hook, hook.url_env or "")
    secret = variable(hook, hook.secret_env) if hook.secret_env is not None else None
    token = variable(hook, hook.token_env) if hook.token_env is not None else None
    try:
        check_url(url)
        answer = posting.post(
            url, notice.id, notice.body(), timeout=hook.timeout, secret=secret, token=token
        )
    except ssl.SSLCertVerificationError as exc:
        message = f"hook {hook.name!r}: the certificate of {hook.target}: {exc.verify_message}"
        raise HookFailed(message, retryable=False) from None
    except (OSError, http.client.HTTPException) as exc:
        message = f"hook {hook.name!r}: {hook.target} does not answer: {type(exc).__name__}"
        raise HookFailed(f"{message}: {exc}"[:500], retryable=True) from None
    except ValueError as exc:
        raise HookFailed(f"hook {hook.name!r}: {exc}", retryable=False) from None
    if not answer.accepts:
        message = f"hook {hook.name!r}: {hook.target} answers with HTTP {answer.status}"
        raise HookFailed(message, retryable=answer.may_pass)
