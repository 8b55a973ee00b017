"""Claims: which of several processes that fill one store works on which video.

`FileClaims`, for a store in a folder. A claim is a lock on one byte of the file `.claims` in the
store; the byte follows from the video's id. The operating system releases the locks of a process
when it ends, however it ends, so nothing needs to be cleaned up. On file systems without locks
(some cluster mounts) every process gets every claim: work is done twice, the store is still right.

`ObjectClaims`, for a store in a bucket:

    .runs/<process>         written again every BEAT_S seconds while the process lives
    .claims/<video>/0       names the process that has the video
    .claims/<video>/1       names the process that took the video over after the first one died

A claim is an object that is created only if there is none, so exactly one process gets it; the
highest number counts. Object stores do not release claims when a process dies, so a process is
presumed dead once its heartbeat in `.runs` is older than LEASE_S by the clock of the object store,
or, on this host, once there is no such process. If it was only disconnected, its videos are
computed twice, with the same result.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import secrets
import threading
import time
from pathlib import Path
from typing import Self

from ...errors import VadError
from ...names import key_of
from .objects import Objects
from .scratch import is_dead, owner

RUNS = ".runs"
BEAT_S = 20.0
LEASE_S = 120.0


class FileClaims:
    """The claims of this process on videos of a store in a folder; see `Claims`.

    Make one object for each store and process: POSIX locks belong to the process, so closing a
    second one would release the locks of the first.
    """

    poll_s = 1.0

    def __init__(self, store: Path) -> None:
        self._file = (store / ".claims").open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, video_id: str) -> bool:
        """Claim a video; False while another process has it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte_of(video_id))
        except OSError as error:  # POSIX allows two codes for "taken"; others mean: no locks here
            return error.errno not in (errno.EAGAIN, errno.EACCES)
        return True

    def release(self, video_id: str) -> None:
        """Release a claim."""
        with contextlib.suppress(OSError):  # this file system has no locks
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte_of(video_id))


def _byte_of(video_id: str) -> int:
    digest = hashlib.sha256(video_id.encode()).digest()
    return int.from_bytes(digest[:6], "big")


class ObjectClaims:
    """The claims of this process on videos of a store in a bucket; see `Claims`."""

    poll_s = 5.0  # each look takes a few requests for every video

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._owner = f"{owner()}-{secrets.token_hex(4)}"
        self._mine: dict[str, list[str]] = {}  # keys of claims, by video; the last one is ours
        self._beat()
        self._ahead_s = objects.modified_s(self._run(self._owner)) - time.time()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, name="lease", daemon=True)
        self._heart.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._heart.join()
        with contextlib.suppress(VadError):  # claims that stay expire
            for video_id in list(self._mine):
                self.release(video_id)
            self._objects.delete([self._run(self._owner)])

    def take(self, video_id: str) -> bool:
        """Claim a video; False while another living process has it."""
        if video_id in self._mine:
            return True
        folder = f".claims/{key_of(video_id)}"
        numbers = sorted(map(int, self._objects.files(folder)))
        if numbers and self._is_held(f"{folder}/{numbers[-1]}"):
            return False
        numbers.append(numbers[-1] + 1 if numbers else 0)
        if not self._objects.create(f"{folder}/{numbers[-1]}", self._owner.encode()):
            return False
        self._mine[video_id] = [f"{folder}/{number}" for number in numbers]
        return True

    def release(self, video_id: str) -> None:
        """Release a claim."""
        for key in self._mine.pop(video_id, []):  # our own last: until then nobody gets a new one
            self._objects.delete([key])

    def _is_held(self, claim: str) -> bool:
        """Whether the owner of a claim lives."""
        try:
            holder = self._objects.read(claim).decode()
            if is_dead(holder):
                return False
            heard_s = self._objects.modified_s(self._run(holder))
        except FileNotFoundError:  # it was released just now, or its process ended
            return False
        return time.time() + self._ahead_s - heard_s < LEASE_S

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(VadError):  # the next one may get through
                self._beat()

    def _beat(self) -> None:
        self._objects.write(self._run(self._owner), b"")

    def _run(self, process: str) -> str:
        return f"{RUNS}/{process}"
