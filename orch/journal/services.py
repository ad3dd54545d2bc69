"""Services outside that are registered, and when they may be called next."""

from __future__ import annotations

from collections.abc import Mapping

from orch.journal.noted import Noted, without_notes
from orch.limits import RateLimit
from orch.workflows.note import Note


class Services(Noted):
    """Every method may raise Unreachable."""

    def store_service(
        self, name: str, text: str, *, replace: bool, note: Note | None = None
    ) -> bool:
        """False: there is one of this name, and it stays."""
        expect = None if replace else {name: ""}
        return self.amend(self.keys.services(), {name: text}, expect=expect, note=note)

    def read_service(self, name: str) -> str | None:
        found = self.read(self.redis.hget, self.keys.services(), name)
        return None if found is None else str(found)

    def read_services(self) -> Mapping[str, str]:
        """By their names."""
        found = without_notes(self.read(self.redis.hgetall, self.keys.services()))
        return dict(sorted(found.items()))

    def remove_service(self, name: str, note: Note | None = None) -> bool:
        """False: there is none."""
        return self.amend(self.keys.services(), drops=[name], note=note)

    def take_slot(self, service: str, rate: RateLimit, most: int) -> tuple[bool, int]:
        """Whether a call may be made within ``most`` ms, and in how many ms it may."""
        reply = self.run(
            "take_slot",
            rate=self.keys.service_rate(service),
            now=self.clock(),
            pause=repr(rate.pause),
            burst=rate.burst,
            most=most,
        )
        return self._word("take_slot", reply, "TAKEN", "LATER") == "TAKEN", int(reply[1])
