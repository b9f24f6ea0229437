"""A provider that speaks the OpenAI Videos API and does what the demo channel cannot: it breaks off, it stays at work
for ever, and its errors say what they like. It also takes webhooks."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

LOST = "lantern"
"""The word in a prompt at which the connection is cut before the answer."""
ENDLESS = "kite"
"""The word in a prompt of a video that stays at `PROGRESS`."""
PROGRESS = 62
FALLS = "/hooks/down"
"""Where webhooks are refused."""


class Upstream:
    """It listens on a random port of 127.0.0.1; every video whose prompt has none of the words above fails and `said`
    is why."""

    def __init__(self, said: str) -> None:
        self.said = said
        self._videos: dict[str, dict[str, Any]] = {}
        server = self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{server.server_port}"
        self._thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _taken(self, body: bytes) -> dict[str, Any]:
        video = {"id": f"job_{len(self._videos)}", "object": "video", "status": "in_progress", "progress": PROGRESS}
        if ENDLESS.encode() not in body:
            video |= {"status": "failed", "error": {"code": "server_error", "message": self.said}}
        self._videos[video["id"]] = video
        return video

    def _handler(upstream) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the handler's
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.startswith("/hooks"):
                    self._answer(503 if self.path == FALLS else 200, {})
                elif LOST.encode() in body:
                    self.close_connection = True
                else:
                    self._answer(200, upstream._taken(body) | {"status": "queued", "progress": 0})

            def do_GET(self) -> None:
                video = upstream._videos.get(self.path.rpartition("/")[2])
                self._answer(200 if video else 404, video or {"error": {"message": "not found"}})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler
