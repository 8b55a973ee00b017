"""The format `lines`: a line per event, for a person."""

from __future__ import annotations

from pathlib import Path

from vad.stages.infer.scores import VideoScores


def write(path: Path, scores: VideoScores) -> None:
    """Write a line for each event: when it is, and its highest score."""
    lines = [f"{e.start_s:.1f} to {e.end_s:.1f} s: {e.peak:.2f}\n" for e in scores.events]
    path.write_text("".join(lines) or "no events\n", encoding="utf-8")
