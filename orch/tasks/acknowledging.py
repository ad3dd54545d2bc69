"""Acknowledges messages of steps that last, where the broker waits for it only so long.

RabbitMQ closes the connection of a worker that does not acknowledge a message within half an hour
(`consumer_timeout`), and gives all that it holds to others. They drop it, since the journal says
who runs the steps; but nothing is gained by that.
"""

from __future__ import annotations

import time

from orch.tasks.request import StepRequest, held_requests

HELD = 600.0
"""Seconds after which a message is acknowledged, whatever its step does. Nobody needs it then: a
step that runs has its owner in the journal, and of one that waits another message was sent."""

LOOKED_EVERY = 30.0
"""Seconds between looks."""


class Acknowledging:
    """Used by one warden's thread."""

    def __init__(self) -> None:
        self._looked = float("-inf")
        self._since: dict[StepRequest, float] = {}

    def look(self) -> None:
        """Acknowledge what has been held for long."""
        now = time.monotonic()
        if now - self._looked < LOOKED_EVERY:
            return
        self._looked = now
        self._since = {each: self._since.get(each, now) for each in held_requests()}
        for request, since in self._since.items():
            if now - since >= HELD and not request.acknowledged:
                request.acknowledge()  # the main loop does it
