"""Small copies of a video for its report: one to play, and one picture an event."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image

from ..scores import VideoScores
from .mp4 import Mp4Writer, Sound, shrunk
from .source import Picture

PREVIEW_PX, THUMBNAIL_PX = 640, 320  # the longer side
PREVIEW_QUALITY = 28  # x264's constant rate factor: some 1 MB a minute of a quiet camera
SOUND_BPS = 48_000


@dataclass(frozen=True, slots=True)
class Copies:
    """What is shown of a video; empty where it could not be read, or does not fit."""

    preview: bytes = b""  # MP4, the copy that is inside the page
    poster: bytes = b""  # JPEG of the highest score
    thumbnails: tuple[bytes, ...] = ()  # JPEG of the peak of every event
    readable: bool = True


def make_copies(scores: VideoScores, copy: IO[bytes], most_bytes: int) -> Copies:
    """Read a video once: its pictures, and its copy, an MP4, into an empty file.

    What would have more than `most_bytes` is not copied: the file is empty again.
    Raises VideoError where the file is there, but cannot be read or is no longer what was scored.
    """
    source, record = scores.video_source, scores.record
    if source is None:
        return Copies()
    highest = peak_picture(scores)
    peaks = [_middle(scores, event.peak_frame) for event in scores.events]
    shown, pictures = {highest, *peaks}, dict[int, bytes]()
    size = shrunk((record.width, record.height), PREVIEW_PX)
    with source.opened() as (container, video):
        mp4 = Mp4Writer(
            copy,
            size=size,
            fps=record.fps,
            quality=PREVIEW_QUALITY,
            sound=Sound(container, video),
            sound_bps=SOUND_BPS,
        )
        with mp4:
            for number, picture in enumerate(source.pictures()):
                if copy.tell() <= most_bytes:
                    mp4.add(picture, float(scores.times[number]))
                if number in shown:
                    pictures[number] = _jpeg(picture)
            mp4.hear(record.duration_s)
    if copy.seek(0, io.SEEK_END) > most_bytes:
        copy.truncate(0)
    return Copies(
        poster=pictures[highest],
        thumbnails=tuple(pictures[peak] for peak in peaks),
    )


def peak_picture(scores: VideoScores) -> int:
    """The frame that stands for a video: in the middle of those with its highest score."""
    return _middle(scores, int(scores.frames.argmax()))


def _middle(scores: VideoScores, peak_frame: int) -> int:
    """The middle of the frames that have a peak's score: its snippet says no more than that."""
    others = scores.frames[peak_frame:] != scores.frames[peak_frame]
    n_equal = int(others.argmax()) if others.any() else len(others)
    return peak_frame + n_equal // 2


def _jpeg(picture: Picture) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()
