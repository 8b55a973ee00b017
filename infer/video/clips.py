"""Every event as a video of its own: `<video>.event-01.mp4`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from vad.files import committed
from vad.store import key_of

from ..scores import VideoScores
from .mp4 import Mp4Writer, Sound
from .source import VideoSource


def save_clips(scores: VideoScores, source: VideoSource, folder: Path) -> list[Path]:
    """Cut the events out, frame by frame, with their sound; the paths written.

    The video is read once. Raises VideoError where it cannot be read again.
    """
    record = scores.record
    waiting = list(enumerate(scores.events, start=1))
    written: list[Path] = []
    if not waiting:
        return written
    with source.opened() as (container, video), ExitStack() as clip:
        sound = Sound(container, video)
        mp4: Mp4Writer | None = None
        for number, picture in enumerate(source.pictures()):
            if not waiting:
                break
            index, event = waiting[0]
            if number == event.start_frame:
                path = folder / f"{key_of(scores.video)}.event-{index:02d}.mp4"
                part = clip.enter_context(committed(path))
                size = record.width, record.height
                mp4 = Mp4Writer(part, size=size, fps=record.fps, sound=sound, start_s=event.start_s)
                clip.enter_context(mp4)
                written.append(path)
            if mp4:
                mp4.add(picture, float(scores.times[number]))
                if number + 1 == event.end_frame:
                    mp4.hear(event.end_s)
                    clip.close()  # the file appears
                    mp4 = None
                    waiting.pop(0)
    return written
