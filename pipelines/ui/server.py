"""The server of the page: its addresses, and which requests it answers.

    GET  /                      the page, its style and its script
    GET  /state                 the videos to choose from, and all jobs
    POST /videos/N              score the Nth of those videos
    POST /uploads?name=NAME     score the video in the body
    GET  /jobs/N/html|json|csv  the results of a job
    GET  /copies/KEY            the copy of a video that is too large to be inside its report

Addresses contain no paths: videos are chosen by number, results by number and format. If the page
listens on this machine only, it needs no token: other machines cannot reach it, and requests that
other sites make through the browser are refused, because they carry another `Host` or lack our own
header. Otherwise every request needs the token that `serve` creates. A video player sends no
cookie, so the address of a copy contains a secret key instead, which appears only in its report.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from vad.errors import UsageError, VadError
from vad.stages.extract.sources import Source, find_sources
from vad.stages.train.run import Run
from vad.terminal import plain

from ..project import newest_run
from .answers import CHUNK_BYTES, NOTHING, Answers
from .jobs import FORMATS, Jobs

HERE = Path(__file__).parent
PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report can run its own script and save reviews.csv, but cannot open a connection.
REPORT_POLICY = "sandbox allow-scripts allow-downloads"
COPIES = "/copies/"
SILENCE_S = 60.0  # a connection that sends nothing for this time is closed
HEADER = "X-Vad"  # browsers do not let other sites send this header


class Refused(VadError):
    """The error of a request that is refused, with its HTTP status."""

    def __init__(self, status: HTTPStatus, what: str) -> None:
        super().__init__(what)
        self.status = status


class Server(ThreadingHTTPServer):
    """The HTTP server of the page."""

    daemon_threads = True

    def __init__(
        self, host: str, port: int, jobs: Jobs, videos: list[Source], title: str, max_bytes: int
    ) -> None:
        self.jobs, self.videos, self.title, self.max_bytes = jobs, videos, title, max_bytes
        self.token = None if is_loopback(host) else secrets.token_urlsafe(24)
        super().__init__((host, port), Handler)
        self.host, self.port = host, int(self.server_address[1])

    @property
    def address(self) -> str:
        """Return the address that a browser opens, with the token if one is needed."""
        return f"http://{self.host}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the error: browsers close connections in the middle of answers."""


def serve(
    detector: str | Path | None = None,
    videos: str | Path | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    max_bytes: int = 2 * 10**9,
    ready: Callable[[Server], None] = lambda server: None,
    **settings: Any,
) -> None:
    """Serve the page until interrupted; call `ready` as soon as the server listens.

    videos: a folder whose videos the page offers. `settings` are those of `vad.score`. Raises
    UsageError if there is no trained run, no video, or the port is taken.
    """
    detector = newest_run(detector)
    run = Run.open(detector)  # errors are raised before the page is served
    found = find_sources([videos]) if videos else []
    with tempfile.TemporaryDirectory(prefix="vad-ui-", ignore_cleanup_errors=True) as folder:
        jobs = Jobs(detector, Path(folder), settings)
        try:
            server = Server(host, port, jobs, found, run.name, max_bytes)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}",
                hint="choose another --port, or 0 for any",
            ) from None
        with server:
            ready(server)
            server.serve_forever()


def is_loopback(host: str) -> bool:
    """Return True if a host name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


class Handler(Answers):
    """One connection of a browser."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "vad", ""
    timeout = SILENCE_S

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, because addresses may contain the token."""

    def _answer(self, respond: Callable[[str], None]) -> None:
        try:
            self._check()
            respond(urlsplit(self.path).path)
        except VadError as error:
            self.close_connection = True  # the rest of the request is not read
            status = error.status if isinstance(error, Refused) else HTTPStatus.CONFLICT
            self.send_json({"error": plain(str(error))}, status)

    def _check(self) -> None:
        """Raise Refused unless the sender of the request may use the page."""
        self.cookie = ""
        if self.server.token is None:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname
            if name is None or not is_loopback(name):
                raise Refused(HTTPStatus.FORBIDDEN, "this page is for this machine alone")
        elif self.command == "GET" and self.path.startswith(COPIES):
            return  # the key in the address is the permission
        elif not hmac.compare_digest(self._token().encode(), self.server.token.encode()):
            raise Refused(HTTPStatus.FORBIDDEN, "open the address that vad ui printed")
        else:
            self.cookie = f"token={self.server.token}; HttpOnly; SameSite=Strict; Path=/"
        if self.command == "POST" and self.headers.get(HEADER) != "1":
            raise Refused(HTTPStatus.FORBIDDEN, f"the header {HEADER} is missing")

    def _token(self) -> str:
        asked = parse_qs(urlsplit(self.path).query).get("token")
        if asked:
            return asked[0]
        with suppress(CookieError):
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
            if "token" in cookies:
                return cookies["token"].value
        return ""

    # --- addresses

    def _get(self, path: str) -> None:
        if path in PAGE:
            name, kind = PAGE[path]
            self.send((HERE / name).read_bytes(), kind, PAGE_POLICY)
        elif path == "/state":
            self.send_json(
                {
                    "detector": self.server.title,
                    "max_bytes": self.server.max_bytes,
                    "videos": [plain(source.id) for source in self.server.videos],
                    "jobs": [job.to_dict() for job in self.server.jobs.all()],
                }
            )
        elif match := re.fullmatch(r"/jobs/(\d{1,9})/(\w+)", path):
            file = self.server.jobs.file(int(match[1]), match[2])
            if file is None:
                raise Refused(HTTPStatus.NOT_FOUND, "there is no such result")
            self.send_file(file, FORMATS[match[2]], REPORT_POLICY)
        elif path.startswith(COPIES):
            copy = self.server.jobs.copy(path.removeprefix(COPIES))
            if copy is None:
                raise Refused(HTTPStatus.NOT_FOUND, "there is no such video")
            self.send_file(copy, "video/mp4", NOTHING)
        else:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")

    def _post(self, path: str) -> None:
        jobs = self.server.jobs
        if match := re.fullmatch(r"/videos/(\d{1,9})", path):
            number = int(match[1])
            if number >= len(self.server.videos):
                raise Refused(HTTPStatus.NOT_FOUND, "there is no such video")
            job = jobs.add(*jobs.new_folder(), self.server.videos[number].path, is_upload=False)
        elif path == "/uploads":
            n_bytes = self._n_bytes()
            given = parse_qs(urlsplit(self.path).query).get("name", [""])[0]
            number, folder = jobs.new_folder()
            video = folder / safe_name(given)
            self._receive(video, n_bytes)
            job = jobs.add(number, folder, video, is_upload=True)
        else:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such page")
        self.send_json(job.to_dict(), HTTPStatus.ACCEPTED)

    def _n_bytes(self) -> int:
        """Return the size of the video in the body, in bytes.

        Raises Refused if it is unknown, too large, or more than the disk has room for.
        """
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "how large is the video?")
        if int(length) > self.server.max_bytes:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"the video has {int(length):,} bytes, the limit is {self.server.max_bytes:,}; "
                "score it with: vad score",
            )
        if int(length) > shutil.disk_usage(tempfile.gettempdir()).free:
            raise Refused(HTTPStatus.INSUFFICIENT_STORAGE, "the disk has no room for the video")
        return int(length)

    def _receive(self, path: Path, n_bytes: int) -> None:
        left = n_bytes
        with path.open("wb") as file:
            while left and (chunk := self.rfile.read(min(left, CHUNK_BYTES))):
                file.write(chunk)
                left -= len(chunk)
        if left:
            path.unlink()
            raise Refused(HTTPStatus.BAD_REQUEST, "the video did not arrive whole")


def safe_name(name: str) -> str:
    """Return a safe file name for an upload: no folder, no control characters, not too long."""
    last = re.split(r"[/\\]", name)[-1]
    clean = re.sub(r"[\x00-\x1f\x7f]", "_", last).lstrip(".") or "video"
    stem, suffix = os.path.splitext(clean)
    while len(os.fsencode(stem + suffix)) > 200:
        stem, suffix = stem[:-1], suffix[:16]
    return stem + suffix
