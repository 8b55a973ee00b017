"""Draw the result of a search: its course, and the AUC by value of each setting."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from scipy.stats import spearmanr

from vad.files import committed

from .results import SearchResult, Trial
from .space import Choice, Range

BLUE, VERMILLION, PALE = "#0072B2", "#D55E00", "#8A8A8A"  # Okabe and Ito (2008)
COLUMNS = 3
DPI = 100
FEWEST = 4  # fewest complete trials for a rank correlation


def draw(found: SearchResult, path: Path) -> None:
    """Write a PNG with the AUC by trial and, for every searched setting, the AUC by its value.

    The settings are sorted by `strength`, the strongest first.
    """
    order = sorted(found.space, key=lambda name: -strength(found, name))
    rows = 1 + math.ceil(len(order) / COLUMNS)
    figure = Figure(figsize=(12, 1 + 3 * rows), layout="constrained", dpi=DPI)
    grid = figure.add_gridspec(rows, COLUMNS)
    _history(figure.add_subplot(grid[0, :]), found)
    for index, name in enumerate(order):
        axes = figure.add_subplot(grid[1 + index // COLUMNS, index % COLUMNS])
        _slice(axes, found, name)
    with committed(path) as part:
        figure.savefig(part, format="png")


def strength(found: SearchResult, name: str) -> float:
    """Return how strongly the AUC depends on a setting over the complete trials, from 0 to 1.

    For numbers it is the absolute value of Spearman's rank correlation; for choices, the square
    root of the share of the variance between the choices. It shows neither interactions of settings
    nor an optimum inside a range.
    """
    trials = _complete(found)
    if len(trials) < FEWEST:
        return 0.0
    aucs = np.array([np.mean(trial.aucs or [0]) for trial in trials])
    values = [trial.point[name] for trial in trials]
    if aucs.std() == 0 or len(set(values)) < 2:
        return 0.0
    if isinstance(found.space[name], Range):
        return float(abs(spearmanr(values, aucs).statistic))
    means = {value: aucs[[v == value for v in values]].mean() for value in set(values)}
    return float(np.std([means[value] for value in values]) / aucs.std())


def _history(axes: Axes, found: SearchResult) -> None:
    trials = _complete(found)
    pruned = {t.number: t.last for t in found.trials if t.aucs is None and t.last is not None}
    axes.plot(
        list(pruned),
        list(pruned.values()),
        "x",
        color=PALE,
        label=f"pruned ({found.n_pruned}), when it was",
    )
    values = [float(np.mean(t.aucs or [0])) for t in trials]
    numbers = [t.number for t in trials]
    axes.plot(numbers, values, "o", color=BLUE, label=f"complete ({len(trials)})")
    axes.step(numbers, np.maximum.accumulate(values), where="post", color=BLUE, label="best so far")
    given = float(np.mean(found.given))
    axes.axhline(given, color=VERMILLION, ls="--", label=f"as given, {given:.3f}")
    axes.set(xlabel="trial", ylabel="validation AUC", title=_title(found))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.2))


def _title(found: SearchResult) -> str:
    n_splits = len(found.given)
    return f"{found.problem.settings.detector}: mean over {n_splits} validation splits"


def _slice(axes: Axes, found: SearchResult, name: str) -> None:
    trials, part = _complete(found), found.space[name]
    at: dict[Any, float] | None = None
    if isinstance(part, Choice):
        at = {value: float(index) for index, value in enumerate(part.values)}
        axes.set_xticks(list(at.values()), [str(value) for value in part.values])
    elif part.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    for trial in trials:
        best = found.best is not None and trial.number == found.best.number
        x = trial.point[name] if at is None else at[trial.point[name]]
        axes.plot(
            x,
            float(np.mean(trial.aucs or [0])),
            "D" if best else "o",
            color=VERMILLION if best else BLUE,
            alpha=1.0 if best else 0.6,
            zorder=3 if best else 2,
        )
    axes.set_title(f"{name}: {strength(found, name):.2f}", fontsize=10)


def _complete(found: SearchResult) -> list[Trial]:
    return [trial for trial in found.trials if trial.aucs is not None]
