"""Read one stored video, and compare what is read with the stored checksums.

All reading of a store uses this module, so that a damaged video is never scored, trained on or
counted as stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..errors import VadError
from .arrays import bytes_of, digest_of
from .backends import Backend
from .metadata import (
    ArrayInfo,
    Damage,
    Document,
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
        return self._array(name)[0]

    def values(self, name: str) -> NDArray[Any]:
        """Return the values of an array, checked against its checksum and the video's length."""
        info, array = self._open(name, self.record())
        with _unreadable():
            values = np.asarray(array[:])
        if digest_of([values]) != info.sha256:
            raise Damage("checksum", "its values are not those that were written")
        return values

    def check(self, name: str, record: VideoRecord) -> int:
        """Compare an array with its checksum, chunk by chunk. Return the number of bytes of its
        values.
        """
        info, array = self._open(name, record)
        digest, n_bytes = hashlib.sha256(), 0
        for start in range(0, info.shape[0], info.chunk_rows):
            with _unreadable():
                content = bytes_of(np.asarray(array[start : start + info.chunk_rows]))
            digest.update(content)
            n_bytes += len(content)
        if digest.hexdigest() != info.sha256:
            raise Damage("checksum", "its values are not those that were written")
        return n_bytes

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
                info, _ = self._open(name, record)
                if not self.backend.has_all(f"{self.key}/{name}", info.chunks):
                    self.check(name, record)
        except (FileNotFoundError, Damage):
            return False
        return True

    def _open(self, name: str, record: VideoRecord) -> tuple[ArrayInfo, zarr.Array[Any]]:
        info, document = self._array(name)
        n_rows = record.n_frames if name == "times" else record.grid.n_snippets(record.n_frames)
        if not rows_fit(name, info, n_rows):
            raise Damage("length", f"it has {info.shape[0]} rows, its video makes {n_rows}")
        with _unreadable():
            return info, self.backend.open(f"{self.key}/{name}", document.content)

    def _array(self, name: str) -> tuple[ArrayInfo, Document]:
        found = parse_array(self._metadata(f"{name}/zarr.json"))
        if "/" in name:
            self._check_group(name.split("/")[0])
        return found

    def _metadata(self, name: str) -> bytes:
        try:
            return self.backend.read(f"{self.key}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(name) from None
        except OSError as error:
            raise Damage("metadata", f"its zarr.json cannot be read: {error.strerror}") from error


@contextmanager
def _unreadable() -> Iterator[None]:
    """Raise Damage in place of any error that zarr and its codecs raise for damaged bytes."""
    try:
        yield
    except VadError:  # the object store does not answer; the video is not damaged
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise Damage("unreadable", words) from error
