"""Stored features and a run in, scores out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vad.errors import UsageError
from vad.store import FeatureStore, differences
from vad.train.checkpoint import Run

from .scores import VideoScores


def score_stored(
    store: FeatureStore, run: Run, video_ids: Iterable[str] | None = None
) -> Iterator[VideoScores]:
    """Score stored videos one at a time, all of them or those named.

    Raises UsageError where the features are not those that the run was trained on.
    """
    name = run.card["features"]["visual"]
    for video_id in store.ids() if video_ids is None else video_ids:
        check_features(store, run, video_id)
        yield VideoScores(
            video=video_id,
            record=store.record(video_id),
            snippets=run.score(store.read(video_id, name)),
            times=store.times(video_id),
            threshold=run.threshold,
            detector=run.name,
        )


def check_features(store: FeatureStore, run: Run, video_id: str) -> None:
    """UsageError unless a video's features were made as the run's training features were."""
    features: dict[str, Any] = run.card["features"]
    stored = store.attributes(video_id, features["visual"])["provenance"]
    if differing := differences(features["provenance"], stored):
        field, (wanted, found) = next(iter(differing.items()))
        raise UsageError(
            f"{run.path} was trained on {features['visual']} with {field} {wanted!r}, "
            f"{video_id!r} in {store.path} has {found!r}",
            hint="extract the videos as the training videos were extracted",
        )
