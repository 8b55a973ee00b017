"""Ledgers: lists beside a store, such as failures, to which several processes add entries."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...files import write_text
from ...names import key_of
from .objects import Objects


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


class ObjectLedger:
    """One object per video, for a store in a bucket; see `Ledger`.

    No two processes write the same object.
    """

    def __init__(self, objects: Objects, folder: str) -> None:
        self._objects, self._folder = objects, folder
        self.path = f"{objects}/{folder}/"

    def add(self, entry: dict[str, str]) -> None:
        self._objects.write(self._key(entry["video"]), json.dumps(entry).encode() + b"\n")

    def read(self) -> dict[str, dict[str, str]]:
        keys = [f"{self._folder}/{name}" for name in self._objects.files(self._folder)]
        found = [entry for entry in self._objects.map(self._read, keys) if entry]
        return {entry["video"]: entry for entry in found}

    def drop(self, videos: Container[str]) -> None:
        self._objects.delete(self._key(video) for video in self.read() if video in videos)

    def _key(self, video: str) -> str:
        return f"{self._folder}/{key_of(video)}.json"

    def _read(self, key: str) -> dict[str, str] | None:
        # another process has just deleted it, or it is damaged
        with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
            entry = json.loads(self._objects.read(key))
            if isinstance(entry, dict) and "video" in entry:
                return entry
        return None
