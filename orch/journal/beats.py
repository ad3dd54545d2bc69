"""What running attempts say of how far they are."""

from __future__ import annotations

from collections.abc import Iterable

from orch.journal.connection import Connection
from orch.workflows.beat import Beat
from orch.workflows.state import StepState
from orch.workflows.view import beat_field


class Beats(Connection):
    """Every method may raise Unreachable."""

    def beat(self, execution: str, path: str, state: StepState, beat: Beat, due: int) -> bool:
        """Note a heartbeat of an attempt whose ``state`` the caller was given; False: it is at
        another one. ``due``: when to look at the token again, ms.
        """
        reply = self.run(
            "heartbeat",
            record=self.keys.record(execution),
            steps=self.keys.steps(execution),
            watch=self.keys.watch(self.keys.partition(execution)),
            id=execution,
            path=path,
            status=state.status.value,
            attempt=state.attempt,
            owner=state.owner,
            field=beat_field(path),
            beat=beat.dumps(),
            due=due,
        )
        return self._word("heartbeat", reply, "BEAT", "SUPERSEDED") == "BEAT"

    def read_beats(self, execution: str, paths: Iterable[str]) -> dict[str, Beat]:
        """The last heartbeat of each path that has one."""
        wanted = list(paths)
        if not wanted:
            return {}
        names = [beat_field(path) for path in wanted]
        texts = self.read(self.redis.hmget, self.keys.record(execution), names)
        return {path: Beat.loads(t) for path, t in zip(wanted, texts, strict=True) if t}
