"""A list beside a store in a bucket: an object a video, so that no two processes share one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Container
from typing import TYPE_CHECKING

from ..keys import key_of

if TYPE_CHECKING:
    from .bucket import Bucket


class Objects:
    """Entries by video; see `Ledger`."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket, self._folder = bucket, folder
        self.path = f"{bucket}/{folder}/"

    def add(self, entry: dict[str, str]) -> None:
        self._bucket.write(self._key(entry["video"]), json.dumps(entry).encode() + b"\n")

    def read(self) -> dict[str, dict[str, str]]:
        keys = [f"{self._folder}/{name}" for name in self._bucket.files(self._folder)]
        found = [entry for entry in self._bucket.each(self._read, keys) if entry]
        return {entry["video"]: entry for entry in found}

    def drop(self, videos: Container[str]) -> None:
        self._bucket.delete(self._key(video) for video in self.read() if video in videos)

    def _key(self, video: str) -> str:
        return f"{self._folder}/{key_of(video)}.json"

    def _read(self, key: str) -> dict[str, str] | None:
        with contextlib.suppress(FileNotFoundError):  # another run dropped it just now
            entry: dict[str, str] = json.loads(self._bucket.read(key))
            return entry
        return None
