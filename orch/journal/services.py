"""Services outside that are registered, and when they may be called next."""

from __future__ import annotations

from collections.abc import Mapping

from orch.journal.connection import Connection
from orch.limits import RateLimit


class Services(Connection):
    """Every method may raise Unreachable."""

    def store_service(self, name: str, text: str, *, replace: bool) -> bool:
        """False: there is one of this name, and it stays."""
        key = self.keys.services()
        if replace:
            self.read(self.redis.hset, key, name, text)
            return True
        return bool(self.read(self.redis.hsetnx, key, name, text))

    def read_service(self, name: str) -> str | None:
        found = self.read(self.redis.hget, self.keys.services(), name)
        return None if found is None else str(found)

    def read_services(self) -> Mapping[str, str]:
        """By their names."""
        return dict(sorted(self.read(self.redis.hgetall, self.keys.services()).items()))

    def remove_service(self, name: str) -> bool:
        """False: there is none."""
        return bool(self.read(self.redis.hdel, self.keys.services(), name))

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
