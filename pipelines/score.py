"""Score video files: their features are extracted, and a trained run, or novelty, scores these.

The features go through a store, by default a temporary one, so that a video that is scored directly
gets exactly the same scores as one whose features were extracted beforehand.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vad.config import build, take
from vad.errors import UsageError, VideoError
from vad.stages.extract.outcome import Outcome
from vad.stages.extract.sources import Source, find_sources
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.settings import Decision, ScoreSettings
from vad.store import FeatureStore
from vad.store.backends import refuse_connection

from .scorers import Asked, Scorer, scorer_of
from .video_source import video_source_of

log = logging.getLogger("vad")


def score_file(
    video: str | Path,
    detector: str | Path | None = None,
    *,
    threshold: float | None = None,
    **settings: Any,
) -> VideoScores:
    """`vad.score`: return the scores of one video file. Raises VideoError if it cannot be used."""
    if (n_videos := len(find_sources([video]))) != 1:
        raise UsageError(
            f"{video} stands for {n_videos} videos",
            hint="vad.score_videos takes several",
        )
    found: list[VideoScores] = []
    outcome = score_files(
        [video], detector, on_scores=found.append, threshold=threshold, quiet=True, **settings
    )
    for error in outcome.failed.values():
        raise error
    return found[0]


def score_files(
    videos: str | Path | Iterable[str | Path],
    detector: str | Path | None = None,
    *,
    on_scores: Callable[[VideoScores], None],
    store: str | Path | None = None,
    threshold: float | None = None,
    quiet: bool = False,
    look_for: Sequence[str] = (),
    ordinary: Sequence[str] = (),
    kinds: Sequence[str] = (),
    **settings: Any,
) -> Outcome:
    """`vad.score_videos`: score video files, and call `on_scores` with the scores of every one.

        1. `make_features` makes the features of the videos, in a store.
        2. It calls `hand_on` for each stored video, which scores that video at once.
        3. `hand_on` passes the scores to `on_scores`.

    If the run reads text, scoring begins only after all videos are captioned. A video that fails is
    listed in the returned outcome and does not stop the others. With `store`, features are kept
    there, and features that it already holds are not made again; without, the features of a video
    are deleted as soon as it is scored. look_for: sentences that score in place of a run,
    contrasted with the sentences `ordinary`. kinds: sentences that name the events of a run, whose
    features must be of an image-text backbone.
    """
    sources = find_sources([videos] if isinstance(videos, str | Path) else videos)
    return score_sources(
        sources,
        detector,
        on_scores=on_scores,
        store=store,
        threshold=threshold,
        quiet=quiet,
        look_for=look_for,
        ordinary=ordinary,
        kinds=kinds,
        **settings,
    )


def score_sources(
    sources: list[Source],
    detector: str | Path | None = None,
    *,
    on_scores: Callable[[VideoScores], None],
    store: str | Path | None = None,
    threshold: float | None = None,
    quiet: bool = False,
    look_for: Sequence[str] = (),
    ordinary: Sequence[str] = (),
    kinds: Sequence[str] = (),
    **settings: Any,
) -> Outcome:
    """Score videos that were found already; see `score_files`."""
    given = {name: value for name, value in settings.items() if value is not None}
    decision = take(Decision, given, where="score")
    reading = take(ScoreSettings, given, where="score")
    if store is not None:
        refuse_connection(store, offline=given.get("offline", False))
    scorer = scorer_of(detector, given, threshold, decision, Asked(look_for, ordinary, kinds))
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="vad-") as folder:
        path = store or Path(folder, "features.zarr")

        def hand_on(video: str) -> None:
            opened = FeatureStore.open(path)
            try:
                for scores in _scored(opened, scorer, [video], reading, given):
                    on_scores(scores)
                    outcome.done.append(video)
            except VideoError as error:  # the file was removed or changed in the meantime
                outcome.failed[video] = error
                log.warning("%s: %s (%s)", video, error, error.reason)
            if store is None:
                opened.remove(video)

        # scores every video as soon as it is stored, by `hand_on`
        made = scorer.make_features(sources, path, given, quiet=quiet, on_stored=hand_on)
        outcome.failed.update(made.failed)
    return outcome


def score_store(
    store: str | Path,
    detector: str | Path | None = None,
    *,
    threshold: float | None = None,
    device: str = "auto",
    on_failed: Callable[[str, VideoError], None] | None = None,
    look_for: Sequence[str] = (),
    ordinary: Sequence[str] = (),
    kinds: Sequence[str] = (),
    backbone: str | None = None,
    weights: str | None = None,
    **settings: Any,
) -> Iterator[VideoScores]:
    """`vad.score_store`: return the scores of every video of a store; no video is decoded.

    on_failed is called with each video whose arrays are missing or damaged; if it is None, the
    first such video raises VideoError. look_for, ordinary, kinds: as for `score_files`; backbone,
    weights: those of the features that sentences are compared with.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    decision = take(Decision, given, where="score")
    reading = build(ScoreSettings, given, where="score")
    opened = FeatureStore.open(store)
    own: dict[str, object] = {"device": device, "backbone": backbone, "weights": weights}
    own = {name: value for name, value in own.items() if value is not None}
    scorer = scorer_of(detector, own, threshold, decision, Asked(look_for, ordinary, kinds))
    ids, names = opened.ids(), scorer.names
    complete = opened.having(*names)
    if on_failed and complete:
        for video in sorted(set(ids) - set(complete)):
            what = f"{video!r} in {opened.backend} lacks {' or '.join(names)}"
            on_failed(video, VideoError("not-intact", what, hint="extract it again"))
        ids = complete
    return _scored(opened, scorer, ids, reading, {}, on_failed)


def _scored(
    store: FeatureStore,
    scorer: Scorer,
    ids: Iterable[str],
    reading: ScoreSettings,
    given: Mapping[str, Any],
    on_failed: Callable[[str, VideoError], None] | None = None,
) -> Iterator[VideoScores]:
    """Score stored videos, and add the settings of events and the video file to the scores."""
    for scores in scorer.score(store, ids, on_failed):
        yield dataclasses.replace(
            scores,
            propagation=reading,
            rule=reading,
            video_source=video_source_of(
                scores.record,
                path=store.source_of(scores.record),
                max_pixels=given.get("max_pixels"),
            ),
        )
