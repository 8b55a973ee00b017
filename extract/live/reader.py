"""The process that reads a live source, and the parent's handle to it.

A source can block a call for ever, or crash the library that reads it. Either harms only this
process.
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
from ..decoders.video import Limits, Packets, VideoInfo, describe
from .source import LiveSource, open_source


@dataclass(frozen=True, slots=True)
class Opened:
    """Event: a source was opened; size, rate and codec of its first frame."""

    width: int
    height: int
    fps: float
    codec: str
    fps_assumed: bool  # the source declares no rate


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a source."""

    rgb: NDArray[np.uint8]  # [height, width, 3]
    time_s: float  # by the source's clock, from the first frame of this connection
    due_s: float | None  # when it should arrive, by that clock and speed; None if not paced
    arrived_s: float  # Unix time at which it was decoded
    jumped: bool  # its time stamp is a jump, which was corrected; see `decoders.clock`
    rescaled: bool  # it had another size than the first frame


class Reader(Child):
    """The parent's handle to a reader process."""

    def __init__(self, source: LiveSource, limits: Limits) -> None:
        super().__init__(__name__)
        self._task = {"source": asdict(source), "limits": asdict(limits)}

    def read(self, time_limit_s: float) -> Iterator[Opened | Frame]:
        """Read the source: yield one `Opened` and then frames, until the source ends.

        Raises VideoError if the source fails, the process dies, or no frame comes for
        `time_limit_s` seconds.
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
    """Run in the reader process: read one source until it ends or the parent closes the socket."""
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
    except Exception as error:  # any other error is reported as the source's failure
        what = f"its decoder failed: {type(error).__name__}"
        parent.send({"event": "failed", "reason": "crashed", "what": what})


def _pictures(source: LiveSource, limits: Limits) -> Iterator[tuple[Any, ...]]:
    """Read a source and yield the messages to send about it, each with the pixels that
    follow it.
    """
    painter: Painter | None = None
    started_s, base_s, n_seen = 0.0, 0.0, -1
    n_frames = 0
    while n_seen < n_frames:  # stop looping a file that has no frames
        n_seen = n_frames
        with open_source(source, limits) as (container, stream):
            clock: Clock | None = None
            for packet in Packets(container, stream):
                try:
                    pictures = packet.decode()
                except av.FFmpegError:
                    continue  # a damaged packet: later ones can be good
                for picture in pictures:
                    if painter is None:
                        info = describe(container, stream, picture, 0, limits)
                        painter, started_s = Painter(info), time.monotonic()
                        yield ({"event": "opened", **asdict(_opened(info))},)
                    if clock is None:
                        clock = Clock(float(info.fps), info.container)
                    n_jumps, n_rescaled = clock.n_jumps, painter.n_rescaled
                    time_s = base_s + clock.read(picture)
                    rgb = painter.rgb(picture)
                    message = {
                        "event": "frame",
                        "time_s": time_s,
                        "due_s": _wait(source, time_s, started_s),
                        "arrived_s": time.time(),
                        "jumped": clock.n_jumps > n_jumps,
                        "rescaled": painter.n_rescaled > n_rescaled,
                    }
                    yield message, rgb
                    n_frames += 1
            if clock is not None:
                base_s += clock.now_s + clock.step_s
        if not source.loop:
            break
    if n_frames == 0:
        raise VideoError("no-frames", "not one of its frames can be decoded")


def _opened(info: VideoInfo) -> Opened:
    return Opened(info.width, info.height, float(info.fps), info.codec, info.fps_assumed)


def _wait(source: LiveSource, time_s: float, started_s: float) -> float | None:
    """Return when a frame is due, in seconds, or None if the source is not paced. For a file played
    at camera speed, wait until then.
    """
    if not source.is_live:
        return None
    if source.kind != "file":
        return time_s
    due_s = time_s / source.speed
    time.sleep(min(FORWARD_S, max(0.0, started_s + due_s - time.monotonic())))
    return due_s
