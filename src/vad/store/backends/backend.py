"""What a store needs from the folder or bucket that it lies in, and how addresses are parsed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import zarr

from ...errors import UsageError
from ...files import cache_folder

QUARANTINE = ".quarantine"  # the folder in a store that damaged videos are moved to

Item = TypeVar("Item")
Result = TypeVar("Result")


class Claims(Protocol):
    """Which videos this process works on; leaving the `with` block releases all claims."""

    poll_s: float  # how long to wait before asking again for a video that another process has

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def take(self, video_id: str) -> bool:
        """Claim a video; False while another process has it."""

    def release(self, video_id: str) -> None:
        """Release a claim."""


class Ledger(Protocol):
    """Entries by video, such as failures; several processes may write."""

    @property
    def path(self) -> Path | str:
        """Where the user finds it."""

    def add(self, entry: dict[str, str]) -> None:
        """Add an entry about the video `entry["video"]`; the last entry counts."""

    def read(self) -> dict[str, dict[str, str]]:
        """The last entry of every video, by id."""

    def drop(self, videos: Container[str]) -> None:
        """Drop the entries of some videos."""


class Backend(Protocol):
    """Where a store lies. `str(backend)` is the path or address as the user gave it.

    Keys are relative to the store, with `/` between their parts; "" is the store itself.
    """

    disk: Path  # the local folder whose disk fills up while videos are written
    is_atomic: bool  # whether a reader sees the old video or the new one, never a mix of both
    n_readers: int  # how many threads `verify` reads with

    @property
    def cache(self) -> Path:
        """A local folder for files that can be made again: in the store, if it can be written."""

    @property
    def address(self) -> str:
        """The path or address by which any process finds the store."""

    def read(self, key: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError."""

    def write(self, key: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    def exists(self, key: str) -> bool:
        """Whether a file of that key exists."""

    def is_free(self) -> bool:
        """Whether there is nothing at the address yet."""

    def folders(self, key: str = "") -> list[str]:
        """Names of the folders in a folder, sorted, without hidden and unfinished ones."""

    def videos(self) -> list[str]:
        """The folders of the store that may be videos, sorted.

        Those that have a `zarr.json`; in a bucket, where that would take a request for each video,
        all folders. The number of requests does not grow with the number of videos.
        """

    def arrays(self, key: str) -> list[str]:
        """Names of a video's arrays, such as `visual/i3d`, sorted: folders with a `zarr.json`.

        Raises FileNotFoundError if there is no such video.
        """

    def open(self, key: str, document: dict[str, Any]) -> zarr.Array[Any]:
        """An array for reading, of which `document` is the `zarr.json`. Nothing is read yet."""

    def has_all(self, key: str, names: Iterable[str]) -> bool:
        """Whether all these files are below a folder, and none of them is empty."""

    def scratch(self) -> Path:
        """The path of a new local folder to write a video in.

        `sweep` removes it if this process dies.
        """

    def sweep(self) -> None:
        """Remove what processes of this host left behind when they died."""

    def publish(self, folder: Path, key: str) -> None:
        """Make the finished `folder` visible as a video. FileExistsError if the key is taken."""

    def join(self, folder: Path, key: str, name: str) -> None:
        """Make one array of the finished `folder` visible in a stored video.

        It replaces an array of the same name.
        """

    def remove(self, key: str) -> None:
        """Hide a video in one step, then delete it."""

    def set_aside(self, key: str, shelf: str) -> str:
        """Move a video into the folder `shelf`, under a free name. Returns where it is now."""

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        """`map`, with several calls under way where that saves time; results come in order."""

    def claims(self) -> Claims:
        """The claims of this process. Make one object for each store and process."""

    def ledger(self, name: str) -> Ledger:
        """The list of that name beside the videos."""


def parse_address(where: str | Path) -> Path | str:
    """Parse a path, or the address of an object store (returned without a trailing `/`).

    Raises UsageError for addresses that name no bucket or contain a password.
    """
    if found := re.match(r"([a-z][a-z0-9+.]+):/(?!/)", str(where)):  # Path turned :// into :/
        raise UsageError(f"{where} is no address", hint=f"write {found[1]}://, as a string")
    if isinstance(where, Path):
        return where
    scheme, mark, rest = where.partition("://")
    if not mark:
        return Path(where)
    if scheme in ("file", "local"):
        return Path(rest)
    if "@" in rest.partition("/")[0] and ":" in rest.partition("@")[0]:
        raise UsageError(  # it would be written into cards and logs
            f"an address such as {scheme}://... must not hold a password",
            hint="leave credentials to the environment or a profile",
        )
    if not rest.strip("/"):
        raise UsageError(
            f"{where} names no bucket", hint=f"such as {scheme}://bucket/features.zarr"
        )
    return where.rstrip("/")


def user_cache() -> Path:
    """Where the files of `Backend.cache` are kept that cannot be kept in the store."""
    return cache_folder() / "bags"


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> Iterator[Result]:
    """`map` in threads, with up to `at_once` calls under way; results in order."""
    waiting: deque[Future[Result]] = deque()
    threads = ThreadPoolExecutor(at_once)
    try:
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) >= at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
