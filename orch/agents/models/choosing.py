"""Which language model is asked, and how it is reached."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from orch.errors import ErrorClass, StepError
from orch.redaction import note_secret
from orch.settings import Settings, load_settings

if TYPE_CHECKING:
    from pydantic_ai.models import Model

PROVIDER_KEYS = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}
"""Variables in which the clients of these providers look for a key of their own."""

_configured: Settings | None = None
_models: dict[tuple[Any, ...], Model] = {}


def configure_models(settings: Settings | None) -> None:
    """Let the models of these settings count for all of this process; None: those that the
    process finds itself."""
    global _configured
    _configured = settings
    if settings is not None and settings.llm_api_key is not None:
        note_secret(settings.llm_api_key.get_secret_value())


def model_settings() -> Settings:
    return _configured or load_settings()


def is_configured() -> bool:
    """Whether a model is named that may be asked without further words."""
    return model_settings().llm_model is not None


def find_model(name: str | None = None) -> Model:
    """The model of a name, else that of the settings.

    With `llm_base_url` every name is one of that server; without it, `provider:model` as
    pydantic-ai has them, a bare name being one of OpenAI's. Raises StepError `ModelNotConfigured`.
    """
    settings = model_settings()
    chosen = name or settings.llm_model
    if not chosen:
        raise _not_configured(
            "no model is named, neither by the step nor by the settings",
            "set ORCH_LLM_MODEL, or give the step's input a `model`",
        )
    key = settings.llm_api_key
    secret = key.get_secret_value() if key is not None else None
    known = (os.getpid(), chosen, settings.llm_base_url, secret)
    if known not in _models:
        _models[known] = _make(chosen, settings.llm_base_url, secret)
    return _models[known]


def _make(name: str, base_url: str | None, key: str | None) -> Model:
    """No client repeats a call by itself: what is tried again is the step, which is seen."""
    try:
        from pydantic_ai.exceptions import UserError
        from pydantic_ai.models import infer_model
    except ImportError as exc:
        raise _not_configured(
            f"pydantic-ai cannot be imported ({exc})",
            "install the extra: `pip install 'orch[llm]'`",
        ) from None
    provider, colon, model = name.partition(":")
    if base_url is not None:
        return _of_openai(name, base_url, key or "none")
    if not colon:
        provider, model = "openai", name
    variable = PROVIDER_KEYS.get(provider)
    if variable is not None and not (key or os.environ.get(variable)):
        raise _not_configured(
            f"the model {name!r} needs a key, and there is none",
            f"set ORCH_LLM_API_KEY, or {variable}; for a server of your own also ORCH_LLM_BASE_URL",
        )
    try:
        if provider == "openai":
            return _of_openai(model, None, key)
        if provider == "anthropic":
            return _of_anthropic(model, key)
        return infer_model(name)
    except (UserError, ValueError, ImportError) as exc:
        reason = str(exc).splitlines()[0]
        raise _not_configured(
            f"the model {name!r} cannot be used: {reason}",
            "models are named `provider:model`, such as `openai:gpt-5-mini`",
        ) from None


def _of_openai(model: str, base_url: str | None, key: str | None) -> Model:
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    client = AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)
    return OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client))


def _of_anthropic(model: str, key: str | None) -> Model:
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    client = AsyncAnthropic(api_key=key, max_retries=0)
    return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client))


def _not_configured(message: str, hint: str) -> StepError:
    return StepError(
        "ModelNotConfigured", f"{message}; {hint}", hint=hint, error_class=ErrorClass.PERMANENT
    )
