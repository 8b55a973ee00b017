"""Progress on stderr: a bar on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from .terminal import plain

PLAIN_EVERY_S = 10.0


class Meter(Protocol):
    """What a running stage reports to."""

    def advance(self, n: int = 1) -> None:
        """`n` more units are done."""

    def note(self, text: str) -> None:
        """What it is doing now, or how fast."""


@contextmanager
def meter(what: str, total: int, *, unit: str, quiet: bool = False) -> Iterator[Meter]:
    """Show the progress of `total` units while the block runs."""
    if quiet or total == 0:
        yield _Silent()
    elif sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield _Bar(progress, what, total)
    else:
        yield _Lines(what, total, unit)


class _Silent:
    def advance(self, n: int = 1) -> None: ...

    def note(self, text: str) -> None: ...


class _Bar:
    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total, note="")

    def advance(self, n: int = 1) -> None:
        self._progress.advance(self._task, n)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=plain(text))


class _Lines:
    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done, self._note = 0, ""
        self._printed = time.monotonic()

    def advance(self, n: int = 1) -> None:
        self._done += n
        self._print(last=self._done >= self._total)

    def note(self, text: str) -> None:
        self._note = plain(text)
        self._print(last=False)

    def _print(self, *, last: bool) -> None:
        now = time.monotonic()
        if last or now - self._printed >= PLAIN_EVERY_S:
            self._printed = now
            rest = f"  {self._note}" if self._note else ""
            line = f"{self._what} {self._done}/{self._total} {self._unit}{rest}"
            print(line, file=sys.stderr, flush=True)
