"""Find events again in scores that were written, with other settings and without the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from vad.config import build
from vad.errors import UsageError
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.scores_file import read_scores
from vad.stages.infer.settings import EventRule, Propagation, ScoreSettings

from .video_source import video_source_of


def reread(
    inputs: Iterable[str | Path], *, threshold: float | None = None, **settings: Any
) -> Iterator[VideoScores]:
    """Yield the scores of JSON files, or folders of these, with other settings.

    `settings` are those of `ScoreSettings`; a setting that is not given keeps its value from the
    file. Raises UsageError if a file contains no scores.
    """
    build(ScoreSettings, settings, where="events")  # report mistakes before any work
    for path in files_of(inputs):
        scores = read_scores(path)
        before = {
            field.name: getattr(part, field.name)
            for part, cls in ((scores.propagation, Propagation), (scores.rule, EventRule))
            for field in fields(cls)
        }
        reading = build(ScoreSettings, before, settings, where="events")
        yield dataclasses.replace(
            scores,
            threshold=scores.threshold if threshold is None else threshold,
            threshold_from=scores.threshold_from if threshold is None else "given",
            propagation=reading,
            rule=reading,
            video_source=video_source_of(scores.record),
        )


def files_of(inputs: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the files of scores that are named, and those in named folders. Raises UsageError if a
    folder holds none.
    """
    for path in map(Path, inputs):
        if not path.is_dir():
            yield path
            continue
        found = [p for p in sorted(path.glob("*.json")) if not p.name.endswith(".labelstudio.json")]
        if not found:
            raise UsageError(
                f"{path} holds no JSON file", hint="vad score --format json makes them"
            )
        yield from found
