"""As much of the Hugging Face Hub as a push needs, on this machine: repositories, large files, commits, branches."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (".parquet",)
TOKEN = "hf_test"


def commit_id(number: int) -> str:
    return f"{number:040x}"


@dataclass
class Repository:
    """Branch -> (commit, path -> content), and what was committed."""

    private: bool
    branches: dict[str, tuple[str, dict[str, bytes]]]
    commits: list[dict] = field(default_factory=list)
    pull_requests: list[dict[str, bytes]] = field(default_factory=list)


@dataclass
class HubServer:
    """The Hub's state. `faults`: (method, part of the path) -> statuses of the next such requests."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    faults: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    uploads: list[str] = field(default_factory=list)
    read_only: bool = False
    url: str = ""
    _commits: int = 1

    def add(self, name: str, files: dict[str, bytes]) -> Repository:
        """Add a repository that holds files."""
        self.repositories[name] = Repository(False, {"main": (self.next_commit(), {".gitattributes": b"", **files})})
        for path, content in files.items():
            if path.endswith(LARGE):
                self.large[hashlib.sha256(content).hexdigest()] = content
        return self.repositories[name]

    def files(self, name: str, branch: str = "main") -> dict[str, bytes]:
        """Return the files of a branch."""
        return self.repositories[name].branches[branch][1]

    def next_commit(self) -> str:
        """Return an identifier that was not used yet."""
        self._commits += 1
        return commit_id(self._commits)


def point_library_at(url: str, monkeypatch: Any) -> None:
    """Let huggingface_hub take the server at `url` for the Hub, with a token that may write."""
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Xet needs a storage server of its own; without it large files go the way of Git LFS.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    # The library waits for seconds before it asks a busy server again.
    monkeypatch.setattr(time, "sleep", lambda _: None)


@contextmanager
def serving_hub(hub: HubServer) -> Iterator[HubServer]:
    """Run the Hub on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_PUT(self) -> None:
            self.answer()

        def send(self, status: int, content: object = None, **headers: str) -> None:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def answer(self) -> None:
            parts = urlsplit(self.path)
            path, query = unquote(parts.path), parse_qs(parts.query)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            for (method, piece), statuses in hub.faults.items():
                if method == self.command and piece in path and statuses:
                    return self.send(statuses.pop(0), {"error": "as the test asked"})
            for method, pattern, act in routes:
                match = re.fullmatch(pattern, path)
                if match and self.command in method:
                    return act(self, query, body, *match.groups())
            return self.send(404, {"error": f"no route {self.command} {path}"})

        def repository(self, name: str) -> Repository | None:
            found = hub.repositories.get(name)
            if found is None:
                self.send(404, {"error": "not found"}, X_Error_Code="RepoNotFound")
            return found

        def at(self, repository: Repository, revision: str) -> tuple[str, dict[str, bytes]] | None:
            for branch, (commit, files) in repository.branches.items():
                if revision in (branch, commit):
                    return commit, files
            self.send(404, {"error": "not found"}, X_Error_Code="RevisionNotFound")
            return None

        def may_write(self) -> bool:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.send(401, {"error": "who are you?"}, X_Error_Message="Invalid credentials in Authorization header")
                return False
            if hub.read_only:
                self.send(403, {"error": "no write access"}, X_Error_Message="no write access")
                return False
            return True

        def info(self, query, body, name, _, revision) -> None:
            if (repository := self.repository(name)) and (at := self.at(repository, revision or "main")):
                self.send(200, {"id": name, "sha": at[0], "private": repository.private, "siblings": [], "tags": []})

        def create(self, query, body) -> None:
            if self.may_write():
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                hub.add(name, {}).private = bool(asked.get("private")) or asked.get("visibility") == "private"
                self.send(200, {"url": f"{hub.url}/datasets/{name}", "id": name})

        def branch(self, query, body, name, branch) -> None:
            if self.may_write() and (repository := self.repository(name)):
                if branch in repository.branches:
                    return self.send(409, {"error": "exists"})
                repository.branches[branch] = repository.branches["main"]
                self.send(200, {})

        def describe(self, path: str, content: bytes) -> dict:
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
            if path.endswith(LARGE):
                oid = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 130}
            return entry

        def tree(self, query, body, name, revision, _) -> None:
            if (repository := self.repository(name)) and (at := self.at(repository, revision)):
                self.send(200, [self.describe(path, content) for path, content in sorted(at[1].items())])

        def paths_info(self, query, body, name, revision) -> None:
            if (repository := self.repository(name)) and (at := self.at(repository, revision)):
                wanted = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
                self.send(200, [self.describe(path, at[1][path]) for path in wanted if path in at[1]])

        def resolve(self, query, body, name, revision, path) -> None:
            if (repository := self.repository(name)) and (at := self.at(repository, revision)):
                content = at[1][path]
                headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X_Repo_Commit": at[0]}
                match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                if not match:
                    return self.send(200, content, **headers)
                start, stop = int(match[1]), min(int(match[2] or len(content) - 1), len(content) - 1)
                headers["Content_Range"] = f"bytes {start}-{stop}/{len(content)}"
                self.send(206, content[start : stop + 1], **headers)

        def validate_yaml(self, query, body) -> None:
            self.send(200, {"errors": [], "warnings": []})

        def preupload(self, query, body, name, revision) -> None:
            if self.may_write() and (repository := self.repository(name)):
                there = repository.branches.get(revision, ("", {}))[1]
                self.send(
                    200,
                    {
                        "files": [
                            {
                                "path": item["path"],
                                "uploadMode": "lfs" if item["path"].endswith(LARGE) else "regular",
                                "shouldIgnore": False,
                                "oid": self.describe("", there[item["path"]])["oid"] if item["path"] in there else None,
                            }
                            for item in json.loads(body)["files"]
                        ]
                    },
                )

        def large_batch(self, query, body, name) -> None:
            if self.may_write():
                objects = []
                for item in json.loads(body)["objects"]:
                    known = item["oid"] in hub.large
                    upload = {"upload": {"href": f"{hub.url}/large/{item['oid']}", "header": {}}}
                    objects.append({**item, **({} if known else {"actions": upload})})
                self.send(200, {"transfer": "basic", "objects": objects})

        def put_large(self, query, body, oid) -> None:
            assert hashlib.sha256(body).hexdigest() == oid
            hub.large[oid] = body
            hub.uploads.append(oid)
            self.send(200, {})

        def commit(self, query, body, name, revision) -> None:
            if not (self.may_write() and (repository := self.repository(name))):
                return None
            lines = [json.loads(line) for line in body.splitlines()]
            header = next(line["value"] for line in lines if line["key"] == "header")
            before, files = repository.branches[revision]
            if header.get("parentCommit") not in (None, before):
                return self.send(412, {"error": "the branch has moved"})
            files = dict(files)
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.large[value["oid"]]
                elif line["key"] == "deletedFile":
                    del files[value["path"]]
            url = {"commitUrl": f"{hub.url}/datasets/{name}/commit/x", "commitOid": hub.next_commit()}
            if "create_pr" in query:
                repository.pull_requests.append(files)
                number = len(repository.pull_requests)
                return self.send(200, {**url, "pullRequestUrl": f"{hub.url}/datasets/{name}/discussions/{number}"})
            repository.branches[revision] = (url["commitOid"], files)
            repository.commits.append(header)
            return self.send(200, url)

    repo = r"([\w.-]+/[\w.-]+)"
    routes = (
        ("GET", rf"/api/datasets/{repo}(/revision/(.+))?", Handler.info),
        ("POST", r"/api/repos/create", Handler.create),
        ("POST", rf"/api/datasets/{repo}/branch/(.+)", Handler.branch),
        ("GET", rf"/api/datasets/{repo}/tree/([^/]+)(/.*)?", Handler.tree),
        ("POST", rf"/api/datasets/{repo}/paths-info/(.+)", Handler.paths_info),
        ("GET HEAD", rf"/datasets/{repo}/resolve/([^/]+)/(.+)", Handler.resolve),
        ("POST", r"/api/validate-yaml", Handler.validate_yaml),
        ("POST", rf"/api/datasets/{repo}/preupload/(.+)", Handler.preupload),
        ("POST", rf"/datasets/{repo}\.git/info/lfs/objects/batch", Handler.large_batch),
        ("PUT", r"/large/(\w+)", Handler.put_large),
        ("POST", rf"/api/datasets/{repo}/commit/(.+)", Handler.commit),
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        hub.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            http.shutdown()
            thread.join()
