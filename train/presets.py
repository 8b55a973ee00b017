"""Presets, and the settings that a training starts from where they are not given.

A preset has a name: how a detector was trained on a data set, by its authors or in a comparison.

    vad train --preset rtfm-ucf-crime

A preset, a table of `presets.toml`, gives both the settings of the training and the detector's own;
settings given beside it override it. No torch here: the command line lists the table.
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
    differs: str = ""  # what of that training is not done


def _read() -> dict[str, Preset]:
    document = tomllib.loads(Path(__file__).with_name("presets.toml").read_text("utf-8"))
    common = document.pop("common")
    return {
        name: parse(Preset, {**table, "settings": common | table["settings"]}, name)
        for name, table in document.items()
    }


PRESETS = _read()


def find_preset(name: str) -> Preset:
    """The preset of a name. Raises UsageError, naming the nearest, for an unknown one."""
    return find_by_name("preset", name, PRESETS)


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
        from .detectors.published import check_asked
        from .weights import recognised

        name, sizes = recognised(given["weights"], name)
        if not given.get("preset"):
            check_asked(name, sizes, given)
        start = {"scale": "none", **sizes.settings, **start}
    name = name or TrainSettings.detector
    if not start and given.get("form", "paper") == "paper":
        start = dict(find_row(name).small)
    return name, start
