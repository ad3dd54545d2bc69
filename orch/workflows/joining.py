"""How a parallel step or a map ended: the reason, its output, or its error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orch.errors import ErrorClass
from orch.workflows.failing import class_in
from orch.workflows.node import Node
from orch.workflows.paths import join_path
from orch.workflows.policies import JoinPolicy
from orch.workflows.resolving import CONFLICT, Verdict
from orch.workflows.state import encode

Result = tuple[Any, Mapping[str, Any] | None] | None
"""(output, failure) of a branch; None for one that did not end."""


class Joined:
    """The branches of a parallel step, or the items of a map, when it was decided.

    ``output()`` is `$.output` of the step: `results` in their order (null where
    there is none), `failures` with `index` and `error`, `counts`, and the `reason`: `all` |
    `enough succeeded` | `tolerance exceeded` | `cannot succeed any more` | `in conflict`.
    Where one of the outputs counts, ``outcome()`` is that one, and ``verdict`` says whose it is.
    ``last``: the number of the branch that ended well last, where it matters.
    """

    def __init__(self, results: tuple[Result, ...], node: Node, last: int = 0) -> None:
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
        resolver = self.policy.resolver
        self.verdict: Verdict | None = None
        if resolver is not None:
            good = enumerate(results)
            outputs = {n: found[0] for n, found in good if found and found[1] is None}
            self.verdict = resolver.judge(outputs, last)

    @property
    def reason(self) -> str:
        succeeded, failed = self.counts["succeeded"], self.counts["failed"]
        if 0 <= self.policy.tolerated < failed:
            return "cannot succeed any more" if self.policy.plain else "tolerance exceeded"
        if self.verdict is not None and self.verdict.winner is None:
            return "in conflict" if self.verdict.contradicts else "cannot succeed any more"
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

    def outcome(self) -> Any:
        """What the step gives: the output that counts, or all of them."""
        if self.verdict is None:
            return self.output()
        result = self.results[self.verdict.winner or 0]
        return result[0] if result is not None else None

    def told(self, path: str) -> dict[str, Any]:
        """Who said what, by the paths of the branches of the step at ``path``."""
        assert self.policy.resolver is not None and self.verdict is not None
        return self.policy.resolver.tell(self.verdict, self._paths(path))

    def _paths(self, path: str) -> list[str]:
        return [join_path(path, str(number)) for number in range(len(self.results))]

    def error(self, node: Node, path: str) -> dict[str, Any] | None:
        """Why the step failed, or None. Of a plain join it is the error of the first branch."""
        reason = self.reason
        if reason in ("all", "enough succeeded"):
            return None
        if reason == "in conflict":
            return self._conflict(node, path)
        if self.policy.plain and self.failures:
            return self._first_error(node)
        exceeded = reason == "tolerance exceeded"
        failed, total = self.counts["failed"], self.counts["total"]
        allowed = self.policy.tolerated if exceeded else self.policy.need or 1
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

    def _conflict(self, node: Node, path: str) -> dict[str, Any]:
        """The branches contradict one another, and what is to hold is for others to say."""
        told, resolver = self.told(path), self.policy.resolver
        assert resolver is not None
        said = "; ".join(
            f"{', '.join(vote['by'])}: {encode(vote['value'])[:80]}" for vote in told["votes"][:5]
        )
        mute = f"; nothing: {', '.join(told['mute'])}" if "mute" in told else ""
        wanted = f", and {resolver.need} must say the same" if resolver.need else ""
        outputs = [
            {"path": own, "output": result[0]}
            for own, result in zip(self._paths(path), self.results, strict=True)
            if result is not None and result[1] is None
        ]
        return {
            "name": CONFLICT,
            "class": ErrorClass.CONFLICT.value,
            "message": f"the branches of step {node.id!r} contradict one another{wanted}: "
            f"{said}{mute}",
            "step": node.id,
            "path": path,
            "attempt": 1,
            "data": {**told, "outputs": outputs, "failures": self.failures, "counts": self.counts},
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
