"""Who does which video, when several processes fill one store.

A claim is a lock on one byte of the file `.claims` in the store; which byte follows from the
video's id. The system lets go of the locks of a process that ends, however it ends, so no claim
outlives its owner and nothing needs to be cleaned up. Where a file system keeps no locks (some
cluster mounts), every process gets every claim: work is done twice, and the store is still right.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
from pathlib import Path
from typing import Self


class Claims:
    """The claims of this process on videos of one store. One object a store and process.

    (Closing a second one would let go of the locks of the first: they belong to the process.)
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
        except OSError as error:  # POSIX allows two answers; any other means: no locks here
            return error.errno not in (errno.EAGAIN, errno.EACCES)
        return True

    def release(self, video_id: str) -> None:
        """Let others have it."""
        with contextlib.suppress(OSError):  # no locks on this file system
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _byte_of(video_id))


def _byte_of(video_id: str) -> int:
    digest = hashlib.sha256(video_id.encode()).digest()
    return int.from_bytes(digest[:6], "big")
