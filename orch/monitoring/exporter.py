"""The load of capabilities over HTTP: for Prometheus, and for those who start workers by it.

`/metrics` is in Prometheus' text format; `/scale` is JSON of all capabilities, and
`/scale/NAME,NAME` how many workers are needed that serve these, as KEDA's `metrics-api` asks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from orch.control.runtime import Runtime
from orch.errors import OrchError, SettingsError
from orch.monitoring import families
from orch.monitoring.advice import Aim
from orch.monitoring.scaling import Scaling
from orch.workflows.agents import Tallied

try:
    from prometheus_client import CollectorRegistry, make_wsgi_app
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
except ImportError as exc:
    raise SettingsError(
        "metrics need the package prometheus-client, which is not installed",
        hint="pip install 'orch[metrics]'",
    ) from exc

Environment = dict[str, Any]
StartResponse = Callable[..., Any]

GAUGES = (
    ("depth", "orch_queue_depth", "Messages in the queue of a capability"),
    ("oldest", "orch_queue_oldest_seconds", "For how long the oldest step waits"),
    ("drain", "orch_queue_drain_seconds", "Until the queue is empty, if nothing more comes"),
    ("busy", "orch_steps_running", "Steps that run"),
    ("slots", "orch_slots", "Steps that live workers can run at the same time"),
    ("workers", "orch_workers", "Live workers that serve a capability"),
    ("advised", "orch_workers_advised", "Workers that empty the queue within the target"),
)
COUNTERS = (
    ("calls", "orch_calls", "Calls of a capability that have ended"),
    ("failures", "orch_call_failures", "Those that failed"),
    ("seconds", "orch_call_seconds", "Time that they took"),
)


SPENT = (
    ("tokens", "orch_tokens_today", "Tokens of models that a project has used since midnight, UTC"),
    ("cost", "orch_cost_today", "What it has spent since then"),
)


class Collector:
    """Reads Redis at each scrape; nothing is kept in between."""

    def __init__(self, runtime: Runtime, aim: Aim) -> None:
        self.runtime = runtime
        self.aim = aim

    def collect(self) -> Iterator[Metric]:
        journal = self.runtime.journal
        seen = journal.seen_workers()
        live = [said for said, ttl in seen if ttl > 0]
        yield from self._loads(live)
        yield from families.executions(journal)
        yield from families.watch(journal)
        yield from families.agents(live, [said for said, ttl in seen if ttl <= 0])
        yield from families.escalations(journal)
        yield from families.breakers(journal)
        yield from families.limits(journal)
        yield from families.schedules(journal)
        yield from families.redis(journal)

    def _loads(self, live: Sequence[dict[str, Any]]) -> Iterator[Metric]:
        loads = Scaling(self.runtime).read(aim=self.aim, live=live)
        for field, name, help in GAUGES:
            gauge = GaugeMetricFamily(name, help, labels=["capability"])
            for load in loads:
                value = getattr(load, field)
                if value is not None:
                    gauge.add_metric([load.capability], value)
            yield gauge
        for field, name, help in COUNTERS:
            counter = CounterMetricFamily(name, help, labels=["capability", "worker"])
            for said in live:
                for capability, figures in said["tally"].items():
                    labels = [capability, str(said.get("name") or said["id"])]
                    counter.add_metric(labels, getattr(Tallied.of(figures), field))
            yield counter
        (today,) = self.runtime.journal.spent(1).values()
        for field, name, help in SPENT:
            gauge = GaugeMetricFamily(name, help, labels=["project"])
            for project, used in today.items():
                gauge.add_metric([project], getattr(used, field))
            yield gauge


class Exporter:
    """A WSGI application. What it cannot read is a 503 with the reason."""

    def __init__(self, runtime: Runtime, aim: Aim) -> None:
        self.scaling = Scaling(runtime)
        self.aim = aim
        registry = CollectorRegistry()
        registry.register(Collector(runtime, aim))
        self._metrics = make_wsgi_app(registry)

    def __call__(self, environment: Environment, respond: StartResponse) -> Iterable[bytes]:
        path = unquote(environment.get("PATH_INFO", ""))
        try:
            if path == "/metrics":
                return list(self._metrics(environment, respond))
            if path == "/scale":
                loads = self.scaling.read(aim=self.aim)
                return _json(respond, "200 OK", [load.model_dump() for load in loads])
            if path.startswith("/scale/"):
                names = [name for name in path.removeprefix("/scale/").split(",") if name]
                workers = self.scaling.advise(names, self.aim) if names else 0
                return _json(respond, "200 OK", {"capabilities": names, "workers": workers})
        except OrchError as error:
            return _json(respond, "503 Service Unavailable", {"error": error.message})
        said = f"there is no {path}; there are /metrics, /scale and /scale/CAPABILITY"
        return _json(respond, "404 Not Found", {"error": said})


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """A scrape every few seconds is no news."""


def serve(runtime: Runtime, host: str, port: int, aim: Aim) -> WSGIServer:
    """A server that is bound; `serve_forever` runs it. Raises SettingsError where it cannot be."""
    try:
        return make_server(host, port, Exporter(runtime, aim), _Server, _Quiet)
    except (OSError, OverflowError) as exc:
        raise SettingsError(
            f"metrics cannot be served at {host}:{port}: {exc}",
            hint="give another --port, or an address of this machine as --host",
        ) from exc


def _json(respond: StartResponse, status: str, value: Any) -> list[bytes]:
    body = json.dumps(value).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    respond(status, headers)
    return [body]
