"""The plans of stored definitions: kept in Redis once per version, compiled once per process."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from orch.control.user import current_user
from orch.errors import NotFound
from orch.journal.journal import Journal
from orch.journal.versions import Defined
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
        self,
        name: str,
        definition: WorkflowDefinition,
        handlers: Mapping[str, WorkflowDefinition],
        by: str | None = None,
    ) -> Plan:
        """Store a definition as the latest version of ``name``, with its error handlers.

        ``handlers``: the workflows that its `errorHandlers` name; ``by``: who defines it, by
        default the user of this process. Raises NotSupportedYet.
        """
        plan = self.pin(definition, handlers)
        for each, made in (*handlers.items(), (name, definition)):
            version = made.content_hash()
            self.journal.store_latest(each, version, made.canonical())
            said = Defined(self.journal.clock(), by or current_user(), made.version or "")
            self.journal.add_version(each, version, said)
        return plan

    def pin(
        self,
        definition: WorkflowDefinition,
        handlers: Mapping[str, WorkflowDefinition],
        like: str | None = None,
    ) -> Plan:
        """Store a definition for those who run this very version. Raises NotSupportedYet.

        ``like``: the plan whose policy of tasks without `retry` it has, not that of ``retry``.
        """
        plan = self.make(definition, handlers, like)
        for found in (definition, *handlers.values()):
            self.journal.store_definition(None, found.content_hash(), found.canonical())
        content: dict[str, Any] = {
            "version": plan.version,
            "handlers": {n: h.content_hash() for n, h in handlers.items()},
        }
        retry = self._retry(like)
        if retry is not None:
            content["retry"] = _content(retry)
        self.journal.store_plan(plan.key, json.dumps(content))
        self._remember(plan)
        return plan

    def make(
        self,
        definition: WorkflowDefinition,
        handlers: Mapping[str, WorkflowDefinition],
        like: str | None = None,
    ) -> Plan:
        """The plan that `pin` would store. Raises NotSupportedYet."""
        retry = self._retry(like)
        key = plan_key(definition, handlers, retry)
        return Plan(definition, key=key, handlers=handlers, retry=retry)

    def _retry(self, like: str | None) -> RetryPolicy | None:
        return self.retry if like is None else _retry_in(self._read(like))

    def get(self, key: str) -> Plan:
        """The plan of this key. Raises NotFound when Redis has lost it."""
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        content = self._read(key)
        handlers = {n: self.definition(v) for n, v in content["handlers"].items()}
        definition = self.definition(content["version"])
        plan = Plan(definition, key=key, handlers=handlers, retry=_retry_in(content))
        self._remember(plan)
        return plan

    def handlers(self, key: str) -> dict[str, WorkflowDefinition]:
        """The workflows that handle errors by this plan. Raises NotFound."""
        return {n: self.definition(v) for n, v in self._read(key)["handlers"].items()}

    def _read(self, key: str) -> dict[str, Any]:
        text = self.journal.read_plan(key)
        if text is None:
            raise NotFound(
                f"no plan {key!r} in Redis at {self.journal.url}",
                hint="was the database emptied under a running execution?",
            )
        content: dict[str, Any] = json.loads(text)
        return content

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


def _retry_in(content: Mapping[str, Any]) -> RetryPolicy | None:
    return RetryPolicy.model_validate(content["retry"]) if "retry" in content else None
