"""Agents outside of Celery: those that are registered, and the tasks that are sent to them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from orch.journal.noted import Noted, without_notes
from orch.workflows.external import given_field
from orch.workflows.note import Note

BEAT_MARK = "@"
"""Begins the field with the last heartbeat of a registered agent."""


@dataclass(frozen=True)
class Registered:
    """``text``: JSON of what was registered. ``beat``: when it was heard of last, ms; ``load``:
    what it said of itself then, 0 to 1."""

    text: str
    beat: int = 0
    load: float = 0.0


class Pushes(Noted):
    """Every method may raise Unreachable."""

    def register_agent(self, id: str, text: str, note: Note | None = None) -> None:
        beat = json.dumps([self.clock(), 0.0])
        self.amend(self.keys.registered(), {id: text, f"{BEAT_MARK}{id}": beat}, note=note)

    def unregister_agent(self, id: str, note: Note | None = None) -> bool:
        """False: there is none."""
        return self.amend(self.keys.registered(), drops=[id, f"{BEAT_MARK}{id}"], note=note)

    def beat_agent(self, id: str, load: float) -> bool:
        """It lives. False: it is not registered."""
        if not self.read(self.redis.hexists, self.keys.registered(), id):
            return False
        beat = json.dumps([self.clock(), load])
        self.read(lambda: self.redis.hset(self.keys.registered(), f"{BEAT_MARK}{id}", beat))
        return True

    def registered_agent(self, id: str) -> Registered | None:
        fields = [id, f"{BEAT_MARK}{id}"]
        text, beat = self.read(lambda: self.redis.hmget(self.keys.registered(), fields))
        return None if text is None else Registered(text, *json.loads(beat or "[0, 0.0]"))

    def registered_agents(self) -> dict[str, Registered]:
        found = without_notes(self.read(self.redis.hgetall, self.keys.registered()))
        return {
            id: Registered(text, *json.loads(found.get(f"{BEAT_MARK}{id}", "[0, 0.0]")))
            for id, text in sorted(found.items())
            if not id.startswith(BEAT_MARK)
        }

    def count_task(self, name: str, duration: int, *, failed: bool, keep: int) -> None:
        """A task of an agent outside has ended, after ``duration`` ms."""
        key, now = self.keys.agent(name), self.clock()

        def count() -> None:
            pipe = self.redis.pipeline(transaction=False)
            pipe.hincrby(key, "calls", 1)
            pipe.hincrby(key, "failures", int(failed))
            pipe.hincrby(key, "ms", duration)
            pipe.hset(key, "seen", str(now))
            pipe.pexpire(key, keep)
            pipe.zadd(self.keys.agents(), {name: now})
            pipe.execute()

        self.read(count)

    # --- tasks that are sent ---------------------------------------------------------------------

    def take_push(self, task: str, lease: int, keep: int) -> tuple[str, int]:
        """Send it oneself, for ``lease`` ms: TAKEN, and the how manieth time it is.

        HELD: another one sends it, or it waits for its next time; ACCEPTED: the agent has it.
        """
        now = self.clock()
        reply = self.run(
            "take_push", push=self.keys.push(task), now=now, over=now + lease, keep=keep
        )
        word = self._word("take_push", reply, "TAKEN", "HELD", "ACCEPTED")
        return word, int(reply[1]) if word == "TAKEN" else 0

    def leave_push(self, task: str, tries: int, due: int, keep: int, *, accepted: bool) -> None:
        """It waits until ``due`` (ms) for its next time, or the agent has it."""
        text = json.dumps({"until": due, "tries": tries, "accepted": accepted})
        self.read(lambda: self.redis.set(self.keys.push(task), text, px=keep))

    def is_accepted(self, task: str) -> bool:
        """Whether an agent has taken it that was sent it."""
        text = self.read(self.redis.get, self.keys.push(task))
        return text is not None and bool(json.loads(text).get("accepted"))

    def task_input(self, execution: str, path: str) -> Any:
        """What an external task is given."""
        text = self.read(self.redis.hget, self.keys.record(execution), given_field(path))
        return json.loads(text or "null")
