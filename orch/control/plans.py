"""The plans of stored definitions: kept in Redis once per version, compiled once per process."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from orch.errors import NotFound
from orch.journal.journal import Journal
from orch.settings import Settings
from orch.workflows.definition import RetryPolicy, WorkflowDefinition
from orch.workflows.plan import Plan

CACHED_PLANS = 500


class Plans:
    """Finds plans by their key. Safe to use from several threads.

    ``retry``: of tasks that have none, in plans that are stored here; one that is found by its
    key brings the policy that it was stored with, whatever the settings say now.
    """

    def __init__(self, journal: Journal, retry: RetryPolicy | None = None) -> None:
        self.journal = journal
        self.retry = retry or default_retry(journal.settings)
        self._cache: OrderedDict[str, Plan] = OrderedDict()
        self._lock = Lock()

    def store(
        self, name: str, definition: WorkflowDefinition, handlers: Mapping[str, WorkflowDefinition]
    ) -> Plan:
        """Store a definition as the latest version of ``name``, with its error handlers.

        ``handlers``: the workflows that its `errorHandlers` name. Raises NotSupportedYet.
        """
        plan = self.pin(definition, handlers)
        for handler_name, handler in handlers.items():
            self.journal.store_definition(handler_name, handler.content_hash(), handler.canonical())
        self.journal.store_definition(name, plan.version, definition.canonical())
        return plan

    def pin(
        self, definition: WorkflowDefinition, handlers: Mapping[str, WorkflowDefinition]
    ) -> Plan:
        """Store a definition for those who run this very version. Raises NotSupportedYet."""
        version = definition.content_hash()
        key = plan_key(definition, handlers, self.retry)
        plan = Plan(definition, key=key, handlers=handlers, retry=self.retry)
        for found in (definition, *handlers.values()):
            self.journal.store_definition(None, found.content_hash(), found.canonical())
        content: dict[str, Any] = {
            "version": version,
            "handlers": {n: h.content_hash() for n, h in handlers.items()},
        }
        if self.retry is not None:
            content["retry"] = _content(self.retry)
        self.journal.store_plan(plan.key, json.dumps(content))
        self._remember(plan)
        return plan

    def get(self, key: str) -> Plan:
        """The plan of this key. Raises NotFound when Redis has lost it."""
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        text = self.journal.read_plan(key)
        if text is None:
            raise NotFound(
                f"no plan {key!r} in Redis at {self.journal.url}",
                hint="was the database emptied under a running execution?",
            )
        content = json.loads(text)
        handlers = {n: self.definition(v) for n, v in content["handlers"].items()}
        retry = RetryPolicy.model_validate(content["retry"]) if "retry" in content else None
        definition = self.definition(content["version"])
        plan = Plan(definition, key=key, handlers=handlers, retry=retry)
        self._remember(plan)
        return plan

    def definition(self, version: str) -> WorkflowDefinition:
        """The stored definition of a version. Raises NotFound."""
        text = self.journal.read_definition(version)
        if text is None:
            raise NotFound(f"no workflow version {version!r} in Redis at {self.journal.url}")
        return WorkflowDefinition.model_validate_json(text)

    def _remember(self, plan: Plan) -> None:
        with self._lock:
            self._cache[plan.key] = plan
            while len(self._cache) > CACHED_PLANS:
                self._cache.popitem(last=False)


def plan_key(
    definition: WorkflowDefinition,
    handlers: Mapping[str, WorkflowDefinition],
    retry: RetryPolicy | None = None,
) -> str:
    """The version itself, or a hash of it and of what else decides how it runs: the versions of
    its error handlers, and the policy of tasks without `retry`.
    """
    version = definition.content_hash()
    if not handlers and retry is None:
        return version
    pinned = sorted((name, handler.content_hash()) for name, handler in handlers.items())
    parts: list[Any] = [version, pinned]
    if retry is not None:
        parts.append(_content(retry))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def default_retry(settings: Settings) -> RetryPolicy | None:
    """What the settings say of tasks without `retry`."""
    if settings.retry_strategy == "none" or not settings.max_retries:
        return None
    return RetryPolicy(
        max_attempts=settings.max_retries + 1,
        interval=int(settings.retry_interval * 1000),
        strategy=settings.retry_strategy,
    )


def _content(retry: RetryPolicy) -> dict[str, Any]:
    return retry.model_dump(mode="json", by_alias=True, exclude_defaults=True)
