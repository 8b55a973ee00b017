"""Detectors behind one door: made by name, or from published weights.

    detector = create_detector("rtfm", visual_dim=2048)
    output = detector(visual)  # [videos, crops, snippets, dim] -> output.scores [videos, snippets]
    terms = detector.loss(output, labels)  # named terms and their weighted "total"
    detector = from_published(state_dict)  # recognised by its keys

Nothing here imports torch before a detector is made: the command line lists the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vad.config import build
from vad.errors import UsageError

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
    "from_published",
]


def create_detector(
    name: str,
    *,
    visual_dim: int,
    text_dim: int | None = None,
    settings: Mapping[str, Any] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
) -> Detector:
    """A new detector with random weights, drawn from torch's global generator.

    settings are the detector's own hyper-parameters by name (see `settings.py`), arrays what its
    row in the table asks for. Raises UsageError for an unknown name, setting or array, and where
    a detector that reads text is given no `text_dim`.
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
    module, class_name = row.path.split(":")
    kind = getattr(import_module(f".{module}", __name__), class_name)
    detector: Detector = kind(visual_dim, text_dim if row.text else None, chosen, **(arrays or {}))
    return detector


def from_published(
    state_dict: Mapping[str, Any] | str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    arrays: Mapping[str, ArrayLike] | None = None,
) -> Detector:
    """A detector, in eval mode, from weights as their authors published them.

    state_dict may also be a file of weights, or the folder of a run of our own, whose scaling of
    the features is left out. The detector is recognised by its keys; widths and modes are read off
    the shapes. settings and arrays are what those do not tell, as for `create_detector`.

    Raises UsageError for weights of no known detector, and for missing or left-over keys.
    """
    from .published import check_asked, fill, sizes_of, unwrap

    settings = settings or {}
    if isinstance(state_dict, Mapping):
        weights = unwrap(state_dict)
        name, sizes = sizes_of(weights)
    else:
        from ..weights import read_weights, recognised

        weights = read_weights(state_dict)
        name, sizes = recognised(state_dict)
    check_asked(name, sizes, settings)
    detector = create_detector(
        name,
        visual_dim=sizes.visual_dim,
        text_dim=sizes.text_dim,
        settings={**sizes.settings, **settings},
        arrays=arrays,
    )
    fill(detector, name, weights)
    return detector.eval()


def __getattr__(name: str) -> Any:
    if name in {"Detector", "Form", "Output"}:
        return getattr(import_module(".interface", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
