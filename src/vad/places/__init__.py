"""Where a feature store lies: a folder, or a bucket of an object store.

    place_of("features.zarr")             Folder: one rename makes a video visible
    place_of("s3://bucket/features.zarr") Bucket: a video is visible from its last object on

Both do what `Place` lists, so that nothing above them asks which it is. Keys are relative to the
store, with `/` between their parts, and "" is the store itself.
"""

from __future__ import annotations

from pathlib import Path

from .bucket import Bucket
from .folder import Folder
from .place import Place as Place
from .place import parse_address


def place_of(where: str | Path | Place) -> Place:
    """The place that an address names: a path, or `s3://`, `gs://`, ... as fsspec knows them.

    Raises UsageError for an address that cannot be one.
    """
    if not isinstance(where, str | Path):
        return where
    address = parse_address(where)
    return Folder(address) if isinstance(address, Path) else Bucket(address)
