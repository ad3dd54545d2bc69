"""A collector of traces: OTLP over HTTP, as far as tests ask what was sent."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Sent:
    """A span, its ids in hexadecimal, its times in ns. ``link``: of the span that it names."""

    name: str
    trace: str
    span: str
    parent: str
    begun: int
    ended: int
    failed: bool
    told: dict[str, Any] = field(default_factory=dict)
    events: tuple[dict[str, Any], ...] = ()
    link: str = ""
    service: str = ""


class Collector:
    def __init__(self) -> None:
        self.spans: list[Sent] = []
        self.paths: set[str] = set()
        self.url = ""

    def of(self, execution: str) -> list[Sent]:
        return [each for each in list(self.spans) if each.told.get("orch.execution") == execution]

    def at(self, execution: str, path: str) -> list[Sent]:
        """The attempts of a step."""
        found = [each for each in self.of(execution) if each.told.get("orch.path") == path]
        return sorted(found, key=lambda each: each.told["orch.attempt"])

    def root(self, execution: str) -> Sent | None:
        found = [each for each in self.of(execution) if "orch.status" in each.told]
        assert len(found) <= 1
        return found[0] if found else None

    def take(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_span(each, about) for each in scope.spans]


def _span(each: Any, about: dict[str, Any]) -> Sent:
    return Sent(
        name=each.name,
        trace=each.trace_id.hex(),
        span=each.span_id.hex(),
        parent=each.parent_span_id.hex(),
        begun=each.start_time_unix_nano,
        ended=each.end_time_unix_nano,
        failed=each.status.code == 2,
        told=_values(each.attributes),
        events=tuple({"name": e.name, **_values(e.attributes)} for e in each.events),
        link=each.links[0].span_id.hex() if each.links else "",
        service=about["service.name"],
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens while the block lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.paths.add(self.path)
            collector.take(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()
