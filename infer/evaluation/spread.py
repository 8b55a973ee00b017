"""Mean and deviation of the figures of several runs, such as those that differ in their seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from vad.errors import UsageError
from vad.stages.train.run import Run, in_words

from .metrics import Metrics
from .result import Evaluation
from .tables import sections, shown, table


class Spread(NamedTuple):
    """A figure of several runs. Its text is "0.8540 (0.0050)": mean, and deviation in brackets."""

    mean: float
    deviation: float  # root of the mean squared distance from the mean, as numpy.std has it
    lowest: float
    highest: float
    n: int  # number of runs

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        mean = math.fsum(values) / len(values)
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
        return cls(mean, deviation, min(values), max(values), len(values))

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.deviation:.4f})"


def spread(results: Iterable[Run] | Iterable[Evaluation]) -> dict[str, Spread]:
    """Return the spread of every figure that all results have, by its name.

    Raises UsageError if there is no result.
    """
    every = [_figures(result) for result in results]
    if not every:
        raise UsageError("no runs and no evaluations: there is no spread of nothing")
    names = [name for name in every[0] if all(name in figures for figures in every)]
    return {name: Spread.of([figures[name] for figures in every]) for name in names}


def _figures(result: Run | Evaluation) -> dict[str, float]:
    if isinstance(result, Run):
        return {**result.figures, "threshold": result.threshold}
    return {name: value for name, value, _, _ in result.figures.rows() if value is not None}


def seeds_table(runs: Sequence[Run]) -> str:
    """Return a table of what is known of runs before they are evaluated, for a terminal.

    It has a row for each run, named after its folder, and then the mean and the deviation.
    """
    found = spread(runs)
    rows = [(run.path.name, [f"{_figures(run)[name]:.4f}" for name in found]) for run in runs]
    rows.append(("mean", [f"{figure.mean:.4f}" for figure in found.values()]))
    rows.append(("deviation", [f"{figure.deviation:.4f}" for figure in found.values()]))
    return table([in_words(name) or name for name in found], rows)


def spread_table(groups: Mapping[str, Sequence[Metrics]]) -> str:
    """Return a table of evaluation figures for a terminal: a column for each group of runs.

    groups: the results of each group, by its name. A cell is the mean, with the deviation in
    brackets; `-` if a result has no such figure.
    """
    rows: list[tuple[str, list[str]]] = []
    every = [result for results in groups.values() for result in results]
    for title, section, names in sections(every):
        rows.append((title, []))
        for name, key in names:
            values = [
                [result.figures.value(f"{section}/{key}") for result in results]
                for results in groups.values()
            ]
            rows.append((f"  {name}", [_cell(key, found) for found in values]))
    stamps = {result.stamp.upper() for result in every if result.stamp}
    heads = [
        f"{name}, {len(results)} run{'s' if len(results) > 1 else ''}"
        for name, results in groups.items()
    ]
    return "\n".join([table(heads, rows), *sorted(stamps)])


def _cell(key: str, found: Sequence[float | None]) -> str:
    values = [value for value in found if value is not None]
    if len(values) < len(found):
        return "-"
    spread_of = Spread.of(values)
    return f"{shown(key, spread_of.mean)} ({shown(key, spread_of.deviation)})"
