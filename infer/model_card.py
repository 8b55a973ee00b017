"""The page of a run: what it is made of, what to expect of it, and what it is not for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vad.files import write_text
from vad.labels import Label
from vad.stages.train.card import PAGE, Card
from vad.stages.train.run import Run

from .pages import render, resource

LEVELS = np.linspace(0.1, 0.9, 9)  # thresholds of the table
WIDTH, HEIGHT = 640, 220  # of the curve, in SVG units


@dataclass(frozen=True)
class AtThreshold:
    """What held-out training videos say of one threshold."""

    threshold: float
    reading: str  # how often normal footage reaches it
    n_found: int  # abnormal videos that reach it

    @property
    def name(self) -> str:
        return f"{self.threshold:.2f}"


@dataclass(frozen=True)
class Feature:
    """An array that a run reads, and where it comes from. Texts are empty if that is not known."""

    name: str
    dim: int
    made_by: str
    weights: str
    licence: str


def write_card(run: Run, path: Path | None = None) -> Path:
    """Write the model card of a run, an HTML page, and return its path.

    path: by default model-card.html in the run's folder.
    """
    path = path or run.path / PAGE
    write_text(path, card_page(run))
    return path


def card_page(run: Run) -> str:
    """Return the model card of a run, an HTML page."""
    card, held = run.card, run.card.held_out
    return render(
        "model-card.html",
        style=resource("page.css") + "\n" + resource("evaluation.css"),
        name=run.name,
        card=card,
        facts=run.facts(),
        parts={part: _counts(labels) for part, labels in card.videos.items() if labels},
        features=[*_features(card)],
        levels=[*_levels(run)],
        n_abnormal=len(held.peaks) if held else 0,
        curve=_curve(card),
        width=WIDTH,
        height=HEIGHT,
    )


def _counts(labels: tuple[Label, ...]) -> dict[str, int]:
    """Return the number of videos by kind: "normal", and the categories of abnormal ones."""
    counts: dict[str, int] = {}
    for label in labels:
        kind = (label.category or "abnormal") if label.label else "normal"
        counts[kind] = counts.get(kind, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (item[0] != "normal", item[0])))


def _features(card: Card) -> Iterator[Feature]:
    for stream in card.streams.values():
        made = stream.provenance
        weights = made.weights if made else None
        name = (made and (made.backbone or made.encoder or made.imported)) or ""
        yield Feature(
            stream.name,
            stream.dim,
            name,
            (weights.name if weights else None) or "",
            (weights.licence if weights else None) or "",
        )


def _levels(run: Run) -> Iterator[AtThreshold]:
    """Yield what held-out videos say of round thresholds and of the run's own, ascending."""
    normal, held, calibration = run.normal_footage, run.card.held_out, run.card.calibration
    if normal is None or held is None or calibration is None:
        return
    peaks = calibration.chances(np.array(held.peaks))
    for threshold in sorted({*LEVELS.round(2).tolist(), run.threshold}):
        yield AtThreshold(threshold, normal.in_words(threshold), int((peaks >= threshold).sum()))


def _curve(card: Card) -> str:
    """Return the path of the calibration in SVG units: standardised scores from -3 to 3 across,
    chances from 0 to 1 up. "" without a calibration.
    """
    if card.calibration is None:
        return ""
    z = np.linspace(-3, 3, 121)
    x, y = (z + 3) / 6 * WIDTH, (1 - card.calibration.chances(z)) * HEIGHT
    return "M" + " L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
