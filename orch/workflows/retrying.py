"""When a failed attempt is tried again."""

from __future__ import annotations

import zlib

from orch.workflows.definition import RetryPolicy
from orch.workflows.failing import class_of, is_meant


def may_retry(policy: RetryPolicy, name: str, failures: int, error_class: str = "") -> bool:
    """Whether an attempt that failed as ``name``, the ``failures``-th, is followed by another.

    ``error_class``: of the error; without it, that of its name.
    """
    error_class = error_class or class_of(name)
    if is_meant([each for each in policy.abort_on if each != "*"], name, error_class):
        return False
    if not is_meant(policy.retry_on, name, error_class):
        return False
    return policy.max_attempts is None or failures < policy.max_attempts


def retry_pause(policy: RetryPolicy, failures: int, seed: str) -> int:
    """Pause in ms before the next attempt: interval * rate^(failures-1), at most max_interval.

    The strategy `none` keeps to the interval, `linear` takes it ``failures`` times.

    Jitter takes between half and all of it, drawn from ``seed``, so that a transition that is
    computed twice says the same.
    """
    limit = policy.max_interval or 24 * 3600 * 1000
    try:
        pause = min(float(limit), policy.interval * _growth(policy, failures))
    except OverflowError:
        pause = float(limit)
    if policy.jitter:
        pause *= 0.5 + 0.5 * (zlib.crc32(seed.encode()) / 0xFFFFFFFF)
    return int(pause)


def _growth(policy: RetryPolicy, failures: int) -> float:
    match policy.strategy:
        case "none":
            return 1.0
        case "linear":
            return float(failures)
        case "exponential" if policy.backoff_rate == 1:
            return 2.0 ** (failures - 1)
        case _:
            return policy.backoff_rate ** (failures - 1)
