"""Check whether a store is still what was written: checksums, lengths, settings of every video.

    metadata (zarr.json)   is compared with its own checksum, and with the folder's name
    values of an array     with the sha256 in its metadata, chunk by chunk
    rows of an array       with the clip grid of the video's frames
    provenance             with that of the other videos: a store never mixes settings

`repair` moves videos with faults to `<store>/.quarantine`. Nothing is deleted, and the next
`vad extract` makes the videos again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np

from ..errors import VadError
from ..names import key_of
from ..progress import meter
from .arrays import bytes_of
from .backends import Backend
from .metadata import INFORMATION, MetadataError, VideoRecord, differences, parse_checked
from .store import FeatureStore

QUARANTINE = ".quarantine"

FaultKind = Literal["metadata", "incomplete", "unreadable", "checksum", "length", "mixed"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with one video."""

    video: str
    array: str  # such as `visual/i3d`; empty where it is the video's own metadata
    kind: FaultKind
    what: str


@dataclass
class Report:
    """What was checked, and what was found."""

    store: str
    n_videos: int = 0
    n_arrays: int = 0
    n_bytes: int = 0  # of values, uncompressed
    faults: list[Fault] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)  # where `repair` put a video

    @property
    def bad_videos(self) -> list[str]:
        return sorted({fault.video for fault in self.faults})

    @property
    def exit_code(self) -> int:
        """3 where a video is bad and still in the store."""
        return 3 if set(self.bad_videos) - set(self.moved) else 0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "schema": "vad.verify/1",
            "store": self.store,
            "n_videos": self.n_videos,
            "n_arrays": self.n_arrays,
            "n_bytes": self.n_bytes,
            "bad_videos": self.bad_videos,
            "faults": [asdict(fault) for fault in self.faults],
            "moved": self.moved,
        }


def verify(store: str | Path, *, repair: bool = False, quiet: bool = False) -> Report:
    """Check every video of a store; with `repair`, move those with faults out.

    Each thread holds one chunk in memory. The store may be written to meanwhile.
    Raises UsageError where there is no store.
    """
    backend = FeatureStore.open(store).backend
    keys = backend.folders()
    report = Report(str(backend))
    made_by: dict[str, dict[str, list[str]]] = {}  # the videos by array, by settings
    key_of_video: dict[str, str] = {}  # a video in the wrong folder keeps its own id
    with (
        ThreadPoolExecutor(backend.n_readers) as threads,
        meter("verify", len(keys), unit="videos", quiet=quiet) as progress,
    ):
        for checked in threads.map(partial(_check_twice, backend), keys):
            progress.advance()
            if checked is None:
                continue
            report.n_videos += 1
            key_of_video[checked.video] = checked.key
            report.n_arrays += len(checked.provenance)
            report.n_bytes += checked.n_bytes
            report.faults += checked.faults
            for array, provenance in checked.provenance.items():
                made_by.setdefault(array, {}).setdefault(provenance, []).append(checked.video)
    for array, videos_by_settings in sorted(made_by.items()):
        report.faults += _mixed(array, videos_by_settings)
    if repair:
        for video in report.bad_videos:
            report.moved[video] = backend.set_aside(key_of_video[video], QUARANTINE)
    return report


@dataclass
class _Checked:
    """What was found in one video's folder."""

    key: str
    video: str
    n_bytes: int = 0
    faults: list[Fault] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)  # as JSON, by array

    def add(self, array: str, kind: FaultKind, what: str) -> None:
        self.faults.append(Fault(self.video, array, kind, what))


def _check_twice(backend: Backend, key: str) -> _Checked | None:
    """Check a video again if it has faults: it may have been replaced while it was checked.

    None if the video left the store meanwhile.
    """
    checked = _check(backend, key)
    if checked.faults:
        checked = _check(backend, key)
    return checked if not checked.faults or key in backend.folders() else None


def _check(backend: Backend, key: str) -> _Checked:
    checked = _Checked(key, unquote(key))
    try:
        attributes = parse_checked(backend.read(f"{key}/zarr.json"))["attributes"]
        if key_of(attributes["id"]) != key:
            checked.add("", "metadata", f"it is that of {attributes['id']!r}")
            return checked
        checked.video = attributes["id"]
        record = VideoRecord.from_attributes(attributes)
    except (OSError, KeyError, TypeError, MetadataError) as error:
        checked.add("", "metadata", _words(error))
        return checked
    n_snippets = record.grid.n_snippets(record.n_frames)
    _check_array(checked, backend, "times", record.n_frames)
    arrays = []
    for kind in (name for name in backend.folders(key) if name != "times"):
        try:
            parse_checked(backend.read(f"{key}/{kind}/zarr.json"))
        except (OSError, MetadataError) as error:
            checked.add(kind, "metadata", _words(error))
        arrays += [f"{kind}/{name}" for name in backend.folders(f"{key}/{kind}")]
    for name in arrays:
        _check_array(checked, backend, name, n_snippets)
    if not arrays:
        checked.add("", "incomplete", "it has no array")
    return checked


def _check_array(checked: _Checked, backend: Backend, name: str, n_rows: int) -> None:
    key = f"{checked.key}/{name}"
    try:
        attributes = parse_checked(backend.read(f"{key}/zarr.json"))["attributes"]
        if not attributes.get("complete"):
            checked.add(name, "incomplete", "it was never completed")
            return
        if name != "times":
            settings = {n: v for n, v in attributes["provenance"].items() if n not in INFORMATION}
            checked.provenance[name] = json.dumps(settings, sort_keys=True)
        array = backend.open(key)
        if array.shape[0] != n_rows:
            checked.add(name, "length", f"it has {array.shape[0]} rows, its video makes {n_rows}")
            return
        step = array.chunks[0]  # each chunk is read once
        digest = hashlib.sha256()
        for start in range(0, n_rows, step):
            content = bytes_of(np.asarray(array[start : start + step]))
            digest.update(content)
            checked.n_bytes += len(content)
        if digest.hexdigest() != attributes["sha256"]:
            checked.add(name, "checksum", "its values are not those that were written")
    except (OSError, KeyError, MetadataError) as error:
        checked.add(name, "metadata", _words(error))
    except VadError:  # the object store does not answer: no fault of the video
        raise
    except Exception as error:  # zarr and codecs may raise anything on damaged bytes
        checked.add(name, "unreadable", f"{type(error).__name__}: {error}".partition("\n")[0])


def _words(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "its zarr.json is missing"
    if isinstance(error, KeyError):
        return f"its zarr.json says no {error.args[0]!r}"
    return str(error)


def _mixed(array: str, videos_by_settings: dict[str, list[str]]) -> Iterator[Fault]:
    """Faults of the videos whose settings differ from those of the majority."""
    most, *others = sorted(videos_by_settings.items(), key=lambda item: -len(item[1]))
    for settings, videos in others:
        names = ", ".join(differences(json.loads(most[0]), json.loads(settings)))
        for video in videos:
            what = f"made with other settings than {most[1][0]!r}: {names}"
            yield Fault(video, array, "mixed", what)
