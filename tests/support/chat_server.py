"""A chat model on this machine: it answers what a test tells it to, and records what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class ChatServer:
    """`answers` holds the next answers, the last one for good: a text, a status, raw bytes, or seconds of silence."""

    answers: list[str | int | bytes | float]
    asked: list[tuple[dict, str | None]] = field(default_factory=list)
    url: str = ""


@contextmanager
def chatting(server: ChatServer) -> Iterator[ChatServer]:
    """Run the server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((body, self.headers.get("Authorization")))
            answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            status, content = 200, answer
            if isinstance(answer, float):
                time.sleep(answer)
                content = b"{}"
            elif isinstance(answer, int):
                status, content = answer, b"{}"
            elif isinstance(answer, str):
                content = json.dumps({"choices": [{"message": {"content": answer}}]}).encode()
            if self.path != "/v1/chat/completions":
                status = 404
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except (BrokenPipeError, ConnectionResetError):
                pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
