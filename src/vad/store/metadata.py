"""The metadata of a store: the `zarr.json` files of a video, checked field by field.

The `zarr.json` of an array contains the sha256 of the array's values and the CRC-32 of each chunk
file. Every `zarr.json` of a video also has a checksum of itself, in the attribute `seal`: the
sha256 of the rest of the document as JSON with sorted names, so it does not depend on the layout.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from ..documents import JSON, parse
from ..grid import DENSE, TEXT_ROWS_APART, ClipGrid, Sampling, Tail
from ..names import key_of

# Provenance fields that are recorded for information and ignored when arrays are compared.
# `precision` is one: half precision is used only if its features agree with full precision's.
INFORMATION = {"vad", "versions", "precision", "engine", "assumed", "cells"}

# `zarr.json` files, by their bytes, whose checked content is kept in memory, at a few kB each.
# A training reads those of each video many times.
REMEMBERED = 2**13
MOST_FRAMES = 10**9  # more than a year at 30 frames per second
MOST_VALUES = 10**7  # in one row of an array, crops times dim
MOST_CELLS = 1000  # rows or columns of cells
MOST = 2**63 - 1
RANGES = {  # of the fields of a `VideoRecord` that is read: (least, most)
    "source_bytes": (0, MOST),
    "source_mtime_ns": (-MOST, MOST),
    "n_frames": (1, MOST_FRAMES),
    "fps": (1e-6, 1e6),
    "duration_s": (0, 1e12),
    "width": (0, MOST),
    "height": (0, MOST),
    "n_frames_declared": (0, MOST),
    "n_bad_packets": (0, MOST),
    "n_jumps": (0, MOST),
    "n_rescaled": (0, MOST),
}

Parsed = TypeVar("Parsed")
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
    sampling: Sampling = DENSE

    @property
    def grid(self) -> ClipGrid:
        return ClipGrid(self.tail, self.sampling)


@dataclass(frozen=True)
class Weights:
    """The weights of a model in a provenance. Fields that were not recorded are None."""

    name: str | None = None
    file: str | None = None
    sha256: str | tuple[str, ...] | None = None  # of the file, or of each file
    revision: str | None = None  # commit on the hub
    licence: str | None = None
    random: bool = False
    seed: int | None = None  # of random weights


@dataclass(frozen=True)
class RecipeName:
    """The name and the sizes of a recipe in a provenance; its other fields are only compared."""

    name: str | None = None
    resize_px: int | tuple[int, ...] | None = None  # short side; or height and width
    crop_px: int | tuple[int, ...] | None = None  # side of a square; or height and width

    def __post_init__(self) -> None:
        for name, size in (("resize_px", self.resize_px), ("crop_px", self.crop_px)):
            sizes = (size,) if isinstance(size, int) else size
            if not (sizes is None or (len(sizes) in (1, 2) and min(sizes) >= 1)):
                raise ValueError(f"{name} is {size}, expected a size, or height and width")

    @property
    def crop_size(self) -> tuple[int, int] | None:
        """Return the height and width of a crop, in pixels; None if they were not recorded."""
        if self.crop_px is None:
            return None
        sizes = (self.crop_px,) if isinstance(self.crop_px, int) else self.crop_px
        return sizes[0], sizes[-1]


@dataclass(frozen=True)
class Pooled:
    """Columns of `visual/<name>` that are pooled over the cells of the picture.

    by: "peaks" are maxima whose cells are in `peaks/<name>`, in the order of these columns;
    "maximum" and "mean" are those of the columns `of` of `places/<name>`, or of values that lie in
    the same cells.
    """

    columns: tuple[int, ...]  # the first, the one after the last
    by: Literal["peaks", "maximum", "mean"]
    of: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, span in (("columns", self.columns), ("of", self.of)):
            is_span = len(span) == 2 and 0 <= span[0] < span[1]
            if not (is_span or (name == "of" and self.by == "peaks")):
                raise ValueError(f"{name} is {list(span)}, expected [first, last + 1]")
        if self.by != "peaks" and self.of[1] - self.of[0] != self.columns[1] - self.columns[0]:
            raise ValueError(f"of is {list(self.of)}, expected as many as columns")


@dataclass(frozen=True)
class Cells:
    """How arrays of a backbone divide the picture into cells, which are counted row by row.

    directions: groups of columns of `places/<name>`, [first, last + 1]; the columns of a group have
    one value for each direction of motion.
    """

    grid: tuple[int, ...]  # rows, columns
    pooled: tuple[Pooled, ...] = ()
    directions: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.grid) != 2 or not all(1 <= n <= MOST_CELLS for n in self.grid):
            raise ValueError(f"grid is {list(self.grid)}, expected rows and columns")
        for group in self.directions:
            if len(group) != 2 or not 0 <= group[0] < group[1]:
                raise ValueError(f"directions has {list(group)}, expected [first, last + 1]")


@dataclass(frozen=True)
class Provenance:
    """How an array was made. Fields that were not recorded are None.

    `document` is the JSON object as it is stored. Members that this version of vad does not know
    are kept in it: they are compared, shown and copied to the cards of runs like all others,
    because an array that differs in an unknown setting can have other values. Names of crop sets,
    tail policies and the like are any text, because a newer version can have more of them.
    """

    document: Mapping[str, JSON]
    # features and embeddings
    backbone: str | None = None
    encoder: str | None = None
    dim: int | None = None
    weights: Weights | None = None
    layout: str | None = None
    recipe: RecipeName | None = None
    crop_set: str | None = None
    crops: int | tuple[str, ...] | None = None  # names; of imported features, their number
    blocks: Mapping[str, tuple[int, ...]] | None = None  # named columns: the first, the one after
    cells: Cells | None = None  # of backbones that look at parts of the picture
    places: str | None = None  # what is stored of each cell; None: all
    clip_frames: int | None = None
    tail: str | None = None
    sampling: Sampling = DENSE  # of the clips; in the document if it is not the default
    dtype: str | None = None
    pooling: object = None
    normalised: bool | None = None
    max_tokens: int | None = None
    captions: Provenance | None = None  # of the captions that were embedded
    # captions
    captioner: str | None = None
    window: int | None = None
    frames: tuple[int, ...] | None = None  # frames of a window that the model sees
    stride: int | None = None
    max_new_tokens: int | None = None
    prompt: str | None = None
    wording: tuple[str, ...] | None = None
    files: Mapping[str, str] | None = None  # sha256 by name, of captions from files
    rule: str | None = None
    # imported features
    imported: str | None = None  # layout of the files
    origin: str | None = None
    stream: str | None = None
    assumed: tuple[str, ...] | None = None
    # all
    precision: Mapping[str, object] | None = None
    versions: Mapping[str, str] | None = None
    vad: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, object]) -> Provenance:
        """Return the provenance in a JSON object. Raises ValueError that names a wrong field."""
        return parse(cls, dict(document))

    @property
    def settings(self) -> dict[str, JSON]:
        """Return the members that must be equal in all videos, as JSON."""
        return {n: value for n, value in self.document.items() if n not in INFORMATION}


@dataclass(frozen=True, slots=True)
class ArrayInfo:
    """The metadata of an array."""

    shape: tuple[int, ...]
    dtype: str  # such as "float16", or "string"
    provenance: Provenance
    sha256: str  # of the values, see `vad.store.arrays.bytes_of`
    chunk_rows: int  # rows per chunk; a chunk contains whole rows
    # of each chunk file, None for a chunk of zeros, which has no file; None if an earlier version
    # wrote the array
    crc32: tuple[int | None, ...] | None

    @property
    def is_text(self) -> bool:
        return self.dtype == "string"

    @property
    def chunks(self) -> list[str]:
        """Return the names of the chunk files, relative to the array's folder."""
        return chunk_names(self.shape, self.chunk_rows)


def chunk_names(shape: tuple[int, ...], chunk_rows: int) -> list[str]:
    """Return the names of an array's chunk files, relative to its folder."""
    n_chunks = -(-shape[0] // chunk_rows)
    return ["/".join(("c", str(i), *"0" * (len(shape) - 1))) for i in range(n_chunks)]


def rows_fit(name: str, info: ArrayInfo, n_rows: int) -> bool:
    """Return True if an array has the rows of its video; imported text may have a few more or
    less, because it is stored as it was published.
    """
    is_loose = name.startswith("text/") and info.provenance.imported is not None
    return abs(info.shape[0] - n_rows) <= (TEXT_ROWS_APART if is_loose else 0)


def differences(ours: Provenance, theirs: Provenance) -> dict[str, tuple[object, object]]:
    """Return the provenance fields in which two arrays differ: {field: (ours, theirs)}."""
    one, other = ours.settings, theirs.settings
    names = sorted(one.keys() | other.keys())
    found: dict[str, tuple[object, object]]
    found = {n: (one.get(n), other.get(n)) for n in names if one.get(n) != other.get(n)}
    if "sampling" in found:
        found["sampling"] = str(ours.sampling), str(theirs.sampling)
    return found


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed `zarr.json`: the JSON object, and its member `attributes`."""

    content: dict[str, JSON]
    attributes: Mapping[str, JSON]


def add_checksums(folder: Path) -> None:
    """Add the attribute `seal` to every `zarr.json` in and below a folder that is not published
    yet.
    """
    for path in folder.rglob("zarr.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        attributes = document.setdefault("attributes", {})
        attributes["seal"] = _digest(document, attributes)
        path.write_text(json.dumps(document, indent=2, allow_nan=False), encoding="utf-8")


def parse_document(content: bytes) -> Document:
    """Return a parsed `zarr.json`; its `seal` is not checked. Raises Damage if it is malformed."""
    try:
        document: JSON = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damage("metadata", "its zarr.json is damaged: it cannot be read") from error
    attributes = document.get("attributes") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(attributes, dict):
        raise Damage("metadata", "its zarr.json is damaged: it has no attributes")
    return Document(document, attributes)


def check_document(document: Document) -> None:
    """Raise Damage if a parsed `zarr.json` does not match its checksum."""
    found = document.attributes.get("seal")
    if found is None:
        raise Damage("metadata", "its zarr.json has no checksum (seal)")
    if found != _digest(document.content, document.attributes):
        raise Damage("metadata", "its zarr.json is damaged: it does not match its checksum (seal)")


@lru_cache(REMEMBERED)
def check_group(content: bytes) -> None:
    """Raise Damage if the `zarr.json` of a group of arrays does not match its checksum."""
    check_document(parse_document(content))


@dataclass(frozen=True)
class _VideoId:
    id: str


@lru_cache(REMEMBERED)
def parse_record(content: bytes, key: str) -> tuple[str, VideoRecord]:
    """Return the id and the record in the `zarr.json` of the video in the folder `key`.

    Raises Damage that names a field whose type or range is wrong, or if a checksum or `key`
    differs.
    """
    document = parse_document(content)
    video_id = _parsed(_VideoId, document.attributes).id
    record = _parsed(VideoRecord, document.attributes)
    for name, (least, most) in RANGES.items():
        value = getattr(record, name)
        if value is not None and not least <= value <= most:
            raise _wrong(f"{name} is {value}, expected {least:g} to {most:g}")
    check_document(document)
    if key_of(video_id) != key:
        raise Damage("metadata", f"it is that of {video_id!r} (id)")
    return video_id, record


@dataclass(frozen=True)
class _Chunks:
    chunk_shape: tuple[int, ...]


@dataclass(frozen=True)
class _ChunkGrid:
    configuration: _Chunks


@dataclass(frozen=True)
class _ArrayAttributes:
    provenance: Provenance
    sha256: str
    crc32: tuple[int | None, ...] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 is {self.sha256[:80]!r}, expected 64 hexadecimal digits")


@dataclass(frozen=True)
class _Array:
    """The `zarr.json` of an array, as zarr defines it."""

    attributes: _ArrayAttributes
    shape: tuple[int, ...]
    data_type: Literal["float16", "float32", "float64", "uint8", "string"]
    chunk_grid: _ChunkGrid
    node_type: Literal["array"]
    zarr_format: Literal[3]
    chunk_key_encoding: Mapping[str, object]
    codecs: tuple[Mapping[str, object], ...]
    storage_transformers: tuple[Mapping[str, object], ...]
    fill_value: object

    def __post_init__(self) -> None:
        if not isinstance(self.fill_value, float | int | str) or isinstance(self.fill_value, bool):
            raise ValueError(f"fill_value is {self.fill_value}, expected a number or text")
        _check_sizes("shape", self.shape, 0)
        _check_sizes("chunk_grid.configuration.chunk_shape", self.chunk_shape, 1)
        if math.prod(self.shape[1:]) > MOST_VALUES:
            raise ValueError(f"shape is {self.shape}, expected at most {MOST_VALUES} values a row")
        if self.chunk_shape[1:] != self.shape[1:]:
            raise ValueError(f"chunk_shape is {self.chunk_shape}, which does not fit {self.shape}")
        names = ["vlen-utf8" if self.data_type == "string" else "bytes", "zstd"]
        if [codec.get("name") for codec in self.codecs] != names or (
            self.codecs[0].get("configuration") not in (None, {}, {"endian": "little"})
        ):
            raise ValueError(f"codecs is {self.codecs}, expected {' and '.join(names)}")
        n_chunks, crc32 = -(-self.shape[0] // self.chunk_shape[0]), self.attributes.crc32
        if crc32 is not None and len(crc32) != n_chunks:
            raise ValueError(f"crc32 has {len(crc32)} numbers, expected {n_chunks}")

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        return self.chunk_grid.configuration.chunk_shape


def _check_sizes(name: str, sizes: tuple[int, ...], least: int) -> None:
    if not 1 <= len(sizes) <= 3 or not all(least <= n <= MOST_FRAMES for n in sizes):
        wanted = f"one to three whole numbers from {least} to {MOST_FRAMES}"
        raise ValueError(f"{name} is {sizes}, expected {wanted}")


@lru_cache(REMEMBERED)
def parse_array(content: bytes) -> ArrayInfo:
    """Return the metadata in the `zarr.json` of an array.

    Raises Damage that names a field whose type or range is wrong, or if the checksum differs.
    """
    document = parse_document(content)
    if document.attributes.get("complete") is not True:
        raise Damage("incomplete", "it was never completed (complete)")
    array = _parsed(_Array, document.content)
    check_document(document)
    return ArrayInfo(
        shape=array.shape,
        dtype=array.data_type,
        provenance=array.attributes.provenance,
        sha256=array.attributes.sha256,
        chunk_rows=array.chunk_shape[0],
        crc32=array.attributes.crc32,
    )


def _parsed(cls: type[Parsed], value: object) -> Parsed:
    try:
        return parse(cls, value)
    except ValueError as error:
        raise _wrong(str(error)) from None


def _wrong(what: str) -> Damage:
    return Damage("metadata", f"its zarr.json is damaged: {what}")


def _digest(content: Mapping[str, JSON], attributes: Mapping[str, JSON]) -> str:
    unsealed = {n: v for n, v in attributes.items() if n != "seal"}
    rest = json.dumps({**content, "attributes": unsealed}, sort_keys=True)
    return hashlib.sha256(rest.encode()).hexdigest()
