"""What several tests of built-in capabilities ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from orch.agents.models import choosing
from orch.llm import LlmPrice
from orch.settings import Settings
from tests.model_server import KEY, ModelServer


@pytest.fixture(scope="session")
def one_server() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture
def server(one_server: ModelServer, settings: Settings) -> Iterator[ModelServer]:
    one_server.answers = [lambda reply: reply.say("Hello", " Ada")]
    one_server.requests.clear()
    one_server.broken.clear()
    given = {
        "llm_model": "small",
        "llm_base_url": one_server.url,
        "llm_api_key": SecretStr(KEY),
        "llm_prices": {"small": LlmPrice(input=1000, output=10_000)},
    }
    choosing.configure_models(settings.model_copy(update=given))
    yield one_server
    choosing.configure_models(None)
