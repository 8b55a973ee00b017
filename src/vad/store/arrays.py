"""Write the rows of an array in chunks, decode chunks, and compute checksums."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import VLenUTF8, Zstd
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from ..errors import InternalError
from .metadata import ArrayInfo, Provenance, chunk_names

CHUNK_ROWS = 64  # snippets per chunk: 2.6 MB of ten-crop 2048-d float16


class ArrayWriter:
    """Writes one array, in whole chunks, and computes its checksum at the same time."""

    def __init__(self, path: Path, like: NDArray[np.generic]) -> None:
        shape = like.shape[1:]
        self._path = path
        self._array = zarr.create_array(
            str(path),
            shape=(0, *shape),
            chunks=(CHUNK_ROWS if shape else 65536, *shape),
            dtype=str if is_text(like) else like.dtype,
            compressors=ZstdCodec(level=1),
        )
        self._sha256 = hashlib.sha256()
        self._pending: list[NDArray[np.generic]] = []
        self._n_rows = 0

    def append(self, rows: NDArray[np.generic]) -> None:
        """Append rows [n, ...]. Raises InternalError if shape or type differ from those before."""
        same_type = is_text(rows) or rows.dtype == self._array.dtype
        if rows.shape[1:] != self._array.shape[1:] or not same_type:
            raise InternalError(
                f"rows {list(rows.shape)} {rows.dtype} do not continue "
                f"{list(self._array.shape)} {self._array.dtype}"
            )
        self._pending.append(rows)
        self._write(whole_chunks=True)

    def close(self, provenance: Provenance) -> None:
        """Write the remaining rows and the attributes; the array is complete then."""
        self._write(whole_chunks=False)
        names = chunk_names(self._array.shape, self._array.chunks[0])
        files = [self._path / name for name in names]  # zarr writes no file for a chunk of zeros
        self._array.update_attributes(
            {
                "provenance": dict(provenance.document),
                "sha256": self._sha256.hexdigest(),
                "crc32": [zlib.crc32(f.read_bytes()) if f.exists() else None for f in files],
                "complete": True,
            }
        )

    def _write(self, *, whole_chunks: bool) -> None:
        n_pending = sum(map(len, self._pending))
        chunk = self._array.chunks[0]
        n = n_pending // chunk * chunk if whole_chunks else n_pending
        if n == 0:
            return
        rows = np.concatenate(self._pending)
        self._array.resize((self._n_rows + n, *self._array.shape[1:]))
        self._array[self._n_rows : self._n_rows + n] = rows[:n]
        self._sha256.update(bytes_of(rows[:n]))
        self._n_rows += n
        self._pending = [rows[n:]] if n < n_pending else []


def bytes_of(rows: NDArray[np.generic]) -> bytes | memoryview:
    """Return the bytes from which the checksum of an array is computed.

    rows [rows, ...] of numbers: the array's bytes in C order. rows [rows] of captions: UTF-8 text,
    one line per row.
    """
    if is_text(rows):
        return "".join(f"{row}\n" for row in rows).encode()
    return np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data


def digest_of(blocks: Iterable[NDArray[np.generic]]) -> str:
    """Return the checksum of an array, given as consecutive blocks [rows, ...]."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(bytes_of(block))
    return digest.hexdigest()


def decode(content: bytes | None, info: ArrayInfo, out: NDArray[Any]) -> None:
    """Decode a chunk file of an array into `out`, the chunk's first rows, [rows, ...].

    content: the bytes of the file; None if there is none, because zarr does not write chunks of
    zeros. Raises an error of any type for damaged bytes; but some of them are decoded to other
    values, or leave `out` as it is, so the caller compares checksums.
    """
    if content is None:
        out[...] = "" if info.is_text else 0
    elif len(out) == info.chunk_rows and not info.is_text:
        Zstd().decode(content, out)
    else:
        decoded = Zstd().decode(content)
        rows = VLenUTF8().decode(decoded) if info.is_text else np.frombuffer(decoded, info.dtype)
        out[...] = rows.reshape(info.chunk_rows, *info.shape[1:])[: len(out)]


def empty(info: ArrayInfo, n_rows: int) -> NDArray[Any]:
    """Return an array of the type of a stored array, [n_rows, ...], without values."""
    return np.empty((n_rows, *info.shape[1:]), object if info.is_text else info.dtype)


def is_text(rows: NDArray[np.generic]) -> bool:
    """Return True if an array [rows, ...] holds captions."""
    return (
        rows.dtype.kind in "OTU"
    )  # kinds: object, string of variable length, string of fixed length
