"""A server with the API of OpenAI, as far as steps use it: what it says is what a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-of-the-tests-0123456789"

Answer = Callable[["Reply"], None]


class Reply:
    """One request, and how it is answered."""

    def __init__(self, handler: BaseHTTPRequestHandler, server: ModelServer) -> None:
        self._handler = handler
        self.server = server
        length = int(handler.headers.get("Content-Length", 0))
        self.request: dict[str, Any] = json.loads(handler.rfile.read(length))
        self.key = handler.headers.get("Authorization", "").removeprefix("Bearer ")

    def fail(self, status: int, code: str, message: str = "no", **headers: str) -> None:
        body = json.dumps({"error": {"message": message, "type": "error", "code": code}})
        handler = self._handler
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body.encode())

    def say(self, *texts: str, tokens: tuple[int, int] = (10, 5), pause: float = 0.0) -> None:
        self._stream(({"content": text} for text in texts), "stop", tokens, pause)

    def call(self, tool: str, tokens: tuple[int, int] = (10, 5), **given: Any) -> None:
        function = {"name": tool, "arguments": json.dumps(given)}
        call = {"index": 0, "id": f"call{len(self.server.requests)}", "type": "function"}
        self._stream(iter([{"tool_calls": [{**call, "function": function}]}]), "tool_calls", tokens)

    def answer(self, tokens: tuple[int, int] = (10, 5), **value: Any) -> None:
        """The structured answer: by the tool that stands for it."""
        self.call(self.tools()[-1], tokens, **value)

    def tools(self) -> list[str]:
        return [each["function"]["name"] for each in self.request.get("tools", ())]

    def results(self) -> list[str]:
        """What the tools that it called gave."""
        return [m["content"] for m in self.request["messages"] if m["role"] == "tool"]

    def _stream(
        self, deltas: Iterator[Any], finish: str, tokens: tuple[int, int], pause: float = 0.0
    ) -> None:
        handler = self._handler
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            for delta in deltas:
                self._send([{"index": 0, "delta": {"role": "assistant", **delta}}])
                time.sleep(pause)
            self._send([{"index": 0, "delta": {}, "finish_reason": finish}])
            total = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
            self._send([], usage={**total, "total_tokens": sum(tokens)})
            handler.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.broken.set()
        handler.close_connection = True

    def _send(self, choices: list[Any], **more: Any) -> None:
        head = {"id": "c1", "object": "chat.completion.chunk", "created": 1}
        chunk = {**head, "model": self.request["model"], "choices": choices, **more}
        self._handler.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self._handler.wfile.flush()


class ModelServer:
    """``answers``: one for each request, the last one for all that follow. ``broken``: somebody
    hung up in the middle of an answer."""

    def __init__(self) -> None:
        self.answers: list[Answer] = [lambda reply: reply.say("Hello", " Ada")]
        self.requests: list[dict[str, Any]] = []
        self.broken = threading.Event()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(Reply(self, outer))

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 300

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def _serve(self, reply: Reply) -> None:
        with self._lock:
            self.requests.append(reply.request)
            answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if reply.key != KEY:
            reply.fail(401, "invalid_api_key", f"Incorrect API key provided: {reply.key}")
        elif reply.request["model"] == "unknown":
            reply.fail(404, "model_not_found", "The model `unknown` does not exist")
        else:
            answer(reply)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
