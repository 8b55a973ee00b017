"""Receive videos from a browser: whole, or not at all."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from vad.names import SUFFIXES
from vad.scratch import new_part
from vad.terminal import plain

from .access import Refused

READ_BYTES, READ_S = 64 * 2**20, 1.0  # of a refused video, so that the browser hears why
AT_ONCE = 4  # uploads at the same time
SPARE_BYTES = 10**9  # that uploads leave free on the disk
NAME_BYTES = 200  # longest name of a file


class Uploads:
    """Receives videos into a folder, within limits for all of them together."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self.max_bytes = folder, max_bytes
        self._expected: dict[Path, int] = {}  # bytes that uploads under way still have to write

    async def receive(self, request: Request) -> str:
        """Write the body of a request as a video, and return the name of its file.

        Raises Refused if it is too large, if a video of this name is there, or if it does not
        arrive whole; then nothing of it is left.
        """
        try:
            return await self._receive(request)
        except Refused:
            n_read = 0
            with suppress(ClientDisconnect, Refused, TimeoutError):
                async with asyncio.timeout(READ_S):
                    async for chunk in request.stream():
                        n_read += len(chunk)
                        if n_read > READ_BYTES:
                            break
            raise

    async def _receive(self, request: Request) -> str:
        given = parse_qs(request.url.query, keep_blank_values=True).get("name", [""])[0]
        name = safe_name(given)
        n_bytes = self._n_bytes(request)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / name
        self._refuse_twin(path)
        with self._part(n_bytes) as part:
            n_left = n_bytes
            with part.open("wb") as file:
                try:
                    async for chunk in request.stream():
                        n_left -= len(chunk)
                        self._expected[part] = n_left
                        await run_in_threadpool(file.write, chunk)
                except ClientDisconnect:
                    pass
            if n_left:
                raise Refused(400, "the video did not arrive whole")
            self._refuse_twin(path)
            os.link(part, path)  # fails if the file is there by now
        return name

    @contextmanager
    def _part(self, n_bytes: int) -> Iterator[Path]:
        if len(self._expected) >= AT_ONCE:
            raise Refused(429, f"{AT_ONCE} videos are being added already; try again")
        free = shutil.disk_usage(self._folder).free - sum(self._expected.values()) - SPARE_BYTES
        if n_bytes > free:
            raise Refused(507, "the disk has no room for the video")
        part = new_part(self._folder)
        self._expected[part] = n_bytes
        try:
            yield part
        except FileExistsError:
            raise Refused(409, "a video of this name is there already") from None
        finally:
            del self._expected[part]
            part.unlink(missing_ok=True)

    def _refuse_twin(self, path: Path) -> None:
        """Raise Refused if another file would have the same name without its suffix."""
        twin = next((p for p in self._folder.iterdir() if p.stem == path.stem), None)
        if twin and not twin.name.startswith("."):
            raise Refused(409, f"a video called {plain(path.stem)} is there already")

    def _n_bytes(self, request: Request) -> int:
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            raise Refused(411, "how large is the video?")
        if int(length) > self.max_bytes:
            raise Refused(
                413,
                f"the video has {int(length):,} bytes, the limit is {self.max_bytes:,}; copy it "
                "into videos/",
            )
        if int(length) == 0:
            raise Refused(400, "the file is empty")
        return int(length)


def safe_name(name: str) -> str:
    """Return a safe file name for an upload: no folder, no control characters, not too long, and
    with the suffix of a video.
    """
    last = re.split(r"[/\\]", name)[-1]
    clean = re.sub(r"[\x00-\x1f\x7f]", "_", last).lstrip(".") or "video"
    stem, suffix = os.path.splitext(clean)
    if suffix.lower() not in SUFFIXES:  # decoders look at the content alone
        stem, suffix = stem + suffix, ".mp4"
    while len(os.fsencode(stem + suffix)) > NAME_BYTES:
        stem = stem[:-1]
    return stem + suffix
