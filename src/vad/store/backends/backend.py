"""The interface `Backend` between a store and its folder or bucket; parsing of addresses."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from ...errors import UsageError
from ...files import cache_folder

METADATA_BYTES = 16 << 20  # no zarr.json of a store is larger
QUARANTINE = ".quarantine"  # the folder in a store for damaged videos

Item = TypeVar("Item")
Result = TypeVar("Result")


class Claims(Protocol):
    """The claims of this process on videos; leaving the `with` block releases all of them."""

    poll_s: float  # seconds to wait before trying again a video that another process has

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def take(self, video_id: str) -> bool:
        """Claim a video. Return False if another process has claimed it."""

    def release(self, video_id: str) -> None:
        """Release a claim."""


class Ledger(Protocol):
    """A list with one entry per video, such as failures; several processes can write to it."""

    @property
    def path(self) -> Path | str:
        """Return the path or address at which the user finds the ledger."""

    def add(self, entry: dict[str, str]) -> None:
        """Add an entry about the video `entry["video"]`; it replaces an earlier one."""

    def read(self) -> dict[str, dict[str, str]]:
        """Return the last entry of every video, by id."""

    def drop(self, videos: Container[str]) -> None:
        """Delete the entries of some videos."""


class Backend(Protocol):
    """A folder or a bucket that contains a store. `str(backend)` is its path or address as given.

    Keys are relative to the store, with `/` between their parts; "" is the store itself.
    """

    disk: Path  # local folder in which videos are written; its disk can become full
    is_atomic: bool  # True if a reader never sees a mix of a video and its replacement
    n_readers: int  # number of threads with which `verify` reads

    @property
    def cache(self) -> Path:
        """Return a local folder for files that can be made again: in the store, if writable."""

    @property
    def address(self) -> str:
        """Return the path or address by which every process finds the store."""

    def read(self, key: str, max_bytes: float = METADATA_BYTES) -> bytes:
        """Return the bytes of a file.

        Raises FileNotFoundError if there is none, and OSError if it is larger than `max_bytes`.
        """

    def write(self, key: str, content: bytes) -> None:
        """Write a file atomically."""

    def exists(self, key: str) -> bool:
        """Return True if a file of that key exists."""

    def is_free(self) -> bool:
        """Return True if nothing exists at the address yet."""

    def folders(self, key: str = "") -> list[str]:
        """Return the names of the visible, finished folders in a folder, sorted."""

    def videos(self) -> list[str]:
        """Return the names of the folders of the store that can be videos, sorted.

        These are the folders with a `zarr.json`; in a bucket, where checking that takes a request
        per video, all folders. The number of requests does not depend on the number of videos.
        """

    def arrays(self, key: str) -> list[str]:
        """Return the names of a video's arrays, such as `visual/i3d`: folders with a `zarr.json`,
        sorted.

        Raises FileNotFoundError if there is no such video.
        """

    def has_all(self, key: str, names: Iterable[str]) -> bool:
        """Return True if all these files exist below a folder and none of them is empty."""

    def scratch(self) -> Path:
        """Return the path of a new local folder in which to write a video.

        `sweep` removes the folder if this process dies.
        """

    def sweep(self) -> None:
        """Remove the leftovers of processes of this host that have died."""

    def publish(self, folder: Path, key: str) -> None:
        """Make the finished `folder` visible as a video. Raises FileExistsError if `key` exists."""

    def join(self, folder: Path, key: str, name: str) -> None:
        """Add one array of the finished `folder` to a stored video.

        It replaces an array of the same name.
        """

    def remove(self, key: str) -> None:
        """Hide a video in one step, then delete it."""

    def set_aside(self, key: str, shelf: str) -> str:
        """Move a video into the folder `shelf`, under a free name. Return its new path."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        """Map a function over items, with several calls at the same time if that is faster.

        Results are yielded in order. at_once: how many calls; 0 leaves the number to the backend.
        """

    def claims(self) -> Claims:
        """Return the claims of this process. Create one object per store and process."""

    def ledger(self, name: str) -> Ledger:
        """Return the ledger of that name, which is stored beside the videos."""


def parse_address(where: str | Path) -> Path | str:
    """Return a path as a Path, or the address of an object store without a trailing `/`.

    Raises UsageError for an address that names no bucket or contains a password.
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
        raise UsageError(  # because it would be written into cards and logs
            f"an address such as {scheme}://... must not hold a password",
            hint="leave credentials to the environment or a profile",
        )
    if not rest.strip("/"):
        raise UsageError(
            f"{where} names no bucket", hint=f"such as {scheme}://bucket/features.zarr"
        )
    return where.rstrip("/")


def user_cache() -> Path:
    """Return the folder for the files of `Backend.cache` if the store is not writable."""
    return cache_folder() / "bags"


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> Iterator[Result]:
    """Map a function over items in threads, with up to `at_once` calls; yield results in order."""
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
