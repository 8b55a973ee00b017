"""The course of a training: `history.csv` and TensorBoard, an entry an epoch."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from vad.files import write_text


class History:
    """Named figures an epoch. A resumed run goes on after the epoch it resumes from."""

    def __init__(self, folder: Path, after_epoch: int) -> None:
        self.path = folder / "history.csv"
        self.rows = [r for r in read_history(self.path) if r["epoch"] <= after_epoch]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorboard warns of itself
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
        """Note an epoch; `row` has `epoch` and any figures."""
        self.rows.append(dict(row))
        columns = list(dict.fromkeys(name for r in self.rows for name in r))
        lines = [",".join(columns)]
        lines += [",".join(_text(r.get(name)) for name in columns) for r in self.rows]
        write_text(self.path, "\n".join(lines) + "\n")
        for name, value in row.items():
            if name != "epoch":
                self._board.add_scalar(name, value, int(row["epoch"]))


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a `history.csv`, none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"
