"""Settings of `vad train`: types, defaults, ranges and help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vad.config import option


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a detector is trained. Its own hyper-parameters are in `detectors.settings`."""

    detector: str = option("rtfm", "detector to train")
    preset: str | None = option(
        None, "settings of a published training, such as rtfm-ucf-crime; any given beside it win"
    )
    weights: str | None = option(
        None, "file of published weights, or of a run, to start from; features are not scaled then"
    )
    visual: str | None = option(None, "visual features to train on; by default the only ones")
    text: str | None = option(None, "text features to train on, alone or with the visual ones")
    validation: float = option(
        0.2, "share of the training videos that is held back", minimum=0, maximum=0.9
    )
    select: Literal["validation", "test"] = option(
        "validation", "videos that choose epoch and threshold; test is said on every result"
    )
    fold: str | None = option(None, "hold out this fold of the labels as the test set")
    seed: int = option(0, "of the split, the weights and the batches", minimum=0)
    segments: int = option(32, "segments a video is pooled to", minimum=1)
    epochs: int = option(30, "passes over the larger class", minimum=1)
    batch: int = option(32, "videos of each class in a step", minimum=1)
    lr: float = option(1e-3, "learning rate of Adam", minimum=0)
    weight_decay: float = option(5e-3, "of Adam", minimum=0)
    clip: float | None = option(None, "longest gradient; longer ones are cut to it", minimum=0)
    crops: int | None = option(
        None, "crops of each video in a step, drawn anew; by default all", minimum=1
    )
    scale: Literal["none", "standardise", "components"] = option(
        "components", "of features: as they are, mean 0 and deviation 1, or principal components"
    )
    components: int | None = option(
        None, "principal components; by default two a training video", minimum=1
    )
    form: Literal["paper", "published"] = option(
        "paper", "loss as the paper has it, or as its authors' code computes it"
    )
    smoothing: int = option(
        1, "neighbours on either side that a snippet's score is averaged with", minimum=0
    )
    allow_random: bool = option(False, "train on features of random weights, for tests")
    device: str = option("auto", "auto, cpu, cuda or cuda:1")
