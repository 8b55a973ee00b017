"""What goes to a terminal: text from outside, made safe to print, and progress on stderr.

Progress is a bar if stderr is a terminal, otherwise a line every ten seconds. A program that shows
progress itself receives it by `told_to`.
"""

from __future__ import annotations

import logging
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control characters, text direction, surrogates, line ends
PLAIN_EVERY_S = 10.0  # seconds between two lines of progress


def plain(text: str) -> str:
    r"""Return text as one line in which control characters are escaped, such as `\x1b`.

    Unescaped, they could recolour a terminal, rename its window, or hide and reverse the text that
    follows.
    """
    return "".join(_escaped(c) if unicodedata.category(c) in UNSEEN else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


class PlainFormatter(logging.Formatter):
    """Formats log records as single lines without control characters; see `plain`."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


class Meter:
    """Receives the progress of a stage. This base class counts units, but displays nothing."""

    def __init__(self, total: int = 0) -> None:
        self._total, self._n_done = total, 0
        self._shares: dict[str, float] = {}  # done share of each unit under way, by name
        self._note = ""

    def advance(self, n: int = 1, *, name: str = "") -> None:
        """Count `n` more units as done; `name` is the unit under way that has ended, if any."""
        self._n_done += n
        self._shares.pop(name, None)
        self._show()

    def under_way(self, name: str, share: float) -> None:
        """Set the done share, 0 to 1, of the unit `name`, so that a long unit moves the bar."""
        self._shares[name] = min(share, 1.0)
        self._show()

    def note(self, text: str) -> None:
        """Set the text beside the progress, such as the current work or its speed."""
        self._note = plain(text)
        self._show()

    @property
    def done(self) -> float:
        """Return how much is done, in units; units under way count by their shares."""
        return self._n_done + sum(self._shares.values())

    def _show(self) -> None: ...


@contextmanager
def meter(what: str, total: int, *, unit: str, quiet: bool = False) -> Iterator[Meter]:
    """Yield a meter that shows the progress of `total` units while the block runs."""
    if _listener is not None:
        yield _Told(what, total, unit, _listener)
    elif quiet or total == 0:
        yield Meter()
    elif sys.stderr.isatty():
        with _shown(unit) as progress:
            bar = _Bar(progress, what, total)
            try:
                yield bar
            finally:
                bar.remove()
    else:
        yield _Lines(what, total, unit)


Listener = Callable[[float, str], None]  # receives the done share, 0 to 1, and words about it
_listener: Listener | None = None


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Call a function with the progress of every meter while the block runs; show no progress."""
    global _listener
    _listener = listener
    try:
        yield
    finally:
        _listener = None


class _Told(Meter):
    def __init__(self, what: str, total: int, unit: str, listener: Listener) -> None:
        super().__init__(total)
        self._what, self._unit, self._listener = what, unit, listener
        self._show()

    def _show(self) -> None:
        words = f"{self._what}, {self._n_done} of {self._total} {self._unit}"
        self._listener(self.done / max(1, self._total), f"{words}  {self._note}".rstrip())


_progress: Progress | None = None  # what is shown now: a terminal has one, with several bars


@contextmanager
def _shown(unit: str) -> Iterator[Progress]:
    global _progress
    if _progress is not None:
        yield _progress
        return
    from rich import progress as rich
    from rich.console import Console
    from rich.table import Column

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=20),
        rich.MofNCompleteColumn(),
        rich.TextColumn(unit),
        rich.TaskProgressColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn(
            "{task.fields[note]}",
            style="dim",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis"),
        ),
    )
    try:
        with rich.Progress(*columns, console=Console(stderr=True), transient=True) as _progress:
            yield _progress
    finally:
        _progress = None


class _Bar(Meter):
    def __init__(self, progress: Progress, what: str, total: int) -> None:
        super().__init__(total)
        self._progress = progress
        self._task = progress.add_task(what, total=total, note="")

    def remove(self) -> None:
        """Take the bar away, as what it measured has ended."""
        self._progress.remove_task(self._task)

    def _show(self) -> None:
        self._progress.update(self._task, completed=self.done, note=self._note)


class _Lines(Meter):
    def __init__(self, what: str, total: int, unit: str) -> None:
        super().__init__(total)
        self._what, self._unit = what, unit
        self._printed = time.monotonic()

    def _show(self) -> None:
        now = time.monotonic()
        if self._n_done < self._total and now - self._printed < PLAIN_EVERY_S:
            return
        self._printed = now
        line = f"{self._what} {self._n_done}/{self._total} {self._unit}"
        if self._shares:
            line += f", {self.done / self._total:.0%}"
        print(line + (f"  {self._note}" if self._note else ""), file=sys.stderr, flush=True)
