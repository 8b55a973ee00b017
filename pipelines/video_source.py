"""The pictures of a scored video again, through the decoders that extraction uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.grid import CLIP_FRAMES
from vad.progress import Meter
from vad.stages.extract.decoders.pool import Clips, DecoderPool, Failed
from vad.stages.extract.decoders.video import Limits, open_video
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.video.source import VideoSource
from vad.store import VideoRecord

CLIPS_PER_BLOCK = 2  # few: pictures are used one by one


@dataclass(frozen=True)
class VideoFile:
    """A video file that was scored; see `vad.stages.infer.video.source.VideoSource`."""

    path: Path
    n_frames: int
    limits: Limits

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """Every frame, [height, width, 3]; decoded in another process, a few clips ahead."""
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
                    rgb = event.rgb.reshape(-1, *event.rgb.shape[2:])[: len(event.times)]
                    n_shown += len(rgb)
                    yield from rgb
        if n_shown != self.n_frames:
            raise VideoError(
                "truncated" if n_shown < self.n_frames else "damaged",
                f"{self.path} has {n_shown} frames, {self.n_frames} were scored",
                hint="it has changed: score it again",
            )

    def opened(self) -> AbstractContextManager[tuple[Any, Any]]:
        """The open container and its video stream."""
        return open_video(self.path, self.limits)


@dataclass(frozen=True)
class WithProgress:
    """A video source that reports how far its pictures were read."""

    source: VideoSource
    scores: VideoScores
    progress: Meter

    @property
    def path(self) -> Path:
        """The file."""
        return self.source.path

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """Every frame, [height, width, 3]."""
        for number, picture in enumerate(self.source.pictures()):
            yield picture
            if number % CLIP_FRAMES == 0:
                self.progress.under_way(self.scores.video, number / self.scores.record.n_frames)
        self.progress.advance(name=self.scores.video)

    def opened(self) -> AbstractContextManager[tuple[Any, Any]]:
        """The open container and its video stream."""
        return self.source.opened()


def with_progress(scores: VideoScores, progress: Meter) -> VideoScores:
    """Scores whose video source moves a meter by one as its pictures are read."""
    if scores.video_source is None:
        return scores
    return replace(scores, video_source=WithProgress(scores.video_source, scores, progress))


def video_source_of(record: VideoRecord, *, max_pixels: int | None = None) -> VideoSource | None:
    """The file that a record speaks of; None where it is not there any more."""
    path = Path(record.source)
    limits = Limits(max_pixels=max_pixels) if max_pixels else Limits()
    return VideoFile(path, record.n_frames, limits) if path.is_file() else None
