"""A hub of models on the loopback address, which speaks what `huggingface_hub` needs to read and write a few files."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest


class LocalHub:
    """Repositories by name; a repository is its commits, and branches that name one.

    Attributes:
        asked: method and path of every request.
        refuses: status and code by which a repository answers, such as 403 and ``GatedRepo``.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.branches: dict[str, dict[str, str]] = {}
        self.refuses: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Change files of a repository, which is made if there is none."""
        before = self.files(repo, branch) or {}
        after = {**before, **files}
        name = hashlib.sha1(repr((sorted(after.items()), len(self.commits.get(repo, ())))).encode()).hexdigest()
        self.commits.setdefault(repo, {})[name] = after
        self.branches.setdefault(repo, {})[branch] = name
        return name

    def named(self, repo: str, revision: str) -> str:
        return self.branches.get(repo, {}).get(revision, revision)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes] | None:
        return self.commits.get(repo, {}).get(self.named(repo, revision))

    def use(self, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
        """Have `huggingface_hub` ask this one, as somebody with a token, and keep its cache in a folder."""
        from huggingface_hub import constants, file_download

        monkeypatch.setattr(constants, "ENDPOINT", self.address)
        for module in (constants, file_download):  # older releases have a copy
            template = self.address + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setenv("HF_TOKEN", "hf_toy")

    @staticmethod
    def use_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
        """Have it ask where nobody listens."""
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    def environment(self, cache: Path) -> dict[str, str]:
        """The same for another process."""
        return {"HF_ENDPOINT": self.address, "HF_HOME": str(cache), "HF_HUB_CACHE": str(cache)}


def _handler(hub: LocalHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def json(self, value: Any) -> None:
            self.answer(json.dumps(value).encode(), Content_Type="application/json")

        def refused(self, repo: str, revision: str | None = None) -> bool:
            if repo in hub.refuses:
                status, code = hub.refuses[repo]
                self.answer(b"{}", status, X_Error_Code=code)
            elif repo not in hub.branches:
                self.answer(b"{}", 404, X_Error_Code="RepoNotFound")
            elif revision is not None and hub.files(repo, revision) is None:
                self.answer(b"{}", 404, X_Error_Code="RevisionNotFound")
            else:
                return False
            return True

        def do_GET(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            parts = [unquote(part) for part in self.path.split("?")[0][1:].split("/", 4)]
            if parts[:2] == ["api", "models"]:  # older releases ask what it is
                self.json({"id": "/".join(parts[2:4]), "xetEnabled": False})
                return
            if parts[2:3] != ["resolve"]:
                self.answer(b"{}", 404)
                return
            repo, revision, file = "/".join(parts[:2]), *parts[3:]
            if not self.refused(repo, revision):
                content = (hub.files(repo, revision) or {}).get(file)
                if content is None:
                    self.answer(b"", 404, X_Error_Code="EntryNotFound")
                else:
                    tag = hashlib.sha256(content).hexdigest()
                    self.answer(content, ETag=f'"{tag}"', X_Repo_Commit=hub.named(repo, revision))

        do_HEAD = do_GET  # noqa: N815

        def do_POST(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            parts = [unquote(part) for part in self.path.split("?")[0][1:].split("/")]
            if parts[1:] == ["validate-yaml"]:
                self.json({"errors": [], "warnings": []})
                return
            if self.headers.get("Authorization") != "Bearer hf_toy" and "paths-info" not in parts:
                self.answer(b"{}", 401)
                return
            if parts[1:] == ["repos", "create"]:
                asked = json.loads(body)
                repo = f"{asked['organization']}/{asked['name']}"
                if repo in hub.refuses:
                    self.refused(repo)
                    return
                hub.branches.setdefault(repo, {})
                self.json({"url": f"{hub.address}/{repo}"})
                return
            repo, action, revision = "/".join(parts[2:4]), parts[4], parts[5]
            if self.refused(repo, revision if hub.branches.get(repo) else None):
                return
            if action == "paths-info":
                wanted = parse_qs(body.decode())["paths"] if body[:1] != b"{" else json.loads(body)["paths"]
                files = hub.files(repo, revision) or {}
                self.json(
                    [{"type": "file", "path": f, "size": len(files[f]), "oid": "0"} for f in wanted if f in files]
                )
            elif action == "preupload":
                asked = json.loads(body)["files"]
                self.json(
                    {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
                )
            else:
                lines = [json.loads(line) for line in body.splitlines()]
                files = {
                    line["value"]["path"]: base64.b64decode(line["value"]["content"])
                    for line in lines
                    if line["key"] == "file"
                }
                name = hub.commit(repo, files, revision)
                self.json({"success": True, "commitOid": name, "commitUrl": f"{hub.address}/{repo}/commit/{name}"})

    return Handler
