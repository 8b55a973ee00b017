"""Small pictures of a video for the page: a still, and a silent loop of a few seconds.

The loop of a short video shows all of it; that of a long one shows pieces from all over it. Files
are decoded in a process of its own, which is killed if it takes too long.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from av import FFmpegError
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from vad.errors import VideoError
from vad.files import committed
from vad.stages.extract.child import Child, Parent, limit_memory
from vad.stages.extract.decoders.video import Limits, open_video
from vad.stages.extract.sources import Source
from vad.stages.infer.video.mp4 import Mp4Writer, shrunk

from .folder import preview_files

LONGEST_PX = 320  # longer side of the pictures
LOOP_FPS = 10
WHOLE_S = 8.0  # videos up to this length are shown whole
N_PIECES, PIECE_S = 4, 2.0  # of longer videos
TIME_LIMIT_S = 60.0  # for one video
MOST_DECODED = 900  # frames for one piece: with a keyframe every 30 s, it may lack its end

Picture = NDArray[np.uint8]


def make_previews(folder: Path, sources: Iterable[Source]) -> Iterator[tuple[Source, str]]:
    """Write the pictures of videos; yield each video with the reason why it failed, or ""."""
    maker = None
    try:
        for source in sources:
            maker = maker or _Maker(__name__)
            try:
                yield source, maker.make(folder, source)
            except (TimeoutError, EOFError, ConnectionError):
                yield source, f"its decoder crashed, or took more than {TIME_LIMIT_S:g} s"
                maker.close()
                maker = None
    finally:
        if maker:
            maker.close()


class _Maker(Child):
    """The parent's handle to the process that decodes videos."""

    def make(self, folder: Path, source: Source) -> str:
        """Write the pictures of a video; return why it failed, or "".

        Raises TimeoutError, EOFError or ConnectionError if the process does not answer.
        """
        self.wait_until_ready()
        task = {"folder": str(folder), "video": source.id, "path": str(source.path)}
        self._send(task, TIME_LIMIT_S)
        return str(self._receive()["error"])


def serve(parent: Parent) -> None:
    """Write the pictures of the videos that the parent process names, until it ends."""
    limit_memory(Limits().memory_bytes)
    for task in parent.tasks():
        error = ""
        try:
            make_preview(Path(task["folder"]), task["video"], Path(task["path"]))
        except (VideoError, OSError, FFmpegError, MemoryError) as problem:
            error = str(problem) or type(problem).__name__
        parent.send({"error": error})


def make_preview(folder: Path, video: str, path: Path) -> None:
    """Write both pictures of a video. Raises VideoError if it cannot be read."""
    still, loop = preview_files(folder, video)
    with open_video(path, Limits()) as (container, stream), committed(loop) as part:
        frames = _frames(container, stream)
        first = next(frames, None)
        if first is None:
            raise VideoError("no-frames", "none of its frames can be decoded")
        height, width, _ = first.shape
        with (
            part.open("w+b") as file,
            Mp4Writer(
                file, size=shrunk((width, height), LONGEST_PX), fps=LOOP_FPS, quality=30
            ) as writer,
        ):
            writer.add(first, 0.0)
            middle = first
            for number, picture in enumerate(frames, start=1):
                writer.add(picture, number / LOOP_FPS)
                if number == LOOP_FPS:
                    middle = picture
    write_still(still, middle)


def write_still(path: Path, picture: Picture) -> None:
    """Write a picture [height, width, 3] as a small JPEG file."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((LONGEST_PX, LONGEST_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    with committed(path) as part:
        part.write_bytes(buffer.getvalue())


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[Picture]:
    """Yield the pictures of the loop, upright."""
    base = float(stream.time_base or 0) or 1.0
    duration_s = float(container.duration or 0) / 1e6
    if stream.duration:
        duration_s = float(stream.duration) * base
    if duration_s <= WHOLE_S:
        starts_s, length_s = [0.0], WHOLE_S
    else:
        starts_s = list(np.linspace(0, duration_s - PIECE_S, N_PIECES))
        length_s = PIECE_S
    origin_s = float(stream.start_time or 0) * base
    for start_s in starts_s:
        if start_s:
            try:
                container.seek(int((origin_s + start_s) / base), stream=stream)
            except FFmpegError:
                return  # a file without an index: the first piece is shown
        yield from _piece(container, stream, origin_s + start_s, length_s)


def _piece(
    container: InputContainer, stream: VideoStream, start_s: float, length_s: float
) -> Iterator[Picture]:
    due_s = start_s
    for number, frame in enumerate(_decoded(container, stream)):
        time_s = start_s + number / LOOP_FPS if frame.time is None else frame.time
        if time_s >= start_s + length_s or number > MOST_DECODED:
            return
        if time_s >= due_s:
            turns = round(frame.rotation / 90) % 4
            yield np.rot90(frame.to_ndarray(format="rgb24"), turns)
            due_s = max(due_s + 1 / LOOP_FPS, time_s)


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except FFmpegError:  # a damaged packet
            continue
