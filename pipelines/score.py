"""Videos and a run in, scores out: extraction and scoring joined.

The features go through a store, a temporary one by default, so that a video scored directly has the
numbers of one extracted first, to the last digit.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vad.config import build, options
from vad.errors import UsageError
from vad.extract.run import Outcome, load_backbone, make_plan, run
from vad.extract.settings import ExtractSettings
from vad.extract.sources import find_sources
from vad.infer.scores import VideoScores
from vad.infer.scoring import score_stored
from vad.infer.settings import ScoreSettings
from vad.store import FeatureStore, differences
from vad.train.checkpoint import Run

from .footage import footage_of


def score(
    video: str | Path, detector: str | Path, *, threshold: float | None = None, **settings: Any
) -> VideoScores:
    """Score one video file with a trained run.

    The result has `.frames` [frames], `.snippets` [snippets], `.events`, `.plot()` and `.save()`.
    Without `threshold` it is the run's. `settings` are those of `ScoreSettings` (`propagation`,
    `min_event`, ...) and those of `ExtractSettings` that do not change features (`device`, ...).
    Raises UsageError for wrong input and VideoError if the video cannot be used.
    """
    found: list[VideoScores] = []
    outcome = score_videos(
        [video], detector, each=found.append, threshold=threshold, quiet=True, **settings
    )
    for error in outcome.failed.values():
        raise error
    return found[0]


def score_videos(
    videos: Iterable[str | Path],
    detector: str | Path,
    *,
    each: Callable[[VideoScores], None],
    store: str | Path | None = None,
    threshold: float | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Outcome:
    """Score files, folders, globs and lists, and hand each video's scores to `each`.

    A video that fails is in the outcome and does not stop the others. With `store` the features
    are kept there, and those that it has already are not made again.
    """
    chosen = Run.open(detector, settings.get("device", "auto"))
    reading, given = _split(settings)
    sources = find_sources(videos)
    made = settings_of(chosen, given)
    backbone = load_backbone(made)
    with tempfile.TemporaryDirectory(prefix="vad-") as folder:
        path = Path(store or Path(folder, "features.zarr"))
        plan = make_plan(sources, path, backbone, made)
        check_provenance(chosen, plan.provenance)
        opened = FeatureStore.create(path)
        done = run(plan, opened, backbone, made, quiet=quiet)
        outcome = Outcome(failed=done.failed)
        ids = [s.id for s in sources if s.id not in done.failed]
        for scores in _scored(opened, chosen, ids, reading, threshold, made.max_pixels):
            each(scores)
            outcome.done.append(scores.video)
    return outcome


def score_store(
    store: str | Path,
    detector: str | Path,
    *,
    threshold: float | None = None,
    device: str = "auto",
    **settings: Any,
) -> Iterator[VideoScores]:
    """Score every video of a store, without decoding one.

    `settings` are those of `ScoreSettings`. Raises UsageError where the features are not those
    that the run was trained on.
    """
    opened, chosen = FeatureStore.open(store), Run.open(detector, device)
    reading = build(ScoreSettings, settings, where="score")
    return _scored(opened, chosen, opened.ids(), reading, threshold)


def _scored(
    store: FeatureStore,
    chosen: Run,
    ids: Iterable[str],
    reading: ScoreSettings,
    threshold: float | None,
    max_pixels: int | None = None,
) -> Iterator[VideoScores]:
    """Scores of stored videos, with all that their files and pages tell."""
    for scores in score_stored(store, chosen, ids):
        yield dataclasses.replace(
            scores,
            threshold=scores.threshold if threshold is None else threshold,
            threshold_from="run" if threshold is None else "given",
            propagation=reading,
            rule=reading,
            provenance=_provenance(chosen),
            footage=footage_of(scores.record, max_pixels=max_pixels),
        )


def _split(settings: Mapping[str, Any]) -> tuple[ScoreSettings, dict[str, Any]]:
    """Settings of reading scores, built, and those of extraction, from names of both kinds."""
    ours = options(ScoreSettings)
    reading = {n: v for n, v in settings.items() if n in ours and v is not None}
    others = {n: v for n, v in settings.items() if n not in ours and v is not None}
    return build(ScoreSettings, reading, where="score"), others


def settings_of(chosen: Run, given: Mapping[str, Any]) -> ExtractSettings:
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
    return build(ExtractSettings, recorded, given, where="score")


def check_provenance(chosen: Run, ours: Mapping[str, Any]) -> None:
    """UsageError unless features made here would be those that the run was trained on."""
    if differing := differences(chosen.card["features"]["provenance"], ours):
        field, (theirs, here) = next(iter(differing.items()))
        raise UsageError(
            f"{chosen.path} was trained on features with {field} {theirs!r}, "
            f"here it would be {here!r}",
            hint="give the same weights with --weights",
        )


def _provenance(chosen: Run) -> dict[str, Any]:
    """What of a run's card explains its scores."""
    card = chosen.card
    streams = {"visual": "provenance", "text": "text_provenance"}
    features = {card["features"].get(kind): card["features"].get(p) for kind, p in streams.items()}
    return {
        "run": str(chosen.path),
        "detector": card["detector"],
        "trained": card["created"],
        "selected_on": card["selection"]["on"],
        "epoch": card["selection"]["epoch"],
        "features": {name: made for name, made in features.items() if name},
    }
