"""A stand-in of the model hub on loopback, as huggingface_hub 2.4.0 asks it: a repository at a commit, redirects to a CDN, ranges.

It serves one repository. Small files come from the hub itself, large ones (LFS) from a "CDN" on another port, behind a redirect
with a signature in its query, as the real one does. ``faults`` make it misbehave; ``asked`` records every request with its headers.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "acme/small-model"
SIGNATURE = "Signature=very-secret-signature"
#: Files larger than this are in LFS.
SMALL = 4096


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    range: str | None
    token: str | None
    cdn: bool


@dataclass
class Faults:
    """What goes wrong. ``status`` of the hub's answers, the first ``times`` of them where that is set.

    ``cut_after``: bytes of a CDN answer before the line goes dead, once for each number. ``page``: what a proxy answers with 200
    where bytes of a large file were asked for, the first ``pages`` times where that is set; ``politely``: as the rest that was
    asked for (206). ``slow_s``: seconds before each 64 KiB of a large file.
    """

    status: int | None = None
    times: int | None = None
    retry_after: str | None = None
    cut_after: list[int] = field(default_factory=list)
    spoil: set[str] = field(default_factory=set)
    ignore_range: bool = False
    names: dict[str, str] = field(default_factory=dict)
    page: bytes | None = None
    pages: int | None = None
    politely: bool = False
    slow_s: float = 0.0


class StandInHub:
    """See the module; made by :func:`stand_in_hub`."""

    def __init__(self, files: dict[str, bytes], *, private: str | None = None) -> None:
        self.files = files
        self.private = private
        self.commit = COMMIT
        self.faults = Faults()
        self.asked: list[Asked] = []
        self.lock = threading.Lock()
        self.hub = _Server(self, cdn=False)
        self.cdn = _Server(self, cdn=True)

    @property
    def endpoint(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.hub.server_port}"

    def ranges(self, name: str) -> list[str | None]:
        """The Range headers of the GETs that were answered with bytes of ``name``, in order."""
        path = f"/cdn/{self.sha256(name)}"
        return [item.range for item in self.asked if item.cdn and item.method == "GET" and item.path == path]

    def sha256(self, name: str) -> str:
        return hashlib.sha256(self.files[name]).hexdigest()

    def failing(self) -> int | None:
        """The status that the next answer of the hub has instead of the right one."""
        with self.lock:
            if self.faults.times is None:
                return self.faults.status
            self.faults.times -= 1
            return self.faults.status if self.faults.times >= 0 else None

    def paged(self) -> bytes | None:
        """What a proxy answers in the CDN's place, if it does."""
        with self.lock:
            if self.faults.page is None or self.faults.pages == 0:
                return None
            if self.faults.pages is not None:
                self.faults.pages -= 1
            return self.faults.page

    def info(self) -> dict[str, Any]:
        """What ``/api/models/REPO/revision/REV?blobs=true`` answers."""
        siblings = []
        for name, data in self.files.items():
            blob = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            item: dict[str, Any] = {"rfilename": self.faults.names.get(name, name), "size": len(data), "blobId": blob}
            if len(data) > SMALL:
                item["lfs"] = {"sha256": self.sha256(name), "size": len(data), "pointerSize": 135}
            siblings.append(item)
        return {"_id": "0", "id": REPO, "modelId": REPO, "sha": self.commit, "private": False, "siblings": siblings}


class _Server(ThreadingHTTPServer):
    """One of the two ports."""

    daemon_threads = True

    def __init__(self, stand_in: StandInHub, *, cdn: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stand_in, self.cdn = stand_in, cdn


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization")
        with self.server.stand_in.lock:
            self.server.stand_in.asked.append(
                Asked(self.command, path, self.headers.get("Range"), token, self.server.cdn)
            )
        if self.server.cdn:
            self._blob(path.removeprefix("/cdn/"))
        elif (status := self.server.stand_in.failing()) is not None:
            after = self.server.stand_in.faults.retry_after
            self._end(status, b'{"error": "as the test wants it"}', {"Retry-After": after} if after else {})
        elif self.server.stand_in.private is not None and token != f"Bearer {self.server.stand_in.private}":
            self._end(401, b'{"error": "Invalid username or password."}', {"X-Error-Message": "Unauthorized"})
        elif path.startswith("/api/models/"):
            self._info(path)
        else:
            self._resolve(path)

    def _info(self, path: str) -> None:
        repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
        if repo != REPO:
            self._end(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        elif revision not in {"main", self.server.stand_in.commit}:
            self._end(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
        else:
            self._end(200, json.dumps(self.server.stand_in.info()).encode(), {"Content-Type": "application/json"})

    def _resolve(self, path: str) -> None:
        name = path.removeprefix(f"/{REPO}/resolve/{self.server.stand_in.commit}/")
        data = self.server.stand_in.files.get(name)
        if data is None:
            self._end(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        tells = {"X-Repo-Commit": self.server.stand_in.commit, "ETag": f'"{self.server.stand_in.sha256(name)[:40]}"'}
        if len(data) > SMALL:
            place = f"http://localhost:{self.server.stand_in.cdn.server_port}/cdn/{self.server.stand_in.sha256(name)}?{SIGNATURE}"
            linked = {"X-Linked-Etag": f'"{self.server.stand_in.sha256(name)}"', "X-Linked-Size": str(len(data))}
            self._end(302, b"", tells | linked | {"Location": place})
            return
        self._bytes(name, data, tells)

    def _blob(self, sha256: str) -> None:
        name = next((name for name in self.server.stand_in.files if self.server.stand_in.sha256(name) == sha256), None)
        if name is None:
            self._end(404, b"", {})
            return
        if (page := self.server.stand_in.paged()) is not None:
            begin = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-")
            polite = self.server.stand_in.faults.politely
            size = len(self.server.stand_in.files[name])
            tells = {"Content-Range": f"bytes {begin}-{int(begin) + len(page) - 1}/{size}"} if polite else {}
            self._end(206 if polite else 200, page, tells)
            return
        self._bytes(name, self.server.stand_in.files[name], {"ETag": f'"{sha256}"'}, cut=True)

    def _bytes(self, name: str, data: bytes, tells: dict[str, str], *, cut: bool = False) -> None:
        if name in self.server.stand_in.faults.spoil:
            data = bytes(byte ^ 1 for byte in data[:1]) + data[1:]
        begin, wanted = 0, self.headers.get("Range")
        if wanted is not None and not self.server.stand_in.faults.ignore_range:
            begin = int(wanted.removeprefix("bytes=").partition("-")[0])
            tells = tells | {"Content-Range": f"bytes {begin}-{len(data) - 1}/{len(data)}"}
        status = 206 if "Content-Range" in tells else 200
        with self.server.stand_in.lock:
            left = (
                self.server.stand_in.faults.cut_after.pop(0) if cut and self.server.stand_in.faults.cut_after else None
            )
        self._end(status, data[begin:], {"Accept-Ranges": "bytes"} | tells, left)

    def _end(self, status: int, body: bytes, tells: dict[str, str], cut_after: int | None = None) -> None:
        self.send_response(status)
        for key, value in tells.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = body if cut_after is None else body[:cut_after]
        slow_s = self.server.stand_in.faults.slow_s if self.server.cdn else 0.0
        try:
            for place in range(0, len(sent), 2**16) if slow_s else ():
                time.sleep(slow_s)
                self.wfile.write(sent[place : place + 2**16])
            if not slow_s:
                self.wfile.write(sent)
        except OSError:
            self.close_connection = True  # whoever asked is gone
        if cut_after is not None:
            self.wfile.flush()
            self.close_connection = True


@contextmanager
def stand_in_hub(files: dict[str, bytes], *, private: str | None = None) -> Iterator[StandInHub]:
    """The stand-in, serving until the end of the context."""
    made = StandInHub(files, private=private)
    threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in (made.hub, made.cdn)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        for server in (made.hub, made.cdn):
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()
