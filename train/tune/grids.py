"""Grids that others searched, by detector. No torch here.

The report that compared MGFN, RTFM and S3R (github.com/marctimjen/Weakly-supervised-anomaly-
detection 17c17a8, `params.py` of both) chose by hand among these values, on the test set. Of
RTFM's 27 combinations it ran 15: every dropout at learning rate 1e-3, every rate at dropout 0.7.
MGFN's had two more axes, the dropouts inside the network and two layers less in it; they are not
settings here.
"""

from __future__ import annotations

from collections.abc import Mapping

from vad.errors import UsageError

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


def find_grid(name: str, detector: str) -> Mapping[str, tuple[float, ...]]:
    """The grid of that name for a detector. Raises UsageError where there is none."""
    if name not in GRIDS:
        raise UsageError(f"no grid named {name!r}; there are: {', '.join(GRIDS)}")
    if detector not in GRIDS[name]:
        raise UsageError(
            f"{name} has no values for {detector}; it has: {', '.join(GRIDS[name])}",
            hint="leave --space out, or name settings: --space lr,weight_decay",
        )
    return GRIDS[name][detector]
