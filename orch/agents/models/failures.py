"""What the failures of a language model's server mean for a step."""

from __future__ import annotations

from orch.errors import ErrorClass, RetryAfter, StepError

LONGEST = 500
"""Characters of what a server said that a message repeats."""


def failure_of_model(error: Exception) -> StepError:
    """The failure of the step, under a name and a class that say whether trying again helps."""
    from pydantic_ai import exceptions as found

    text = _text(error)
    seconds = getattr(error, "retry_after", None)
    match error:
        case found.ModelRateLimitError() if seconds:
            return RetryAfter(
                f"the model's server asks to wait {seconds:g} s: {text}",
                seconds=seconds,
                name="ModelRateLimited",
                error_class=ErrorClass.TRANSIENT,
            )
        case found.ModelRateLimitError():
            return _failed("ModelRateLimited", text, ErrorClass.TRANSIENT)
        case found.ModelQuotaExceededError():
            return _failed("ModelQuotaExceeded", text, ErrorClass.RESOURCE)
        case found.ModelAuthenticationError():
            hint = "; correct ORCH_LLM_API_KEY, or the provider's own variable"
            return _failed("ModelKeyRejected", f"{text}{hint}", ErrorClass.PERMANENT)
        case found.ModelNotFoundError():
            return _failed("ModelNotFound", text, ErrorClass.PERMANENT)
        case found.ModelRequestRejectedError() | found.ContentFilterError():
            return _failed("ModelRefused", text, ErrorClass.PERMANENT)
        case (
            found.ModelUnavailableError() | found.ModelServerError() | found.ModelConnectionError()
        ):
            return _failed("ModelUnavailable", text, ErrorClass.TRANSIENT)
        case found.UsageLimitExceeded():
            return _failed("ModelRequestsExceeded", text, ErrorClass.PERMANENT)
        case found.UnexpectedModelBehavior():
            return _failed("ModelMisbehaved", text, ErrorClass.TRANSIENT)
        case found.UserError():
            return _failed("ModelNotConfigured", text, ErrorClass.PERMANENT)
        case _:
            return _failed("ModelFailed", text, ErrorClass.UNKNOWN)


def _failed(name: str, message: str, error_class: ErrorClass) -> StepError:
    return StepError(name, message, error_class=error_class)


def _text(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
