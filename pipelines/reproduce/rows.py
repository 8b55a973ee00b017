"""Published rows, the tables of `rows.toml`, and the features that they were made of, of
`features.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vad.documents import parse
from vad.errors import UsageError
from vad.names import did_you_mean

# figure -> its place in metrics.json
FIGURES: dict[str, tuple[str, str]] = {
    "AUC": ("frame", "auc"),
    "AP": ("frame", "ap"),
    "PR-AUC": ("frame", "pr_auc"),
    "abnormal-only AUC": ("abnormal_only", "auc"),
    "F1": ("at_0.5", "f1"),
    "macro-F1": ("at_0.5", "macro_f1"),
    "accuracy": ("at_0.5", "accuracy"),
    "recall": ("at_0.5", "recall"),
    "precision": ("at_0.5", "precision"),
    "false-alarm rate": ("at_0.5", "false_alarm_rate"),
}


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One published row: trained anew by `train`, or measured with the published `weights`."""

    source: str
    features: str  # a table of features.toml
    figures: Mapping[str, float]
    train: str = ""  # options of vad train
    weights: str = ""  # which, and whose
    caveats: tuple[str, ...] = ()
    dictionary: bool = False  # S3R's weights need that of their training

    @property
    def can_run(self) -> bool:
        return bool(self.train or self.weights)


@dataclass(frozen=True, slots=True)
class PublishedFeatures:
    """One published set of features."""

    dataset: str  # of vad labels
    layout: str  # of vad import features
    crops: int
    dim: int
    origin: str  # who hands them out
    truth: tuple[int, int] | None = None  # anomalous frames, frames of the test videos
    licence: str = "no licence is stated"
    interval: str = ""  # of the annotations, where it is not that of the data set
    text: bool = False  # sentence embeddings belong to them

    @property
    def about(self) -> str:
        """What its files are, for a person who has to find them."""
        files = {
            "rtfm": f"VIDEO_i3d.npy [snippets, {self.crops}, {self.dim}]",
            "crop-files": f"VIDEO__0.npy ... VIDEO__{self.crops - 1}.npy [snippets, {self.dim}]",
            "c3d-text": f"VIDEO.txt, 32 lines of {self.dim} numbers",
        }
        return files[self.layout]


def tables(name: str) -> dict[str, dict[str, object]]:
    """The tables of a TOML file beside this one."""
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


_published = tables("features.toml")
LISTS = {name: str(origin) for name, origin in _published["lists"].items()}
FEATURES = {
    name: parse(PublishedFeatures, table, name) for name, table in _published["features"].items()
}
ROWS = {name: parse(PublishedRow, table, name) for name, table in tables("rows.toml").items()}


def find_published(name: str) -> PublishedRow:
    """The row of a name. Raises UsageError, naming the nearest, for an unknown one."""
    if name in ROWS:
        return ROWS[name]
    raise UsageError(
        f"no published row named {name!r}; vad reproduce lists them",
        hint=did_you_mean(name, ROWS),
    )
