"""What the store says of a video: one that was decoded, or one that nobody has seen here."""

from __future__ import annotations

from pathlib import Path

from vad.files import sha256_of
from vad.grid import Tail
from vad.store import VideoRecord

from .decoders.pool import DecodeReport
from .decoders.video import VideoInfo


def decoded_record(
    path: Path, sha256: str, info: VideoInfo, report: DecodeReport, tail: Tail
) -> VideoRecord:
    """A video file that was decoded to its end."""
    stat = path.stat()
    return VideoRecord(
        source=str(path),
        source_bytes=stat.st_size,
        source_mtime_ns=stat.st_mtime_ns,
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
        tail=tail,
    )


def is_unchanged(path: Path, record: VideoRecord) -> bool:
    """Whether a file still has the content that its stored features were made of.

    The checksum is computed only if the file has the same size and another modification time.
    False if the file cannot be read.
    """
    try:
        stat = path.stat()
        if stat.st_size != record.source_bytes:
            return False
        return stat.st_mtime_ns == record.source_mtime_ns or sha256_of(path) == record.source_sha256
    except OSError:
        return False


def unseen_record(
    path: Path, n_frames: int, fps: float, tail: Tail, *, decoder: str
) -> VideoRecord:
    """A video of which there are only features or captions, in the file `path`.

    decoder says in words why there was none.
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
