"""A store in a folder, on a local disk or on one that several machines share, and its ledgers.

Videos are written in the folder `.scratch` of the store, so that one rename makes a video visible.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import stat
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ...errors import UsageError
from ...files import committed, write_text
from ...scratch import PART, new_scratch, sweep
from .backend import METADATA_BYTES, Item, Result, map_ahead, user_cache

ARRAYS_AHEAD = 2  # arrays read ahead while another one is used


class FolderBackend:
    """A store in a folder; `Backend` describes the methods."""

    is_atomic = True
    n_readers = min(8, os.cpu_count() or 1)  # hashing and decompression release the GIL

    def __init__(self, path: Path) -> None:
        self.path = self.disk = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def cache(self) -> Path:
        beside = self.path / ".cache"
        writable = os.access(beside if beside.exists() else self.path, os.W_OK)
        return beside if writable else user_cache()

    @property
    def address(self) -> str:
        """Return the absolute path."""
        return str(self.path.resolve())

    def read(self, key: str, max_bytes: float = METADATA_BYTES) -> bytes:
        path = self.path / key
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
            raise OSError(errno.EINVAL, "not a file", str(path))
        if status.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes", str(path))
        return path.read_bytes()

    def write(self, key: str, content: bytes) -> None:
        with committed(self.path / key) as part:
            part.write_bytes(content)

    def exists(self, key: str) -> bool:
        return (self.path / key).exists()

    def is_free(self) -> bool:
        if not self.path.exists():
            return True
        return self.path.is_dir() and all(e.suffix == PART for e in self.path.iterdir())

    def folders(self, key: str = "") -> list[str]:
        entries = os.scandir(self.path / key)
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))

    def videos(self) -> list[str]:
        return [key for key in self.folders() if self.exists(f"{key}/zarr.json")]

    def arrays(self, key: str) -> list[str]:
        if not self.exists(f"{key}/zarr.json"):
            raise FileNotFoundError(key)
        kinds = (entry for entry in os.scandir(self.path / key) if entry.is_dir())
        return sorted(
            f"{kind.name}/{entry.name}"
            for kind in kinds
            if kind.name != "times"
            for entry in os.scandir(kind)
            if entry.is_dir() and Path(entry, "zarr.json").exists()
        )

    def has_all(self, key: str, names: Iterable[str]) -> bool:
        try:
            return all((self.path / key / name).stat().st_size for name in names)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def scratch(self) -> Path:
        return new_scratch(self.path / ".scratch")

    def sweep(self) -> None:
        sweep(self.path / ".scratch")

    def publish(self, folder: Path, key: str) -> None:
        target = self.path / key
        try:
            folder.rename(target)  # fails if the video is stored, because its folder is not empty
        except OSError:
            if target.exists():
                raise FileExistsError(key) from None
            raise

    def join(self, folder: Path, key: str, name: str) -> None:
        target = self.path / key / name
        target.parent.mkdir(exist_ok=True)
        if not (target.parent / "zarr.json").exists():
            shutil.copy(folder / Path(name).parent / "zarr.json", target.parent)
        if target.exists():
            self.remove(f"{key}/{name}")
        (folder / name).rename(target)

    def remove(self, key: str) -> None:
        doomed = self.scratch()
        doomed.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            (self.path / key).rename(doomed)
            shutil.rmtree(doomed)

    def set_aside(self, key: str, shelf: str) -> str:
        folder = self.path / shelf
        folder.mkdir(exist_ok=True)
        numbered = (folder / f"{key}~{number}" for number in itertools.count(1))
        target = next(path for path in numbered if not path.exists())
        return str((self.path / key).rename(target))

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        # A disk has no latency to hide; only decompressing and hashing large arrays takes time.
        return (
            map_ahead(function, items, min(at_once, ARRAYS_AHEAD))
            if at_once
            else map(function, items)
        )

    def claims(self) -> FileClaims:
        try:
            return FileClaims(self.path)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from None

    def ledger(self, name: str) -> FileLedger:
        return FileLedger(self.path / f"{name}.jsonl")


class FileClaims:
    """The claims of this process on videos of a store in a folder; see `Claims`.

    A claim is a lock on one byte of the file `.claims` in the store; the byte's position is
    computed from the video's id. The operating system releases the locks of a process when the
    process ends for any reason, so nothing needs to be cleaned up. On file systems without locks
    (some cluster mounts) every process gets every claim: work is done twice, but the store stays
    correct.

    Create one object per store and process: POSIX locks belong to the process, so closing a second
    one would release the locks of the first.
    """

    poll_s = 1.0

    def __init__(self, store: Path) -> None:
        self._file = (store / ".claims").open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, video_id: str) -> bool:
        """Claim a video. Return False if another process has claimed it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte_of(video_id))
        except OSError as error:  # two codes mean that it is taken; others, that there are no locks
            return error.errno not in (errno.EAGAIN, errno.EACCES)
        return True

    def release(self, video_id: str) -> None:
        """Release a claim."""
        with contextlib.suppress(OSError):  # this file system has no locks
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte_of(video_id))


def _byte_of(video_id: str) -> int:
    digest = hashlib.sha256(video_id.encode()).digest()
    return int.from_bytes(digest[:6], "big")


class FileLedger:
    """A file of JSON lines, for a store in a folder; see `Ledger`.

    Every entry is in the file when `add` returns, so a process that is killed loses none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, entry: dict[str, str]) -> None:
        with self._locked(), self.path.open("a+b") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # the last line was cut off by a full disk
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")

    def read(self) -> dict[str, dict[str, str]]:
        """Return the last entry of every video, by id. Damaged or incomplete lines are ignored."""
        if not self.path.exists():
            return {}
        entries = {}
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError, TypeError, KeyError):
                entry = json.loads(line)
                entries[str(entry["video"])] = entry
        return entries

    def drop(self, videos: Container[str]) -> None:
        """Delete the entries of some videos, and all but the last entry of every other video."""
        with self._locked():
            left = [e for video, e in self.read().items() if video not in videos]
            text = "".join(json.dumps(entry) + "\n" for entry in left)
            if not self.path.exists() or self.path.read_bytes() == text.encode():
                return  # unchanged: nothing is written, as the store can be read-only
            if left:
                write_text(self.path, text)
            else:
                self.path.unlink()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from changing the ledger while the block runs."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)
