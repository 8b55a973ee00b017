"""All errors that a user can meet, with the exit codes of the command.

VadError
├── UsageError (2)     a command, a file or a setting that the user gave was wrong
├── VideoError (3)     one video only: the command goes on and lists it in failures.jsonl
└── InternalError (70) a fault of vad itself
"""

from __future__ import annotations

from typing import Literal, get_args

Reason = Literal[
    "empty",  # the file has no bytes
    "unreadable",  # the file cannot be opened: missing, or no permission
    "not-a-video",  # no known container, or one without a video stream
    "no-frames",  # a video stream from which not one frame can be decoded
    "too-short",  # fewer frames than the tail policy `drop` needs for one snippet
    "truncated",  # the video ends earlier than its header declares
    "damaged",  # too many of its packets cannot be decoded
    "too-large",  # its frames have more pixels than allowed
    "timeout",  # the decoder stopped answering
    "crashed",  # the decoder process died
    "mismatch",  # its features differ in length from its frames, or from each other
    "changed",  # its file was written to or replaced while it was read
    "vanished",  # its file was removed while it was read
    "not-finite",  # its features overflow the stored dtype, or are NaN
    "not-intact",  # its stored data is damaged or incomplete
]
REASONS: tuple[str, ...] = get_args(Reason)


class VadError(Exception):
    """An error with one line that says what went wrong and, as a hint, what to try."""

    exit_code = 1

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(f"{what}; {hint}" if hint else what)


class UsageError(VadError):
    """The user's input is wrong: a command, a file or a setting."""

    exit_code = 2


class VideoError(VadError):
    """One video cannot be used. `reason` is one of `REASONS`."""

    exit_code = 3

    def __init__(self, reason: Reason, what: str, *, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.reason = reason

    def __reduce__(self) -> tuple[type[VideoError], tuple[Reason, str]]:
        return type(self), (
            self.reason,
            str(self),
        )  # for pickle: worker processes send it to their parent


class InternalError(VadError):
    """A fault of `vad` itself, which should not have been possible."""

    exit_code = 70
