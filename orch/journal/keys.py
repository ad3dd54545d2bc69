"""Every key of the journal: one function, its type, its meaning and how long it lives.

A key with ``{p07}`` in it belongs to partition 7: all keys of an execution share its hash
tag, so that each script is legal on Redis Cluster.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from redis.crc import key_slot


@dataclass(frozen=True, eq=False)  # known by itself, by which what it names is cached
class Keys:
    """Names of keys under one namespace, e.g. ``orch``."""

    namespace: str
    partitions: int

    def partition(self, execution: str) -> int:
        """The partition of an execution: CRC16 of its id, modulo the partition count."""
        return _slot(execution) % self.partitions

    def tag(self, partition: int) -> str:
        """The hash tag of the keys of a partition."""
        return f"{{p{partition:02d}}}"

    def _in(self, partition: int, rest: str) -> str:
        return f"{self.namespace}:{self.tag(partition)}:{rest}"

    # --- of one execution; they expire `retention` after it ended ------------------------

    def record(self, execution: str) -> str:
        """HASH: status, workflow, version, plan, input, variables (`v:…`), output, error,
        heartbeats (`b:path`), inputs of external tasks (`t:path`), reports that came before
        their task (`r:path`), escalations of steps (`g:path`), …

        Of a child also `parent`, as `execution path attempt`, and `depth`. While it is paused:
        `paused`, since when, and `remains`, what is left of its deadline. `pauses`: JSON of its
        branches that are paused, {path: since}. Of a rerun or a fork `origin`, of one that is
        being cancelled `cancel`: JSON.
        """
        return self._in(self.partition(execution), f"x:{execution}")

    def steps(self, execution: str) -> str:
        """HASH: path -> state; `=path` -> output; `!path` -> failure; `?path` -> subscription."""
        return self._in(self.partition(execution), f"s:{execution}")

    def items(self, execution: str) -> str:
        """HASH: `path/page` -> JSON of items of a map; `=scope`, `!scope` -> how one ended;
        `@scope` -> how a failed one goes on at its turn."""
        return self._in(self.partition(execution), f"i:{execution}")

    def history(self, execution: str) -> str:
        """LIST of events, oldest first, packed: see `orch/workflows/entries.py`."""
        return self._in(self.partition(execution), f"h:{execution}")

    def logs(self, execution: str) -> str:
        """STREAM: `l` -> JSON of a line that a step logged; see `orch/journal/logs.py`."""
        return self._in(self.partition(execution), f"l:{execution}")

    def mailbox(self, execution: str) -> str:
        """LIST, `event_retention`: events that were sent to an execution, as JSON."""
        return self._in(self.partition(execution), f"m:{execution}")

    # --- of a gate, in a partition of its own; gone when they are empty --------------------

    def held(self, gate: str) -> str:
        """ZSET: `execution limit policy` -> place, of those that have a slot.

        The place is since when they ask, ms, times 1024, and their number in that millisecond.
        """
        return self._in(self.partition(gate), f"g:{gate}")

    def waiting(self, gate: str) -> str:
        """ZSET: `execution limit policy` -> place, of those that wait for a slot."""
        return self._in(self.partition(gate), f"q:{gate}")

    # --- of the limits, all in one partition; gone when they are empty, but for resources ----

    def limits(self, what: str) -> str:
        """What is known of limits and resources, and of those that hold them or wait for them.

        HASHes `requests`, `taken` and `shares`, ZSETs `rates`, `blocked`, `looks` and `nexts`: see
        `lua/reserve.lua`. HASH `resources`, permanent: `d:` | `s:` and the name of a resource ->
        its capacity, as it was defined or as the settings say. HASH `declared`, permanent:
        capability -> JSON of the limit that is declared of it. HASH `usage:…` and an hour,
        `USAGE_KEPT`: how limits were used in it.
        """
        return self._in(self.partition("limits"), f"limits:{what}")

    # --- of a partition; permanent -------------------------------------------------------

    def watch(self, partition: int) -> str:
        """ZSET: `execution path` -> when to look at the token again, ms; also `gate:… `,
        `notice:… ` and `limits: `."""
        return self._in(partition, "watch")

    def index(self, partition: int) -> str:
        """ZSET, all of score 0: `head started execution`; see `orch/journal/heads.py`."""
        return self._in(partition, "index")

    def totals(self, partition: int) -> str:
        """HASH: how many executions began and ended since the Redis was first used; see
        `orch/journal/counting.py`."""
        return self._in(partition, "totals")

    def outbox(self, partition: int) -> str:
        """HASH: id of a notice -> JSON of what is to be told outside, until it is delivered."""
        return self._in(partition, "outbox")

    def marks(self, partition: int) -> str:
        """HASH: queue -> latest dispatch instant that a claim was seen of, ms."""
        return self._in(partition, "marks")

    def listening(self, partition: int) -> str:
        """ZSET: `subscription execution path` of each token that waits for an event or a report."""
        return self._in(partition, "listening")

    def choices(self, partition: int) -> str:
        """STRING: another one whenever the version that starts get has changed; it expires."""
        return self._in(partition, "choices")

    def stream(self, partition: int) -> str:
        """STREAM, `stream_retention` after somebody listened last: events of its executions.

        An entry is `x`, the execution, and `1`, `2`, …: events, packed as in the history.
        """
        return self._in(partition, "stream")

    def spent(self, partition: int, day: str) -> str:
        """HASH, `SPENT_KEPT`: project -> JSON of what its executions used on a day; see
        `lua/use.lua`."""
        return self._in(partition, f"spent:{day}")

    # --- of the whole ---------------------------------------------------------------------

    def meta(self) -> str:
        """HASH, permanent: the partition count that this Redis was first used with; its layout."""
        return f"{self.namespace}:meta"

    def priorities(self) -> str:
        """SET, permanent, in the broker's Redis: levels of priority that were ever used."""
        return f"{self.namespace}:priorities"

    def queues(self) -> str:
        """ZSET, permanent, in the broker's Redis: queue that is used -> when that was noted, ms."""
        return f"{self.namespace}:queues"

    def workflows(self) -> str:
        """HASH, permanent: name of a workflow -> its latest version."""
        return f"{self.namespace}:workflows"

    def kinds(self) -> str:
        """SET, permanent: `workflow version` of all that was ever started; workflow quoted."""
        return f"{self.namespace}:kinds"

    def versions(self, name: str) -> str:
        """HASH, permanent: version of a workflow -> JSON of when, and by whom, it was defined.

        At most `MOST_VERSIONS` of them: the oldest are forgotten, not what they name.
        """
        return f"{self.namespace}:versions:{name}"

    def canaries(self) -> str:
        """HASH, permanent: name of a workflow -> JSON of the version that some starts get."""
        return f"{self.namespace}:canaries"

    def triggers(self, event: str) -> str:
        """HASH, permanent: workflow that may be started by an event -> since when, ms."""
        return f"{self.namespace}:triggers:{event}"

    def definition(self, version: str) -> str:
        """STRING, permanent: the canonical JSON of a version."""
        return f"{self.namespace}:definition:{version}"

    def plan(self, plan: str) -> str:
        """STRING, permanent: JSON of a version and the versions that handle its errors."""
        return f"{self.namespace}:plan:{plan}"

    def event(self, id: str) -> str:
        """STRING, `event_retention`: when an event of this id was triggered first, ms."""
        return f"{self.namespace}:event:{id}"

    def kept(self, subscription: str) -> str:
        """LIST, `event_retention`: events of a name and correlation, as JSON."""
        digest = hashlib.sha256(subscription.encode()).hexdigest()[:32]
        return f"{self.namespace}:kept:{digest}"

    def workers(self) -> str:
        """ZSET, permanent: incarnation of a worker -> until when it is believed alive, ms."""
        return f"{self.namespace}:workers"

    def resolved(self) -> str:
        """ZSET, permanent, bounded: JSON of the notice of a resolved escalation -> when, ms."""
        return f"{self.namespace}:resolved"

    def archiver(self) -> str:
        """STRING, a minute: who archives ended executions at the moment."""
        return f"{self.namespace}:archiver"

    def worker(self, incarnation: str) -> str:
        """STRING, `liveness_limit`: JSON of what a live worker is, serves and holds."""
        return f"{self.namespace}:worker:{incarnation}"

    def registered(self) -> str:
        """HASH, permanent: id of an agent outside of Celery -> JSON; `@id` -> its heartbeat."""
        return f"{self.namespace}:registered"

    def services(self) -> str:
        """HASH, permanent: name of a service outside -> JSON of what is registered of it."""
        return f"{self.namespace}:services"

    def service_rate(self, service: str) -> str:
        """STRING, until it has no say any more: when the next call may begin; see
        `lua/take_slot.lua`."""
        return f"{self.namespace}:{{v:{service}}}:slot"

    def webhooks(self) -> str:
        """HASH, permanent: id of a webhook -> JSON of what is registered of it."""
        return f"{self.namespace}:webhooks"

    def push(self, task: str) -> str:
        """STRING, as long as the task may be open: whether it was sent to its agent."""
        return f"{self.namespace}:push:{task}"

    def profile(self, digest: str) -> str:
        """STRING, `PROFILE_KEPT`: JSON of the capabilities that workers offer, with schemas."""
        return f"{self.namespace}:profile:{digest}"

    def agent(self, name: str) -> str:
        """HASH, `agent_retention`: what an agent of this name is and did; see
        `lua/tell_agent.lua`."""
        return f"{self.namespace}:agent:{name}"

    def agents(self) -> str:
        """ZSET, permanent: name of an agent -> when it was told of last, ms."""
        return f"{self.namespace}:agents"

    def affinity(self, key: str) -> str:
        """HASH, `affinity_ttl` after a step asked for it last: queue -> the agent that does the
        steps of a key."""
        digest = hashlib.sha256(key.encode()).hexdigest()[:32]
        return f"{self.namespace}:{{a:{digest}}}:affinity"

    def drains(self) -> str:
        """HASH, permanent: agent that is to take nothing new -> JSON, until it has left."""
        return f"{self.namespace}:drains"

    def breakers(self) -> str:
        """HASH, permanent: capability -> JSON of the breaker that is declared of it."""
        return f"{self.namespace}:breakers"

    def breaker(self, capability: str) -> str:
        """HASH, `BREAKER_KEPT` after somebody asked last: the state of a breaker; see
        `lua/ask_breaker.lua`."""
        return f"{self.namespace}:{{b:{capability}}}:breaker"

    def breaker_changes(self, capability: str) -> str:
        """LIST, `BREAKER_KEPT` after the last: when, by whom and why it was opened and closed."""
        return f"{self.namespace}:{{b:{capability}}}:changes"

    def capabilities(self) -> str:
        """HASH, permanent: capability -> JSON of what is declared of it; see `Declared`."""
        return f"{self.namespace}:capabilities"

    def breaker_notes(self, capability: str) -> str:
        """HASH, `BREAKER_KEPT` after the last: `>id` -> JSON of a change that is not remembered
        yet."""
        return f"{self.namespace}:{{b:{capability}}}:notes"

    def noted(self) -> str:
        """ZSET, permanent: key of a hash in which a note may lie -> since when, ms."""
        return f"{self.namespace}:noted"

    def seen_agents(self) -> str:
        """HASH, permanent: name of a worker that was seen alive -> its incarnation."""
        return f"{self.namespace}:seen"

    def upkeep(self) -> str:
        """STRING, a minute: some worker has looked after what is to be remembered."""
        return f"{self.namespace}:upkeep"

    def fallbacks(self) -> str:
        """HASH, permanent: capability -> JSON of the fallback that is declared of it."""
        return f"{self.namespace}:fallbacks"

    def kept_outputs(self, capability: str) -> str:
        """HASH, as long as they may be of use: outputs of a capability; see `keep_output.lua`."""
        return f"{self.namespace}:{{f:{capability}}}:outputs"

    def output_ages(self, capability: str) -> str:
        """ZSET, as long as they may be of use: name of an output -> when it was kept, ms."""
        return f"{self.namespace}:{{f:{capability}}}:ages"

    # --- of the memory of a project; they expire with the last of its records ---------------

    def memories(self, project: str) -> str:
        """HASH: id of a record of the memory -> JSON."""
        return self._of_project(project, "memories")

    def memory_entries(self, project: str) -> str:
        """ZSET, all of score 0: `head created id`; see `orch/memory/entries.py`."""
        return self._of_project(project, "entries")

    def memory_ends(self, project: str) -> str:
        """ZSET: id of a record of the memory -> when it expires, ms."""
        return self._of_project(project, "ends")

    def memory_reads(self, project: str) -> str:
        """HASH: id of a record of the memory -> how often it was read, and when last, ms."""
        return self._of_project(project, "reads")

    def memory_merged(self, project: str) -> str:
        """HASH: id of a record that was merged -> id of the one that stands for it."""
        return self._of_project(project, "merged")

    def memory_merged_ends(self, project: str) -> str:
        """ZSET: id of a record that was merged -> when it would have expired, ms."""
        return self._of_project(project, "merged-ends")

    def _of_project(self, project: str, rest: str) -> str:
        quoted = quote(project, safe="", errors="surrogatepass")
        return f"{self.namespace}:{{m:{quoted}}}:{rest}"

    def projects(self) -> str:
        """ZSET, permanent: project that has a memory -> when the last record expires, ms."""
        return f"{self.namespace}:projects"

    # --- of schedules; permanent -----------------------------------------------------------

    def schedule_notes(self) -> str:
        """HASH: `>id` -> JSON of what changed a schedule, until it is remembered."""
        return f"{self.namespace}:{{schedules}}:notes"

    def schedules(self) -> str:
        """SET: names of schedules."""
        return f"{self.namespace}:{{schedules}}:names"

    def schedule(self, name: str) -> str:
        """HASH: a schedule, and how far one has come with it; see store_schedule.lua."""
        return f"{self.namespace}:{{schedules}}:s:{name}"

    def schedule_ticks(self, name: str) -> str:
        """LIST: what became of its latest instants, JSON, the latest first."""
        return f"{self.namespace}:{{schedules}}:t:{name}"

    def schedules_due(self) -> str:
        """ZSET: name of a schedule -> when it must be looked at, ms."""
        return f"{self.namespace}:{{schedules}}:due"

    def beat(self) -> str:
        """STRING, a few seconds: the beat that leads."""
        return f"{self.namespace}:{{schedules}}:leader"

    # --- of the observations of the whole ----------------------------------------------------

    def observed(self) -> str:
        """HASH, `OBSERVED_KEPT` after the last: the last observation; see `lua/observe.lua`."""
        return f"{self.namespace}:{{monitor}}:observed"

    def observer(self) -> str:
        """STRING, some intervals: the worker that observes."""
        return f"{self.namespace}:{{monitor}}:observer"

    def is_permanent(self, key: str) -> bool:
        """Whether a key may be without TTL when no execution is running."""
        exact = {
            self.meta(),
            self.workflows(),
            self.agents(),
            self.breakers(),
            self.canaries(),
            self.capabilities(),
            self.drains(),
            self.fallbacks(),
            self.kinds(),
            self.noted(),
            self.seen_agents(),
            self.workers(),
            self.priorities(),
            self.projects(),
            self.registered(),
            self.queues(),
            self.resolved(),
            self.services(),
            self.webhooks(),
        }
        kinds = ("definition", "plan", "triggers", "versions")
        if key.startswith(f"{self.namespace}:{{schedules}}:") and key != self.beat():
            return True
        if key in exact or key.startswith(tuple(f"{self.namespace}:{kind}:" for kind in kinds)):
            return True
        if key in (self.limits("resources"), self.limits("declared")):
            return True
        return key.startswith(f"{self.namespace}:{{p") and key.endswith(
            (":watch", ":index", ":totals", ":marks", ":listening", ":outbox")
        )


@lru_cache(1024)
def _slot(name: str) -> int:
    return int(key_slot(name.encode()))
