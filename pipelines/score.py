"""Videos and a run in, scores out: extraction and scoring joined.

The features go through a store, a temporary one by default, so that a video scored directly has the
numbers of one extracted first, to the last digit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vad.config import build
from vad.errors import UsageError
from vad.extract.run import Outcome, load_backbone, make_plan, run
from vad.extract.settings import ExtractSettings
from vad.extract.sources import find_sources
from vad.infer.scores import VideoScores
from vad.infer.scoring import score_stored
from vad.store import FeatureStore, differences
from vad.train.checkpoint import Run


def score(video: str | Path, detector: str | Path, **settings: Any) -> VideoScores:
    """Score one video file with a trained run; `.frames` has a score for every frame.

    `settings` are those of `extract` that do not change features, such as `device`. Raises
    UsageError for wrong input and VideoError if the video cannot be used.
    """
    outcome = Outcome()
    for scores in score_videos([video], detector, outcome=outcome, quiet=True, **settings):
        return scores
    raise next(iter(outcome.failed.values()))


def score_videos(
    videos: Iterable[str | Path],
    detector: str | Path,
    *,
    outcome: Outcome,
    store: str | Path | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Iterator[VideoScores]:
    """Score files, folders, globs and lists; videos that fail are left out and in `outcome`.

    With `store` the features are kept there, and those that it has already are not made again.
    """
    chosen = Run.open(detector, settings.get("device", "auto"))
    sources = find_sources(videos)
    made = _settings_of(chosen, settings)
    backbone = load_backbone(made)
    with tempfile.TemporaryDirectory(prefix="vad-") as folder:
        path = Path(store or Path(folder, "features.zarr"))
        plan = make_plan(sources, path, backbone, made)
        wanted = chosen.card["features"]["provenance"]
        if differing := differences(wanted, plan.provenance):
            field, (theirs, ours) = next(iter(differing.items()))
            raise UsageError(
                f"{detector} was trained on features with {field} {theirs!r}, "
                f"here it would be {ours!r}",
                hint="give the same weights with --weights",
            )
        opened = FeatureStore.create(path)
        done = run(plan, opened, backbone, made, quiet=quiet)
        outcome.failed.update(done.failed)
        for scores in score_stored(
            opened, chosen, (s.id for s in sources if s.id not in done.failed)
        ):
            outcome.done.append(scores.video)
            yield scores


def _settings_of(chosen: Run, settings: dict[str, Any]) -> ExtractSettings:
    """The extraction settings that the run's features were made with, and those given."""
    made = chosen.card["features"]["provenance"]
    recorded = {
        "backbone": made["backbone"],
        "weights": made["weights"].get("name"),
        "recipe": made["recipe"]["name"],
        "crops": made["crop_set"],
        "tail": made["tail"],
        "dtype": made["dtype"],
    }
    given = {name: value for name, value in settings.items() if value is not None}
    return build(ExtractSettings, recorded, given, where="score")
