"""Who does which video, when several processes fill one store in a bucket.

    .runs/<process>         written again every BEAT_S seconds: the process lives
    .claims/<video>/0       the process that has the video
    .claims/<video>/1       the one that took it over, when the first was dead

A claim is an object that is created only where there is none, so one process gets it; the highest
number counts. Nothing tells of a death here as locks do: a process counts as dead when it was not
heard of for LEASE_S seconds, by the clock of the object store, or, on the same host, when it is
gone. One that was only out of reach for so long has its videos done twice; the store is the same.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from typing import TYPE_CHECKING, Self

from ..errors import VadError
from ..keys import key_of
from .drafts import is_dead, owner

if TYPE_CHECKING:
    from .bucket import Bucket

RUNS = ".runs"
BEAT_S = 20.0
LEASE_S = 120.0


class Leases:
    """The claims of this process on videos of one store; see `Claims`."""

    poll_s = 5.0  # each look is a few requests a video

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._owner = f"{owner()}-{secrets.token_hex(4)}"
        self._mine: dict[str, list[str]] = {}  # keys of claims, by video; the last one is ours
        self._beat()
        self._ahead_s = bucket.modified_s(self._run(self._owner)) - time.time()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat_on, name="lease", daemon=True)
        self._heart.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._heart.join()
        with contextlib.suppress(VadError):  # they end by themselves
            for video_id in list(self._mine):
                self.release(video_id)
            self._bucket.delete([self._run(self._owner)])

    def take(self, video_id: str) -> bool:
        """Claim a video; False while another process that lives has it."""
        if video_id in self._mine:
            return True
        folder = f".claims/{key_of(video_id)}"
        numbers = sorted(map(int, self._bucket.files(folder)))
        if numbers and self._holds(f"{folder}/{numbers[-1]}"):
            return False
        numbers.append(numbers[-1] + 1 if numbers else 0)
        if not self._bucket.create(f"{folder}/{numbers[-1]}", self._owner.encode()):
            return False
        self._mine[video_id] = [f"{folder}/{number}" for number in numbers]
        return True

    def release(self, video_id: str) -> None:
        """Let others have it."""
        for key in self._mine.pop(video_id, []):  # ours last: until then nobody else gets one
            self._bucket.delete([key])

    def _holds(self, claim: str) -> bool:
        """Whether the owner of a claim lives."""
        try:
            holder = self._bucket.read(claim).decode()
            if is_dead(holder):
                return False
            heard_s = self._bucket.modified_s(self._run(holder))
        except FileNotFoundError:  # it ended just now, or its process did
            return False
        return time.time() + self._ahead_s - heard_s < LEASE_S

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(VadError):  # the next one may get through
                self._beat()

    def _beat(self) -> None:
        self._bucket.write(self._run(self._owner), b"")

    def _run(self, process: str) -> str:
        return f"{RUNS}/{process}"
