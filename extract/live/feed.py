"""Clips of a live source: a thread reads every frame, however slow the consumer is.

reader process --frames--> this thread --clips--> bounded queue --events--> consumer

A live source does not wait. If the queue is full, its oldest clip is replaced by a `Gap`. If the
source is lost, it is opened again after a pause that doubles with each try, and the missed time is
a `Gap` too. A file that is not played at camera speed waits for the consumer instead.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.grid import ClipCutter, ClipGrid

from ..decoders.video import Limits
from .reader import Frame, Opened, Reader
from .source import LiveSource

QUEUE_BYTES = 256 * 2**20  # most bytes of waiting clips, unless a single clip has more
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # between two attempts to open a lost source
CLOCK_DRIFT = 2e-4  # largest drift assumed between the camera's clock and ours, in s/s


@dataclass(frozen=True, slots=True)
class Clip:
    """16 frames of a source, and the time from the first to the last; a file's last clip can be
    padded.
    """

    index: int  # number of the clip, from 0; dropped clips count too
    first_frame: int  # number of its first frame, from 0; frames of dropped clips count too
    n_frames: int  # from its first to its last, without padding
    start_s: float  # stream time: seconds from the first frame, gaps included
    end_s: float
    arrived_s: float  # Unix time at which its last frame had been decoded
    lag_s: float  # delay by the source's clock; 0 for a file that is not paced
    n_jumps: int  # jumps of the time stamps that were corrected within it
    rgb: NDArray[np.uint8]  # [16, height, width, 3]


@dataclass(frozen=True, slots=True)
class Gap:
    """Event: clips were dropped, or no frames came for a while; their scores will be missing."""

    reason: Literal["behind", "lost"]
    n_clips: int  # number of dropped clips
    n_frames: int  # frames of dropped clips; 0 if the source was lost
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Lost:
    """Event: the source failed; it is opened again after a pause."""

    why: str
    pause_s: float


Event = Opened | Clip | Gap | Lost


class Feed:
    """The clips of a source, read while its `with` block lasts. Iterate over `events` only once.

    n_jumps, n_rescaled
        Of all frames so far, those of dropped clips too: jumps of their time stamps that were
        corrected, and frames of another size than the first of their connection.
    n_waiting
        Most clips that wait in the queue; fewer if they would need more than `QUEUE_BYTES`.
    time_limit_s
        A source that sends no frame for this long counts as lost.
    give_up_s
        After this time without a frame, the source is given up. A source that fails before its
        first frame is given up at once: more likely its address is wrong than its line broken.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        n_waiting: int = 4,
        grid: ClipGrid | None = None,
        limits: Limits | None = None,
        time_limit_s: float = 15.0,
        give_up_s: float = 600.0,
    ) -> None:
        self.source, self.n_waiting = source, n_waiting
        self.n_jumps = self.n_rescaled = 0
        self.has_ended = False  # all events were taken, the last one among them
        self._grid, self._limits = grid or ClipGrid(), limits or Limits()
        self._time_limit_s, self._give_up_s = time_limit_s, give_up_s
        self._events: deque[Event | Exception | None] = deque()
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._reader: Reader | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._timeline = _Timeline(self._grid)
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
        """Yield events until the source ends or `stop` is set.

        Raises VideoError if the source cannot be opened, or is given up.
        """
        while not (stop.is_set() or self.has_ended):
            event = self.take(0.1)  # with a limit, so that `stop` is noticed
            if event is not None:
                yield event

    def take(self, wait_s: float = 0.0) -> Event | None:
        """Return the next event, or None if none comes in time or the source has ended.

        Raises VideoError if the source cannot be opened, or is given up.
        """
        with self._changed:
            if not self._events:
                self._changed.wait(wait_s)
            if not self._events:
                return None
            event = self._events.popleft()
            self._changed.notify_all()
        if isinstance(event, Exception):
            self.has_ended = True
            raise event
        self.has_ended = event is None
        return event

    # --- the thread

    def _run(self) -> None:
        try:
            self._read_on()
        except VideoError as error:
            self._put(VideoError(error.reason, f"{self.source.shown}: {error}"))
        except Exception as error:  # `events` raises it in the consumer's thread
            self._put(error)
        else:
            self._put(None)

    def _read_on(self) -> None:
        """Read the source to its end; open a camera or a network stream again whenever it ends or
        fails.
        """
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
        """Read one connection of the source until it ends. Raises VideoError if it fails."""
        with self._changed:
            if self._stopped.is_set():
                return
            self._reader = reader = Reader(self.source, self._limits)
        cutter = ClipCutter(self._grid)
        try:
            for item in reader.read(self._time_limit_s):
                if isinstance(item, Opened):
                    if gap := self._timeline.resume(1 / item.fps):
                        self._put(gap)
                    self._put(item)
                    continue
                self._n_pictures += 1
                self.n_jumps += item.jumped
                self.n_rescaled += item.rescaled
                self._timeline.see(item)
                for rgb in cutter.add(item.rgb[None]):
                    self._put(self._clip(rgb))
            if self.source.ends:
                for rgb in cutter.finish():
                    self._put(self._clip(rgb))
        finally:
            reader.close()

    def _clip(self, rgb: NDArray[np.uint8]) -> Clip:
        frames, start_s, end_s = self._timeline.next_clip()
        self._n_clips += 1
        return Clip(
            index=self._n_clips - 1,
            first_frame=self._timeline.n_frames - len(frames),
            n_frames=len(frames),
            start_s=start_s,
            end_s=end_s,
            arrived_s=frames[-1].arrived_s,
            lag_s=frames[-1].lag_s,
            n_jumps=sum(frame.jumped for frame in frames),
            rgb=rgb,
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
        """Replace the oldest clip of the queue by a gap, or extend the gap that precedes it."""
        at, clip = next((i, e) for i, e in enumerate(self._events) if isinstance(e, Clip))
        before = self._events[at - 1] if at else None
        if isinstance(before, Gap) and before.reason == "behind":
            self._events[at - 1] = replace(
                before,
                n_clips=before.n_clips + 1,
                n_frames=before.n_frames + min(clip.n_frames, self._grid.sampling.stride),
                end_s=clip.end_s,
            )
            del self._events[at]
        else:
            self._events[at] = Gap("behind", 1, clip.n_frames, clip.start_s, clip.end_s)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A frame of the source without its pixels."""

    time_s: float  # by the source's clock, from the first frame of its connection
    arrived_s: float  # Unix time at which it was decoded
    lag_s: float  # delay by the source's clock
    jumped: bool  # its time stamp is a jump, which was corrected


class _Timeline:
    """Stream time across connections, the frames of the next clip, and their delay by the source's
    clock.
    """

    def __init__(self, grid: ClipGrid) -> None:
        self.n_frames = 0  # where the last clip ended, in frames
        self._sampling = grid.sampling
        self._end_s = 0.0  # stream time at the end of the last clip
        self._base_s = 0.0  # stream time at the start of this connection
        self._first_arrived_s: float | None = None
        self._step_s = 0.0
        self._floor: tuple[float, float] | None = None  # least (arrived - due), and when
        self._frames: deque[_Seen] = deque()  # from the start of the next clip on
        self._n_skipped = 0  # frames to come before the next clip starts
        self._n_before = self._n_clips = 0  # frames before this connection, and clips in it

    def resume(self, step_s: float) -> Gap | None:
        """Start a connection. Returns the gap since the connection before, or None for the first
        one.
        """
        self._step_s, self._floor = step_s, None
        self._frames.clear()
        self._n_skipped, self._n_before, self._n_clips = 0, self.n_frames, 0
        if self._first_arrived_s is None:
            return None
        self._base_s = max(self._end_s, time.time() - self._first_arrived_s)
        return Gap("lost", 0, 0, self._end_s, self._base_s)

    def see(self, frame: Frame) -> None:
        """Take the next frame."""
        lag_s = 0.0
        if frame.due_s is not None:
            lag_s = self._lag_s(frame.arrived_s - frame.due_s, frame.arrived_s)
        if self._n_skipped:
            self._n_skipped -= 1
        else:
            self._frames.append(_Seen(frame.time_s, frame.arrived_s, lag_s, frame.jumped))

    def next_clip(self) -> tuple[list[_Seen], float, float]:
        """Return the frames from the first of the next clip to its last, of those that were seen,
        and their start and end in seconds.
        """
        span, stride = self._sampling.span, self._sampling.stride
        frames = list(islice(self._frames, span))
        if self._first_arrived_s is None:
            self._first_arrived_s = frames[0].arrived_s
        self.n_frames = self._n_before + self._n_clips * stride + len(frames)
        self._n_clips += 1
        self._n_skipped = max(0, stride - len(self._frames))
        for _ in range(min(stride, len(self._frames))):
            self._frames.popleft()
        self._end_s = self._base_s + frames[-1].time_s + self._step_s
        return frames, self._base_s + frames[0].time_s, self._end_s

    def _lag_s(self, late_s: float, now_s: float) -> float:
        """Return how many seconds later than the earliest frames a frame came, that is, the delay
        which accumulates if the decoder is too slow.
        """
        if self._floor is not None:
            least_s, since_s = self._floor
            late_floor_s = least_s + CLOCK_DRIFT * (now_s - since_s)
        if self._floor is None or late_s <= late_floor_s:
            self._floor = late_s, now_s
            return 0.0
        return late_s - late_floor_s
