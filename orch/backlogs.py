"""A look into the queues of a Redis: how much waits, and what has waited longest."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis

from orch.broker import HIGHEST, list_of

LOOKED_AT = 20
"""Messages of a list among which the oldest step is sought: the first may mean nothing any more."""


@dataclass(frozen=True)
class Peeked:
    """``depth``: messages that wait. ``tokens``: execution and path of those that come next."""

    depth: int
    tokens: tuple[tuple[str, str], ...] = ()


def peek(redis: Redis, queues: Sequence[str]) -> dict[str, Peeked]:
    """What waits in each of some queues. Raises what the Redis client raises."""
    pipe = redis.pipeline(transaction=False)
    for queue in queues:
        for level in range(HIGHEST + 1):
            pipe.llen(list_of(queue, level))
            pipe.lrange(list_of(queue, level), -LOOKED_AT, -1)
    replies = iter(pipe.execute())
    found = {}
    for queue in queues:
        levels = [(int(next(replies)), next(replies)) for _ in range(HIGHEST + 1)]
        tokens = (_token(text) for _, texts in levels for text in reversed(texts))
        found[queue] = Peeked(sum(depth for depth, _ in levels), tuple(filter(None, tokens)))
    return found


def depths(redis: Redis, queues: Sequence[str], levels: Sequence[int]) -> dict[str, int]:
    """How many messages wait in each of some queues. ``levels``: of priority that were ever used,
    beside 0. Raises what the Redis client raises."""
    used = sorted({0, *levels})
    pipe = redis.pipeline(transaction=False)
    for queue in queues:
        for level in used:
            pipe.llen(list_of(queue, level))
    found = iter(pipe.execute())
    return {queue: sum(int(next(found)) for _ in used) for queue in queues}


def _token(text: str) -> tuple[str, str] | None:
    """The execution and path that a message is for; None: it is for no step."""
    try:
        execution, path = json.loads(base64.b64decode(json.loads(text)["body"]))[0][:2]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return (execution, path) if isinstance(execution, str) and isinstance(path, str) else None
