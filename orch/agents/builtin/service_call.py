"""`service_call`: an operation of a service that is registered, as a step.

    {"service": "crm", "operation": "get_customer", "params": {"id": 7}}

gives `{"status", "body"}`. See docs/services.md.
"""

from __future__ import annotations

from typing import Any

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.errors import InputError, NotFound, StepError


@capability("service_call")
def service_call(
    service: str,
    operation: str,
    params: dict[str, Any] | None = None,
    context: Context | None = None,
) -> dict[str, Any]:
    """Call an operation of a service.

    service    name under which it is registered
    operation  name of one of its operations
    params     what the operation takes, by name

    Raises StepError `ServiceNotFound`, `InvalidInput`, `ServiceUnavailable`, `ServiceRefused`,
    `ServiceAnswerTooLarge`, `BreakerOpen`, `SecretNotFound`; RetryAfter `RateLimited`.
    """
    try:
        answer = (context or Context()).call_service(service, operation, params)
    except NotFound as exc:
        raise _failed("ServiceNotFound", exc) from None
    except InputError as exc:
        raise _failed("InvalidInput", exc) from None
    return {"status": answer.status, "body": answer.body}


def _failed(name: str, exc: NotFound | InputError) -> StepError:
    return StepError(name, exc.message, hint=exc.hint, error_class="permanent")
