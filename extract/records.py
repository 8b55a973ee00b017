"""Video records of the store: how they are made, compared with files, and kept from being mixed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vad.errors import UsageError, VideoError
from vad.files import sha256_of
from vad.grid import ClipGrid, Sampling, Tail
from vad.store import FeatureStore, Provenance, VideoRecord, differences

from .decoders.pool import DecodeReport
from .decoders.video import VideoInfo


@dataclass(frozen=True)
class FileState:
    """Inode, size and modification time of a file, which identify its content without reading the
    file. All are zero if there is no file.
    """

    inode: int
    n_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """Return the present state of a file."""
        try:
            stat = path.stat()
        except OSError:
            return cls(0, 0, 0)
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns)

    def check_unchanged(self, path: Path) -> None:
        """Raise VideoError if the file was replaced, written to or removed since this state was
        taken.
        """
        now = FileState.of(path)
        if now == FileState(0, 0, 0):
            raise VideoError("vanished", "its file was removed while it was read")
        if now != self:
            raise VideoError(
                "changed",
                "its file was written to or replaced while it was read",
                hint="run again once it is complete",
            )


def decoded_record(
    path: Path,
    state: FileState,
    sha256: str,
    info: VideoInfo,
    report: DecodeReport,
    grid: ClipGrid,
) -> VideoRecord:
    """Return the record of a video file that was decoded to its end. state: the file's state, which
    stayed the same during decoding.
    """
    return VideoRecord(
        source=os.path.abspath(path),  # so that the store can be used from any folder
        source_bytes=state.n_bytes,
        source_mtime_ns=state.mtime_ns,
        source_sha256=sha256,
        n_frames=report.n_frames,
        fps=float(info.fps),
        duration_s=report.duration_s,
        width=info.width,
        height=info.height,
        container=info.container,
        codec=info.codec,
        decoder=report.decoder,
        n_frames_declared=info.n_frames_declared,
        n_bad_packets=report.n_bad_packets,
        tail=grid.tail,
        sampling=grid.sampling,
        n_jumps=report.n_jumps,
        n_rescaled=report.n_rescaled,
        fps_assumed=info.fps_assumed,
    )


def notes_on(record: VideoRecord) -> list[str]:
    """Return remarks for the user on how a stored video was read, such as an assumed frame rate."""
    notes = []
    if record.fps_assumed:
        notes.append(f"it names no frame rate, {record.fps:g} was assumed; --fps sets another")
    return notes_on_frames(record.n_jumps, record.n_rescaled) + notes


def notes_on_frames(n_jumps: int, n_rescaled: int) -> list[str]:
    """Return remarks on the frames of a video: corrected jumps of time, and changes of size."""
    notes = []
    if n_jumps:
        notes.append(f"its time stamps jump; {n_jumps} jumps were mended")
    if n_rescaled:
        notes.append(f"{n_rescaled} frames of another size were brought to the first one's")
    return notes


def unseen_record(
    path: Path, n_frames: int, fps: float, tail: Tail, *, decoder: str
) -> VideoRecord:
    """Return the record of a video that was never decoded, because only features or captions of it
    were imported, from the file `path`.

    decoder: text that the record holds in place of a decoder's name.
    """
    return VideoRecord(
        source=str(path),
        source_bytes=0,
        source_mtime_ns=0,
        source_sha256="",
        n_frames=n_frames,
        fps=fps,
        duration_s=n_frames / fps,
        width=0,
        height=0,
        container="",
        codec="",
        decoder=decoder,
        n_frames_declared=None,
        n_bad_packets=0,
        tail=tail,
    )


def is_unchanged(path: Path, record: VideoRecord) -> bool:
    """Return True if a file still has the content that a stored video was read from.

    Compares the size and the modification time; if only the time differs, the checksum. Returns
    False if the file is missing, and for imported features, whose record has no checksum.
    """
    try:
        stat = path.stat()
    except OSError:
        return False
    if stat.st_size != record.source_bytes:
        return False
    return stat.st_mtime_ns == record.source_mtime_ns or sha256_of(path) == record.source_sha256


def grid_of_store(store: FeatureStore) -> ClipGrid | None:
    """Return the clip grid of a store, which is that of its first undamaged video; None if there is
    none.
    """
    for video in store.ids():
        try:
            return store.record(video).grid
        except (VideoError, UsageError):  # damaged, or removed just now
            continue
    return None


def refuse_sampling(store: FeatureStore, sampling: Sampling, *, hint: str) -> None:
    """Raise UsageError if the store holds videos of another sampling: a store keeps one."""
    grid = grid_of_store(store)
    if grid is not None and grid.sampling != sampling:
        raise UsageError(
            f"{store.backend} holds videos of another sampling ({sampling} now, {grid.sampling} "
            "there)",
            hint=hint,
        )


def refuse_mix(store: FeatureStore, array: str, provenance: Provenance, *, hint: str) -> None:
    """Raise UsageError if the store holds an array of that name which was made with other
    settings.
    """
    before = store.provenance(array)
    if before and (differing := differences(provenance, before)):
        words = "; ".join(f"{n}: {new!r} now, {old!r} there" for n, (new, old) in differing.items())
        raise UsageError(
            f"{store.backend} holds {array} made with other settings ({words})", hint=hint
        )
