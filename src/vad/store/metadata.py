"""The metadata of a store: the `zarr.json` files of a video, checked field by field.

The `zarr.json` of an array contains the sha256 of the array's values. Every `zarr.json` of a video
also has a checksum of itself, in the attribute `seal`: the sha256 of the rest of the document as
JSON with sorted names, so it does not depend on the layout.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeGuard, cast

from ..grid import TAILS, TEXT_ROWS_APART, ClipGrid, Tail
from ..names import key_of

# Provenance fields that are recorded for information and ignored when arrays are compared.
# `precision` is one: half precision is used only if its features agree with full precision's.
INFORMATION = {"vad", "versions", "precision", "assumed"}

METADATA_BYTES = 16 << 20  # no zarr.json of a store is larger
MOST_FRAMES = 10**9  # more than a year at 30 frames per second
MOST_VALUES = 10**7  # in one row of an array, crops times dim
MOST = 2**63 - 1
DTYPES = ("float16", "float32", "float64", "string")
# Types of those provenance fields that are read and not only compared.
PROVENANCE_TYPES = {"recipe": dict, "versions": dict, "files": dict, "assumed": list}

DamageKind = Literal["metadata", "incomplete", "unreadable", "checksum", "length"]


class Damage(Exception):
    """A part of a store is not what was written. `kind` says which check failed."""

    def __init__(self, kind: DamageKind, what: str) -> None:
        super().__init__(what)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """The metadata of a stored video, without that of its arrays."""

    source: str  # path of the video file
    source_bytes: int
    source_mtime_ns: int
    source_sha256: str
    n_frames: int  # decoded frames: the length of all frame-level results
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
    # Stores of version 0.1.0 lack the following fields.
    n_jumps: int = 0  # jumps of the time stamps that were corrected
    n_rescaled: int = 0  # frames resized to the size of the first frame
    fps_assumed: bool = False  # True if the file does not state its frame rate

    @property
    def grid(self) -> ClipGrid:
        return ClipGrid(self.tail)


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """The metadata of an array."""

    shape: tuple[int, ...]
    dtype: str  # one of DTYPES
    provenance: dict[str, Any]  # the settings that made it, as JSON; see `differences`
    sha256: str  # of the values, see `vad.store.arrays.bytes_of`
    chunk_rows: int  # rows per chunk; a chunk contains whole rows

    @property
    def chunks(self) -> list[str]:
        """Return the names of the chunk files, relative to the array's folder."""
        n_chunks = -(-self.shape[0] // self.chunk_rows)
        return ["/".join(("c", str(i), *"0" * (len(self.shape) - 1))) for i in range(n_chunks)]


def rows_fit(name: str, info: ArrayInfo, n_rows: int) -> bool:
    """Return True if an array has the rows of its video; imported text may have a few more or
    less, because it is stored as it was published.
    """
    is_loose = name.startswith("text/") and "imported" in info.provenance
    return abs(info.shape[0] - n_rows) <= (TEXT_ROWS_APART if is_loose else 0)


def differences(
    ours: Mapping[str, object], theirs: Mapping[str, object]
) -> dict[str, tuple[Any, Any]]:
    """Return the provenance fields in which two arrays differ: {field: (ours, theirs)}."""
    names = sorted((ours.keys() | theirs.keys()) - INFORMATION)
    return {n: (ours.get(n), theirs.get(n)) for n in names if ours.get(n) != theirs.get(n)}


def add_checksums(folder: Path) -> None:
    """Add the attribute `seal` to every `zarr.json` in and below a folder that is not published
    yet.
    """
    for path in folder.rglob("zarr.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        attributes = document.setdefault("attributes", {})
        attributes["seal"] = _digest(document)
        path.write_text(json.dumps(document, indent=2, allow_nan=False), encoding="utf-8")


def parse_document(content: bytes) -> dict[str, Any]:
    """Return a parsed `zarr.json`; its `seal` is not checked. Raises Damage if it is malformed."""
    if len(content) > METADATA_BYTES:
        raise Damage("metadata", f"its zarr.json has {len(content)} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damage("metadata", "its zarr.json is damaged: it cannot be read") from error
    if not isinstance(document, dict) or not isinstance(document.get("attributes"), dict):
        raise Damage("metadata", "its zarr.json is damaged: it has no attributes")
    return document


def check_document(document: dict[str, Any]) -> None:
    """Raise Damage if a parsed `zarr.json` does not match its checksum."""
    found = document["attributes"].get("seal")
    if found is None:
        raise Damage("metadata", "its zarr.json has no checksum (seal)")
    if found != _digest(document):
        raise Damage("metadata", "its zarr.json is damaged: it does not match its checksum (seal)")


def parse_record(content: bytes, key: str) -> tuple[str, VideoRecord]:
    """Return the id and the record in the `zarr.json` of the video in the folder `key`.

    Raises Damage that names a field whose type or range is wrong, or if a checksum or `key`
    differs.
    """
    document = parse_document(content)
    fields = _Fields(document["attributes"])
    video_id = fields.text("id")
    record = VideoRecord(
        source=fields.text("source"),
        source_bytes=fields.whole("source_bytes", 0, MOST),
        source_mtime_ns=fields.whole("source_mtime_ns", -MOST, MOST),
        source_sha256=fields.text("source_sha256"),
        n_frames=fields.whole("n_frames", 1, MOST_FRAMES),
        fps=fields.number("fps", 1e-6, 1e6),
        duration_s=fields.number("duration_s", 0, 1e12),
        width=fields.whole("width", 0, MOST),
        height=fields.whole("height", 0, MOST),
        container=fields.text("container"),
        codec=fields.text("codec"),
        decoder=fields.text("decoder"),
        n_frames_declared=(
            None
            if fields.values.get("n_frames_declared", 0) is None
            else fields.whole("n_frames_declared", 0, MOST)
        ),
        n_bad_packets=fields.whole("n_bad_packets", 0, MOST),
        tail=cast(Tail, fields.choice("tail", TAILS)),
        n_jumps=fields.whole("n_jumps", 0, MOST, default=0),
        n_rescaled=fields.whole("n_rescaled", 0, MOST, default=0),
        fps_assumed=fields.flag("fps_assumed", default=False),
    )
    check_document(document)
    if key_of(video_id) != key:
        raise Damage("metadata", f"it is that of {video_id!r} (id)")
    return video_id, record


def parse_array(content: bytes) -> tuple[ArrayInfo, dict[str, Any]]:
    """Return the metadata in the `zarr.json` of an array, and the document itself, for zarr.

    Raises Damage that names a field whose type or range is wrong, or if the checksum differs.
    """
    document = parse_document(content)
    outer, fields = _Fields(document), _Fields(document["attributes"])
    if fields.values.get("complete") is not True:
        raise Damage("incomplete", "it was never completed (complete)")
    shape = outer.sizes("shape", 0)
    if math.prod(shape[1:]) > MOST_VALUES:
        raise outer.wrong("shape", f"at most {MOST_VALUES} values in a row")
    grid = _Fields(outer.mapping("chunk_grid"), "chunk_grid.")
    within = _Fields(grid.mapping("configuration"), "chunk_grid.configuration.")
    chunk_shape = within.sizes("chunk_shape", 1)
    if chunk_shape[1:] != shape[1:]:
        raise Damage("metadata", f"chunk_shape is {chunk_shape}, which does not fit {shape}")
    outer.choice("node_type", ("array",))
    outer.whole("zarr_format", 3, 3)
    outer.mapping("chunk_key_encoding")
    outer.objects("codecs")
    outer.objects("storage_transformers")
    if "fill_value" not in document or isinstance(
        document["fill_value"], bool | list | dict | None
    ):
        raise outer.wrong("fill_value", "a number or a text")
    provenance = fields.mapping("provenance")
    for name, kind in PROVENANCE_TYPES.items():
        if name in provenance and not isinstance(provenance[name], kind):
            raise _Fields(provenance, "provenance.").wrong(name, f"a {kind.__name__}")
    info = ArrayInfo(
        shape=shape,
        dtype=outer.choice("data_type", DTYPES),
        provenance=provenance,
        sha256=fields.text("sha256"),
        chunk_rows=chunk_shape[0],
    )
    if not re.fullmatch("[0-9a-f]{64}", info.sha256):
        raise fields.wrong("sha256", "64 hexadecimal digits")
    check_document(document)
    return info, document


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of a JSON object. Each method returns a field's value, or raises Damage."""

    values: dict[str, Any]
    within: str = ""  # name of the field that contains the object, and a dot

    def wrong(self, name: str, wanted: str) -> Damage:
        if name not in self.values:
            return Damage("metadata", f"its zarr.json says no {self.within}{name}")
        found = repr(self.values[name])
        found = found if len(found) <= 60 else f"{found[:57]}..."
        return Damage(
            "metadata", f"its zarr.json is damaged: {self.within}{name} is {found}, not {wanted}"
        )

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if not isinstance(value, str):
            raise self.wrong(name, "a text")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.values.get(name)
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(name, f"one of {', '.join(choices)}")
        return value

    def whole(self, name: str, least: int, most: int, *, default: int | None = None) -> int:
        value = self.values.get(name, default)
        if not _is_whole(value) or not least <= value <= most:
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return value

    def number(self, name: str, least: float, most: float) -> float:
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number")
        if not least <= value <= most:  # also true for NaN
            raise self.wrong(name, f"a number from {least:g} to {most:g}")
        return float(value)

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.values.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return value

    def objects(self, name: str) -> None:
        value = self.values.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.wrong(name, "a list of objects")

    def sizes(self, name: str, least: int) -> tuple[int, ...]:
        """Return one to three whole numbers, each at least `least`."""
        value = self.values.get(name)
        if (
            not isinstance(value, list)
            or not 1 <= len(value) <= 3
            or not all(_is_whole(n) and least <= n <= MOST_FRAMES for n in value)
        ):
            raise self.wrong(name, f"one to three whole numbers from {least} to {MOST_FRAMES}")
        return tuple(value)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _digest(document: dict[str, Any]) -> str:
    attributes = {n: v for n, v in document["attributes"].items() if n != "seal"}
    rest = json.dumps({**document, "attributes": attributes}, sort_keys=True)
    return hashlib.sha256(rest.encode()).hexdigest()
