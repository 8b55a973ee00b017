"""The names of the files in a project folder, which commands use by default."""

from __future__ import annotations

from pathlib import Path

from vad.stages.train.card import CARD

VIDEOS = Path("videos")
LABELS = Path("labels.csv")
REVIEWS = Path("reviews.csv")
STORE = Path("features.zarr")
RUNS = Path("runs")
SCORES = Path("scores")
CAMERAS = Path("cameras.toml")


def finished_runs(runs: Path = RUNS) -> list[Path]:
    """Return the folders of the finished runs in a folder, those of several seeds among them, the
    newest last.
    """
    cards = [*runs.glob(f"*/{CARD}"), *runs.glob(f"*/seed-*/{CARD}")]
    return [card.parent for card in sorted(cards, key=lambda card: card.stat().st_mtime_ns)]
