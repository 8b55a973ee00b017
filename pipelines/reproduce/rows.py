"""Read the published rows from `rows.toml`, and their features from `features.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vad.documents import parse
from vad.errors import UsageError
from vad.names import did_you_mean

# figure -> its place in metrics.json: the group, or groups within groups, and the name
FIGURES: dict[str, tuple[str, str]] = {
    "AUC": ("frame", "auc"),
    "AP": ("frame", "ap"),
    "PR-AUC": ("frame", "pr_auc"),
    "video AUC": ("video", "auc"),
    "mAP": ("classes/map_published", "average"),
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
    """One published result: reproduced by training (`train`) or by the published weights
    (`weights`).
    """

    source: str
    features: str  # name of a table of features.toml
    figures: Mapping[str, float]
    train: str = ""  # options of vad train; empty: not trained
    weights: str = ""  # which weights, and who published them; empty: none
    caveats: tuple[str, ...] = ()
    dictionary: bool = False  # S3R's weights need the dictionary of their training

    @property
    def can_run(self) -> bool:
        return bool(self.train or self.weights)


@dataclass(frozen=True, slots=True)
class PublishedFeatures:
    """One published set of features."""

    dataset: str  # as vad labels names it
    layout: str  # as vad import features names it
    crops: int
    dim: int
    origin: str  # who offers them
    truth: tuple[int, int] | None = None  # test videos: anomalous frames, all frames
    licence: str = "no licence is stated"
    interval: str = ""  # of the annotations; empty: as usual for the data set
    text: bool = False  # True if they come with sentence embeddings

    @property
    def about(self) -> str:
        """Return the names and shapes of its files, for a person who has to find them."""
        files = {
            "rtfm": f"VIDEO_i3d.npy [snippets, {self.crops}, {self.dim}]",
            "crop-files": f"VIDEO__0.npy ... VIDEO__{self.crops - 1}.npy [snippets, {self.dim}]",
            "none": f"VIDEO.npy [clips, {self.dim}]",
            "c3d-text": f"VIDEO.txt, 32 lines of {self.dim} numbers",
        }
        return files[self.layout]


def tables(name: str) -> dict[str, dict[str, object]]:
    """Return the tables of a TOML file in this folder."""
    return tomllib.loads(Path(__file__).with_name(name).read_text("utf-8"))


_published = tables("features.toml")
LISTS = {name: str(origin) for name, origin in _published["lists"].items()}
FEATURES = {
    name: parse(PublishedFeatures, table, name) for name, table in _published["features"].items()
}
ROWS = {name: parse(PublishedRow, table, name) for name, table in tables("rows.toml").items()}


def find_published(name: str) -> PublishedRow:
    """Return the row of that name. Raises UsageError, with the nearest name, if there is none."""
    if name in ROWS:
        return ROWS[name]
    raise UsageError(
        f"no published row named {name!r}; vad reproduce lists them",
        hint=did_you_mean(name, ROWS),
    )
