"""What all parts of the facade for coroutines have at hand."""

from __future__ import annotations

from orch.orchestrator import Orchestrator


class Base:
    """Made by `AsyncOrchestrator`, of which the parts are layers."""

    sync: Orchestrator
