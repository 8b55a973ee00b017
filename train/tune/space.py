"""The search space of `vad tune`: a range or a list of values for every searched setting.

    [space]                                       # of a TOML file
    lr = {low = 1e-4, high = 1e-2, log = true}
    dropout = [0.0, 0.35, 0.7]
    k = true                                      # by the rule of `usual`

This module imports neither torch nor Optuna: a space can be read and checked without them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vad.config import Option, options, read_toml, unknown
from vad.errors import UsageError

from ..detectors import find_row
from ..settings import TrainSettings

# Settings of the training that may be searched; the others define what is trained, and on which
# videos.
TRAINING = ("lr", "weight_decay", "batch", "segments", "clip", "crops", "scale", "components")
USUAL = ("lr", "weight_decay")  # of these, the ones that are searched by default
# a weight or a rate is searched from its value divided by this to its value times this
DECADES = 10.0
TIMES = 3  # a count is searched from its value divided by this to its value times this

# Values from the report that compared MGFN, RTFM and S3R (`params.py` for both detectors in
# github.com/marctimjen/Weakly-supervised-anomaly-detection, 17c17a8), which chose among them by
# hand, on the test set. Of RTFM's 27 combinations it ran 15: every dropout at learning rate 1e-3,
# and every rate at dropout 0.7. For MGFN it also varied the dropouts inside the network and left
# out two layers; these are not settings here.
DECAYS = (5e-4, 2.5e-3, 5e-3)

GRIDS: dict[str, dict[str, Mapping[str, tuple[float, ...]]]] = {
    "report-grid": {
        "rtfm": {"lr": (5e-4, 1e-3, 1e-2), "weight_decay": DECAYS, "dropout": (0.0, 0.35, 0.7)},
        "mgfn": {
            "weight_decay": (3e-5, 3e-4, 3e-3),
            "contrast": (1e-3, 1e-2),
            "dropout": (0.4, 0.7),
        },
    },
}


Value = bool | int | float | str | None  # of a setting


@dataclass(frozen=True)
class Range:
    """A searched range of numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', by its logarithm' if self.log else ''}"


@dataclass(frozen=True)
class Choice:
    """A searched list of values, without an order: each trial uses one of them."""

    values: tuple[Value, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


Space = Mapping[str, Range | Choice]


def choose_space(
    wanted: str | Path | Sequence[str] | None, settings: TrainSettings, own: Mapping[str, object]
) -> dict[str, Range | Choice]:
    """Return the search space that the user asks for, by setting.

    wanted is one of: the path of a TOML file with a table `[space]`; the name of a grid, such as
    `report-grid`; names of settings, in a sequence or joined by commas; or None for the learning
    rate, the weight decay and all settings of the detector that are switched on. Raises UsageError
    with a list of all unknown names and of all values out of bounds.
    """
    known = _searchable(settings)
    current = {**asdict(settings), **own}
    if wanted is None:
        usual_ones = ((n, usual(known[n], current[n])) for n in (*USUAL, *own))
        found = {n: part for n, part in usual_ones if part is not None}
        if own.get("share"):  # then k is not used: a share of the snippets is selected
            found.pop("k", None)
        return found
    if isinstance(wanted, str) and wanted.endswith("-grid"):
        said: dict[str, object] = dict(find_grid(wanted, settings.detector))
    elif isinstance(wanted, Path) or str(wanted).endswith(".toml"):
        said = read_toml(Path(str(wanted)), "space")
    else:
        names = wanted.split(",") if isinstance(wanted, str) else wanted
        said = {name.strip().replace("-", "_"): True for name in names}
    if not said:
        raise UsageError(f"{wanted} names no setting to search", hint="write a table [space]")
    return _checked(said, known, current)


def usual(option: Option, value: object) -> Range | Choice | None:
    """Return the default range of a setting around its current value, or None if there is none.

    A boolean or a choice gets all its values; a number with two bounds, such as a share, the range
    between them. A count is searched from a third to three times its value, other numbers from a
    tenth to ten times, on a logarithmic scale. A setting that is 0 or None is switched off and is
    not searched.
    """
    if option.kind is bool or option.choices:
        return Choice(option.choices or (True, False))
    if not value or option.kind not in (int, float) or not isinstance(value, int | float):
        return None
    least = -math.inf if option.minimum is None else option.minimum
    most = math.inf if option.maximum is None else option.maximum
    if option.kind is int:
        low, high = max(least, 1, round(value / TIMES)), min(most, round(value * TIMES))
        return Range(low, high, log=True, whole=True) if low < high else None
    if math.isfinite(least) and math.isfinite(most):
        return Range(least, most)
    if value < 0:
        return None
    return Range(max(least, value / DECADES), min(most, value * DECADES), log=True)


def grid_of(space: Space) -> list[dict[str, object]] | None:
    """Return every combination of the choices of a space, in order; None if one setting has a
    range.
    """
    if not all(isinstance(part, Choice) for part in space.values()):
        return None
    values = [part.values for part in space.values() if isinstance(part, Choice)]
    return [dict(zip(space, point, strict=True)) for point in itertools.product(*values)]


def _searchable(settings: TrainSettings) -> dict[str, Option]:
    general = options(TrainSettings)
    return {n: general[n] for n in TRAINING} | options(find_row(settings.detector).settings)


def _checked(
    said: Mapping[str, object], known: Mapping[str, Option], current: Mapping[str, object]
) -> dict[str, Range | Choice]:
    found: dict[str, Range | Choice] = {}
    mistakes = []
    for name, value in said.items():
        if name not in known:
            mistakes.append(unknown(name, known))
            continue
        try:
            found[name] = _part(known[name], value, current[name])
        except (ValueError, TypeError) as error:
            mistakes.append(f"{name}: {error}")
    if mistakes:
        raise UsageError(f"space: {'; '.join(mistakes)}")
    return found


def _part(option: Option, said: object, current: object) -> Range | Choice:
    """Parse the entry of one setting in a space. Raises ValueError if the entry is wrong."""
    if said is True:
        if (part := usual(option, current)) is None:
            raise ValueError(f"is {current}, which no range lies around; write one")
        return part
    if isinstance(said, list | tuple):
        if not said:
            raise ValueError("no value")
        return Choice(tuple(dict.fromkeys(option.check(value) for value in said)))
    if not isinstance(said, Mapping) or not {"low", "high"} <= set(said) <= {"low", "high", "log"}:
        raise ValueError("write true, a list of values, or {low = ..., high = ..., log = true}")
    low, high = option.check(said["low"]), option.check(said["high"])
    log = bool(said.get("log", False))
    if option.kind not in (int, float):
        raise ValueError("has no range; write a list of values")
    if not low < high or (log and low <= 0):
        raise ValueError(f"{low:g} to {high:g} is no range{' for a logarithm' if log else ''}")
    return Range(low, high, log=log, whole=option.kind is int)


def find_grid(name: str, detector: str) -> Mapping[str, tuple[float, ...]]:
    """Return the named grid for a detector. Raises UsageError if there is none."""
    if name not in GRIDS:
        raise UsageError(f"no grid named {name!r}; there are: {', '.join(GRIDS)}")
    if detector not in GRIDS[name]:
        raise UsageError(
            f"{name} has no values for {detector}; it has: {', '.join(GRIDS[name])}",
            hint="leave --space out, or name settings: --space lr,weight_decay",
        )
    return GRIDS[name][detector]
