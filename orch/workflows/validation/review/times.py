"""Times: waits, timeouts, retries and the pauses between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.errors import ExpressionError
from orch.workflows.cron import check_cron, parse_zone
from orch.workflows.definition import StepType
from orch.workflows.durations import parse_duration, parse_instant
from orch.workflows.expressions import parse_template
from orch.workflows.graph import as_mapping, get
from orch.workflows.validation.review.steps import is_approval
from orch.workflows.validation.review.subject import Review


def check_waits(review: Review) -> None:
    for step in review.outline.steps():
        wait = as_mapping(step.get("wait"))
        duration, until = wait.get("duration"), wait.get("until")
        if isinstance(duration, int | str) and not _has_expression(duration):
            _check_time(review, f"{step.path}.wait.duration", parse_duration, duration)
        if isinstance(until, str) and not wait.get("poll") and not _has_expression(until):
            _check_time(review, f"{step.path}.wait.until", parse_instant, until)
        for name, parse in (("cron", check_cron), ("timezone", parse_zone)):
            value = wait.get(name)
            if isinstance(value, str) and not _has_expression(value):
                _check_time(review, f"{step.path}.wait.{name}", parse, value)


def _check_time(review: Review, path: str, parse: Any, value: Any) -> None:
    try:
        parse(value)
    except ValueError as error:
        message, _, hint = str(error).partition(": ")
        review.error(path, message, hint)


def check_timeouts(review: Review) -> None:
    if get(review.document, "timeoutMs") is not None:
        return
    for step in review.outline.steps():
        limits = ("timeout", "heartbeatTimeout")
        works = step.type == StepType.TASK and not is_approval(step)
        if works and all(step.get(name) is None for name in limits):
            review.warning(
                step.path,
                f"step {step.id!r} has no `timeout`, and the workflow no `timeoutMs`: an "
                "attempt that hangs is never ended",
                "add `timeout`, ms, or `timeoutMs` to the workflow",
            )


def check_heartbeats(review: Review) -> None:
    for step in review.outline.steps():
        silent, whole = step.get("heartbeatTimeout"), step.get("timeout")
        if isinstance(silent, int) and isinstance(whole, int) and silent >= whole:
            message = f"the step has {whole} ms in all, so {silent} ms of silence never come"
            review.warning(
                f"{step.path}.heartbeatTimeout", message, "make it shorter than `timeout`"
            )


def check_retries(review: Review) -> None:
    policies = [(f"{step.path}.retry", step.get("retry")) for step in review.outline.steps()]
    policies += [(f"{path}.retry", h.get("retry")) for path, h in review.outline.handlers()]
    for path, policy in policies:
        if isinstance(policy, dict):
            _check_pauses(review, path, policy)
            if get(policy, "maxAttempts") is None:
                message = "has no `maxAttempts`: an attempt that always fails is tried for ever"
                review.warning(path, message, "add `maxAttempts`")
    for step in review.outline.steps():
        poll = as_mapping(step.get("wait")).get("poll")
        if isinstance(poll, dict):
            _check_pauses(review, f"{step.path}.wait.poll", poll)


def _check_pauses(review: Review, path: str, fields: Mapping[str, Any]) -> None:
    longest, first = get(fields, "maxInterval"), fields.get("interval", 1000)
    if isinstance(longest, int) and isinstance(first, int) and longest < first:
        default = "" if "interval" in fields else " (the default)"
        message = f"the longest pause, {longest} ms, is shorter than the first, {first} ms"
        review.warning(
            f"{path}.maxInterval", message + default, "raise `maxInterval`, or lower `interval`"
        )


def _has_expression(value: Any) -> bool:
    """Whether a text holds an expression, or one that does not parse and is reported as such."""
    if not isinstance(value, str):
        return False
    try:
        return not parse_template(value).is_literal
    except ExpressionError:
        return True
