"""The variables as they were: output mappings of completed steps, applied in their order again.

The journal keeps the variables of now. What they were when some of the steps had been done is
worked out from the history and the outputs, or refused where those do not tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orch.errors import NotAllowed, StepError
from orch.workflows.commit import Event
from orch.workflows.expressions import to_text
from orch.workflows.node import Node
from orch.workflows.paths import ROOT, iteration_path, join_of, split
from orch.workflows.plan import Plan
from orch.workflows.policies import Reads
from orch.workflows.view import View, context_of, scopes_up

GIVEN = ("resumed", "forked_from")
"""Events that set variables whose values the history does not hold."""

UNKNOWN = object()


class Replay:
    """Goes through a history once. ``keeps`` says whose steps count.

    Afterwards ``variables``; ``given``, those of them that no step set; ``outputs`` and
    ``errors`` of each scope; ``cause``. A value may be UNKNOWN, see `unknown`.
    """

    def __init__(
        self,
        plan: Plan,
        steps: Mapping[str, str],
        history: Sequence[Event],
        view: View,
        keeps: Callable[[str], bool],
    ) -> None:
        self.plan = plan
        self.steps = steps
        self.history = history
        self.view = view
        self.keeps = keeps
        self.variables: dict[str, Any] = {}
        self.given: set[str] = set()
        self.outputs: dict[str, Any] = {}
        self.errors: dict[str, Any] = {}
        self.cause: Any = None
        self.tainted: dict[str, str] = {}  # name -> a step that set it, and does not count
        self.writers: dict[str, list[tuple[int, str]]] = {}
        self._claimed: dict[str, tuple[dict[str, Any], dict[str, str]]] = {}
        self._since_claim: set[str] = set()
        self._last_by: dict[str, str] = {}
        self._failed: dict[str, Any] = {}
        self._mapping: dict[str, int] = {}
        for index, event in enumerate(history):
            for name in self._written_by(event):
                self.writers.setdefault(name, []).append((index, event.path))

    def run(self, horizon: int) -> None:
        """``horizon``: events from there on count only for steps that are kept."""
        for index, event in enumerate(self.history):
            if event.word in GIVEN and not event.path:
                if index < horizon:
                    self._give(index, (event.detail or {}).get("input", ()))
            elif not event.path:
                continue
            elif self.keeps(event.path):
                self._apply(index, event)
            else:
                for name in self._written_by(event):
                    self.tainted[name] = event.path

    def unknown(self) -> list[str]:
        """Variables whose value at that point nothing tells."""
        return sorted(name for name, value in self.variables.items() if value is UNKNOWN)

    # --- who writes ------------------------------------------------------------------------

    def _written_by(self, event: Event) -> Sequence[str]:
        if event.word in GIVEN and not event.path:
            return tuple((event.detail or {}).get("input", ()))
        if event.word not in ("completed", "decided", "mapping"):
            return ()
        node = self._node(event.path)
        if node is None:
            return ()
        if event.word == "mapping":
            return self._of_items(node)
        return [*self._of_items(node), *(name for name, _ in node.output)]

    def _of_items(self, node: Node) -> list[str]:
        """Variables that items set which leave no line in the history."""
        if node.mapped is None:
            return []
        entry = self.plan.scopes[node.key].entry
        if not self.plan.is_quiet(entry.key):
            return []
        return [name for name, _ in entry.output]

    def _node(self, path: str) -> Node | None:
        try:
            return self.plan.node(path)
        except KeyError:
            return None

    def _give(self, since: int, names: Sequence[str], by: str = "") -> None:
        """Set by what the history holds no values of: known if nobody else set it since."""
        for name in names:
            last = all(i <= since or path == by for i, path in self.writers.get(name, ()))
            value = self.view.variables.get(name, UNKNOWN) if last else UNKNOWN
            self._set(name, value, by)
            self.given.add(name)
            self._since_claim.add(name)

    def _set(self, name: str, value: Any, by: str) -> None:
        self.variables[name] = value
        self._last_by[name] = by
        self.given.discard(name)
        self.tainted.pop(name, None)

    # --- events ----------------------------------------------------------------------------

    def _apply(self, index: int, event: Event) -> None:
        path = event.path
        match event.word:
            case "claimed":
                self._claimed[path] = dict(self.variables), dict(self.tainted)
                self._since_claim.clear()
            case "skipped_by":
                self._claimed.pop(path, None)  # who skips sees the variables of that moment
            case "mapping":
                self._mapping[path] = index
            case "completed":
                self._complete(index, path)
            case "decided":
                self._decide(event)
            case "failed":
                self._failed[path] = (event.detail or {}).get("error", UNKNOWN)
            case "routed":
                error = self._failed.pop(path, UNKNOWN)
                self.errors[split(path)[0]] = error
                if (event.detail or {}).get("handler"):
                    self.cause = error

    def _complete(self, index: int, path: str) -> None:
        node = self.plan.node(path)
        output = json.loads(self.steps.get(f"={path}", "null"))
        quiet = self._of_items(node)
        if quiet:
            self._give(self._mapping.get(path, index), quiet, path)
        self._map(node, path, output)
        self._claimed.pop(path, None)
        self.outputs[split(path)[0]] = output

    def _decide(self, event: Event) -> None:
        node = self.plan.node(event.path)
        if not node.output or node.choice is None:
            return
        value = None
        if any(read[0] == "output" for _, mapping in node.output for read in mapping.reads):
            expression = node.choice.expression
            self._check_reads(node, event.path, expression.reads)
            context = context_of(self._seen(event.path, self.variables), event.path)
            value = self._evaluated(event.path, expression.evaluate, context)
            if to_text(value)[:100] != (event.detail or {}).get("value"):
                raise refused(f"what {event.path!r} decided by cannot be worked out again")
        self._map(node, event.path, value)

    def _map(self, node: Node, path: str, output: Any) -> None:
        """As `Move._set_variables`: all mappings see the variables of before."""
        if not node.output:
            return
        variables, _ = self._claimed.get(path, (self.variables, {}))
        values = []
        for name, mapping in node.output:
            self._check_reads(node, path, mapping.reads)
            context = context_of(self._seen(path, variables), path) | {"output": output}
            values.append((name, self._evaluated(path, mapping.evaluate, context)))
        for name, value in values:
            self._set(name, value, path)

    def _evaluated(self, path: str, evaluate: Callable[[Any], Any], context: dict[str, Any]) -> Any:
        try:
            return evaluate(context)
        except StepError as error:
            raise refused(f"the mapping of step {path!r} fails: {error.message}") from error

    def _seen(self, path: str, variables: Mapping[str, Any]) -> View:
        scope = split(path)[0]
        outputs = {scope: self.output_of(scope)}
        errors = {s: self.errors[s] for s in scopes_up(scope) if s in self.errors}
        return View(
            self.view.execution,
            self.view.workflow,
            input=self.view.input,
            variables=variables,
            outputs=outputs,
            errors=errors,
        )

    def output_of(self, scope: str) -> Any:
        """The last output of a scope; an iteration begins with that of the one before."""
        if scope in self.outputs:
            return self.outputs[scope]
        up = join_of(scope) if scope != ROOT else None
        if up is None or not scope.endswith("]") or not up[1]:
            return None
        return json.loads(self.steps.get(f"={iteration_path(up[0], up[1] - 1)}", "null"))

    # --- what cannot be told ---------------------------------------------------------------

    def _check_reads(self, node: Node, path: str, reads: Reads) -> None:
        """Refuse where what a mapping read is not what can be worked out here."""
        scopes = scopes_up(split(path)[0])
        items = {"item"} | {
            item_of.as_ for s in scopes if (item_of := self.plan.scope(s).item_of) is not None
        }
        for read in reads:
            if read[0] == "variables":
                variables, tainted = self._claimed.get(path, (self.variables, self.tainted))
                names = [read[1]] if len(read) > 1 else [*variables, *tainted]
                for name in names:
                    self._check_variable(path, name)
            elif read[0] == "state":
                raise refused(f"the mapping of {path!r} reads the state of its poll")
            elif read[0] == "error" and any(self.errors.get(s) is UNKNOWN for s in scopes):
                raise refused(f"the error that {path!r} reads is not in the history")
            elif read[0] in items and len(items) > 1:
                raise refused(f"the mapping of {path!r} reads an item, and items are not kept")

    def _check_variable(self, path: str, name: str) -> None:
        variables, tainted = self._claimed.get(path, (self.variables, self.tainted))
        if name in tainted:
            raise refused(
                f"step {path!r} set a variable from {name!r}, which {tainted[name]!r} had "
                f"set, and that step is not kept"
            )
        if variables.get(name) is UNKNOWN:
            raise refused(f"step {path!r} read variable {name!r}, whose value is not known")
        if path in self._claimed:
            return
        other = self._last_by.get(name, "")
        if name in self._since_claim or (other and _beside(other, path)):
            raise refused(
                f"step {path!r} read variable {name!r} while it was set by "
                f"{repr(other) if other else 'a resumption'}"
            )


def _beside(one: str, other: str) -> bool:
    """Whether two steps stand in different branches, or items, of the same step."""
    mine = {up[0]: up[1] for s in scopes_up(split(one)[0]) if (up := join_of(s)) is not None}
    theirs = {up[0]: up[1] for s in scopes_up(split(other)[0]) if (up := join_of(s)) is not None}
    return any(theirs[join] != number for join, number in mine.items() if join in theirs)


def refused(reason: str) -> NotAllowed:
    return NotAllowed(
        f"the execution cannot be forked there: {reason}",
        hint="fork from an earlier step, or start it anew with `orch rerun`",
    )
