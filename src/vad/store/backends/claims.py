"""Claims: they decide which of several processes that fill one store works on which video.

`FileClaims` is for a store in a folder. A claim is a lock on one byte of the file `.claims` in the
store; the byte's position is computed from the video's id. The operating system releases the locks
of a process when the process ends for any reason, so nothing needs to be cleaned up. On file
systems without locks (some cluster mounts) every process gets every claim: work is done twice, but
the store stays correct.

`ObjectClaims` is for a store in a bucket:

    .runs/<process>         written again every BEAT_S seconds while the process lives
    .claims/<video>/0       names the process that has the video
    .claims/<video>/1       names the process that took the video over after the first one died

A claim is an object that is created only if it does not exist, so exactly one process gets it; the
highest number counts. Object stores do not release claims when a process dies. So a process counts
as dead if its heartbeat in `.runs` is older than LEASE_S by the clock of the object store or, on
this host, if the process does not exist. If it was only disconnected, its videos are computed
twice, with the same result.
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
from ...scratch import is_dead, owner
from .objects import Objects

RUNS = ".runs"
BEAT_S = 20.0
LEASE_S = 120.0


class FileClaims:
    """The claims of this process on videos of a store in a folder; see `Claims`.

    Create one object per store and process: POSIX locks belong to the process, so closing a second
    one would release the locks of the first.
    """

    poll_s = 1.0

    def __init__(self, store: Path) -> None:
        self._file = (store / ".claims").open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, video_id: str) -> bool:
        """Claim a video. Return False if another process has claimed it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte_of(video_id))
        except OSError as error:  # two codes mean that it is taken; others, that there are no locks
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

    poll_s = 5.0  # each attempt takes a few requests per video

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._owner = f"{owner()}-{secrets.token_hex(4)}"
        self._mine: dict[
            str, list[str]
        ] = {}  # video -> keys of its claims, the last of which is ours
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
        with contextlib.suppress(VadError):  # claims that are not released expire
            for video_id in list(self._mine):
                self.release(video_id)
            self._objects.delete([self._run(self._owner)])

    def take(self, video_id: str) -> bool:
        """Claim a video. Return False if another living process has claimed it."""
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
        for key in self._mine.pop(
            video_id, []
        ):  # our own is deleted last: until then, no other process gets one
            self._objects.delete([key])

    def _is_held(self, claim: str) -> bool:
        """Return True if the process that owns a claim is alive."""
        try:
            holder = self._objects.read(claim).decode()
            if is_dead(holder):
                return False
            heard_s = self._objects.modified_s(self._run(holder))
        except FileNotFoundError:  # the claim has just been released, or its process has ended
            return False
        return time.time() + self._ahead_s - heard_s < LEASE_S

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(VadError):  # the next heartbeat can succeed
                self._beat()

    def _beat(self) -> None:
        self._objects.write(self._run(self._owner), b"")

    def _run(self, process: str) -> str:
        return f"{RUNS}/{process}"
