"""Frame times: from the time stamps of a file or stream to seconds that only increase.

The time of a frame is that of its stamp, counted from the first frame. Stamps can be wrong: one
frame is stamped hours away, a recorder's clock is set back, recordings are joined end to end. The
rule for such a discontinuity, for files and live streams alike:

    A stamp is a jump if it lies more than `forward_limit_s` after the frame before it, or more
    than `backward_limit_s` before that frame. Both limits follow the stream's own rate: 15 s or
    100 typical steps forward, 1 s or 10 typical steps back, whichever is more. The frame at a jump
    is placed one typical step after its predecessor, and later stamps count from there. Within 31
    frames after a jump back, or where a stamp undoes the last jump back, the limit forward is that
    backward: stamps that go to and fro would otherwise add up to a pause each time.

So a frame that is held for ten seconds, or a variable rate, is no jump. A stamp that is missing, or
lies back by less than a jump, is replaced by one average step after its predecessor, until the
stamps have caught up.
"""

from __future__ import annotations

from collections import deque
from statistics import median_low

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FORWARD_S, FORWARD_STEPS = 15.0, 100
BACKWARD_S, BACKWARD_STEPS = 1.0, 10
N_RECENT = 31  # the typical step is the median of this many last steps
N_SURE = 3  # with fewer steps, it is the shortest of them and of the average
BARE = ("h264", "hevc", "m4v", "mpegvideo", "mjpeg")  # FFmpeg's names of streams without container


def forward_limit_s(step_s: float) -> float:
    """Return the longest pause, in seconds, that is no jump in a stream with this typical step."""
    return max(FORWARD_S, FORWARD_STEPS * step_s)


def backward_limit_s(step_s: float) -> float:
    """Return how far time stamps can go backward from one frame to the next, in seconds, without
    being a jump in a stream with this typical step.
    """
    return max(BACKWARD_S, BACKWARD_STEPS * step_s)


class Clock:
    """Computes the times of one stream's frames, in seconds, one frame after the other.

    fps: the average rate. n_jumps: jumps corrected so far. now_s: the time of the last frame.
    """

    def __init__(self, fps: float, container: str) -> None:
        self.n_jumps = 0
        self._average_s = 1 / fps
        self.now_s = -self._average_s
        self._recent: deque[float] = deque(maxlen=N_RECENT)
        self._origin: int | None = None  # the stamp that corresponds to time 0
        self._back_s = 0.0  # size of the last jump back
        self._n_since_back = N_RECENT  # frames since then
        self._container = container

    @property
    def step_s(self) -> float:
        """How long the last frame is shown, in seconds: the average step or, after a jump, the
        typical step.
        """
        return self._typical_s() if self.n_jumps else self._average_s

    def read(self, picture: VideoFrame) -> float:
        """Return the time of the next frame, in seconds from the first frame."""
        tick = stamp(picture, self._container)
        if tick is None or picture.time_base is None:
            return self.tell(None)
        return self.tell(tick, float(picture.time_base))

    def tell(self, tick: int | None, tick_s: float = 0.0) -> float:
        """Return the time of the next frame from its stamp: `tick`, in units of `tick_s` seconds,
        or None if it has no stamp.
        """
        now_s = self.now_s + self._average_s
        if tick is not None:
            if self._origin is None:
                self._origin = tick - round(now_s / tick_s)
            stamped_s = (tick - self._origin) * tick_s
            ahead_s = stamped_s - self.now_s
            self._n_since_back += 1
            if abs(ahead_s) > BACKWARD_S and self._is_jump(ahead_s):
                self.n_jumps += 1
                stamped_s = self.now_s + self._typical_s()
                self._origin = tick - round(stamped_s / tick_s)
            if stamped_s > self.now_s:
                if self.now_s >= 0:
                    self._recent.append(stamped_s - self.now_s)
                now_s = stamped_s
        self.now_s = now_s
        return now_s

    def _is_jump(self, ahead_s: float) -> bool:
        """Return True if a stamp this far after the frame before it is a jump; note jumps back."""
        step_s = self._typical_s()
        forward_s, backward_s = forward_limit_s(step_s), backward_limit_s(step_s)
        if ahead_s < -backward_s:
            self._back_s, self._n_since_back = -ahead_s, 0
            return True
        undoes = abs(ahead_s - self._back_s) < backward_s
        return ahead_s > (backward_s if undoes or self._n_since_back < N_RECENT else forward_s)

    def _typical_s(self) -> float:
        if len(self._recent) < N_SURE:  # one wrong stamp at the start must not decide
            return min([*self._recent, self._average_s])
        return median_low(self._recent)


def typical_step_s(steps_s: Floats) -> float | None:
    """Return the median of steps [n], which are in ascending order, or None if there are none."""
    n = len(steps_s)
    return float(steps_s[(n - 1) // 2] + steps_s[n // 2]) / 2 if n else None


def has_jump(steps_s: Floats, decoding_times_s: Floats) -> bool:
    """Return True if the packets of a file show that its time stamps jump.

    steps_s: steps between presentation times, in ascending order, [n]. decoding_times_s: in file
    order, in which they go backward only if a clock was set back.
    """
    step_s = typical_step_s(steps_s)
    if step_s is None:
        return False
    back_s = -np.diff(decoding_times_s).min(initial=0.0)
    return bool(steps_s[-1] > forward_limit_s(step_s) or back_s > backward_limit_s(step_s))


def stamp(item: Packet[VideoStream] | VideoFrame, container: str) -> int | None:
    """Return when a packet or a frame is shown, in ticks of its time base, or None if it has no
    time.

    An AVI stores no presentation times, and FFmpeg's guesses at them come in the wrong order. The
    decoding time is used instead; it is later by the same few frames for all. A bare stream
    (without a container) stores no times at all: FFmpeg makes them up from a rate that can be
    wrong.
    """
    if container in BARE:
        return None
    return item.dts if container == "avi" else item.pts
