"""The metrics of every epoch of a training, in `history.csv` and for TensorBoard."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from vad.files import write_text


class History:
    """A log of named metrics, one row per epoch.

    If a training is resumed after epoch `after_epoch`, later rows in the file are dropped.
    """

    def __init__(self, folder: Path, after_epoch: int) -> None:
        self.path = folder / "history.csv"
        self.rows = [r for r in read_history(self.path) if r["epoch"] <= after_epoch]
        with warnings.catch_warnings():
            # importing tensorboard raises warnings about its own code
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=after_epoch + 1)

    def __enter__(self) -> History:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._board.close()

    def add(self, row: Mapping[str, float]) -> None:
        """Append the row of one epoch to both logs; `row` has the key "epoch" and any metrics."""
        self.rows.append(dict(row))
        columns = list(dict.fromkeys(name for r in self.rows for name in r))
        lines = [",".join(columns)]
        lines += [",".join(_text(r.get(name)) for name in columns) for r in self.rows]
        write_text(self.path, "\n".join(lines) + "\n")
        for name, value in row.items():
            if name != "epoch":
                self._board.add_scalar(name, value, int(row["epoch"]))


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the rows of a `history.csv`, or an empty list if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"
