"""Read the frames of a scored video again, with the decoders that extraction uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.stages.extract.decoders.pool import Clips, DecoderPool, Failed
from vad.stages.extract.decoders.video import Limits, open_video
from vad.stages.extract.records import is_unchanged
from vad.stages.infer.video.source import VideoSource
from vad.store import VideoRecord

CLIPS_PER_BLOCK = 2  # few, because frames are used one by one


@dataclass(frozen=True)
class VideoFile:
    """A video file that was scored; it implements `vad.stages.infer.video.source.VideoSource`."""

    path: Path
    n_frames: int
    limits: Limits

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """Yield every frame, uint8 [height, width, 3]; another process decodes a few clips ahead.

        Raises VideoError if the number of frames differs from that at scoring.
        """
        n_shown = 0
        with DecoderPool(
            1,
            clips_per_block=CLIPS_PER_BLOCK,
            tail="repeat-last",  # so that no frame is left out
            limits=self.limits,
            accept_truncated=True,  # it was accepted when it was scored
        ) as pool:
            for event in pool.decode([self.path]):
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Clips):
                    yield from event.frames[: max(0, self.n_frames - n_shown)]
                    n_shown += len(event.frames)
        if n_shown != self.n_frames:
            raise VideoError(
                "truncated" if n_shown < self.n_frames else "damaged",
                f"{self.path} has {n_shown} frames, {self.n_frames} were scored",
                hint="it has changed: score it again",
            )

    def opened(self) -> AbstractContextManager[tuple[InputContainer, VideoStream]]:
        """Return a context manager of the open container and its video stream."""
        return open_video(self.path, self.limits)


def video_source_of(
    record: VideoRecord, *, path: Path | None = None, max_pixels: int | None = None
) -> VideoSource | None:
    """Return the file that a video was scored from; None if that file no longer exists, or has
    other content now.

    A store or a file of scores from someone else can name any file of this machine. So nothing of a
    file is shown unless its content is that of the record. path: the location of the file, if it
    differs from that in the record.
    """
    path = path or Path(record.source)
    if not (path.is_file() and is_unchanged(path, record)):
        return None
    limits = Limits(max_pixels=max_pixels) if max_pixels else Limits()
    return VideoFile(path, record.n_frames, limits)
