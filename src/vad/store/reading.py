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

import numpy as np
from numpy.typing import NDArray

from ..errors import VadError
from .arrays import bytes_of, decode
from .backends import Backend
from .metadata import (
    ArrayInfo,
    Damage,
    VideoRecord,
    check_document,
    parse_array,
    parse_document,
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
            values = np.empty(info.shape, object if info.is_text else info.dtype)
        start = 0
        for rows in _checked(info, files, hashed=info.crc32 is None):
            values[start : start + len(rows)] = rows
            start += len(rows)
        return values

    def check(self, name: str, record: VideoRecord) -> int:
        """Compare an array with all its checksums, chunk by chunk. Return the number of bytes of
        its values.
        """
        info = self._fitting(name, record)
        files = map(partial(self._chunk, name), info.chunks)
        return sum(len(bytes_of(rows)) for rows in _checked(info, files, hashed=True))

    def _check_group(self, kind: str) -> None:
        """Compare the metadata of an array group, such as `visual`, with its checksum."""
        try:
            check_document(parse_document(self._metadata(f"{kind}/zarr.json")))
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


def _checked(
    info: ArrayInfo, files: Iterable[bytes | None], *, hashed: bool
) -> Iterator[NDArray[Any]]:
    """Yield the rows of each chunk of an array, [rows, ...], from the bytes of its files.

    Raises Damage if a file does not match its CRC-32. With `hashed`, also raises Damage after the
    last chunk if the values do not match their sha256.
    """
    digest, n_left = hashlib.sha256(), info.shape[0]
    for number, content in enumerate(files):
        with _unreadable():
            rows = decode(content, info)[:n_left]
        if info.crc32 and info.crc32[number] != (None if content is None else zlib.crc32(content)):
            raise Damage("checksum", "its values are not those that were written")
        if hashed:
            digest.update(bytes_of(rows))
        n_left -= len(rows)
        yield rows
    if hashed and digest.hexdigest() != info.sha256:
        raise Damage("checksum", "its values are not those that were written")


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
