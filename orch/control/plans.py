"""The plans of stored definitions: kept in Redis once per version, compiled once per process."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from orch.control.noting import defined
from orch.control.user import current_user
from orch.errors import NotFound, SettingsError
from orch.journal.journal import Journal
from orch.journal.versions import Defined
from orch.settings import Settings
from orch.workflows.definition import ErrorHandlingLevel, RetryPolicy, WorkflowDefinition
from orch.workflows.ladder import AGGRESSIVE, Escalations
from orch.workflows.plan import Plan
from orch.workflows.rules import MessageRule, MessageRules

CACHED_PLANS = 500

MAY_PASS = ("class:transient", "class:resource", "class:unknown")
"""What the level `standard` tries again."""
FINAL = ("class:permanent", "class:cancelled", "class:poison")
"""What no level tries again."""


class Plans:
    """Finds plans by their key. Safe to use from several threads.

    ``retry``: of tasks that have none, in plans that are stored here, and ``escalations``: of
    steps without a ladder, instead of what the settings say; a plan that is found by its key
    brings what it was stored with, whatever they say now; so it does with the rules for messages.
    Raises SettingsError where those name no ladder, or are no rules.
    """

    def __init__(
        self,
        journal: Journal,
        retry: RetryPolicy | None = None,
        escalations: Escalations | None = None,
    ) -> None:
        self.journal = journal
        self.retry = retry
        self.escalations = escalations or default_escalations(journal.settings)
        self.messages = default_messages(journal.settings)
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
            self.journal.add_version(each, version, said, defined(each, version, said))
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
        retry, escalations = plan.retry, self._escalations(definition, like)
        if retry is not None:
            content["retry"] = _content(retry)
        if escalations is not None:
            content["escalations"] = _content(escalations)
        if plan.messages:
            content["messages"] = _messages_content(plan.messages)
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
        retry, escalations = self._retry(definition, like), self._escalations(definition, like)
        messages = self.messages if like is None else _messages_in(self._read(like))
        return Plan(
            definition,
            key=plan_key(definition, handlers, retry, escalations, messages),
            handlers=handlers,
            retry=retry,
            escalations=escalations,
            messages=messages,
        )

    def _retry(self, definition: WorkflowDefinition, like: str | None) -> RetryPolicy | None:
        level = definition.error_handling_level
        if like is not None:
            content = self._read(like)
            if self.definition(content["version"]).error_handling_level == level:
                return _retry_in(content)
        return self.retry or default_retry(self.journal.settings, level)

    def _escalations(self, definition: WorkflowDefinition, like: str | None) -> Escalations | None:
        level = definition.error_handling_level
        if like is not None:
            content = self._read(like)
            if self.definition(content["version"]).error_handling_level == level:
                return _escalations_in(content)
        return by_level(self.escalations, level or self.journal.settings.error_handling_level)

    def get(self, key: str) -> Plan:
        """The plan of this key. Raises NotFound when Redis has lost it."""
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        content = self._read(key)
        handlers = {n: self.definition(v) for n, v in content["handlers"].items()}
        definition = self.definition(content["version"])
        plan = Plan(
            definition,
            key=key,
            handlers=handlers,
            retry=_retry_in(content),
            escalations=_escalations_in(content),
            messages=_messages_in(content),
        )
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
    escalations: Escalations | None = None,
    messages: MessageRules | None = None,
) -> str:
    """The version itself, or a hash of it and of what else decides how it runs: the versions of
    its error handlers, the policy of tasks without `retry`, the ladders of the settings, and
    their rules for messages.
    """
    version = definition.content_hash()
    if not (handlers or messages) and retry is None and escalations is None:
        return version
    pinned = sorted((name, handler.content_hash()) for name, handler in handlers.items())
    parts: list[Any] = [version, pinned]
    if retry is not None:
        parts.append(_content(retry))
    if escalations is not None:
        parts.append({"escalations": _content(escalations)})
    if messages:
        parts.append({"messages": _messages_content(messages)})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def default_retry(
    settings: Settings, level: ErrorHandlingLevel | None = None
) -> RetryPolicy | None:
    """What the settings say of tasks without `retry`. ``level``: instead of theirs."""
    level = level or settings.error_handling_level
    strategy = settings.retry_strategy
    if level == "aggressive" and strategy == "none":
        strategy = "exponential"
    if level == "minimal" or strategy == "none" or not settings.max_retries:
        return None
    return RetryPolicy(
        max_attempts=settings.max_retries + 1,
        interval=int(settings.retry_interval * 1000),
        strategy=strategy,
        retry_on=["*"] if level == "aggressive" else list(MAY_PASS),
        abort_on=list(FINAL) if level == "aggressive" else [],
    )


def by_level(found: Escalations | None, level: ErrorHandlingLevel) -> Escalations | None:
    """``found``, what the settings say of steps without a ladder, at this level."""
    found = found or Escalations()
    if level == "minimal":
        found = found.model_copy(update={"ladder": None})
    elif level == "aggressive" and found.ladder is None:
        found = found.model_copy(update={"ladder": list(AGGRESSIVE)})
    return found if found.ladder is not None or found.paths else None


def default_escalations(settings: Settings) -> Escalations | None:
    """What the settings say of steps without a ladder. Raises SettingsError."""
    if settings.escalation is None and not settings.escalation_paths:
        return None
    from orch.workflows.validation import errors_in, validate_document

    given = {"escalation": settings.escalation, "escalationPaths": settings.escalation_paths}
    around = {"name": "settings", "steps": [{"id": "any", "capability": "any"}]}
    _, findings = validate_document({**around, **given}, known_paths=())
    if errors := errors_in(findings):
        first = errors[0]
        where = first.path.replace("escalationPaths", "escalation_paths", 1)
        raise SettingsError(
            f"the setting `{where}` is wrong: {first.message}",
            hint=first.hint or "it is written as in a workflow; see docs/escalation.md",
        )
    return Escalations(ladder=settings.escalation, paths=settings.escalation_paths)


def default_messages(settings: Settings) -> MessageRules:
    """What the settings say of messages to capabilities. Raises SettingsError."""
    found: MessageRules = {}
    for capability, rules in settings.message_rules.items():
        found[capability] = checked_rules(capability, rules)
    return found


def checked_rules(capability: str, rules: Any) -> list[MessageRule]:
    """Those of the settings for messages to a capability. Raises SettingsError."""
    from orch.workflows.validation import errors_in, validate_document

    around = {"name": "settings", "steps": [{"id": "any", "capability": capability}]}
    definition, findings = validate_document({**around, "messageRules": rules})
    errors = errors_in(findings)
    if definition is None or errors:
        first = errors[0]
        where = first.path.replace("messageRules", f"message_rules.{capability}", 1)
        raise SettingsError(
            f"the setting `{where}` is wrong: {first.message}",
            hint=first.hint or "it is written as in a workflow; see docs/messages.md",
        )
    return definition.message_rules


def _messages_in(content: Mapping[str, Any]) -> MessageRules:
    given = content.get("messages", {})
    return {
        name: [MessageRule.model_validate(rule) for rule in rules] for name, rules in given.items()
    }


def _messages_content(messages: MessageRules) -> dict[str, Any]:
    return {name: [_content(rule) for rule in rules] for name, rules in messages.items()}


def _escalations_in(content: Mapping[str, Any]) -> Escalations | None:
    found = content.get("escalations")
    return None if found is None else Escalations.model_validate(found)


def _content(retry: RetryPolicy | Escalations | MessageRule) -> dict[str, Any]:
    return retry.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _retry_in(content: Mapping[str, Any]) -> RetryPolicy | None:
    return RetryPolicy.model_validate(content["retry"]) if "retry" in content else None
