"""What a training was asked for: the settings of the training, and those of its detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from vad.config import build, options
from vad.errors import UsageError

from .detectors import find_row
from .presets import find_preset
from .settings import TrainSettings


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
