"""How a parallel step or a map ended: the reason, its output, or its error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.errors import ErrorClass
from orch.workflows.failing import class_in
from orch.workflows.plan import JoinPolicy, Node

Result = tuple[Any, Mapping[str, Any] | None] | None
"""(output, failure) of a branch; None for one that did not end."""


class Joined:
    """The branches of a parallel step, or the items of a map, when it was decided.

    ``output()`` is `$.output` of the step: `results` in their order (null where
    there is none), `failures` with `index` and `error`, `counts`, and the `reason`: `all` |
    `enough succeeded` | `tolerance exceeded` | `cannot succeed any more`.
    """

    def __init__(self, results: tuple[Result, ...], node: Node) -> None:
        self.results = results
        self.policy = _policy(node, len(results))
        self.failures: list[dict[str, Any]] = [
            {"index": index, "error": dict(result[1])}
            for index, result in enumerate(results)
            if result is not None and result[1] is not None
        ]
        ended = sum(result is not None for result in results)
        self.counts = {
            "total": len(results),
            "succeeded": ended - len(self.failures),
            "failed": len(self.failures),
            "cancelled": len(results) - ended,
        }

    @property
    def reason(self) -> str:
        succeeded, failed = self.counts["succeeded"], self.counts["failed"]
        if 0 <= self.policy.tolerated < failed:
            return "cannot succeed any more" if self.policy.plain else "tolerance exceeded"
        if self.policy.need and succeeded < self.policy.need:
            return "cannot succeed any more"
        return "all" if succeeded + failed == len(self.results) else "enough succeeded"

    def output(self, instead: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """``instead``: what stands for the results."""
        return {
            "results": instead or [result[0] if result else None for result in self.results],
            "failures": self.failures,
            "counts": self.counts,
            "reason": self.reason,
        }

    def error(self, node: Node, path: str) -> dict[str, Any] | None:
        """Why the step failed, or None. Of a plain join it is the error of the first branch."""
        reason = self.reason
        if reason in ("all", "enough succeeded"):
            return None
        if self.policy.plain:
            return self._first_error(node)
        exceeded = reason == "tolerance exceeded"
        failed, total = self.counts["failed"], self.counts["total"]
        allowed = self.policy.tolerated if exceeded else self.policy.need
        wanted = f"{allowed} may fail" if exceeded else f"{allowed} must succeed"
        members = "items" if node.mapped is not None else "branches"
        return {
            "name": "ToleranceExceeded" if exceeded else "NotEnoughSucceeded",
            "class": self._class_of_all(),
            "message": f"{failed} of {total} {members} of step {node.id!r} failed, and {wanted}",
            "step": node.id,
            "path": path,
            "attempt": 1,
            "data": self.output(),
        }

    def _class_of_all(self) -> str:
        """The class of the failures, if they are all of one."""
        found = {class_in(each["error"]) for each in self.failures}
        return found.pop() if len(found) == 1 else ErrorClass.UNKNOWN.value

    def _first_error(self, node: Node) -> dict[str, Any]:
        first = self.failures[0]
        if node.step.parallel is None:
            return {"item": first["index"], **first["error"]}
        name = node.step.parallel.branches[first["index"]].name
        return {**first["error"], "branch": name or first["index"]}


def _policy(node: Node, total: int) -> JoinPolicy:
    if node.mapped is not None:
        return JoinPolicy.of_items(node.mapped.tolerate, total)
    assert node.policy is not None
    return node.policy
