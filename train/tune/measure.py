"""What a setting is worth: the validation AUC of trainings with it, on several splits.

A handful of validation videos has few different AUCs, so one split ties and misleads. Here every
setting is trained on the same several splits, drawn by successive seeds, one epoch of each after
the other; what it is worth is the mean over the splits, and over the epochs that may be chosen:
steadier than the best epoch, which flatters whatever jumps most.
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
    """Store, labels and the settings that are searched around."""

    store: str | Path
    labels: Path
    settings: TrainSettings
    own: Mapping[str, Any]  # of the detector
    _loaded: dict[tuple[Any, ...], TrainingData] = field(default_factory=dict, compare=False)

    def at(self, point: Mapping[str, Any]) -> tuple[TrainSettings, dict[str, Any]]:
        """The settings at a point of the space."""
        names = {f.name for f in fields(TrainSettings)}
        general = {n: v for n, v in point.items() if n in names}
        return replace(self.settings, **general), {
            **self.own,
            **{n: v for n, v in point.items() if n not in names},
        }

    def data(self, settings: TrainSettings, own: Mapping[str, Any]) -> TrainingData:
        """Bags and scaling of one split; trials that share them load_training_data them once."""
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
    """Train at a point of the space: the AUC of every split, [splits].

    report is told the mean over the splits after every epoch, and may raise to end it. Raises
    `vad.stages.train.fit.Diverged` where a training does.
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
