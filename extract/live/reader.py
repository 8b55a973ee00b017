"""The process that reads a live source, and the way to talk to it.

A source may block a call for ever, or crash the library that reads it. Both cost this process
alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vad.errors import VideoError

from ..child import Child, Parent, limit_memory
from ..decoders.clock import FORWARD_S, Clock
from ..decoders.pyav import Painter
from ..decoders.video import Limits, Packets, describe
from .source import LiveSource, open_source


@dataclass(frozen=True, slots=True)
class Opened:
    """A source could be opened, and this is its first picture's kind."""

    width: int
    height: int
    fps: float
    codec: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture."""

    rgb: NDArray[np.uint8]  # [height, width, 3]
    time_s: float  # by the clock of the source, from the first frame of this connection
    due_s: float | None  # by that clock and the pace asked for; None where nobody waits for it
    arrived_s: float  # Unix time at which it was decoded


class Reader(Child):
    """A reader process, seen from here."""

    def __init__(self, source: LiveSource, limits: Limits) -> None:
        super().__init__(__name__)
        self._task = {"source": asdict(source), "limits": asdict(limits)}

    def read(self, time_limit_s: float) -> Iterator[Opened | Frame]:
        """What it sends, until the source ends.

        Raises VideoError where the source fails, dies with the process, or is silent for longer
        than the limit.
        """
        self.wait_until_ready()
        try:
            self._send(self._task, time_limit_s)
            yield from self._messages()
        except TimeoutError:
            self.close()
            raise VideoError("timeout", f"no picture for {time_limit_s:g} s") from None
        except (EOFError, ConnectionError):
            raise VideoError("crashed", f"its reader process died ({self.close()})") from None

    def _messages(self) -> Iterator[Opened | Frame]:
        shape = (0, 0, 3)
        while True:
            message = self._receive()
            match message.pop("event"):
                case "opened":
                    opened = Opened(**message)
                    shape = (opened.height, opened.width, 3)
                    yield opened
                case "frame":
                    rgb = np.empty(shape, np.uint8)
                    self._fill(rgb)
                    yield Frame(rgb, **message)
                case "failed":
                    raise VideoError(message["reason"], message["what"])
                case "ended":
                    return


def serve(parent: Parent) -> None:
    """The life of a reader process: one source, to its end or its parent's."""
    task = next(parent.tasks())
    source, limits = LiveSource(**task["source"]), Limits(**task["limits"])
    limit_memory(limits.memory_bytes)
    try:
        for message, *arrays in _pictures(source, limits):
            parent.send(message, *arrays)
        parent.send({"event": "ended"})
    except ConnectionError:
        return
    except VideoError as error:
        parent.send({"event": "failed", "reason": error.reason, "what": str(error)})
    except Exception as error:  # whatever a source may cause, it is that source's failure alone
        what = f"its decoder failed: {type(error).__name__}"
        parent.send({"event": "failed", "reason": "crashed", "what": what})


def _pictures(source: LiveSource, limits: Limits) -> Iterator[tuple[Any, ...]]:
    """What to say of a source: messages, and the pixels that follow those of frames."""
    painter: Painter | None = None
    started_s, base_s, n_seen = 0.0, 0.0, -1
    n_frames = 0
    while n_seen < n_frames:  # a file without a frame is not played for ever
        n_seen = n_frames
        with open_source(source, limits) as (container, stream):
            clock: Clock | None = None
            for packet in Packets(container, stream):
                try:
                    pictures = packet.decode()
                except av.FFmpegError:
                    continue  # a damaged packet: what follows may be whole
                for picture in pictures:
                    if painter is None:
                        info = describe(container, stream, picture, 0, limits)
                        painter, started_s = Painter(info), time.monotonic()
                        fps = float(info.fps)
                        yield ({"event": "opened", **asdict(_opened(info, fps))},)
                    if clock is None:
                        clock = Clock(float(info.fps), info.container)
                    time_s = base_s + clock.read(picture)
                    due_s = _wait(source, time_s, started_s)
                    message = {"event": "frame", "time_s": time_s, "due_s": due_s}
                    yield message | {"arrived_s": time.time()}, painter.rgb(picture)
                    n_frames += 1
            if clock is not None:
                base_s += clock.now_s + clock.step_s
        if not source.loop:
            break
    if n_frames == 0:
        raise VideoError("no-frames", "not one of its frames can be decoded")


def _opened(info: Any, fps: float) -> Opened:
    return Opened(info.width, info.height, fps, info.codec)


def _wait(source: LiveSource, time_s: float, started_s: float) -> float | None:
    """When a frame is due by the pace of its source; a file played like a camera waits for it."""
    if not source.is_live:
        return None
    if source.kind != "file":
        return time_s
    due_s = time_s / source.speed
    time.sleep(min(FORWARD_S, max(0.0, started_s + due_s - time.monotonic())))
    return due_s
