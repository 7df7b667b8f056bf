"""A real HTTP server on this machine that serves bytes, with ranges, and fails as a test asks it to."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class FileServer:
    """What is served, what goes wrong, and what was asked for.

    `faults` holds, for a path, what the next requests of its content get instead: ("status", code, headers), or
    ("cut", n): the connection is closed after n bytes; ("unsized", n): the same, by a server that does not say how
    long its answer is; ("shifted",): another range than was asked for; ("stalled", seconds): silence after the head.
    `requests` records (method, path, Range header, status).
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[tuple]] = field(default_factory=lambda: defaultdict(list))
    refused: dict[str, int] = field(default_factory=dict)
    with_ranges: bool = True
    with_etag: bool = True
    with_head: bool = True
    requests: list[tuple[str, str, str | None, int]] = field(default_factory=list)
    url: str = ""

    def add_with_sums(self, folder: str, name: str, files: dict[str, bytes]) -> None:
        """Serve files in a folder, and the list of their checksums as sha256sum writes it."""
        for file, content in files.items():
            self.files[f"/{folder}/{file}"] = content
        lines = (f"{hashlib.sha256(content).hexdigest()}  {file}\n" for file, content in files.items())
        self.files[f"/{folder}/{name}"] = "".join(lines).encode()

    def asked(self, method: str, path: str) -> list[tuple[str | None, int]]:
        """Return (Range header, status) of every request of that kind."""
        return [(range_, status) for kind, asked, range_, status in self.requests if (kind, asked) == (method, path)]


@contextmanager
def serving(server: FileServer) -> Iterator[FileServer]:
    """Run the server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(content_wanted=False)

        def do_GET(self) -> None:
            self.answer(content_wanted=True)

        def answer(self, content_wanted: bool) -> None:
            path = urlsplit(self.path).path
            content, cut, sized, silence = server.files.get(path), None, True, 0
            if not content_wanted and not server.with_head:
                return self.send(405, {}, b"")
            if path in server.refused:
                return self.send(server.refused[path], {}, b"")
            if content is None:
                return self.send(404, {}, b"")
            if content_wanted and server.faults[path]:
                kind, *rest = server.faults[path].pop(0)
                if kind == "status":
                    return self.send(rest[0], rest[1], b"")
                if kind == "shifted":
                    return self.send(206, {"Content-Range": f"bytes 3-{len(content) - 1}/{len(content)}"}, content[3:])
                cut, sized = (0, True) if kind == "stalled" else (rest[0], kind != "unsized")
                silence = rest[0] if kind == "stalled" else 0
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            headers = {"ETag": etag} if server.with_etag else {}
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if match and server.with_ranges and self.headers.get("If-Range", etag) == etag:
                start = int(match[1])
                if start >= len(content):
                    return self.send(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                return self.send(206, headers, content[start:], cut, sized, silence)
            return self.send(200, headers, content, cut, sized, silence)

        def send(
            self,
            status: int,
            headers: dict[str, str],
            content: bytes,
            cut: int | None = None,
            sized: bool = True,
            silence: float = 0,
        ) -> None:
            server.requests.append((self.command, urlsplit(self.path).path, self.headers.get("Range"), status))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header(*(("Content-Length", str(len(content))) if sized else ("Connection", "close")))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content if cut is None else content[:cut])
            if cut is not None:
                self.wfile.flush()
                time.sleep(silence)
                self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
