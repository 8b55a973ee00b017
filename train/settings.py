"""Settings of `vad train`: types, defaults, ranges and help; and what a training was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vad.config import build, option, options
from vad.errors import UsageError

from .detectors import find_row
from .presets import find_preset


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


def split_settings(given: Mapping[str, Any]) -> tuple[TrainSettings, dict[str, Any]]:
    """Settings of the training, and those of the detector, from names of both kinds.

    What is not given is, in this order: as the preset says; as the weights to start from were made;
    as the detector's table row suggests for small data sets, unless there is a preset, weights or
    the published form of the loss; the default. Raises UsageError for settings that are none.
    """
    name, start = _start(given)
    row, known = find_row(name), options(TrainSettings)
    if wrong := set(given) - set(known) - set(options(row.settings)):
        names = ", ".join(sorted(options(row.settings)))
        raise UsageError(
            f"neither vad train nor {name} has a setting {min(wrong)!r}",
            hint=f"{name} has: {names}; for the others: vad train --help",
        )
    merged = {**start, **given, "detector": name}
    general = {n: v for n, v in merged.items() if n in known}
    own = {n: v for n, v in merged.items() if n not in known}
    chosen = build(TrainSettings, general, where="train")
    return chosen, asdict(build(row.settings, own, where=name))


def _start(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The detector, and the settings that it starts from."""
    name, start = given.get("detector"), dict[str, Any]()
    if given.get("preset"):
        preset = find_preset(given["preset"])
        if name not in (None, preset.detector):
            raise UsageError(f"the preset {given['preset']} is of {preset.detector}, not of {name}")
        name, start = preset.detector, dict(preset.settings)
    if given.get("weights"):
        from .weights import recognised

        name, sizes = recognised(given["weights"], name)
        start = {"scale": "none", **sizes.settings, **start}
    name = name or TrainSettings.detector
    if not start and given.get("form", "paper") == "paper":
        start = dict(find_row(name).small)
    return name, start
