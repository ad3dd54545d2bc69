"""How a process knows that what it has read of the versions still holds.

Which version a start gets stands in another slot than the execution, so that no script can look at
both, and to read it first is a round trip. So a word stands in each partition that is another one
after every change: who has read what a start gets, and the word before that, may start with both in
one script, which does nothing if the word has changed.
"""

from __future__ import annotations

import secrets

from orch.journal.connection import Connection

WORD_KEPT = 3600
"""Seconds for which a word stands; longer than anybody believes what he has read, so that a word
that is not there is none that somebody has overlooked."""


class Choosing(Connection):
    """Tells all processes that what starts get has changed."""

    def tell_choices_changed(self) -> None:
        """To be called behind the change; until it returns, starts may get what was before."""

        def tell() -> None:
            word = secrets.token_hex(4)
            pipe = self.redis.pipeline(transaction=False)
            for partition in range(self.keys.partitions):
                pipe.set(self.keys.choices(partition), word, ex=WORD_KEPT)
            pipe.execute()

        self.read(tell)
