"""The metrics of every epoch of a training, in `history.csv`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from vad.errors import UsageError
from vad.files import write_text
from vad.tables import read_rows


class History:
    """A log of named metrics, one row per epoch.

    If a training is resumed after epoch `after_epoch`, later rows in the file are dropped. Raises
    UsageError if the file does not have the row of every epoch up to there.
    """

    def __init__(self, folder: Path, after_epoch: int) -> None:
        self.path = folder / "history.csv"
        before = read_history(self.path) if after_epoch else []
        self.rows = [row for row in before if row["epoch"] <= after_epoch]
        if [row["epoch"] for row in self.rows] != list(range(1, after_epoch + 1)):
            raise UsageError(f"{self.path} lacks some of the {after_epoch} epochs that are done")

    def add(self, row: Mapping[str, float]) -> None:
        """Append the row of one epoch to the file; `row` has the key "epoch" and any metrics."""
        self.rows.append(dict(row))
        columns = list(dict.fromkeys(name for r in self.rows for name in r))
        lines = [",".join(columns)]
        lines += [",".join(_text(r.get(name)) for name in columns) for r in self.rows]
        write_text(self.path, "\n".join(lines) + "\n")


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of a `history.csv`, or an empty list if the file does not exist.

    Raises UsageError if the file is damaged.
    """
    if not path.exists():
        return []
    rows = []
    for where, row in read_rows(path, ("epoch",)):
        try:
            values = {name: float(text) for name, text in row.items() if text}
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from None
        if "epoch" not in values or not all(map(math.isfinite, values.values())):
            raise UsageError(f"{where}: a value is missing, or is no finite number")
        rows.append(values)
    return rows


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"
