"""Clips of a live source: a thread that takes every picture, however slow its consumer is.

    reader process --frames--> this thread --clips--> bounded queue --events--> who iterates

A live source does not wait. When the queue is full, its oldest clip is replaced by a `Gap`. When
the source is lost, it is opened again after a pause that doubles with each try; the time that was
missed is a `Gap`, too. A file that is not played like a camera waits for the consumer instead.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.grid import CLIP_FRAMES, ClipGrid, Tail

from ..decoders.video import Limits
from .reader import Frame, Opened, Reader
from .source import LiveSource

QUEUE_BYTES = 256 * 2**20  # of clips that wait, unless a single one has more
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # between two tries to reach a lost source
CLOCK_DRIFT = 2e-4  # a camera's clock may run away from ours: 0.2 ms a second, generously


@dataclass(frozen=True, slots=True)
class Clip:
    """16 consecutive frames as they came; the last of a file may be filled up."""

    index: int  # clips from the start, those dropped among them
    first_frame: int  # frames from the start, those of dropped clips among them
    n_frames: int  # without those that fill it
    start_s: float  # stream time: from the first frame on, gaps among it
    end_s: float
    arrived_s: float  # Unix time at which its last frame had been decoded
    lag_s: float  # how late that was by the clock of the source; 0 where it has no pace
    rgb: NDArray[np.uint8]  # [16, height, width, 3]


@dataclass(frozen=True, slots=True)
class Gap:
    """Clips or time that nobody will see."""

    reason: Literal["behind", "lost"]
    n_clips: int  # dropped
    n_frames: int  # dropped; those that a lost source did not send nobody can count
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The source failed and is tried again after a pause."""

    why: str
    pause_s: float


Event = Opened | Clip | Gap | Lost


class Feed:
    """The clips of a source, while the `with` block lasts. Iterate over it once.

    n_waiting
        Clips that may wait; fewer where they are so large that they would fill the memory.
    time_limit_s
        A source that sends no picture for so long is lost.
    give_up_s
        A source lost for so long is given up. One that fails before its first picture is given
        up at once: it is more likely a wrong address than a broken line.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        n_waiting: int = 4,
        tail: Tail = "repeat-last",
        limits: Limits | None = None,
        time_limit_s: float = 15.0,
        give_up_s: float = 600.0,
    ) -> None:
        self.source, self.n_waiting = source, n_waiting
        self._grid, self._limits = ClipGrid(tail), limits or Limits()
        self._time_limit_s, self._give_up_s = time_limit_s, give_up_s
        self._events: deque[Event | Exception | None] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._reader: Reader | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._timeline = _Timeline()
        self._n_clips = self._n_pictures = 0

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped.set()
            self._changed.notify_all()
            if self._reader:
                self._reader.kill()
        self._thread.join()

    def events(self, stop: threading.Event) -> Iterator[Event]:
        """What comes, until the source ends or `stop` is set.

        Raises VideoError for a source that cannot be opened, or is given up.
        """
        while not stop.is_set():
            with self._changed:
                if not self._events:
                    self._changed.wait(0.1)  # and look at `stop`
                    continue
                event = self._events.popleft()
                self._changed.notify_all()
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event

    # --- the thread

    def _run(self) -> None:
        try:
            self._read_on()
        except Exception as error:  # the consumer's to see
            self._put(error)
        else:
            self._put(None)

    def _read_on(self) -> None:
        """Read the source, again and again if it is one that returns."""
        pause_s, since = FIRST_PAUSE_S, time.monotonic()
        while not self._stopped.is_set():
            n_before = self._n_pictures
            try:
                self._connect()
                if self.source.ends:
                    return
                why = "the source ended"
            except VideoError as error:
                if self.source.ends or self._n_pictures == 0:
                    raise
                why = str(error)
            if self._n_pictures > n_before:
                pause_s, since = FIRST_PAUSE_S, time.monotonic()
            elif time.monotonic() - since > self._give_up_s:
                raise VideoError("timeout", f"given up after {self._give_up_s:g} s: {why}")
            if not self._stopped.is_set():
                self._put(Lost(why, pause_s))
            self._stopped.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _connect(self) -> None:
        """Read the source until it ends. Raises VideoError where it fails."""
        with self._changed:
            if self._stopped.is_set():
                return
            self._reader = reader = Reader(self.source, self._limits)
        frames: list[Frame] = []
        try:
            for item in reader.read(self._time_limit_s):
                if isinstance(item, Opened):
                    if gap := self._timeline.resume(1 / item.fps):
                        self._put(gap)
                    self._put(item)
                    continue
                self._n_pictures += 1
                frames.append(item)
                if len(frames) == CLIP_FRAMES:
                    self._put(self._clip(frames))
                    frames = []
            if frames and self.source.ends and self._grid.n_snippets(len(frames)):
                self._put(self._clip(frames))
        finally:
            reader.close()

    def _clip(self, frames: list[Frame]) -> Clip:
        start_s, end_s, lag_s = self._timeline.span(frames)
        self._n_clips += 1
        return Clip(
            index=self._n_clips - 1,
            first_frame=self._timeline.n_frames - len(frames),
            n_frames=len(frames),
            start_s=start_s,
            end_s=end_s,
            arrived_s=frames[-1].arrived_s,
            lag_s=lag_s,
            rgb=self._grid.fill(np.stack([frame.rgb for frame in frames])),
        )

    def _put(self, event: Event | Exception | None) -> None:
        with self._changed:
            self._events.append(event)
            if isinstance(event, Clip):
                room = max(1, min(self.n_waiting, QUEUE_BYTES // event.rgb.nbytes))
                while self._waiting() > room and not self._stopped.is_set():
                    if self.source.is_live:
                        self._drop_oldest()
                    else:
                        self._changed.wait()
            self._changed.notify_all()

    def _waiting(self) -> int:
        return sum(isinstance(event, Clip) for event in self._events)

    def _drop_oldest(self) -> None:
        """Put a gap in the place of the oldest clip, or let the gap before it grow."""
        at, clip = next((i, e) for i, e in enumerate(self._events) if isinstance(e, Clip))
        before = self._events[at - 1] if at else None
        if isinstance(before, Gap) and before.reason == "behind":
            self._events[at - 1] = replace(
                before,
                n_clips=before.n_clips + 1,
                n_frames=before.n_frames + clip.n_frames,
                end_s=clip.end_s,
            )
            del self._events[at]
        else:
            self._events[at] = Gap("behind", 1, clip.n_frames, clip.start_s, clip.end_s)


class _Timeline:
    """Stream time over connections, and how late frames are by the clock of their source."""

    def __init__(self) -> None:
        self.n_frames = 0  # in clips
        self._end_s = 0.0  # of the last clip, in stream time
        self._base_s = 0.0  # stream time at which this connection's own begins
        self._first_arrived_s: float | None = None
        self._step_s = 0.0
        self._floor: tuple[float, float] | None = None  # (arrived - due) at its least, and when

    def resume(self, step_s: float) -> Gap | None:
        """A connection was made; the gap since the last one, if there was one."""
        self._step_s, self._floor = step_s, None
        if self._first_arrived_s is None:
            return None
        self._base_s = max(self._end_s, time.time() - self._first_arrived_s)
        return Gap("lost", 0, 0, self._end_s, self._base_s)

    def span(self, frames: list[Frame]) -> tuple[float, float, float]:
        """Start, end and lag of a clip, in seconds."""
        if self._first_arrived_s is None:
            self._first_arrived_s = frames[0].arrived_s
        self.n_frames += len(frames)
        self._end_s = self._base_s + frames[-1].time_s + self._step_s
        lag_s = 0.0
        for frame in frames:
            if frame.due_s is not None:
                lag_s = self._lag_s(frame.arrived_s - frame.due_s, frame.arrived_s)
        return self._base_s + frames[0].time_s, self._end_s, lag_s

    def _lag_s(self, late_s: float, now_s: float) -> float:
        """How much later than usual a frame came: what a decoder that is too slow piles up."""
        if self._floor is not None:
            least_s, since_s = self._floor
            late_floor_s = least_s + CLOCK_DRIFT * (now_s - since_s)
        if self._floor is None or late_s <= late_floor_s:
            self._floor = late_s, now_s
            return 0.0
        return late_s - late_floor_s
