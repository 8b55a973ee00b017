"""Every error a user can meet, and the exit code it ends the command with.

VadError
├── UsageError (2)     the command, a file or a setting given to it was wrong
├── VideoError (3)     this video only: the run goes on and lists it in failures.jsonl
└── InternalError (70) a fault of vad itself
"""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "empty",  # the file has no bytes
    "unreadable",  # it cannot be opened: missing, or no permission
    "not-a-video",  # no known container, or one without a video stream
    "no-frames",  # a video stream from which not one frame can be decoded
    "too-short",  # fewer frames than the tail policy `drop` needs for one snippet
    "truncated",  # it ends earlier than it declares
    "damaged",  # too many of its packets cannot be decoded
    "too-large",  # its pictures have more pixels than allowed
    "timeout",  # the decoder stopped answering
    "crashed",  # the decoder process died
    "mismatch",  # its features have another length than its frames, or than its other features
    "changed",  # its file was written to or replaced while it was read
    "vanished",  # its file was removed while it was read
    "not-finite",  # its features overflow the stored type, or are not numbers
    "not-intact",  # what the store holds of it is damaged or incomplete
]
REASONS: tuple[str, ...] = get_args(Reason)


class VadError(Exception):
    """What went wrong, in one line, and the one thing to try."""

    exit_code = 1

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(f"{what}; {hint}" if hint else what)


class UsageError(VadError):
    """The person's input: a command, a file, a setting."""

    exit_code = 2


class VideoError(VadError):
    """One video cannot be used. `reason` is one of `REASONS`."""

    exit_code = 3

    def __init__(self, reason: Reason, what: str, *, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[Reason, str]]:
        return type(self), (self.reason, str(self))  # it crosses process borders


class InternalError(VadError):
    """A fault of `vad`: it should not have been possible."""

    exit_code = 70
