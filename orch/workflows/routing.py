"""Who takes an error: `onError` of the step, the step around it, or an error handler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orch.workflows.compensating import in_compensation
from orch.workflows.definition import ErrorAction
from orch.workflows.failing import class_in, is_meant
from orch.workflows.leaving import Leaving
from orch.workflows.node import Node
from orch.workflows.outcome import Failure
from orch.workflows.paths import ROOT, handler_scope, in_handler, join_of, join_path, split
from orch.workflows.state import encode
from orch.workflows.view import CAUSE_FIELD, error_field

MAX_INLINE_LAPS = 1000
"""Laps that one transition may begin; more is a cycle in which no step does anything."""


class Routing(Leaving):
    """A draft that is left, also by errors."""

    def route(self, node: Node, path: str, error: dict[str, Any]) -> None:
        """Nothing more will be tried: find who takes the error."""
        if in_compensation(path):
            return  # it is noted
        scope_path = split(path)[0]
        action = self._action_for(node, error)
        if action is not None:
            self._take(scope_path, error)
            self.note("routed", path, 0, {"to": action.next})
            self._step_to(node, path, action.next)
            return
        if join_of(scope_path) is not None:
            self._fail_branch(scope_path, error)
        elif in_handler(path):
            self.note("handler_failed", path, 0, {"error": error})
            self._fail_execution(dict(self.view.cause or error))
        else:
            self._handle(path, error)

    def _action_for(self, node: Node, error: Mapping[str, Any]) -> ErrorAction | None:
        """The first `onError` that takes the error."""
        for action in node.on_error:
            if is_meant(action.errors, error["name"], class_in(error)):
                return action
        return None

    def _handle(self, path: str, error: dict[str, Any]) -> None:
        found = self.plan.handler_for(error["name"], class_in(error))
        if found is None:
            self._fail_execution(error)
            return
        index, handler = found
        nodes = self.plan.scopes[ROOT].nodes
        target = nodes.get(handler.handler)
        if target is not None and target.id == split(path)[1].partition("#")[0]:
            self._fail_execution(error)  # a handler cannot handle its own failure
            return
        if target is not None and self._handled_before(error):
            return
        self.note("routed", path, 0, {"to": handler.handler, "handler": True})
        if target is not None:
            self._take(ROOT, error)
            self.fields[CAUSE_FIELD] = encode(error)
            self.enter(target, self.plan.follow(path, target.id))
            return
        self.fields[CAUSE_FIELD] = encode(error)
        self.view = replace(self.view, cause=error)
        scope = handler_scope(index)
        self._take(scope, error)
        entry = self.plan.scopes[scope].entry
        self.enter(entry, join_path(scope, entry.id))

    def _handled_before(self, error: dict[str, Any]) -> bool:
        """A handler step was already entered once: a failure on its way is final.

        Without this, a handler whose own steps fail would be entered for ever, and on paths
        that exist already.
        """
        if self.view.cause is None:
            return False
        self._fail_execution(error)
        return True

    def _take(self, scope_path: str, error: dict[str, Any]) -> None:
        self.view.errors[scope_path] = error  # type: ignore[index]
        self.fields[error_field(scope_path)] = encode(error)

    def _give_up(self, node: Node, path: str) -> None:
        """Nobody takes this error: what takes it may lie in the same cycle.

        It ends no more than the own scope, so that an execution never ends beside tokens that
        live in other branches.
        """
        failure = Failure(
            "EndlessDecision",
            f"the flow went back {MAX_INLINE_LAPS} times without a step that does anything; "
            f"the last is {node.id!r}",
            node.id,
            path,
        ).as_dict()
        scope_path = split(path)[0]
        if join_of(scope_path) is not None:
            self.laps = 0
            self._fail_branch(scope_path, failure)
        else:
            self._fail_execution(failure)
