"""The backends of a feature store: a folder, or a bucket of an object store.

    backend_of("features.zarr")              FolderBackend: one rename makes a video visible
    backend_of("s3://bucket/features.zarr")  BucketBackend: a video is visible once its zarr.json is

Both implement `Backend`, so the store's code does not depend on which of them it uses. Keys are
paths relative to the store, with `/` between their parts; "" is the store itself.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import UsageError
from .backend import QUARANTINE as QUARANTINE
from .backend import Backend as Backend
from .backend import parse_address
from .bucket import BucketBackend
from .folder import FolderBackend


def refuse_connection(address: str | Path, *, offline: bool) -> None:
    """Raise UsageError if `--offline` was given and an address is not on this machine."""
    if offline and isinstance(parse_address(address), str):
        raise UsageError(
            f"--offline opens no network connection, and {address} needs one",
            hint="leave --offline out, or copy the store to this machine",
        )


def backend_of(where: str | Path | Backend) -> Backend:
    """Return the backend of a path or of an address such as `s3://bucket/features.zarr`.

    A backend is returned unchanged. Raises UsageError if the address is not valid.
    """
    if not isinstance(where, str | Path):
        return where
    address = parse_address(where)
    return FolderBackend(address) if isinstance(address, Path) else BucketBackend(address)
