"""Steps in quarantine: found by the index of tokens that wait."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orch.journal.connection import Connection
from orch.journal.external import LAST
from orch.workflows.quarantine import QUARANTINE, Quarantined, quarantine_field
from orch.workflows.state import StepState, StepStatus


@dataclass(frozen=True)
class PoisonStep:
    """A step that killed its workers, as the journal has it."""

    execution: str
    path: str
    workflow: str
    status: StepStatus
    kept: Quarantined
    error: Mapping[str, Any]


class Quarantine(Connection):
    """Every method may raise Unreachable."""

    def in_quarantine(self) -> list[PoisonStep]:
        """Failed steps that were set aside, the oldest first. Those that are so no more are
        struck off."""
        pipe = self.redis.pipeline(transaction=False)
        for partition in range(self.keys.partitions):
            wanted = f"{QUARANTINE} "
            pipe.zrangebylex(self.keys.listening(partition), f"[{wanted}", f"[{wanted}{LAST}")
        members = [member for page in self.read(pipe.execute) for member in page]
        found = []
        for member in members:
            _, execution, path = member.rsplit(" ", 2)
            step = self.poison_step(execution, path)
            if step is None or step.status is not StepStatus.FAILED:
                self.leave_quarantine(execution, path)
            else:
                found.append(step)
        return sorted(found, key=lambda step: (step.kept.at, step.execution, step.path))

    def poison_step(self, execution: str, path: str) -> PoisonStep | None:
        """None: it was never set aside, or is gone."""
        pipe = self.redis.pipeline(transaction=False)
        pipe.hmget(self.keys.record(execution), "workflow", quarantine_field(path))
        pipe.hmget(self.keys.steps(execution), path, f"!{path}")
        (workflow, text), (state, error) = self.read(pipe.execute)
        if text is None or state is None:
            return None
        return PoisonStep(
            execution,
            path,
            workflow,
            StepState.loads(state).status,
            Quarantined.loads(text),
            json.loads(error or "{}"),
        )

    def leave_quarantine(self, execution: str, path: str) -> bool:
        """Strike it off. False: it was not listed."""
        listening = self.keys.listening(self.keys.partition(execution))
        member = f"{QUARANTINE} {execution} {path}"
        pipe = self.redis.pipeline(transaction=True)
        pipe.zrem(listening, member)
        pipe.hdel(self.keys.steps(execution), f"?{path}")
        return bool(self.read(pipe.execute)[0])
