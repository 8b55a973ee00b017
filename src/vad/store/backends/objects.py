"""Read and write the objects of a bucket through fsspec, with errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from ...errors import UsageError, VadError
from .backend import METADATA_BYTES, Item, Result, map_ahead

REQUESTS_AT_ONCE = 32
OPTIONS: dict[str, object] = {"use_listings_cache": False}  # because other processes write, too
S3_OPTIONS = {"max_concurrency": 1}  # otherwise each read first requests the object's size
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # scheme -> extra of the package
FORBIDDEN = (401, 403)  # HTTP status


class Objects:
    """The objects below an address. Keys are relative to the address.

    All failures of the object store raise UsageError; a missing object raises FileNotFoundError.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        with storage_errors(address):
            self._fs, self._root = _file_system(address)

    def __str__(self) -> str:
        return self.address

    def read(self, key: str, max_bytes: float = METADATA_BYTES) -> bytes:
        with storage_errors(self.address):
            content = bytes(self._fs.cat_file(self._path(key)))
        if len(content) > max_bytes:
            raise OSError(errno.EFBIG, f"it has {len(content):,} bytes", key)
        return content

    def write(self, key: str, content: bytes) -> None:
        self._write_all({self._path(key): content})

    def create(self, key: str, content: bytes) -> bool:
        """Write an object unless one with that key exists. Return False if it exists.

        Object stores that ignore conditional writes overwrite it, and the result is always True.
        """
        for _ in range(2):  # the existing object can have been deleted meanwhile
            try:
                self._fs.pipe_file(self._path(key), content, mode="create")
            except Exception as error:  # each library reports an existing object in its own way
                if self.exists(key):
                    return False
                trouble = error
            else:
                return True
        with storage_errors(self.address):
            raise trouble

    def exists(self, key: str) -> bool:
        with storage_errors(self.address):
            return bool(self._fs.exists(self._path(key)))

    def modified_s(self, key: str) -> float:
        """Return when an object was last written, as a Unix time by the object store's clock.

        Raises FileNotFoundError if there is no such object.
        """
        with storage_errors(self.address):
            moment: datetime = self._fs.modified(self._path(key))
            return moment.timestamp()

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing objects are ignored."""
        self._delete_all([self._path(key) for key in keys])

    def files(self, key: str) -> list[str]:
        """Return the keys of the objects below a folder, relative to the folder, sorted."""
        folder = self._path(key)
        return sorted(path.removeprefix(f"{folder}/") for path in self._below(key))

    def has_all(self, key: str, names: Iterable[str]) -> bool:
        folder = self._path(key)
        with storage_errors(self.address):
            found = self._fs.find(folder, detail=True)
        return all(found.get(f"{folder}/{name}", {}).get("size") for name in names)

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        """Map a function over items, with `at_once` calls at the same time; yield results in order.

        at_once: by default REQUESTS_AT_ONCE.
        """
        return map_ahead(function, items, at_once or REQUESTS_AT_ONCE)

    # --- with full paths, as fsspec uses them

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _entries(self, key: str) -> list[dict[str, Any]]:
        with storage_errors(self.address):
            try:
                return list(self._fs.ls(self._path(key), detail=True))
            except FileNotFoundError:
                return []

    def _below(self, key: str) -> list[str]:
        folder = self._path(key)
        with storage_errors(self.address):
            found = self._fs.find(folder)
        return [
            path for path in found if path != folder
        ]  # some stores list the folder itself after its creation

    def _write_all(self, contents: dict[str, bytes]) -> None:
        with storage_errors(self.address):
            try:
                self._fs.pipe(contents)
            except FileNotFoundError as error:
                raise UsageError(
                    f"there is no bucket for {self.address}", hint="make it, or correct its name"
                ) from error

    def _delete_all(self, paths: list[str]) -> None:
        with storage_errors(self.address):
            try:
                if paths:
                    self._fs.rm(paths)
            except FileNotFoundError:  # another process has deleted one of them
                for path in paths:
                    with contextlib.suppress(FileNotFoundError):
                        self._fs.rm([path])


def _file_system(address: str) -> tuple[Any, str]:
    """Return the fsspec file system of an address, and the path within it.

    Raises UsageError for an unknown scheme, and the errors of fsspec.
    """
    from fsspec import available_protocols, url_to_fs

    scheme = address.partition("://")[0]
    if scheme not in available_protocols():
        raise UsageError(f"{address}: fsspec knows no {scheme}://", hint="such as s3:// or gs://")
    for library in ("s3fs", "gcsfs", "fsspec"):  # they also raise the errors that they log
        logging.getLogger(library).addHandler(logging.NullHandler())
    file_system, root = url_to_fs(address, **_options(address))
    return file_system, str(root)


def _options(address: str) -> dict[str, object]:
    return OPTIONS | (S3_OPTIONS if address.startswith(("s3:", "s3a:")) else {})


@contextmanager
def storage_errors(address: str) -> Iterator[None]:
    """Raise UsageError in place of any error of an object store except FileNotFoundError.

    The libraries behind fsspec raise errors of their own, after they have retried.
    """
    try:
        yield
    except (VadError, FileNotFoundError):
        raise
    except ImportError as error:
        scheme = address.partition("://")[0]
        install = f"pip install 'wsvad[{EXTRAS[scheme]}]'" if scheme in EXTRAS else str(error)
        raise UsageError(f"{address} needs another package", hint=install) from error
    except Exception as error:
        if _is_refusal(error):
            raise UsageError(
                f"{address} refuses access: {_first_line(error)}",
                hint="credentials come from the environment or a profile; see docs/distribution.md",
            ) from error
        raise UsageError(
            f"{address} cannot be reached: {_first_line(error)}",
            hint="what is stored stays; run the command again",
        ) from error


def _is_refusal(error: Exception) -> bool:
    return (
        isinstance(error, PermissionError)
        or "Credentials" in type(error).__name__  # botocore: credentials are missing or incomplete
        or getattr(error, "code", None) in FORBIDDEN  # gcsfs
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
