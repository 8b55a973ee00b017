"""Every event as a video of its own: `<video>.event-01.mp4`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from vad.files import committed
from vad.store import key_of

from .film import Film, Sound
from .footage import Footage
from .scores import VideoScores


def save_clips(scores: VideoScores, footage: Footage, folder: Path) -> list[Path]:
    """Cut the events out, frame by frame, with their sound; the paths written.

    The video is read once. Raises VideoError where it cannot be read again.
    """
    record = scores.record
    waiting = list(enumerate(scores.events, start=1))
    written: list[Path] = []
    if not waiting:
        return written
    with footage.opened() as (container, video), ExitStack() as clip:
        sound = Sound(container, video)
        film: Film | None = None
        for number, picture in enumerate(footage.pictures()):
            if not waiting:
                break
            index, event = waiting[0]
            if number == event.start_frame:
                path = folder / f"{key_of(scores.video)}.event-{index:02d}.mp4"
                part = clip.enter_context(committed(path))
                size = record.width, record.height
                film = Film(part, size=size, fps=record.fps, sound=sound, start_s=event.start_s)
                clip.enter_context(film)
                written.append(path)
            if film:
                film.add(picture, float(scores.times[number]))
                if number + 1 == event.end_frame:
                    film.hear(event.end_s)
                    clip.close()  # the file appears
                    film = None
                    waiting.pop(0)
    return written
