"""Read one stored video, and compare what is read with the stored checksums.

All reading of a store uses this module, so that a damaged video is never scored, trained on or
counted as stored.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from numpy.typing import NDArray

from ..errors import VadError
from .arrays import bytes_of, decode, empty
from .backends import Backend
from .metadata import (
    ArrayInfo,
    Damage,
    VideoRecord,
    check_group,
    parse_array,
    parse_record,
    rows_fit,
)


class StoredVideo:
    """The video in the folder `key` of a store. Its methods raise Damage if the video is damaged.

    They raise FileNotFoundError if a `zarr.json` is missing: then the video or array does not
    exist.
    """

    def __init__(self, backend: Backend, key: str) -> None:
        self.backend, self.key = backend, key

    def identity(self) -> tuple[str, VideoRecord]:
        """Return the id and the record of the video."""
        return parse_record(self._metadata("zarr.json"), self.key)

    def record(self) -> VideoRecord:
        return self.identity()[1]

    def array(self, name: str) -> ArrayInfo:
        """Return the metadata of an array, such as `visual/i3d` or `times`, without its values."""
        found = parse_array(self._metadata(f"{name}/zarr.json"))
        if "/" in name:
            self._check_group(name.split("/")[0])
        return found

    def values(self, name: str) -> NDArray[Any]:
        """Return the values of an array, checked against the video's length and the CRC-32 of its
        chunk files; in older stores without CRC-32, against the sha256 of the values.
        """
        info = self._fitting(name, self.record())
        files = self.backend.map(partial(self._chunk, name), info.chunks)
        with _unreadable():  # not enough memory
            values = empty(info, info.shape[0])
        starts = range(0, len(values), info.chunk_rows)
        parts = (values[start : start + info.chunk_rows] for start in starts)
        _fill(parts, info, files, hashed=info.crc32 is None)
        return values

    def check(self, name: str, record: VideoRecord) -> int:
        """Compare an array with all its checksums, chunk by chunk. Return the number of bytes of
        its values.
        """
        info = self._fitting(name, record)
        files = map(partial(self._chunk, name), info.chunks)
        with _unreadable():
            chunk = empty(info, info.chunk_rows)
        starts = range(0, info.shape[0], info.chunk_rows)
        return _fill((chunk[: info.shape[0] - start] for start in starts), info, files, hashed=True)

    def _check_group(self, kind: str) -> None:
        """Compare the metadata of an array group, such as `visual`, with its checksum."""
        try:
            check_group(self._metadata(f"{kind}/zarr.json"))
        except FileNotFoundError:
            raise Damage("metadata", f"{kind}/zarr.json is missing") from None

    def is_whole(self, *names: str) -> bool:
        """Return True if the video and these arrays exist, with undamaged metadata and all chunks.

        Values are read only if a chunk is missing, because zarr does not write chunks of zeros.
        """
        try:
            record = self.record()
            for name in ("times", *names):
                info = self._fitting(name, record)
                if not self.backend.has_all(f"{self.key}/{name}", info.chunks):
                    self.check(name, record)
        except (FileNotFoundError, Damage):
            return False
        return True

    def _fitting(self, name: str, record: VideoRecord) -> ArrayInfo:
        """Return the metadata of an array. Raises Damage if its rows do not fit the video."""
        info = self.array(name)
        n_rows = record.n_frames if name == "times" else record.grid.n_snippets(record.n_frames)
        if not rows_fit(name, info, n_rows):
            raise Damage("length", f"it has {info.shape[0]} rows, its video makes {n_rows}")
        return info

    def _chunk(self, name: str, file: str) -> bytes | None:
        """Return the bytes of a chunk file, or None if there is none."""
        with _unreadable():
            try:
                return self.backend.read(f"{self.key}/{name}/{file}", math.inf)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def _metadata(self, name: str) -> bytes:
        try:
            return self.backend.read(f"{self.key}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(name) from None
        except OSError as error:
            raise Damage("metadata", f"its zarr.json cannot be read: {error.strerror}") from error


def _fill(
    parts: Iterable[NDArray[Any]],
    info: ArrayInfo,
    files: Iterable[bytes | None],
    *,
    hashed: bool,
) -> int:
    """Decode the chunk files of an array into `parts`, each [rows, ...], and compare them with
    their CRC-32; with `hashed`, compare the values with their sha256 too.

    Return the number of bytes that were hashed. Raises Damage.
    """
    digest, n_bytes = hashlib.sha256(), 0
    for number, (part, content) in enumerate(zip(parts, files, strict=True)):
        with _unreadable():
            decode(content, info, part)
        if info.crc32 and info.crc32[number] != (None if content is None else zlib.crc32(content)):
            raise Damage("checksum", "its values are not those that were written")
        if hashed:
            values = bytes_of(part)
            digest.update(values)
            n_bytes += len(values)
    if hashed and digest.hexdigest() != info.sha256:
        raise Damage("checksum", "its values are not those that were written")
    return n_bytes


@contextmanager
def _unreadable() -> Iterator[None]:
    """Raise Damage in place of any error of reading a chunk file or decoding damaged bytes."""
    try:
        yield
    except VadError:  # the object store does not answer; the video is not damaged
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise Damage("unreadable", words) from error
