"""Presets, and how the settings of a training are filled in if the user does not give them.

A preset is the set of settings that a detector was trained with on a data set, by its authors or in
a published comparison. It is chosen by name:

    vad train --preset rtfm-ucf-crime

A preset is one table of `presets.toml`. It has settings of the training and of the detector;
settings that the user gives override it. This module does not import torch, because the command
line lists the presets.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vad.config import build, options
from vad.documents import parse
from vad.errors import UsageError
from vad.names import find_by_name

from .detectors import find_row
from .settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings of one published training."""

    detector: str
    settings: Mapping[str, object]
    source: str
    differs: str = ""  # what of the published training is not reproduced


def _read() -> dict[str, Preset]:
    document = tomllib.loads(Path(__file__).with_name("presets.toml").read_text("utf-8"))
    common = document.pop("common")
    return {
        name: parse(Preset, {**table, "settings": common | table["settings"]}, name)
        for name, table in document.items()
    }


PRESETS = _read()
ONE = "rtfm"  # the detector of trainings of a single one that name none


def find_preset(name: str) -> Preset:
    """Return the preset of a name. Raises UsageError, with the nearest name, if there is none."""
    return find_by_name("preset", name, PRESETS)


def split_settings(given: Mapping[str, Any]) -> tuple[TrainSettings, dict[str, object]]:
    """Return the settings of the training, and those of the detector, both complete.

    A setting that is not given is taken from the first source that has it: the preset; the weights
    to start from; the values that the detector's table row suggests for small data sets (only
    without preset and weights, and not for the published form of the loss); the default. Raises
    UsageError if a name is no setting.
    """
    first = {n: value for n, value in given.items() if n in ("detector", "preset", "weights")}
    typed = build(TrainSettings, first, where="train")
    given = {**given, **{n: getattr(typed, n) for n in first}}
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


def _start(given: Mapping[str, Any]) -> tuple[str, dict[str, object]]:
    """Return the name of the detector, and its settings before those of the user are applied."""
    name, start = given.get("detector"), dict[str, object]()
    if given.get("preset"):
        preset = find_preset(given["preset"])
        if name not in (None, preset.detector):
            raise UsageError(f"the preset {given['preset']} is of {preset.detector}, not of {name}")
        name, start = preset.detector, dict(preset.settings)
    if given.get("weights"):
        from .detectors.published import check_asked
        from .weights import recognised

        name, sizes = recognised(given["weights"], name)
        if not given.get("preset"):
            check_asked(name, sizes, given)
        start = {"scale": "none", **sizes.settings, **start}
    name = name or ONE
    if not start and given.get("form", "paper") == "paper":
        start = dict(find_row(name).small)
    return name, start
