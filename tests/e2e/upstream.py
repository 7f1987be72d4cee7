"""A provider of the test's own: a server that speaks chat completions, and remembers who asked for which model."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Upstream:
    """What was asked: (key, model) of each answered request, in order; and the server's port."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.port = 0


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Serve on every interface, since pods call from their own network; each answer is 10 tokens in, 5 out."""
    told = Upstream()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.asked.append((self.headers["Authorization"].removeprefix("Bearer "), body["model"]))
            self._send(
                {
                    "id": "c1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": body["model"],
                    "choices": [
                        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "pong"}}
                    ],
                    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
                }
            )

        def do_GET(self) -> None:
            self._send({"object": "list", "data": []})

        def _send(self, answer: dict[str, Any]) -> None:
            text = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
