"""Settings of `vad train`: types, defaults, ranges and help."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from vad.config import option

MAX_SMOOTHING = 1000  # snippets
SmoothingRule = Literal["centred", "slide", "fixed"]

_features = partial(option, panel="Features")
_videos = partial(option, panel="Videos")
_training = partial(option, panel="Training")
_compute = partial(option, panel="Computation")


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """Settings of a training. The hyper-parameters of each detector are in `detectors.settings`."""

    detector: str = option(
        "default", "detector to train; default: several, chosen and weighted by cross-fitting"
    )
    preset: str | None = option(
        None,
        "settings of a published training, such as rtfm-ucf-crime; settings given besides override "
        "them",
    )
    weights: str | None = option(
        None, "file of published weights, or of a run, to start from; features are then not scaled"
    )
    visual: str | None = _features(
        None, "visual features to train on; by default those that the store has, if it has one kind"
    )
    text: str | None = _features(None, "text features to train on, alone or with visual ones")
    scale: Literal["none", "standardise", "components"] = _features(
        "components",
        "scaling of the features: none, to mean 0 and deviation 1, or to principal components",
    )
    components: int | None = _features(
        None,
        "number of principal components; by default two per training video",
        minimum=1,
        maximum=100_000,
    )
    validation: float = _videos(
        0.2, "share of the training videos that is held out for validation", minimum=0, maximum=0.9
    )
    select: Literal["validation", "test"] = _videos(
        "validation",
        "videos that epoch and threshold are chosen on; with test, every result says so",
    )
    fold: str | None = _videos(None, "hold out this fold of the labels as the test set")
    seed: int = _videos(
        0, "seed of the split, the weights and the batches", minimum=0, maximum=2**32 - 1
    )
    segments: int = _training(32, "segments that a video is pooled to", minimum=1, maximum=10_000)
    epochs: int = _training(30, "passes over the larger class", minimum=1, maximum=1_000_000)
    batch: int = _training(32, "videos of each class per step", minimum=1, maximum=1_000_000)
    lr: float = _training(1e-3, "learning rate of the Adam optimizer", minimum=0)
    weight_decay: float = _training(5e-3, "weight decay of the Adam optimizer", minimum=0)
    clip: float | None = _training(
        None, "largest norm of the gradient; larger ones are scaled down to it", minimum=0
    )
    crops: int | None = _training(
        None,
        "crops of each video per step, drawn at random; by default all",
        minimum=1,
        maximum=10_000,
    )
    form: Literal["paper", "published"] = _training(
        "paper", "loss as the paper defines it, or as its authors' code computes it"
    )
    smoothing: int = _training(
        1,
        "a snippet's score is the mean over this many neighbours on either side",
        minimum=0,
        maximum=MAX_SMOOTHING,
    )
    smoothing_rule: Literal["centred", "slide", "fixed"] = _training(
        "centred",
        "centred: those neighbours, the nearer the more; as in PEL4VAD's test, slide: the mean of "
        "this many scores from a snippet on, fixed: of blocks of this many",
    )
    allow_random: bool = _compute(False, "train on features of random weights, for tests")
    device: str = _compute("auto", "auto, cpu, cuda or cuda:1")
