"""`--shard I/N`: the share of the videos that one of N processes does.

Which shard a video belongs to follows from its id alone, so that the processes need neither a
scheduler nor each other, and a video stays in its shard when others come or go.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from .errors import UsageError


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `index` of `n`, counted from 1. Raises UsageError if there is no such shard."""

    index: int = 1
    n: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.n:
            raise UsageError(
                f"there is no shard {self.index}/{self.n}",
                hint=f"shards count from 1: --shard 1/{max(self.n, 1)}",
            )

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """`2/8` is the second of eight; None is all there is. Raises UsageError."""
        if text is None:
            return cls()
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found:
            raise UsageError(f"--shard {text}: write I/N, such as 2/8")
        return cls(int(found[1]), int(found[2]))

    def __contains__(self, video_id: object) -> bool:
        digest = hashlib.sha256(str(video_id).encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.n == self.index - 1
