"""The detectors, created by name with one common interface.

    detector = create_detector("rtfm", visual_dim=2048)
    output = detector(visual)  # [videos, crops, snippets, dim] -> output.scores [videos, snippets]
    terms = detector.loss(output, labels)  # named terms and their weighted "total"

`train.weights` creates detectors with published weights. torch is imported only when a detector is
created, because the command line lists the table of detectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vad.config import build
from vad.errors import UsageError
from vad.plugins import load_object

from .table import DETECTORS, DetectorRow, find_row

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from .interface import Detector, Form, Output

__all__ = [
    "DETECTORS",
    "Detector",
    "DetectorRow",
    "Form",
    "Output",
    "create_detector",
    "find_row",
]


def create_detector(
    name: str,
    *,
    visual_dim: int,
    text_dim: int | None = None,
    settings: Mapping[str, object] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
) -> Detector:
    """Return a new detector with random weights, drawn from torch's global generator.

    settings are hyper-parameters of the detector by name (see `settings.py`); arrays are those that
    its row in the table lists. Raises UsageError if a name, setting or array is unknown, and if a
    detector that reads text is given no `text_dim`.
    """
    row = find_row(name)
    chosen = build(row.settings, settings or {}, where=name)
    if unknown := set(arrays or {}) - set(row.arrays):
        raise UsageError(f"{name} takes no array named {min(unknown)!r}")
    if visual_dim < 1:
        raise UsageError(f"visual_dim must be at least 1, got {visual_dim}")
    if text_dim is None and len(row.kinds(asdict(chosen))) > 1:
        raise UsageError(
            f"{name} reads text features besides the visual ones",
            hint="caption the store first (`vad caption`) and name its text array",
        )
    kind = load_object(row.path, __name__)
    detector: Detector = kind(visual_dim, text_dim if row.text else None, chosen, **(arrays or {}))
    return detector


def __getattr__(name: str) -> Any:
    if name in {"Detector", "Form", "Output"}:
        return getattr(import_module(".interface", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
