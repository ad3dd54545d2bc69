"""What executions use: by step, by execution, and by project and day."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from orch.journal.connection import Connection
from orch.workflows.budget import BUDGETS_FIELD, load_budgets
from orch.workflows.commit import Event
from orch.workflows.rungs import subject_of
from orch.workflows.state import encode
from orch.workflows.usage import USED_FIELD, Usage, usage_field, usage_of_step

SPENT_KEPT = 90 * 86_400_000
"""Ms for which the sums of a day are kept, after something was added."""

PROJECT = "project_id"
"""The attribute of an execution that says whose it is."""


@dataclass(frozen=True)
class Spending:
    """What was used so far by all attempts of a step, and by its execution. ``budgets``: those
    that people gave, by path; ``project``: whose it is, None: it does not say."""

    step: Usage
    execution: Usage
    budgets: Mapping[str, dict[str, Any]]
    project: str | None


class Spendings(Connection):
    """Every method may raise Unreachable."""

    def use(
        self, execution: str, path: str, attempt: int, begun: int, usage: Usage, ended: bool
    ) -> tuple[Usage, Usage] | None:
        """Note what an attempt has used since it began; said again, it counts once. That of the
        work of a rung counts for the step that the rung is for.

        ``begun``: when, ms. ``ended``: it uses no more, and the history tells it. The answer:
        what all attempts of the step have used, and the execution. None: it is gone.
        """
        project = self.settings.project_id
        return self._use(execution, path, attempt, begun, usage, ended, project)

    def take_usage(self, execution: str, path: str, attempt: int, begun: int, usage: Usage) -> None:
        """Note what a child has used that the step at ``path`` called: its own project has
        counted it."""
        self._use(execution, path, attempt, begun, usage, True, "")

    def _use(
        self,
        execution: str,
        path: str,
        attempt: int,
        begun: int,
        usage: Usage,
        ended: bool,
        project: str,
    ) -> tuple[Usage, Usage] | None:
        detail = {"tokens": usage.tokens, "cost": usage.cost, "model": usage.model}
        event = Event("used", path, attempt, {k: v for k, v in detail.items() if v})
        now = self.clock()
        keys = self._keys(execution)
        reply = self.run(
            "use",
            record=keys["record"],
            history=keys["history"],
            stream=keys["stream"],
            spent=self.keys.spent(self.keys.partition(execution), _day(now)),
            id=execution,
            field=usage_field(subject_of(path)),
            attempt=f"{begun:015d}.{attempt}",
            usage=usage.as_list(),
            project=project,
            name=PROJECT,
            event=event.dumps(now) if ended else "",
            keep=SPENT_KEPT,
        )
        if self._word("use", reply, "USED", "MISSING") == "MISSING":
            return None
        return usage_of_step(reply[1]), Usage.loads(reply[2])

    def read_spending(self, execution: str, path: str) -> Spending:
        names = [usage_field(path), USED_FIELD, BUDGETS_FIELD, "attributes"]
        own, used, budgets, attributes = self.read(
            self.redis.hmget, self.keys.record(execution), names
        )
        project = json.loads(attributes or "{}").get(PROJECT)
        return Spending(
            usage_of_step(own),
            Usage.loads(used),
            load_budgets(budgets),
            None if project is None else str(project),
        )

    def spent_today(self, project: str) -> Usage:
        """What the executions of a project have used since midnight, UTC."""
        (found,) = self.spent(1, project).values()
        return found.get(project, Usage())

    def spent(self, days: int, project: str | None = None) -> dict[str, dict[str, Usage]]:
        """Day, `2025-06-15`, of the last so many -> project -> what its executions used."""
        today = datetime.fromtimestamp(self.clock() / 1000, UTC)
        wanted = [(today - timedelta(days=n)).strftime("%Y-%m-%d") for n in range(days)]
        partitions = range(self.keys.partitions)
        pipe = self.redis.pipeline(transaction=False)
        for day in wanted:
            for partition in partitions:
                key = self.keys.spent(partition, day)
                if project is None:
                    pipe.hgetall(key)
                else:
                    pipe.hmget(key, [project])
        pages = self.read(pipe.execute)
        found: dict[str, dict[str, Usage]] = {}
        for number, day in enumerate(wanted):
            sums = found[day] = {}
            for page in pages[number * len(partitions) : (number + 1) * len(partitions)]:
                for name, text in page.items() if project is None else [(project, page[0])]:
                    if text:
                        sums[name] = sums.get(name, Usage()) + Usage.loads(text)
        return found

    def set_budget(
        self, execution: str, path: str, given: Mapping[str, Any], detail: Mapping[str, Any]
    ) -> bool:
        """Change what an execution, or with ``path`` a step, may use. False: it is not there."""
        keys = self._keys(execution)
        event = Event("budget", path, 0, detail)
        reply = self.run(
            "set_budget",
            record=keys["record"],
            history=keys["history"],
            stream=keys["stream"],
            id=execution,
            path=path,
            given=encode(given),
            event=event.dumps(self.clock()),
        )
        return self._word("set_budget", reply, "SET", "MISSING") == "SET"


def _day(now: int) -> str:
    return datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%d")
