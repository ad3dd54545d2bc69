"""Tasks that somebody outside does: those that are open, and reports that came too early."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orch.journal.connection import Connection
from orch.workflows.beat import Beat
from orch.workflows.commit import Event
from orch.workflows.external import MARK, Report, given_field, report_field, waits_for
from orch.workflows.pausing import load_pauses, pauses_over
from orch.workflows.state import StepState, StepStatus
from orch.workflows.view import beat_field

LAST = "\U0010ffff"
"""Sorts behind every path."""


@dataclass(frozen=True)
class OpenTask:
    """A task that waits for its report, as the journal has it."""

    execution: str
    path: str
    workflow: str
    plan: str
    paused: bool
    state: StepState
    input: Any
    beat: Beat | None


class External(Connection):
    """Every method may raise Unreachable."""

    def keep_report(self, execution: str, path: str, report: Report) -> tuple[str, str]:
        """Keep a report for a task that is not there yet.

        KEPT | TAKEN (another one is kept: its text) | ARRIVED | ENDED (the status) | MISSING.
        """
        event = Event("reported", path, 0, {"by": report.by, "kept": True})
        reply = self.run(
            "keep_report",
            record=self.keys.record(execution),
            steps=self.keys.steps(execution),
            history=self.keys.history(execution),
            stream=self.keys.stream(self.keys.partition(execution)),
            id=execution,
            path=path,
            field=report_field(path),
            report=report.dumps(),
            event=event.dumps(report.at),
        )
        word = self._word("keep_report", reply, "KEPT", "TAKEN", "ARRIVED", "ENDED", "MISSING")
        return word, str(reply[1]) if len(reply) > 1 else ""

    def kept_report(self, execution: str, path: str) -> Report | None:
        text = self.read(self.redis.hget, self.keys.record(execution), report_field(path))
        return None if text is None else Report.loads(text)

    def open_tasks(self, capability: str | None = None) -> list[OpenTask]:
        """Tasks that wait for a report, those that wait longest first."""
        wanted = MARK if capability is None else f"{waits_for(capability)} "
        pipe = self.redis.pipeline(transaction=False)
        for partition in range(self.keys.partitions):
            pipe.zrangebylex(self.keys.listening(partition), f"[{wanted}", f"[{wanted}{LAST}")
        pages = self.read(pipe.execute)
        tokens = [tuple(member.rsplit(" ", 2)[1:]) for page in pages for member in page]
        for execution, path in tokens:
            names = ["workflow", "plan", "status", "pauses", given_field(path), beat_field(path)]
            pipe.hmget(self.keys.record(execution), names)
            pipe.hget(self.keys.steps(execution), path)
        answers = self.read(pipe.execute)
        found = []
        for (execution, path), record, text in zip(
            tokens, answers[::2], answers[1::2], strict=True
        ):
            state = StepState.loads(text) if text else None
            if state is None or state.status is not StepStatus.EXTERNAL:
                continue  # it was reported between the two reads
            workflow, plan, status, pauses, given, beat = record
            found.append(
                OpenTask(
                    execution,
                    path,
                    workflow,
                    plan,
                    status == "paused" or bool(pauses_over(load_pauses(pauses), path)),
                    state,
                    json.loads(given or "null"),
                    Beat.loads(beat) if beat else None,
                )
            )
        return sorted(found, key=lambda task: (task.state.started, task.execution, task.path))
