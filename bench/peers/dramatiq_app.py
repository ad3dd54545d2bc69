"""Dramatiq's actors, as its workers and its client see them."""

from __future__ import annotations

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as RateLimits
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend as Backend

from bench.peers.driver import HOLD, hold_on

url = os.environ["BENCH_URL"]
broker = RedisBroker(url=url)
results = Backend(url=url)
broker.add_middleware(Results(backend=results))
broker.add_middleware(GroupCallbacks(RateLimits(url=url)))
dramatiq.set_broker(broker)


@dramatiq.actor
def noop() -> None:
    """Do nothing."""


@dramatiq.actor
def hold() -> None:
    """Take a while."""
    hold_on()
    time.sleep(HOLD)


@dramatiq.actor(store_results=True)
def last() -> str:
    """Do nothing, and tell the client."""
    return "done"
