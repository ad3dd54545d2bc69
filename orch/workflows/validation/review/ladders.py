"""Ladders: who is asked when a step fails, and rungs that would never come to anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orch.workflows.asking import OWN_FALLBACK
from orch.workflows.definition import StepType
from orch.workflows.durations import parse_span
from orch.workflows.graph import Step, as_list, as_mapping, get, join
from orch.workflows.ladder import AUTO, BUILTIN_PATHS, RUNGS
from orch.workflows.validation.review.reads import check_use
from orch.workflows.validation.review.steps import check_capability, does_work
from orch.workflows.validation.review.subject import Review
from orch.workflows.validation.review.uses import Use, texts
from orch.workflows.validation.schemas import schema_problems
from orch.workflows.validation.wording import extend

_NAME = re.compile(r"[a-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Asked:
    """A ladder in a document, or the name of one. ``step``: whose it is; None: of many steps."""

    path: str
    value: Any
    step: Step | None = None

    def rungs(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Path, kind and fields of each rung that has a kind."""
        for index, rung in enumerate(as_list(self.value)):
            place = join(self.path, index)
            if isinstance(rung, str):
                yield place, rung, {}
                continue
            fields = as_mapping(rung)
            kind = next((name for name in RUNGS if fields.get(name) is not None), "")
            if kind:
                yield join(place, kind), kind, as_mapping(fields[kind])


def check_ladders(review: Review) -> None:
    for asked in _ladders(review):
        if isinstance(asked.value, str):
            _check_name(review, asked.path, asked.value)
            continue
        _check_ends(review, asked)
        for path, kind, fields in asked.rungs():
            _check_rung(review, asked, path, kind, fields)
    for step in review.outline.steps():
        if step.get("escalation") and _takes_all(step.get("onError")):
            message = f"step {step.id!r} asks nobody: its `onError` takes every error before"
            hint = "name the errors that `onError` takes, or leave `escalation` out"
            review.warning(f"{step.path}.escalation", message, hint)
    _check_paths(review)
    _check_handled(review)


def _ladders(review: Review) -> Iterator[Asked]:
    yield Asked("escalation", get(review.document, "escalation"))
    for name, path in as_mapping(get(review.document, "escalationPaths")).items():
        place = join(join("escalationPaths", name), "ladder")
        yield Asked(place, as_list(as_mapping(path).get("ladder")))
    for step in review.outline.steps():
        yield Asked(f"{step.path}.escalation", step.get("escalation"), step)


def _check_name(review: Review, path: str, name: str) -> None:
    own = as_mapping(get(review.document, "escalationPaths"))
    known = {AUTO, *BUILTIN_PATHS, *own, *(review.known_paths or ())}
    if name in known or not _NAME.fullmatch(name):
        return  # what is no name at all is said of the structure
    hint = review.suggest(name, known) or f"there are: {', '.join(sorted(known))}"
    message = f"there is no path of escalation {name!r}"
    if review.known_paths is None:
        said = f"{message} here; unless the settings have it, nobody is asked"
        review.warning(path, said, hint)
    else:
        review.error(path, message, hint)


def check_queue(review: Review, path: str, queue: Any) -> None:
    """A queue of the inbox; where the settings name them all, one of those."""
    known = review.known_queues
    if known is None or not isinstance(queue, str) or queue in known:
        return
    hint = review.suggest(queue, known) or f"there are: {', '.join(sorted(known))}"
    review.error(path, f"nobody watches a queue {queue!r} of the inbox", hint)


def _check_ends(review: Review, asked: Asked) -> None:
    """Rungs behind one that ends the ladder, or that waits for ever."""
    over = ""
    for number, (path, kind, fields) in enumerate(asked.rungs(), 1):
        if over:
            review.warning(path, f"this rung is never reached: {over}", "leave it out")
            return
        if kind == "fail":
            over = f"rung {number} is `fail`, where the ladder ends"
        elif kind == "human" and get(fields, "within") is None:
            over = f"rung {number} has no `within`, so it waits for a person for ever"


def _check_rung(
    review: Review, asked: Asked, path: str, kind: str, fields: Mapping[str, Any]
) -> None:
    step = asked.step
    if step is not None and kind in ("retry", "reassign") and not does_work(step):
        what = f"a step of type `{step.type}`" if step.type != StepType.TASK else "such a step"
        message = f"{what} is not done by a worker, so `{kind}` can do nothing: it is left out"
        review.warning(path, message, "take `fallback` or `human`")
    if kind == "fallback":
        check_capability(review, join(path, "capability"), fields.get("capability"))
        roots = step.scope.roots if step is not None else frozenset()
        for use in texts(review, join(path, "input"), fields.get("input"), roots=roots):
            check_use(review, use, step)
    if kind == "human":
        check_queue(review, join(path, "queue"), fields.get("queue", "inbox"))
    if isinstance(form := fields.get("form"), dict):
        for where, message in schema_problems(form):
            review.error(extend(join(path, "form"), where), f"is no valid JSON Schema: {message}")
    within, every = _span(get(fields, "within")), _span(get(fields, "remindEvery"))
    if within is not None and every is not None and every >= within:
        message = f"the rung ends after {within} ms, before the first reminder"
        review.warning(join(path, "remindEvery"), message, "make it shorter than `within`")


def _check_paths(review: Review) -> None:
    for name, path in as_mapping(get(review.document, "escalationPaths")).items():
        place = join("escalationPaths", name)
        ours = {AUTO: "the one whose rule fits", OWN_FALLBACK: "the `fallback` of a step"}
        if name in ours:
            message = f"no path may be called {name!r}: it stands for {ours[name]}"
            review.error(place, message, "choose another name")
        when = as_mapping(path).get("when")
        if isinstance(when, str):
            check_use(review, Use(join(place, "when"), when, True), None)


def _check_handled(review: Review) -> None:
    """What stands behind a handler of the workflow that takes every error."""
    if not any(handler.get("error", "*") == "*" for _, handler in review.outline.handlers()):
        return
    found = [("escalation", bool(get(review.document, "escalation")))]
    for name, path in as_mapping(get(review.document, "escalationPaths")).items():
        rule = as_mapping(path)
        chooses = any(rule.get(word) for word in ("errors", "classes", "when"))
        found.append((join("escalationPaths", name), chooses and not _is_named(review, name)))
    for place, asked in found:
        if asked:
            message = "nobody is asked by this: an entry of `errorHandlers` takes every error first"
            hint = (
                "name the errors that the handler takes, or give the steps their own `escalation`"
            )
            review.warning(place, message, hint)


def _is_named(review: Review, name: str) -> bool:
    """Whether a step asks by the name of a path, or by its rule."""
    return any(step.get("escalation") in (name, AUTO) for step in review.outline.steps())


def _takes_all(on_error: Any) -> bool:
    if isinstance(on_error, str):
        return True
    actions = on_error if isinstance(on_error, list) else [on_error]
    return any(
        isinstance(action, dict) and "*" in as_list(action.get("errors", ["*"]))
        for action in actions
    )


def _span(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            return parse_span(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
