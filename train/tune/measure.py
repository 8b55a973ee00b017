"""Measure settings: the validation AUC of trainings with them, on several validation splits.

With few validation videos the AUC has few possible values, so on one split many settings tie, and
the best may be best by chance. Therefore every set of values is trained on the same several splits,
drawn with consecutive seeds; the trainings advance together, epoch by epoch. The result is the mean
AUC over the splits and over all epochs that could be chosen. That is steadier than the AUC of the
best epoch, which favours trainings that vary much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device
from vad.errors import UsageError

from ..data import TrainingData, load_training_data
from ..fit import WARMUP, Fit, fit_epoch
from ..settings import TrainSettings

DATA = ("visual", "text", "validation", "fold", "seed", "segments", "form")
SCALING = ("scale", "components")
FIGURE = "validation/video_auc"


@dataclass(frozen=True)
class Problem:
    """A search problem: store, labels and the settings around which values are searched."""

    store: str | Path
    labels: Path
    settings: TrainSettings
    own: Mapping[str, Any]  # hyper-parameters of the detector
    _loaded: dict[tuple[Any, ...], TrainingData] = field(default_factory=dict, compare=False)

    def at(self, point: Mapping[str, Any]) -> tuple[TrainSettings, dict[str, Any]]:
        """Return the settings of training and detector at a point of the search space."""
        names = {f.name for f in fields(TrainSettings)}
        general = {n: v for n, v in point.items() if n in names}
        return replace(self.settings, **general), {
            **self.own,
            **{n: v for n, v in point.items() if n not in names},
        }

    def data(self, settings: TrainSettings, own: Mapping[str, Any]) -> TrainingData:
        """Load bags and scaling of one split, or return them if an earlier trial has loaded them.

        Raises UsageError if the split has no validation videos.
        """
        key = (*(getattr(settings, n) for n in DATA + SCALING), own.get("fusion"))
        if key not in self._loaded:
            self._loaded[key] = load_training_data(
                self.store, self.labels, settings, own, quiet=True
            )
        data = self._loaded[key]
        if data.selection is None:
            raise UsageError("no video validates", hint="--validation 0.2")
        return data


def measure(
    problem: Problem,
    point: Mapping[str, Any],
    seeds: Sequence[int],
    report: Callable[[int, float], None] = lambda epoch, auc: None,
) -> NDArray[np.float64]:
    """Train at a point of the search space, and return the mean validation AUC per split, [splits].

    report is called after every epoch with its number and the mean AUC over the splits; it may
    raise an exception to stop. Raises `vad.stages.train.fit.Diverged` if a training diverges.
    """
    settings, own = problem.at(point)
    device = choose_device(settings.device)
    trainings = []
    for seed in seeds:
        seeded = replace(settings, seed=seed)
        data = problem.data(seeded, own)
        state = Fit.begin(data.detector(seeded, own).to(device), seeded)
        trainings.append((state, data, data.inputs.to(device), seeded))
    ripe = []
    for epoch in range(1, settings.epochs + 1):
        aucs = [
            fit_epoch(state, data.train, data.selection, inputs, seeded)[FIGURE]
            for state, data, inputs, seeded in trainings
        ]
        if epoch > WARMUP * settings.epochs:
            ripe.append(aucs)
        report(epoch, float(np.mean(aucs)))
    return np.asarray(np.mean(ripe, axis=0), np.float64)
