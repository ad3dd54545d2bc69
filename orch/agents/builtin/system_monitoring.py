"""`system_monitoring`: how the worker's machine is doing.

    {"thresholds": {"cpu": 90, "memory": 85, "disk": 90}, "processes": 5}

gives `{"status", "alerts", "cpu", "memory", "swap", "disk", "load", "network", "processes", ...}`.
Sizes are bytes, shares are percent. Needs psutil, of the extra `agents`.
"""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from orch.agents.capability import capability
from orch.agents.context import Context
from orch.agents.files import named_errors, resolve
from orch.errors import StepError

Percent = Annotated[float, Field(ge=0, le=100)]
_DEGRADED = 0.9
"""The share of a threshold from which on a machine is degraded."""


class Thresholds(BaseModel):
    """Percent from which on something is too high; `load`: per processor, 1.5 for instance."""

    model_config = ConfigDict(extra="forbid")

    cpu: Percent | None = 95.0
    memory: Percent | None = 95.0
    swap: Percent | None = None
    disk: Percent | None = 95.0
    load: Annotated[float, Field(gt=0)] | None = None


@capability("system_monitoring")
def system_monitoring(
    thresholds: Thresholds | None = None,
    path: str | None = None,
    interval: Annotated[float, Field(ge=0.05, le=60)] = 0.2,
    processes: Annotated[int, Field(ge=0, le=100)] = 0,
    mustBeHealthy: bool = False,
    context: Context | None = None,
) -> dict[str, Any]:
    """Look at processors, memory, disk, network and load, once.

    path           on the disk that is looked at; without it, the root of files or the current one
    interval       seconds over which processors and network are measured
    processes      how many of those are told that use most memory: name, id, share; no arguments,
                   since secrets stand there
    mustBeHealthy  whether a threshold that is reached is an error

    Raises StepError: `SystemUnhealthy`, `ToolMissing`, and those of files.
    """
    psutil = _psutil()
    wanted = thresholds or Thresholds()
    place = resolve(path or ".")
    before = psutil.net_io_counters()
    psutil.cpu_percent(None)
    (context or Context()).raise_if_cancelled()
    time.sleep(interval)
    after = psutil.net_io_counters()
    with named_errors("look at the disk of", place):
        disk = psutil.disk_usage(str(place))
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    cores = psutil.cpu_count() or 1
    load = os.getloadavg()
    found: dict[str, Any] = {
        "host": platform.node(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "uptime": round(time.time() - psutil.boot_time()),
        "cpu": {"percent": psutil.cpu_percent(None), "cores": cores},
        "load": {"1m": load[0], "5m": load[1], "15m": load[2], "perCore": load[0] / cores},
        "memory": _used(memory.total, memory.total - memory.available, memory.percent),
        "swap": _used(swap.total, swap.used, swap.percent),
        "disk": {"path": str(place), **_used(disk.total, disk.used, disk.percent)},
        "network": _network(before, after, interval),
    }
    if processes:
        found["processes"] = _largest(psutil, processes)
    alerts = _alerts(wanted, found)
    if alerts and mustBeHealthy:
        sentences = "; ".join(alert["message"] for alert in alerts)
        raise StepError("SystemUnhealthy", f"{found['host']}: {sentences}", data={"alerts": alerts})
    return {"status": _status(wanted, found, alerts), "alerts": alerts, **found}


def _psutil() -> Any:
    try:
        import psutil
    except ImportError as exc:
        raise StepError(
            "ToolMissing",
            "there is no 'psutil' on this worker",
            hint="install it there: pip install 'orch[agents]'",
        ) from exc
    return psutil


def _used(total: int, used: int, percent: float) -> dict[str, Any]:
    return {"total": total, "used": used, "percent": percent}


def _network(before: Any, after: Any, interval: float) -> dict[str, Any]:
    if before is None or after is None:  # a machine without one
        return {"bytesIn": 0, "bytesOut": 0, "inPerSecond": 0.0, "outPerSecond": 0.0}
    received, sent = after.bytes_recv - before.bytes_recv, after.bytes_sent - before.bytes_sent
    return {
        "bytesIn": after.bytes_recv,
        "bytesOut": after.bytes_sent,
        "inPerSecond": round(received / interval, 1),
        "outPerSecond": round(sent / interval, 1),
    }


def _largest(psutil: Any, count: int) -> list[dict[str, Any]]:
    """Those of this machine that this worker may see, by their memory."""
    found = [
        process.info
        for process in psutil.process_iter(["pid", "name", "memory_percent", "status"])
        if process.info["memory_percent"] is not None
    ]
    found.sort(key=lambda info: info["memory_percent"], reverse=True)
    return [
        {
            "pid": info["pid"],
            "name": info["name"],
            "memoryPercent": round(info["memory_percent"], 2),
            "status": info["status"],
        }
        for info in found[:count]
    ]


def _values(wanted: Thresholds, found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What has a threshold: its name, its value, the threshold."""
    pairs = [
        ("cpu", found["cpu"]["percent"], wanted.cpu),
        ("memory", found["memory"]["percent"], wanted.memory),
        ("swap", found["swap"]["percent"], wanted.swap),
        ("disk", found["disk"]["percent"], wanted.disk),
        ("load", found["load"]["perCore"], wanted.load),
    ]
    return [(name, value, limit) for name, value, limit in pairs if limit is not None]


def _alerts(wanted: Thresholds, found: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "value": round(value, 2),
            "threshold": limit,
            "message": f"{name} is at {value:.4g}, and {limit:g} is too much",
        }
        for name, value, limit in _values(wanted, found)
        if value >= limit
    ]


def _status(wanted: Thresholds, found: dict[str, Any], alerts: list[dict[str, Any]]) -> str:
    """`healthy`, `degraded` close to a threshold, `unhealthy` from a threshold on."""
    if alerts:
        return "unhealthy"
    near = any(value >= limit * _DEGRADED for _, value, limit in _values(wanted, found))
    return "degraded" if near else "healthy"
