"""The loss of a finished run on other videos, such as those of the test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vad.config import build, options
from vad.labels import Label
from vad.store import FeatureStore

from .bags import bags_in_memory
from .checkpoint import Run
from .fit import mixed
from .settings import TrainSettings


@torch.inference_mode()
def heldout_loss(run: Run, store: FeatureStore, labels: Sequence[Label]) -> float | None:
    """Mean loss over videos in the paper's form, as training tells it of validation videos.

    A batch of bags is in memory at a time. None for imported weights: what they were trained by is
    not known.
    """
    training = run.card["training"]
    if "segments" not in training:
        return None
    known = {n: v for n, v in training.items() if n in options(TrainSettings)}
    settings = build(TrainSettings, known, where=str(run.path))
    order = mixed(np.array([label.label for label in labels]))
    device = next(run.detector.parameters()).device
    losses = []
    for start in range(0, len(order), settings.batch):
        part = [labels[i] for i in order[start : start + settings.batch]]
        stretch = settings.form == "published"
        bags = bags_in_memory(store, run.names, part, settings.segments, stretch=stretch)
        streams, lengths, is_abnormal = bags.take(np.arange(len(part)), device)
        output = run.detector(*run.inputs(streams), lengths)
        losses += [run.detector.loss(output, is_abnormal, "paper")["total"].item()] * len(part)
    return float(np.mean(losses))
