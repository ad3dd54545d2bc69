"""One method per transition, typed in and out; the words of the scripts end here.

Each family of transitions has a file of its own; this is what they are together.
"""

from __future__ import annotations

from orch.journal.affinities import Affinities
from orch.journal.beats import Beats
from orch.journal.branches import Branches
from orch.journal.breakers import Breakers
from orch.journal.bundles import Bundles
from orch.journal.cancelling import Cancelled, Cancelling
from orch.journal.claiming import Claimed, Refused
from orch.journal.connection import (
    milliseconds,
    open_redis,
    without_password,
)
from orch.journal.counting import Counting
from orch.journal.declared import Declarations
from orch.journal.drains import Drains
from orch.journal.escalations import EscalationRecords
from orch.journal.events import Events
from orch.journal.external import External
from orch.journal.fallbacks import Fallbacks
from orch.journal.fleet import Fleet
from orch.journal.gates import Gates
from orch.journal.limits import Limits
from orch.journal.links import Settled
from orch.journal.logs import Logs
from orch.journal.memories import Memories
from orch.journal.migration import Migration
from orch.journal.observations import Observations
from orch.journal.pushes import Pushes
from orch.journal.quarantine import Quarantine
from orch.journal.records import (
    HistoryEntry,
    Pending,
    Record,
    Records,
    make_view,
)
from orch.journal.schedules import Schedules
from orch.journal.services import Services
from orch.journal.settling import Settling
from orch.journal.snapshots import Snapshots
from orch.journal.spending import Spendings
from orch.journal.starting import ChoicesChanged, Start, Starting
from orch.journal.steering import Steered, Steering
from orch.journal.stream import Stream
from orch.journal.terminating import Ended, Terminating
from orch.journal.traces import Traces
from orch.journal.triggers import Triggers
from orch.journal.versions import Versions

__all__ = [
    "Cancelled",
    "ChoicesChanged",
    "Claimed",
    "Ended",
    "HistoryEntry",
    "Journal",
    "Pending",
    "Record",
    "Refused",
    "Settled",
    "Start",
    "Steered",
    "make_view",
    "milliseconds",
    "open_redis",
    "without_password",
]


class Journal(
    Starting,
    Settling,
    Terminating,
    Records,
    Snapshots,
    Triggers,
    Steering,
    Branches,
    Breakers,
    Bundles,
    Cancelling,
    Drains,
    Fleet,
    Events,
    Stream,
    Beats,
    External,
    Pushes,
    Affinities,
    Declarations,
    Fallbacks,
    Versions,
    Migration,
    Gates,
    Limits,
    Memories,
    Logs,
    Spendings,
    EscalationRecords,
    Quarantine,
    Schedules,
    Services,
    Counting,
    Traces,
    Observations,
):
    """The journal of all executions in one Redis.

    Every method may raise Unreachable when Redis is away, JournalError when a script answers
    a word that its contract does not list.
    """
