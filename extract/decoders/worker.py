"""A decoder process: the parent's handle to it, and the code that it runs.

The process decodes one video after another, on one thread, and sends a clip as soon as the clip is
full.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.grid import CLIP_FRAMES, ClipGrid

from ..child import Child, Parent, limit_memory
from . import read_frames
from .video import DecodeReport, Limits, VideoInfo, scan

BLOCK_BYTES = 256 * 2**20  # most bytes of frames in a Clips event, unless one clip has more


@dataclass(frozen=True, slots=True)
class Opened:
    """Event: a video has been opened, and its clips will follow."""

    index: int  # position of the video in the paths given
    info: VideoInfo


@dataclass(frozen=True, slots=True)
class Clips:
    """Event: the next clips of a video."""

    index: int
    rgb: NDArray[np.uint8]  # [clips, 16, height, width, 3]
    times: NDArray[np.float64]  # [frames] in seconds, without the padding of the last clip

    @property
    def frames(self) -> NDArray[np.uint8]:
        """Return the frames without the padding of the last clip: [frames, height, width, 3]."""
        return self.rgb.reshape(-1, *self.rgb.shape[2:])[: len(self.times)]


@dataclass(frozen=True, slots=True)
class Decoded:
    """Event: a video was decoded to its end, and all its clips have been sent."""

    index: int
    report: DecodeReport


@dataclass(frozen=True, slots=True)
class Failed:
    """Event: a video failed. It can come after some of the video's clips, which are then of
    no use.
    """

    index: int
    error: VideoError


Event = Opened | Clips | Decoded | Failed


Empty = Callable[[tuple[int, ...]], NDArray[np.uint8]]  # allocates an array of a shape


def empty_array(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an uninitialised uint8 array of this shape in ordinary memory."""
    return np.empty(shape, np.uint8)


class Worker(Child):
    """The parent's handle to one decoder process: it sends videos and receives events."""

    def __init__(self) -> None:
        super().__init__(__name__)  # the child process runs `serve` of this module
        self.n_videos = 0  # videos sent to this process so far

    def decode(
        self,
        index: int,
        task: dict[str, object],
        clips_per_block: int,
        time_limit_s: float,
        empty: Empty = empty_array,
    ) -> Iterator[Event]:
        """Send one video to the process and yield its events. `empty` allocates the memory of its
        clips.

        task: the path and settings that `_messages` reads. Raises TimeoutError if the process is
        silent for `time_limit_s` seconds; EOFError or ConnectionError if it died.
        """
        self.n_videos += 1
        self._send(task, time_limit_s)
        block = empty_array((0, CLIP_FRAMES, 0, 0, 3))
        times: list[NDArray[np.float64]] = []  # frame times of the clips in the block
        while True:
            message = self._receive()
            match message.pop("event"):
                case "opened":
                    info = VideoInfo(**{**message, "fps": Fraction(message["fps"])})
                    shape = (CLIP_FRAMES, info.height, info.width, 3)
                    n_clips = max(1, min(clips_per_block, BLOCK_BYTES // int(np.prod(shape))))
                    yield Opened(index, info)
                case "counting":  # a sign of life
                    continue
                case "clip":
                    if not times:
                        block = empty((n_clips, *shape))
                    self._fill(block[len(times)])
                    times.append(np.empty(message["n_frames"]))
                    self._fill(times[-1])
                    if len(times) == n_clips:
                        yield Clips(index, block, np.concatenate(times))
                        times = []
                case "decoded":
                    if times:
                        yield Clips(index, block[: len(times)], np.concatenate(times))
                    yield Decoded(index, DecodeReport(**message))
                    return
                case "failed":
                    yield Failed(index, VideoError(message["reason"], message["what"]))
                    return


def serve(parent: Parent) -> None:
    """Run in the decoder process: decode the videos that the parent sends, until it closes the
    socket.
    """
    for task in parent.tasks():
        try:
            for message, *arrays in _messages(task):
                parent.send(message, *arrays)
        except ConnectionError:
            return


def _messages(task: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Decode one video and yield the messages to send about it, each with the arrays that follow
    it.
    """
    path, limits, grid = Path(task["path"]), Limits(**task["limits"]), ClipGrid(task["tail"])
    limit_memory(limits.memory_bytes)
    try:
        scanned = scan(path, limits)
        info = scanned.info
        read = partial(
            read_frames,
            path,
            scanned,
            decoder=task["decoder"],
            limits=limits,
            accept_truncated=task["accept_truncated"],
        )
        if task["counts"]:
            for part in read():
                yield ({"event": "counting"},)
                if isinstance(part, DecodeReport):
                    info = replace(info, n_frames=part.n_frames)
        yield ({"event": "opened", **asdict(info), "fps": str(info.fps)},)
        for part in read():
            if isinstance(part, DecodeReport):
                if grid.n_snippets(part.n_frames) == 0:
                    raise VideoError(
                        "too-short",
                        f"its {part.n_frames} frames make no snippet where the tail is dropped",
                        hint="--tail repeat-last",
                    )
                yield ({"event": "decoded", **asdict(part)},)
                return
            for clip in grid.clips([part.rgb]):  # one clip, or none if the tail is dropped
                yield {"event": "clip", "n_frames": len(part.times_s)}, clip, part.times_s
    except VideoError as error:
        yield ({"event": "failed", "reason": error.reason, "what": str(error)},)
    except Exception as error:  # any other error fails this video only
        what = f"its decoder failed: {type(error).__name__}: {error}"
        yield ({"event": "failed", "reason": "crashed", "what": what},)
