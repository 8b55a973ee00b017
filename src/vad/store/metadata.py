"""Metadata of a store: the `zarr.json` files, their checksums, and what they say of a video.

The `zarr.json` of an array holds the sha256 of its values. So that a changed byte of a `zarr.json`
is found as well, every one of a video has a checksum of its own in the attribute `seal`: the sha256
of the rest of the document as JSON with sorted names, so that its layout does not matter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from ..grid import ClipGrid, Tail

# Fields of the provenance that are recorded for information and ignored when arrays are compared.
# Half precision is chosen only where its features agree with those of full precision.
INFORMATION = {"vad", "versions", "precision", "assumed"}


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """What a store says of a video besides its arrays."""

    source: str  # the path it was read from
    source_bytes: int
    source_mtime_ns: int
    source_sha256: str
    n_frames: int  # frames decoded, the length of every frame-level result
    fps: float
    duration_s: float
    width: int
    height: int
    container: str
    codec: str
    decoder: str  # name and version
    n_frames_declared: int | None
    n_bad_packets: int
    tail: Tail
    # Stores of version 0.1.0 lack the fields that follow.
    n_jumps: int = 0  # jumps of the time stamps that were mended
    n_rescaled: int = 0  # frames of another size than the first, brought to it
    fps_assumed: bool = False  # the file names no frame rate

    @classmethod
    def from_attributes(cls, attributes: dict[str, Any]) -> VideoRecord:
        """The record in the attributes of a video's `zarr.json`. KeyError where one is missing."""
        needed = (f.name for f in fields(cls) if f.default is MISSING or f.name in attributes)
        return cls(**{name: attributes[name] for name in needed})

    @property
    def grid(self) -> ClipGrid:
        return ClipGrid(self.tail)


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The provenance fields in which two arrays differ, each with both values."""
    names = sorted((ours.keys() | theirs.keys()) - INFORMATION)
    return {n: (ours.get(n), theirs.get(n)) for n in names if ours.get(n) != theirs.get(n)}


class MetadataError(Exception):
    """A `zarr.json` is not what was written."""


def add_checksums(folder: Path) -> None:
    """Add its checksum to every `zarr.json` in and below a folder that nobody reads yet."""
    for path in folder.rglob("zarr.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        attributes = document.setdefault("attributes", {})
        attributes["seal"] = _digest(document)
        path.write_text(json.dumps(document, indent=2, allow_nan=False), encoding="utf-8")


def parse_checked(content: bytes) -> dict[str, Any]:
    """Parse a `zarr.json`. Raises MetadataError if it does not match its checksum."""
    try:
        document: dict[str, Any] = json.loads(content)
        found = document["attributes"].get("seal")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetadataError("its zarr.json is damaged: it cannot be read") from error
    if found is None:
        raise MetadataError("its zarr.json has no checksum")
    if found != _digest(document):
        raise MetadataError("its zarr.json is damaged: it does not match its checksum")
    return document


def _digest(document: dict[str, Any]) -> str:
    attributes = {n: v for n, v in document["attributes"].items() if n != "seal"}
    rest = json.dumps({**document, "attributes": attributes}, sort_keys=True)
    return hashlib.sha256(rest.encode()).hexdigest()
