"""Serve the page: the HTTP server, its limits on connections, and its end."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vad.errors import UsageError
from vad.names import SUFFIXES
from vad.scratch import sweep_parts

from ..paths import VIDEOS
from .access import Access
from .app import make_app
from .folder import ProjectFolder
from .jobs import Jobs

HEAD_S = 15.0  # a connection without a whole request head for this long is closed
MOST_CONNECTIONS = 400  # beyond this the connection that has waited longest is closed
HEAD_BYTES = 32 * 2**10


class Connection(H11Protocol):
    """A connection of a browser. Without a request under way, it is closed after `HEAD_S`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Close the connection that has waited longest if there are too many."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_S, self._close_if_waiting)
        ours = [c for c in self.connections if isinstance(c, Connection)]
        there = [c for c in ours if not c.transport.is_closing()]
        waiting = [c for c in there if c.is_waiting]
        if len(there) > MOST_CONNECTIONS and waiting:
            min(waiting, key=lambda c: c._timer.when()).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Restart the clock at the begin of a request; its further parts do not."""
        if self.is_waiting and self.conn.trailing_data[0] == b"":
            self._restart()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Restart the clock: the next request may begin."""
        self._restart()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._timer.cancel()
        super().connection_lost(exc)

    @property
    def is_waiting(self) -> bool:
        """Return True if no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def _restart(self) -> None:
        self._timer.cancel()
        self._timer = self.loop.call_later(HEAD_S, self._close_if_waiting)

    def _close_if_waiting(self) -> None:
        if self.is_waiting and not self.transport.is_closing():
            if self.conn.our_state is h11.IDLE:
                self.conn.send(h11.ConnectionClosed())
            self.transport.close()


class Page:
    """The page while it is served: its address, its jobs, and how to end it."""

    def __init__(self, server: uvicorn.Server, access: Access, jobs: Jobs, port: int) -> None:
        self._server, self.access, self.jobs, self.port = server, access, jobs, port

    @property
    def address(self) -> str:
        """Return the address that a browser opens, with the token if one is needed."""
        host = f"[{self.access.host}]" if ":" in self.access.host else self.access.host
        address = self.access.public or f"http://{host}:{self.port}"
        return f"{address}/" + (f"?token={self.access.token}" if self.access.needs_session else "")

    def shutdown(self) -> None:
        """End the page. Can be called from any thread."""
        self._server.should_exit = True


def serve(
    project: str | Path = ".",
    *,
    detector: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    public: str = "",
    max_bytes: int = 2 * 10**9,
    only_labels: bool = False,
    ready: Callable[[Page], None] = lambda page: None,
    device: str = "auto",
    weights: str | None = None,
    offline: bool = False,
) -> None:
    """Serve the page of a project folder until interrupted; call `ready` as soon as it listens.

    detector: the run that scores videos; by default the newest of the project. public: the address
    of a proxy before the page, such as https://vad.example.org. max_bytes: of one added video.
    only_labels: serve the page of labels alone. Raises UsageError if the folder or the run is
    missing, or the port is taken.
    """
    folder = Path(project)
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", hint="name the folder of your project")
    loose = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    if loose and not (folder / VIDEOS).exists():
        raise UsageError(
            f"{folder} holds videos, but no folder {VIDEOS}/",
            hint=f"move them into {folder / VIDEOS}, or name another folder",
        )
    if public and not public.startswith(("http://", "https://")):
        raise UsageError(f"--public {public}", hint="give an address such as https://example.org")
    if detector is not None:
        from vad.stages.train.run import Run

        Run.open(detector)  # errors are raised before the page is served
        detector = Path(detector).resolve()
    sweep_parts(folder / VIDEOS)  # of uploads that were under way when a page was killed
    listening = _listen(host, port)
    access = Access(host, public.rstrip("/"))
    given = {"device": device, "weights": weights, "offline": offline}
    compute = {name: value for name, value in given.items() if value not in (None, False, "auto")}
    scoring = {**compute, **({"detector": str(detector)} if detector else {})}
    jobs = Jobs(folder, {"prepare": compute, "train": compute, "score": scoring})
    try:
        app = make_app(
            ProjectFolder(folder, detector), jobs, access, max_bytes, only_labels=only_labels
        )
        if ProjectFolder(folder).without_pictures():
            jobs.add("pictures")
        server = uvicorn.Server(_config(app))
        page = Page(server, access, jobs, listening.getsockname()[1])
        server.startup = _then(server.startup, lambda: ready(page))  # type: ignore[method-assign]  # its only hook
        server.run(sockets=[listening])
    finally:
        jobs.close()
        listening.close()


def _config(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # addresses can contain the token
        log_level="critical",
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=round(HEAD_S),
        timeout_graceful_shutdown=2,
    )


def _then(startup: Callable[..., Any], act: Callable[[], None]) -> Callable[..., Any]:
    async def both(**settings: Any) -> None:
        await startup(**settings)
        act()

    return both


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    if os.name == "posix":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        words = "address already in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise UsageError(
            f"cannot listen on {host}:{port}: {(words or str(error)).lower()}",
            hint="choose another --port, or 0 for any",
        ) from None
    return listening
