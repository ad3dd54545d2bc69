"""A server that speaks as Notion's API does, version 2025-09-03, for as much as tests need."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "ntn_" + "a1B2" * 12
ROOT = "11111111-2222-3333-4444-555555555555"
"""The page that is shared with the integration."""


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.body = {"object": "error", "status": status, "code": code, "message": message}


class NotionServer:
    """``failing``: statuses that the next requests get. ``asked``: method and path of each."""

    def __init__(self) -> None:
        self.pages: dict[str, dict[str, Any]] = {}
        self.texts: dict[str, str] = {}
        self.databases: dict[str, dict[str, Any]] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.failing: list[int] = []
        self.asked: list[str] = []
        self.versions: set[str] = set()
        self.searchable = True
        self._tick = 0
        self.url = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        for pattern, handle in self._routes().items():
            match = re.fullmatch(pattern, f"{method} {path}")
            if match:
                return handle(*match.groups(), body)
        raise Refused(400, "invalid_request_url", f"Invalid request URL: {path}")

    def _routes(self) -> dict[str, Callable[..., dict[str, Any]]]:
        return {
            r"POST /v1/pages": self._create_page,
            r"GET /v1/pages/([^/]+)": lambda id, _: self._get(self.pages, id, "page"),
            r"PATCH /v1/pages/([^/]+)": self._update_page,
            r"GET /v1/pages/([^/]+)/markdown": lambda id, _: self._markdown(id),
            r"PATCH /v1/pages/([^/]+)/markdown": self._update_markdown,
            r"POST /v1/search": self._search,
            r"POST /v1/databases": self._create_database,
            r"GET /v1/databases/([^/]+)": lambda id, _: self._get(self.databases, id, "database"),
            r"PATCH /v1/databases/([^/]+)": self._update_database,
            r"GET /v1/data_sources/([^/]+)": lambda id, _: self._get(self.sources, id, "source"),
            r"POST /v1/data_sources/([^/]+)/query": self._query,
        }

    def _get(self, among: dict[str, dict[str, Any]], id: str, kind: str) -> dict[str, Any]:
        if id not in among:
            raise Refused(404, "object_not_found", f"Could not find {kind} with ID: {id}.")
        return among[id]

    def _time(self) -> str:
        self._tick += 1
        return f"2026-01-01T00:00:{self._tick % 60:02d}.000Z"

    # Pages

    def _create_page(self, body: dict[str, Any]) -> dict[str, Any]:
        parent = body["parent"]
        if parent["type"] == "page_id":
            if parent["page_id"] != ROOT:
                raise Refused(404, "object_not_found", "Could not find page.")
            kinds: dict[str, Any] = {"title": {"type": "title"}}
        else:
            kinds = self._get(self.sources, parent["data_source_id"], "source")["properties"]
        now, id = self._time(), str(uuid.uuid4())
        self.pages[id] = {
            "object": "page",
            "id": id,
            "parent": parent,
            "created_time": now,
            "last_edited_time": now,
            "in_trash": False,
            "url": f"https://www.notion.so/{id.replace('-', '')}",
            "properties": {
                name: {"id": name, "type": each["type"], each["type"]: _nothing(each["type"])}
                for name, each in kinds.items()
            },
        }
        self._set(self.pages[id], body.get("properties") or {})
        self.texts[id] = body.get("markdown", "")
        return self.pages[id]

    def _update_page(self, id: str, body: dict[str, Any]) -> dict[str, Any]:
        page = self._get(self.pages, id, "page")
        self._set(page, body.get("properties") or {})
        page["in_trash"] = body.get("in_trash", page["in_trash"])
        page["last_edited_time"] = self._time()
        return page

    def _set(self, page: dict[str, Any], values: dict[str, Any]) -> None:
        for name, value in values.items():
            held = page["properties"].get(name)
            if held is None or held["type"] not in value:
                raise Refused(400, "validation_error", f"{name} is not a property that exists.")
            told = value[held["type"]]
            if held["type"] in ("title", "rich_text"):
                if any(len(piece["text"]["content"]) > 2000 for piece in told):
                    raise Refused(400, "validation_error", "text.content.length should be ≤ 2000")
                told = [{**piece, "plain_text": piece["text"]["content"]} for piece in told]
            held[held["type"]] = told

    def _markdown(self, id: str) -> dict[str, Any]:
        self._get(self.pages, id, "page")
        return {"object": "page_markdown", "id": id, "markdown": self.texts[id]}

    def _update_markdown(self, id: str, body: dict[str, Any]) -> dict[str, Any]:
        self._get(self.pages, id, "page")
        if body["type"] == "replace_content":
            self.texts[id] = body["replace_content"]["new_str"]
        else:
            self.texts[id] = f"{self.texts[id]}\n{body['insert_content']['content']}".strip()
        return self._markdown(id)

    # Databases

    def _create_database(self, body: dict[str, Any]) -> dict[str, Any]:
        properties = body["initial_data_source"]["properties"]
        if sum("title" in each for each in properties.values()) != 1:
            raise Refused(400, "validation_error", "Title is not provided")
        id, source = str(uuid.uuid4()), str(uuid.uuid4())
        title = [{**piece, "plain_text": piece["text"]["content"]} for piece in body["title"]]
        self.sources[source] = {
            "object": "data_source",
            "id": source,
            "title": title,
            "parent": {"type": "database_id", "database_id": id},
            "in_trash": False,
            "properties": {
                name: {"id": name, "name": name, "type": next(iter(each)), **each}
                for name, each in properties.items()
            },
        }
        name = title[0]["plain_text"]
        self.databases[id] = {
            "object": "database",
            "id": id,
            "title": title,
            "data_sources": [{"id": source, "name": name}],
            "in_trash": False,
        }
        return self.databases[id]

    def _update_database(self, id: str, body: dict[str, Any]) -> dict[str, Any]:
        found = self._get(self.databases, id, "database")
        found["in_trash"] = body["in_trash"]
        for source in found["data_sources"]:
            self.sources[source["id"]]["in_trash"] = body["in_trash"]
        return found

    def _query(self, id: str, body: dict[str, Any]) -> dict[str, Any]:
        self._get(self.sources, id, "source")
        rows = [
            page
            for page in self.pages.values()
            if page["parent"].get("data_source_id") == id and not page["in_trash"]
        ]
        rows = [page for page in rows if _holds(page, body.get("filter"))]
        for sort in reversed(body.get("sorts") or []):
            down = sort["direction"] == "descending"
            rows.sort(key=lambda page: str(_value(page, sort["property"])), reverse=down)
        return _part(rows, body)

    def _search(self, body: dict[str, Any]) -> dict[str, Any]:
        kind, query = body["filter"]["value"], body.get("query", "").lower()
        among = self.pages if kind == "page" else self.sources
        found = [each for each in among.values() if not each["in_trash"] and self.searchable]
        found = [each for each in found if query in _title(each).lower()]
        return _part(found, body)


def _nothing(kind: str) -> Any:
    if kind in ("title", "rich_text", "multi_select"):
        return []
    return False if kind == "checkbox" else None


def _part(rows: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
    start = int(body.get("start_cursor", "c0")[1:])
    end = start + min(body.get("page_size", 100), 100)
    more = end < len(rows)
    cursor = f"c{end}" if more else None
    return {"object": "list", "results": rows[start:end], "has_more": more, "next_cursor": cursor}


def _title(each: dict[str, Any]) -> str:
    titles = each.get("title") or next(
        (p["title"] for p in each["properties"].values() if p["type"] == "title"), []
    )
    return "".join(piece["plain_text"] for piece in titles)


def _value(page: dict[str, Any], name: str) -> Any:
    held = page["properties"][name]
    value = held[held["type"]]
    if held["type"] in ("title", "rich_text"):
        return "".join(piece["plain_text"] for piece in value)
    if held["type"] == "multi_select":
        return [each["name"] for each in value]
    if isinstance(value, dict):
        return value.get("name", value.get("start"))
    return value


def _holds(page: dict[str, Any], asked: dict[str, Any] | None) -> bool:
    if not asked:
        return True
    if "and" in asked or "or" in asked:
        word = "and" if "and" in asked else "or"
        return (all if word == "and" else any)(_holds(page, each) for each in asked[word])
    value = _value(page, asked["property"])
    ((operator, wanted),) = next(v for k, v in asked.items() if k != "property").items()
    tests: dict[str, Callable[[], bool]] = {
        "equals": lambda: value == wanted,
        "does_not_equal": lambda: value != wanted,
        "greater_than": lambda: value is not None and value > wanted,
        "less_than_or_equal_to": lambda: value is not None and value <= wanted,
        "after": lambda: value is not None and value > wanted,
        "contains": lambda: wanted in value,
        "does_not_contain": lambda: wanted not in value,
        "is_empty": lambda: not value,
        "is_not_empty": lambda: bool(value),
    }
    return tests[operator]()


@contextmanager
def notion_server() -> Iterator[NotionServer]:
    """A server on a port of its own, until the end of the block."""
    notion = NotionServer()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            path = self.path.partition("?")[0]
            notion.asked.append(f"{self.command} {path}")
            notion.versions.add(self.headers.get("Notion-Version", ""))
            try:
                status, said = 200, self._said(path, body)
            except Refused as exc:
                status, said = exc.status, exc.body
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if status == 429:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(content)

        def _said(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "unauthorized", "API token is invalid.")
            if notion.failing:
                status = notion.failing.pop(0)
                code = {429: "rate_limited", 503: "service_unavailable"}[status]
                raise Refused(status, code, "Not now.")
            return notion.answer(self.command, path, body)

        do_GET = do_POST = do_PATCH = _serve

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    notion.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield notion
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
