"""What a store asks of the place it lies at, and how an address is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import zarr

from ..errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")


class Claims(Protocol):
    """Who does which video; used in a `with` block, at whose end all claims are let go."""

    poll_s: float  # between two looks at what others are doing

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
        """Let others have it."""


class Ledger(Protocol):
    """Entries by video, such as failures; several processes may write."""

    @property
    def path(self) -> Path | str:
        """Where a person finds it."""

    def add(self, entry: dict[str, str]) -> None:
        """Note something of the video `entry["video"]`; the last entry counts."""

    def read(self) -> dict[str, dict[str, str]]:
        """The last entry of every video, by id."""

    def drop(self, videos: Container[str]) -> None:
        """Forget the entries of some videos."""


class Place(Protocol):
    """Where a store lies. `str` of it is what the user named it by."""

    disk: Path  # the local folder that fills up when drafts are written
    cache: Path  # a local folder for what can be made again
    is_atomic: bool  # whether a reader sees a video before its replacement or after it, never both
    n_readers: int  # threads that are worth their while

    @property
    def address(self) -> str:
        """What other processes know it by."""

    def read(self, key: str) -> bytes:
        """The bytes of a file. Raises FileNotFoundError."""

    def write(self, key: str, content: bytes) -> None:
        """Write a file, whole or not at all."""

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""

    def is_free(self) -> bool:
        """Whether there is nothing yet."""

    def folders(self, key: str = "") -> list[str]:
        """Names of the folders in a folder, sorted; hidden ones and unfinished ones are left out.

        Of the store they are the keys of its videos, in few requests however many there are.
        """

    def arrays(self, key: str) -> list[str]:
        """Names of a video's arrays in folders of their kind, such as `visual/i3d`, sorted.

        Raises FileNotFoundError if there is no such video.
        """

    def open(self, key: str) -> zarr.Array[Any]:
        """An array, to be read. Raises FileNotFoundError."""

    def draft(self) -> Path:
        """The path of a new local folder, which a dead process leaves to `sweep`."""

    def sweep(self) -> None:
        """Remove the drafts that dead processes of this host left behind."""

    def publish(self, folder: Path, key: str) -> None:
        """Make a finished draft visible as a video. FileExistsError if there is one of that key."""

    def join(self, folder: Path, key: str, name: str) -> None:
        """Make one array of a finished draft visible in a video, in place of one of that name."""

    def remove(self, key: str) -> None:
        """Take a video out of sight in one step, then delete it."""

    def set_aside(self, key: str, shelf: str) -> str:
        """Move a video to the folder `shelf`, to a name that is free there; where it is now."""

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        """`map`, with several under way where that saves time: `at_once`, or what suits."""

    def claims(self) -> Claims:
        """The claims of this process. One object a store and process."""

    def ledger(self, name: str) -> Ledger:
        """A list that the store keeps beside its videos."""


def parse_address(where: str | Path) -> Path | str:
    """A path, or the address of an object store without its last `/`.

    Raises UsageError for addresses that name nothing, or hold what should be secret.
    """
    if found := re.match(r"([a-z][a-z0-9+.]+):/(?!/)", str(where)):  # all that Path leaves of it
        raise UsageError(f"{where} is no address", hint=f"write {found[1]}://, as a string")
    if isinstance(where, Path):
        return where
    scheme, mark, rest = where.partition("://")
    if not mark:
        return Path(where)
    if scheme in ("file", "local"):
        return Path(rest)
    if "@" in rest.partition("/")[0] and ":" in rest.partition("@")[0]:
        raise UsageError(  # it would end up in cards, logs and messages
            f"an address such as {scheme}://... must not hold a password",
            hint="leave credentials to the environment or a profile",
        )
    if not rest.strip("/"):
        raise UsageError(
            f"{where} names no bucket", hint=f"such as {scheme}://bucket/features.zarr"
        )
    return where.rstrip("/")
