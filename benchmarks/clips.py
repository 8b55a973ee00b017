"""Cut the fight videos into short real clips, for benchmarks that need many videos."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("VAD_TEST_DATA", ROOT.parent / "shared" / "data"))
OPTIONS = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
}


def cut_clips(folder: Path, n_clips: int, n_frames: int = 34) -> list[Path]:
    """Write `n_clips` MP4 files of `n_frames` consecutive real frames each."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = (
        (video.stem, start, frames)
        for video in sorted((DATA / "fight" / "videos").glob("*.mp4"))
        for start, frames in _pieces(video, n_frames)
    )
    paths = []
    for stem, start, frames in islice(pieces, n_clips):
        paths.append(folder / f"{stem}-{start:05d}.mp4")
        write_clip(paths[-1], frames)
    if len(paths) < n_clips:
        raise SystemExit(f"{DATA}/fight/videos gives {len(paths)} clips, not {n_clips}")
    return paths


def write_clip(path: Path, frames: list[av.VideoFrame], codec: str = "libx264") -> None:
    """Encode frames at 30 per second; the suffix of the path determines the container."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=OPTIONS.get(codec, {}))
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _pieces(video: Path, n_frames: int) -> Iterator[tuple[int, list[av.VideoFrame]]]:
    with av.open(str(video)) as container:
        frames = container.decode(video=0)
        start = 0
        while len(piece := list(islice(frames, n_frames))) == n_frames:
            yield start, piece
            start += n_frames
