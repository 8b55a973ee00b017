"""The frame rates of the training videos, and whether a video has another one.

A clip is a number of frames, and most features compare frames with their neighbours. At a lower
frame rate a clip lasts longer and more changes from one frame to the next, so that the features and
scores of ordinary footage differ from those of the training videos.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from vad.store.metadata import VideoRecord

log = logging.getLogger("vad")

# A rate is far from the training videos' if it is more than this factor outside of their range.
# Data sets mix 24 to 30 frames per second, a factor of 1.25; docs/limits.md has how many normal
# videos are flagged at which rate.
FAR = 1.3
GUESS = "read scores as a guess"
REMEDY = (
    "leave frames out of the faster videos, ffmpeg -i IN -r RATE OUT; if these are the training "
    "videos, train again"
)
REMEDY_OF_CAMERA = "set the camera to that rate, or fit the run to its footage: vad calibrate"


@dataclass(frozen=True)
class FrameRates:
    """The frame rates of training videos, in frames per second; of a variable rate, its mean."""

    lowest: float
    median: float
    highest: float

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= self.median <= self.highest:
            raise ValueError(
                f"lowest is {self.lowest}, median {self.median}, highest {self.highest}, expected "
                "rates above 0 that ascend"
            )

    @classmethod
    def of(cls, records: Iterable[VideoRecord]) -> FrameRates | None:
        """Return the rates of videos; None if the rate of none is known."""
        rates = [rate for record in records if (rate := known_rate(record)) is not None]
        return cls(min(rates), median(rates), max(rates)) if rates else None

    def __str__(self) -> str:
        least, most = _shown(self.lowest), _shown(self.highest)
        return least if least == most else f"{least} to {most}"

    def differing(self, fps: float | None, camera: str = "") -> str:
        """Say how a frame rate differs from these; "" if it is near them, or None.

        camera: the camera whose footage these are the rates of, if a run is calibrated for one.
        """
        if fps is None or self.lowest / FAR <= fps <= self.highest * FAR:
            return ""
        return f"recorded at {_shown(fps)} frames per second, {known_videos(camera)} at {self}"


def known_rate(record: VideoRecord) -> float | None:
    """Return the frame rate of a stored video; None if it was assumed, as that of a file which
    states none, and if the video was never decoded, as for imported features.
    """
    is_known = record.source_sha256 and not record.fps_assumed
    return record.fps if is_known else None


def known_videos(camera: str) -> str:
    """Name the videos that a run knows: those of the camera that it is calibrated for, if any."""
    return f"other footage of the camera {camera}" if camera else "the training videos"


def tell_other_rates(found: Mapping[str, str], n_videos: int) -> None:
    """Log one warning of scored videos with another frame rate.

    found: what `FrameRates.differing` says of each such video, by its id.
    """
    for video, words in list(found.items())[:1]:
        log.warning(
            "%d of %d videos with another frame rate, such as %s, %s: %s, or %s",
            *(len(found), n_videos, video, words, GUESS, REMEDY),
        )


def _shown(fps: float) -> str:
    return f"{round(fps, 1 if fps < 20 else None):g}"
