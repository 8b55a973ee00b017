"""Write every event as a separate video: `<video>.event-01.mp4`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vad.files import committed
from vad.store import key_of

from ..events import Event
from ..scores import VideoScores
from .heat import Heat
from .mp4 import Mp4Writer
from .source import Picture, Sound, Viewer

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame


class Clips(Viewer):
    """A viewer that writes each event to an MP4 file, frame by frame, with its sound.

    Frames are tinted where the score comes from, if that is known. A file appears when its event
    is complete.
    """

    def __init__(self, folder: Path, scores: VideoScores) -> None:
        self._folder, self._scores = folder, scores
        self._events = {e.start_frame: (n, e) for n, e in enumerate(scores.events, start=1)}
        self._heat = Heat(scores)
        self._mp4: Mp4Writer | None = None  # writer of the current event, None between events
        self._end_frame = 0  # end of the current event
        self.paths: list[Path] = []  # files begun so far

    @contextmanager
    def opened(self, sound: Sound) -> Iterator[None]:
        """Implement `Viewer.opened`. Leaving the context ends the clip of the last event."""
        self._sound = sound
        with ExitStack() as self._clip:
            yield

    def see(self, number: int, picture: Picture) -> None:
        """Write a frame if it belongs to an event."""
        if self._mp4 and number == self._end_frame:
            self._clip.close()  # closing makes the file appear
            self._mp4 = None
        if number in self._events:
            self._mp4 = self._begin(*self._events[number])
        if self._mp4:
            self._mp4.add(self._heat.on(picture, number), float(self._scores.times[number]))

    def hear(self, frame: AudioFrame, time_s: float) -> None:
        """Write an audio frame if it belongs to an event."""
        if self._mp4:
            self._mp4.hear(frame, time_s)

    def _begin(self, number: int, event: Event) -> Mp4Writer:
        record = self._scores.record
        path = self._folder / f"{key_of(self._scores.video)}.event-{number:02d}.mp4"
        part = self._clip.enter_context(committed(path))
        self.paths.append(path)
        self._end_frame = event.end_frame
        mp4 = Mp4Writer(
            part,
            size=(record.width, record.height),
            fps=record.fps,
            sound=self._sound,
            start_s=event.start_s,
        )
        return self._clip.enter_context(mp4)
