"""Check whether a store still contains what was written, by the checksums of every video.

    metadata (zarr.json)   is compared with its own checksum, and with the folder's name
    values of an array     with the sha256 in its metadata, chunk by chunk
    rows of an array       with the clip grid of the video's frames
    provenance             with that of the other videos: a store never mixes settings
    packed training data   with the checksum beside it (in the folder `.cache`)

With `sources`, the files that the videos were read from are compared too, by size and sha256. A
file that is gone, replaced or longer now is no fault of the store: `repair` leaves its video.

`repair` moves faulty videos to `<store>/.quarantine`, and the next `vad extract` makes them again.
Only damaged training data is deleted, because `vad train` packs it again. Folders that contain no
part of a video are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from ..files import matches_checksum, sha256_of
from ..terminal import meter
from .backends import QUARANTINE, Backend
from .metadata import Damage, DamageKind, Provenance, VideoRecord, differences
from .reading import StoredVideo
from .store import KINDS, FeatureStore

FaultKind = DamageKind | Literal["mixed"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that the check found in one stored video: damaged, missing or mixed data."""

    video: str
    array: str  # such as `visual/i3d`; empty: the video's own metadata
    kind: FaultKind
    what: str


@dataclass(frozen=True, slots=True)
class SourceChange:
    """The file of a video is not as it was when the video was stored."""

    video: str
    path: str
    kind: Literal["missing", "unreadable", "replaced", "growing"]
    what: str


@dataclass
class Report:
    """The result of a check: what was read, and the faults that were found."""

    store: str
    n_videos: int = 0
    n_arrays: int = 0
    n_bytes: int = 0  # of values, uncompressed
    faults: list[Fault] = field(default_factory=list)
    moved: dict[str, str] = field(
        default_factory=dict
    )  # video -> its place in the quarantine, after `repair`
    caches: list[str] = field(default_factory=list)  # packed training data that is damaged
    # of `sources`: files compared, videos that were imported without a file, and what changed
    n_sources: int = 0
    n_without_source: int = 0
    sources: list[SourceChange] = field(default_factory=list)

    @property
    def bad_videos(self) -> list[str]:
        return sorted({fault.video for fault in self.faults})

    @property
    def exit_code(self) -> int:
        """3 if the store still holds a faulty video or damaged training data, or if the file of a
        video has changed, else 0.
        """
        bad = set(self.bad_videos) - set(self.moved)
        return 3 if bad or self.caches or self.sources else 0

    def to_dict(self) -> dict[str, object]:
        """Return the report as JSON values, in the schema `vad.verify/1`."""
        return {
            "schema": "vad.verify/1",
            "store": self.store,
            "n_videos": self.n_videos,
            "n_arrays": self.n_arrays,
            "n_bytes": self.n_bytes,
            "bad_videos": self.bad_videos,
            "faults": [asdict(fault) for fault in self.faults],
            "moved": self.moved,
            "caches": self.caches,
            "n_sources": self.n_sources,
            "n_without_source": self.n_without_source,
            "sources": [asdict(change) for change in self.sources],
        }


def verify(
    store: str | Path, *, repair: bool = False, sources: bool = False, quiet: bool = False
) -> Report:
    """Check every video of a store; with `repair`, move faulty videos to the quarantine; with
    `sources`, compare the files that the videos were read from.

    Each thread holds one chunk in memory. Other processes can write to the store at the same time.
    Raises UsageError if there is no store.
    """
    backend = FeatureStore.open(store).backend
    keys = backend.folders()
    report = Report(str(backend))
    made_by: dict[str, dict[str, list[str]]] = {}  # array -> settings as JSON -> videos
    key_of_video: dict[str, str] = {}  # the folder of each video; it can differ from that of the id
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
    for path in sorted(backend.cache.glob("*.npy")) if backend.is_atomic else ():
        if Path(f"{path}.sha256").exists() and not matches_checksum(path):
            if repair:
                path.unlink()
            else:
                report.caches.append(str(path))
    if sources:
        _compare_sources(backend, report, quiet=quiet)
    return report


def _compare_sources(backend: Backend, report: Report, *, quiet: bool) -> None:
    """Compare the files of all videos without faults with their records; complete the report."""
    store = FeatureStore(backend)
    videos = [video for video in store.ids() if video not in report.bad_videos]
    records = {video: store.record(video) for video in videos}
    files = {v: store.source_of(r) for v, r in records.items() if r.source_sha256}
    report.n_sources, report.n_without_source = len(files), len(videos) - len(files)
    with meter("sources", len(files), unit="videos", quiet=quiet) as progress:
        for video, path in files.items():
            if change := _changed(video, path, records[video]):
                report.sources.append(change)
            progress.advance()


def _changed(video: str, path: Path, record: VideoRecord) -> SourceChange | None:
    """Return how the file of a video differs from its record; None if it does not."""
    change = partial(SourceChange, video, str(path))
    try:
        before = path.stat()
        sha256 = sha256_of(path, record.source_bytes)
        after = path.stat()
    except FileNotFoundError:
        return change("missing", "its file is not there")
    except OSError as error:
        return change("unreadable", f"its file cannot be read: {error.strerror or error}")
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return change("growing", "its file is being written")
    sizes = f"it has {after.st_size:,} bytes, {record.source_bytes:,} when it was stored"
    if sha256 != record.source_sha256:
        return change("replaced", f"its file has other content; {sizes}")
    if after.st_size > record.source_bytes:
        return change("growing", f"its file has gone on since; {sizes}")
    return None


@dataclass
class _Checked:
    """The faults and the provenance found in one video's folder."""

    key: str
    video: str
    n_bytes: int = 0
    faults: list[Fault] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)  # array -> settings as JSON

    def add(self, array: str, error: Damage | FileNotFoundError) -> None:
        if not isinstance(error, Damage):
            error = Damage("metadata", "its zarr.json is missing")
        self.faults.append(Fault(self.video, array, error.kind, str(error)))


def _check_twice(backend: Backend, key: str) -> _Checked | None:
    """Check a video, and once more if it has faults: it could have been replaced during the check.

    Return None if the folder contains no video, or if a faulty video has left the store meanwhile.
    """
    checked = _check(backend, key)
    if checked and checked.faults:
        checked = _check(backend, key)
    return checked if checked is None or not checked.faults or key in backend.folders() else None


def _check(backend: Backend, key: str) -> _Checked | None:
    """Return the faults of the video in a folder; None if it contains no part of a video."""
    checked = _Checked(key, unquote(key))
    video = StoredVideo(backend, key)
    try:
        checked.video, record = video.identity()
    except FileNotFoundError as error:
        if not {"times", *KINDS} & set(backend.folders(key)):
            return None
        checked.add("", error)
        return checked
    except Damage as error:
        checked.add("", error)
        return checked
    arrays = []
    for kind in (name for name in backend.folders(key) if name != "times"):
        arrays += [f"{kind}/{name}" for name in backend.folders(f"{key}/{kind}")]
    for name in ("times", *arrays):
        try:
            info = video.array(name)
            if name != "times":
                checked.provenance[name] = json.dumps(info.provenance.settings, sort_keys=True)
            checked.n_bytes += video.check(name, record)
        except (FileNotFoundError, Damage) as error:
            checked.add(name, error)
    if not arrays:
        checked.add("", Damage("incomplete", "it has no array"))
    return checked


def _mixed(array: str, videos_by_settings: dict[str, list[str]]) -> Iterator[Fault]:
    """Yield a fault for each video whose settings differ from those of the majority."""
    most, *others = sorted(videos_by_settings.items(), key=lambda item: -len(item[1]))
    for settings, videos in others:
        one, other = (Provenance.of(json.loads(made)) for made in (most[0], settings))
        names = ", ".join(differences(one, other))
        for video in videos:
            what = f"made with other settings than {most[1][0]!r}: {names}"
            yield Fault(video, array, "mixed", what)
