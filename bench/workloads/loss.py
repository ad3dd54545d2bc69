"""What is lost when a worker dies, and whether one that lives is taken for dead."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time

from bench.plain import HOLD, HOLDERS
from bench.systems.base import Contestant, OnRedis, wait_for
from bench.systems.engine import Orch
from bench.workloads.sizes import Figures, Sizes

LINKS = 5


def recovery(system: Contestant, sizes: Sizes) -> Figures:
    """One of two workers is killed, whole, in the middle of a step of 100 ms.

    Lost is what the chain takes beyond one that nobody kills: the step itself, which is run
    again, and the time until somebody saw that. The worst of some; infinite: not in time.
    """
    if not isinstance(system, OnRedis):
        lost = system.recover(LINKS, sizes.patience)
        return {"recovery_lost": math.inf if lost is None else lost}
    kills = sizes.kills if system.name == "orch" else 1
    return {"recovery_lost": max(_lost(system, sizes.patience) for _ in range(kills))}


def _lost(system: OnRedis, patience: float) -> float:
    with system.elsewhere(count=2, slots=1) as there:
        undisturbed = there.run("hold", LINKS).wall
        there.redis.delete(HOLDERS)
        begun = time.perf_counter()
        handle = there.begin("hold", LINKS)
        if not wait_for(lambda: there.redis.llen(HOLDERS) == 2, patience + 10 * HOLD, 0.002):
            raise TimeoutError(f"{system.name}: its second step did not begin")
        time.sleep(HOLD / 4)
        at_work = {int(pid) for pid in str(there.redis.lindex(HOLDERS, -1)).split()}
        [worker] = at_work & set(there.processes())
        os.killpg(worker, signal.SIGKILL)
        limit = undisturbed + patience
        if not wait_for(lambda: there.is_done(handle), limit, 0.005):
            return math.inf
        return time.perf_counter() - begun - undisturbed


def alarms(system: Contestant, sizes: Sizes) -> Figures:
    """Steps that were tried again though no worker died, beside four busy processes a core."""
    assert isinstance(system, OnRedis)
    busy = [
        multiprocessing.Process(target=_burn, args=(sizes.load,), daemon=True)
        for _ in range(4 * (os.cpu_count() or 1))
    ]
    limit = time.monotonic() + sizes.load
    handles = []
    with system.elsewhere(count=2, slots=1) as there:
        assert isinstance(there, Orch)
        there.prepare("hold", LINKS)
        for each in busy:
            each.start()
        try:
            while time.monotonic() < limit:
                handles.append(there.begin("hold", LINKS))
                there.wait(handles[-2:-1], 0.02, timeout=sizes.load + 60)
        finally:
            for each in busy:
                each.terminate()
                each.join()
        there.wait(handles, 0.02)
        again = sum(
            step.attempts > 1
            for handle in handles
            for step in there.orchestrator.get_execution_status(handle).steps
        )
    return {"false_alarms": float(again)}


def _burn(seconds: float) -> None:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        pass
