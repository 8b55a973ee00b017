"""The result of a search: a table, a summary, and the best settings as a file for `vad train`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vad.version import VERSION

from .measure import Problem
from .space import Space

SCHEMA = "vad.tune/1"
# Training settings that best.toml leaves out: where to compute, and which videos.
LEFT_OUT = ("device", "seed", "fold", "select", "validation", "allow_random")
CLEAR = 2.0  # standard errors that a difference must exceed to count as one


@dataclass(frozen=True)
class Trial:
    """One trial of a search."""

    number: int
    point: Mapping[str, Any]
    aucs: list[float] | None  # one per split; None for a pruned trial
    last: float | None  # mean over the splits after the last epoch that was trained
    n_epochs: int

    @property
    def value(self) -> float | None:
        return None if self.aucs is None else float(np.mean(self.aucs))


@dataclass(frozen=True)
class SearchResult:
    """The result of a search, with AUCs on the searched splits and on as many fresh ones.

    No trial was trained or measured on the fresh splits.
    """

    problem: Problem
    space: Space
    trials: list[Trial]
    best: Trial | None  # None if no trial is better than the given settings
    given: list[float]  # AUCs with the settings that the search started from
    given_fresh: list[float] = field(default_factory=list)
    best_fresh: list[float] = field(default_factory=list)

    @property
    def n_pruned(self) -> int:
        return sum(trial.aucs is None for trial in self.trials)

    @property
    def gain(self) -> tuple[float, float]:
        """Return the mean gain in AUC of the best trial on fresh splits, and its standard error.

        The gain is that over the given settings; without a best trial both values are 0.
        """
        if self.best is None:
            return 0.0, 0.0
        return mean_error(np.subtract(self.best_fresh, self.given_fresh).tolist())

    @property
    def verdict(self) -> str:
        """Say in words whether the best trial is better than the given settings."""
        mean, error = self.gain
        if self.best is None:
            perfect = ", which rank every video right" if np.mean(self.given) == 1 else ""
            return f"no trial beats the settings given{perfect}"
        if abs(mean) <= CLEAR * error or mean == 0:
            return "no clear difference"
        return "better" if mean > 0 else "worse: keep the settings given"

    @cached_property
    def settings(self) -> dict[str, object]:
        """Return all settings for a file of `vad train`, with the values of the best trial.

        Without a best trial they are the given settings.
        """
        chosen, own = self.problem.at(self.best.point if self.best else {})
        general = {n: v for n, v in asdict(chosen).items() if n not in LEFT_OUT and v is not None}
        return general | {n: v for n, v in own.items() if v is not None}

    def command(self, config: Path) -> str:
        """Return the command that trains with the best settings, saved in the file `config`."""
        chosen = self.problem.settings
        fold = f" --fold {chosen.fold}" if chosen.fold is not None else ""
        where = f"{self.problem.store} --labels {self.problem.labels}"
        return f"vad train {where} --config {config}{fold}"

    def to_dict(self) -> dict[str, object]:
        """Return the whole result as plain values, by the schema `vad.tune/1`."""
        gain, error = self.gain
        return {
            "schema": SCHEMA,
            "generator": f"vad {VERSION}",
            "store": str(self.problem.store),
            "labels": str(self.problem.labels),
            "detector": self.problem.settings.detector,
            "space": {name: str(part) for name, part in self.space.items()},
            "n_trials": len(self.trials),
            "n_pruned": self.n_pruned,
            "best": {"trial": self.best and self.best.number, "settings": self.settings},
            "validation_auc": {
                "given": self.given,
                "best": self.best and self.best.aucs,
                "given_fresh": self.given_fresh,
                "best_fresh": self.best_fresh,
            },
            "gain": {"mean": gain, "standard_error": error, "verdict": self.verdict},
        }

    def summary(self, folder: Path) -> str:
        """Return the lines that `vad tune` prints at its end."""
        counts = f"{len(self.trials)} trials ({self.n_pruned} pruned), {len(self.given)} splits"
        lines = [f"{counts}; AUC of validation videos (standard error)"]
        if self.best is None:
            lines += [f"as given    {_text(self.given)}", self.verdict]
        else:
            gain, error = self.gain
            point = ", ".join(f"{n} {_short(v)}" for n, v in self.best.point.items())
            lines += [
                "            splits searched   fresh splits",
                f"as given    {_text(self.given)}   {_text(self.given_fresh)}",
                f"trial {self.best.number:<5} {_text(self.best.aucs or [])}   "
                f"{_text(self.best_fresh)}",
                f"gain on fresh splits {gain:+.4f} ({error:.4f}): {self.verdict}",
                f"best: {point}",
            ]
        return "\n".join([*lines, f"next: {self.command(folder / 'best.toml')}"])


def mean_error(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values and its standard error, which is 0 for a single value."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(np.mean(values)), float(error)


def table(found: SearchResult) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "auc", "standard_error", "epochs", *found.space])
    for trial in found.trials:
        if trial.aucs is None:
            figures = ["pruned", _figure(trial.last), ""]
        else:
            figures = ["complete", *map(_figure, mean_error(trial.aucs))]
        values = (trial.point.get(name, "") for name in found.space)
        writer.writerow([trial.number, *figures, trial.n_epochs, *values])
    return text.getvalue()


def best_toml(found: SearchResult, path: Path) -> str:
    """Return the best settings as the text of a TOML file for `vad train --config`."""
    which = "settings given" if found.best is None else f"trial {found.best.number}"
    lines = [
        f"# vad tune: {which}, after {len(found.trials)} trials; {found.verdict}",
        f"# {found.command(path)}",
        "",
        "[train]",
        *(f"{name} = {_toml_value(value)}" for name, value in found.settings.items()),
    ]
    return "\n".join(lines) + "\n"


def _toml_value(value: object) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _text(aucs: Sequence[float]) -> str:
    mean, error = mean_error(aucs)
    return f"{mean:.4f} ({error:.4f})"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
