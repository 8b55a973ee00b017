"""Scores of a video: snippets as the detector gave them, frames by the clip grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vad
from vad.errors import InternalError
from vad.grid import CLIP_FRAMES
from vad.store import VideoRecord

SCHEMA = "vad.scores/1"


@dataclass(frozen=True)
class VideoScores:
    """What a detector says of one video.

    snippets [snippets] and `frames` [frames] are in [0, 1], higher is more anomalous; times
    [frames] are the presentation times in seconds from the first frame.
    """

    video: str
    record: VideoRecord
    snippets: NDArray[np.float32]
    times: NDArray[np.float64]
    threshold: float  # chosen on the validation videos of the run
    detector: str  # the run that scored it

    def __post_init__(self) -> None:
        n = self.record.grid.n_snippets(self.record.n_frames)
        if len(self.snippets) != n or len(self.times) != self.record.n_frames:
            raise InternalError(
                f"{self.video}: {len(self.snippets)} scores and {len(self.times)} times for "
                f"{self.record.n_frames} frames in {n} snippets"
            )

    @property
    def frames(self) -> NDArray[np.float32]:
        """A score for every frame of the video, [frames]."""
        frames: NDArray[np.float32] = self.record.grid.spread(self.snippets, self.record.n_frames)
        return frames

    @property
    def peak(self) -> float:
        """The score of the video: its highest."""
        return float(self.snippets.max())

    @property
    def peak_s(self) -> float:
        """When the highest score begins, in seconds."""
        return float(self.times[int(self.snippets.argmax()) * CLIP_FRAMES])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, by the schema `vad.scores/1`."""
        record = self.record
        snippets = []
        for index, score in enumerate(self.snippets):
            start, stop = record.grid.frames_of(index, record.n_frames)
            start_s, end_s = record.grid.seconds(index, self.times, record.duration_s)
            snippets.append(
                {
                    "snippet": index,
                    "start_frame": start,
                    "end_frame": stop,
                    "start_s": round(start_s, 6),
                    "end_s": round(end_s, 6),
                    "score": rounded(score),
                }
            )
        return {
            "schema": SCHEMA,
            "generator": f"vad {vad.__version__}",
            "video": self.video,
            "source": record.source,
            "n_frames": record.n_frames,
            "fps": record.fps,
            "duration_s": record.duration_s,
            "width": record.width,
            "height": record.height,
            "clip_frames": CLIP_FRAMES,
            "tail": record.tail,
            "detector": self.detector,
            "threshold": self.threshold,
            "peak": rounded(self.peak),
            "snippets": snippets,
            "frames": [
                {"frame": frame, "seconds": seconds, "timecode": timecode(seconds), "score": score}
                for frame, seconds, score in self.rows()
            ],
        }

    def rows(self) -> list[tuple[int, float, float]]:
        """Frame, seconds and score, a row a frame."""
        times = (round(float(t), 6) for t in self.times)
        scores = (rounded(s) for s in self.frames)
        return [(i, t, s) for i, (t, s) in enumerate(zip(times, scores, strict=True))]


def rounded(score: float | np.floating[Any]) -> float:
    """A score as files show it: six digits, about what single precision holds."""
    return round(float(score), 6)


def timecode(seconds: float) -> str:
    """`hours:minutes:seconds.milliseconds`."""
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"
