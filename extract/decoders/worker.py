"""A decoder process: the way to talk to it, and what it does.

    this process                                        the decoder process
    ------------                                        -------------------
    task, a line of JSON    --------------------------> scan, decode, cut into clips
    events                  <-------------------------- a line of JSON; after one that announces
                                                        a clip, the bytes of the clip
    its end of the socket closes ---------------------> ends, whatever it is doing

It is a new Python process, never a fork, which decoders do not survive. It decodes one video at
a time on one thread and sends a clip as soon as it is full; where nobody reads, the socket fills
and it waits.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import InternalError, VideoError
from vad.grid import CLIP_FRAMES, ClipGrid

from . import DecodeReport, read_frames
from .video import Limits, VideoInfo, scan

BLOCK_BYTES = 256 * 2**20  # of pictures in one Clips event, unless a single clip has more
SOCKET_BYTES = 2**20  # in flight; with less, both sides wake up more often
START_LIMIT_S = 120.0  # for a new process to import what it needs


@dataclass(frozen=True, slots=True)
class Opened:
    """A video could be opened; its clips follow."""

    index: int  # position of the video in the paths given
    info: VideoInfo


@dataclass(frozen=True, slots=True)
class Clips:
    """The next clips of a video."""

    index: int
    rgb: NDArray[np.uint8]  # [clips, 16, height, width, 3]
    times: NDArray[np.float64]  # [frames] in seconds, without those that fill the last clip


@dataclass(frozen=True, slots=True)
class Decoded:
    """A video was decoded to its end; all its clips have been handed out."""

    index: int
    report: DecodeReport


@dataclass(frozen=True, slots=True)
class Failed:
    """A video cannot be used, whatever of it was handed out."""

    index: int
    error: VideoError


Event = Opened | Clips | Decoded | Failed


class Worker:
    """A decoder process, seen from here."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        self._reader = self._socket.makefile("rb")
        self._is_ready = False
        self.n_videos = 0  # that it was given
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-c",
                    f"from {__name__} import serve; serve({theirs.fileno()})",
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # It finds the modules that this process finds, and starts no threads for algebra.
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                },
                start_new_session=True,  # Ctrl-C is for this process, which ends the worker
            )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Raises InternalError if the process does not get as far as waiting for a task."""
        if self._is_ready:
            return
        self._socket.settimeout(START_LIMIT_S)
        try:
            self._receive()
        except (TimeoutError, EOFError, ConnectionError) as error:
            raise InternalError(
                f"a decoder process did not start ({self.close()})", hint="see its message above"
            ) from error
        self._is_ready = True

    def decode(
        self, index: int, task: dict[str, Any], clips_per_block: int, time_limit_s: float
    ) -> Iterator[Event]:
        """Events of one video. Raises TimeoutError, EOFError or ConnectionError."""
        self.n_videos += 1
        self._socket.settimeout(time_limit_s)
        self._socket.sendall(_line(task))
        block = np.empty((0, CLIP_FRAMES, 0, 0, 3), np.uint8)
        times: list[NDArray[np.float64]] = []  # of the clips in the block
        while True:
            message = self._receive()
            match message.pop("event"):
                case "opened":
                    info = VideoInfo(**{**message, "fps": Fraction(message["fps"])})
                    shape = (CLIP_FRAMES, info.height, info.width, 3)
                    n_clips = max(1, min(clips_per_block, BLOCK_BYTES // int(np.prod(shape))))
                    yield Opened(index, info)
                case "clip":
                    if not times:
                        block = np.empty((n_clips, *shape), np.uint8)
                    self._fill(block[len(times)])
                    times.append(np.empty(message["n_frames"]))
                    self._fill(times[-1])
                    if len(times) == n_clips:
                        yield Clips(index, block, np.concatenate(times))
                        times = []
                case "decoded":
                    if times:
                        yield Clips(index, block[: len(times)], np.concatenate(times))
                    yield Decoded(index, DecodeReport(**message))
                    return
                case "failed":
                    yield Failed(index, VideoError(message["reason"], message["what"]))
                    return

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> str:
        """End the process and let go of all it holds. Returns how it ended."""
        self._process.kill()
        code = self._process.wait()
        self._reader.close()
        self._socket.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _receive(self) -> dict[str, Any]:
        line = self._reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        message: dict[str, Any] = json.loads(line)
        return message

    def _fill(self, array: NDArray[Any]) -> None:
        if self._reader.readinto(array.data.cast("B")) < array.nbytes:
            raise EOFError


def serve(descriptor: int) -> None:
    """The life of a decoder process: it decodes what it is told to until its parent is gone."""
    parent = socket.socket(fileno=descriptor)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    parent.sendall(_line({"event": "ready"}))
    # What decoders write to stderr from here on would run through the parent's progress bar.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for line in parent.makefile("rb"):
        try:
            for message, *arrays in _messages(json.loads(line)):
                parent.sendall(_line(message))
                for array in arrays:
                    parent.sendall(np.ascontiguousarray(array).data.cast("B"))
        except ConnectionError:
            return


def _end_with(parent: socket.socket) -> None:
    """End this process when its parent's end of the socket closes, whatever it is doing."""
    hang_up = select.poll()
    hang_up.register(parent, 0)  # of all events, only those that cannot be masked
    hang_up.poll()
    os._exit(0)


def _messages(task: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """What to say of a video: messages, each with the arrays that follow it."""
    path, limits, grid = Path(task["path"]), Limits(**task["limits"]), ClipGrid(task["tail"])
    limit_memory(limits.memory_bytes)
    try:
        scanned = scan(path, limits)
        yield ({"event": "opened", **asdict(scanned.info), "fps": str(scanned.info.fps)},)
        for part in read_frames(
            path,
            scanned,
            decoder=task["decoder"],
            limits=limits,
            accept_truncated=task["accept_truncated"],
        ):
            if isinstance(part, DecodeReport):
                if grid.n_snippets(part.n_frames) == 0:
                    raise VideoError(
                        "too-short",
                        f"its {part.n_frames} frames make no snippet where the tail is dropped",
                        hint="--tail repeat-last",
                    )
                yield ({"event": "decoded", **asdict(part)},)
                return
            for clip in grid.clips([part.rgb]):  # one, or none of a tail that is dropped
                yield {"event": "clip", "n_frames": len(part.times_s)}, clip, part.times_s
    except VideoError as error:
        yield ({"event": "failed", "reason": error.reason, "what": str(error)},)
    except Exception as error:  # whatever a file may cause, it is that file's failure alone
        what = f"its decoder failed: {type(error).__name__}: {error}"
        yield ({"event": "failed", "reason": "crashed", "what": what},)


def limit_memory(n_bytes: int) -> None:
    """Let a file that would fill the machine's memory fail in this process."""
    if sys.platform == "linux":  # others do not keep to this limit
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = n_bytes if hard == resource.RLIM_INFINITY else min(n_bytes, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
