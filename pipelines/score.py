"""Score video files: their features are extracted, and a trained run, or novelty, scores these.

The features go through a store, by default a temporary one, so that a video that is scored directly
gets exactly the same scores as one whose features were extracted beforehand.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from vad.config import build, take
from vad.device import choose_device
from vad.errors import UsageError, VideoError
from vad.stages.extract.outcome import Outcome
from vad.stages.extract.plan import make_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import Source, find_sources
from vad.stages.extract.words import ENCODERS, WITH_WORDS, words_of
from vad.stages.infer.novelty import MEANING, score_novelty
from vad.stages.infer.novelty import NAME as NOVELTY
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.scoring import score_stored
from vad.stages.infer.settings import Decision, ScoreSettings
from vad.stages.infer.words import ORDINARY, Sentences, score_by_words
from vad.stages.train.run import Run
from vad.store import FeatureStore
from vad.store.backends import refuse_connection

from .executors.run import backbone_for_plan, run_plan_on
from .executors.settings import split
from .features_for_run import captioner_of, make_features
from .paths import RUNS, finished_runs
from .project import open_run
from .video_source import video_source_of

log = logging.getLogger("vad")

RANDOM_KINDS = "RANDOM WEIGHTS: these kinds mean nothing"
WORDS_BACKBONE = "clip-b16"  # whose words are compared if no backbone is named


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
    scorer = _scorer_of(detector, given, threshold, decision, _Asked(look_for, ordinary, kinds))
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
    scorer = _scorer_of(detector, own, threshold, decision, _Asked(look_for, ordinary, kinds))
    ids, names = opened.ids(), scorer.names
    complete = opened.having(*names)
    if on_failed and complete:
        for video in sorted(set(ids) - set(complete)):
            what = f"{video!r} in {opened.backend} lacks {' or '.join(names)}"
            on_failed(video, VideoError("not-intact", what, hint="extract it again"))
        ids = complete
    return _scored(opened, scorer, ids, reading, {}, on_failed)


class _Scorer(Protocol):
    """Makes the features that it needs, and scores stored videos."""

    @property
    def names(self) -> Sequence[str]:
        """Return the arrays that every video must have."""

    def make_features(
        self,
        sources: list[Source],
        store: str | Path,
        given: Mapping[str, object],
        *,
        quiet: bool,
        on_stored: Callable[[str], None],
    ) -> Outcome:
        """Store the features of videos; `on_stored` is called with the id of each."""

    def score(
        self,
        store: FeatureStore,
        ids: Iterable[str],
        on_failed: Callable[[str, VideoError], None] | None,
    ) -> Iterator[VideoScores]:
        """Yield the scores of stored videos."""


@dataclass(frozen=True)
class _Asked:
    """The sentences that scores or kinds are asked by; see `score_files`."""

    look_for: Sequence[str]
    ordinary: Sequence[str]
    kinds: Sequence[str]


@dataclass(frozen=True)
class _Namer:
    """Names the events of a run by sentences, in place of the kinds that the run tells."""

    said: Sentences
    array: str

    def named(self, store: FeatureStore, scores: VideoScores) -> VideoScores:
        """Return the scores of a stored video with kinds by the sentences."""
        rows = store.read(scores.video, self.array)
        self.said.check_width(rows, self.array, scores.video)
        return dataclasses.replace(
            scores,
            kinds=self.said.name(rows, scores.snippets),
            doubt=RANDOM_KINDS if self.said.is_random else scores.doubt,
            provenance={"kinds": list(self.said.looked_for)},
        )


@dataclass(frozen=True)
class _ByRun:
    """Scores videos with a trained run."""

    run: Run
    threshold_from: str
    namer: _Namer | None = None

    @property
    def names(self) -> Sequence[str]:
        return list(self.run.names.values())

    def make_features(
        self,
        sources: list[Source],
        store: str | Path,
        given: Mapping[str, object],
        *,
        quiet: bool,
        on_stored: Callable[[str], None],
    ) -> Outcome:
        return make_features(self.run, sources, store, given, quiet=quiet, on_stored=on_stored)

    def score(
        self,
        store: FeatureStore,
        ids: Iterable[str],
        on_failed: Callable[[str, VideoError], None] | None,
    ) -> Iterator[VideoScores]:
        for scores in score_stored(store, self.run, ids, where=True, on_failed=on_failed):
            try:
                captions = _captions(store, self.run, scores.video)
                named = self.namer.named(store, scores) if self.namer else scores
            except VideoError as error:
                if on_failed is None:
                    raise
                on_failed(scores.video, error)
                continue
            yield dataclasses.replace(
                named,
                threshold_from=self.threshold_from,
                captions=captions,
                provenance=_provenance(self.run) | dict(named.provenance),
            )


@dataclass(frozen=True)
class _ByWords:
    """Scores by sentences, without a run."""

    said: Sentences
    array: str
    threshold: float | None

    @property
    def names(self) -> Sequence[str]:
        return [self.array]

    def make_features(
        self,
        sources: list[Source],
        store: str | Path,
        given: Mapping[str, object],
        *,
        quiet: bool,
        on_stored: Callable[[str], None],
    ) -> Outcome:
        return _extracted(sources, store, given, quiet=quiet, on_stored=on_stored)

    def score(
        self,
        store: FeatureStore,
        ids: Iterable[str],
        on_failed: Callable[[str, VideoError], None] | None,
    ) -> Iterator[VideoScores]:
        for video in ids:
            try:
                yield score_by_words(store, video, self.array, self.said, self.threshold)
            except VideoError as error:
                if on_failed is None:
                    raise
                on_failed(video, error)


@dataclass(frozen=True)
class _ByNovelty:
    """Scores the novelty of moments within their video, without a run."""

    threshold: float | None
    names: Sequence[str] = ()

    def make_features(
        self,
        sources: list[Source],
        store: str | Path,
        given: Mapping[str, object],
        *,
        quiet: bool,
        on_stored: Callable[[str], None],
    ) -> Outcome:
        if given.get("encoder"):
            raise UsageError("novelty reads no text", hint="leave --encoder out")
        return _extracted(sources, store, given, quiet=quiet, on_stored=on_stored)

    def score(
        self,
        store: FeatureStore,
        ids: Iterable[str],
        on_failed: Callable[[str, VideoError], None] | None,
    ) -> Iterator[VideoScores]:
        for video in ids:
            try:
                yield score_novelty(store, video, self.threshold)
            except VideoError as error:
                if on_failed is None:
                    raise
                on_failed(video, error)


def _extracted(
    sources: list[Source],
    store: str | Path,
    given: Mapping[str, object],
    *,
    quiet: bool,
    on_stored: Callable[[str], None],
) -> Outcome:
    """Extract the features that the settings name, for scores without a run."""
    where, rest = split(given, where="score")
    settings = build(ExtractSettings, rest, where="score")
    backbone = backbone_for_plan(settings, where)
    plan = make_plan(sources, store, backbone, settings)
    opened = FeatureStore.create(store)
    return run_plan_on(plan, opened, backbone, settings, where, quiet=quiet, on_stored=on_stored)


def _scorer_of(
    detector: str | Path | None,
    given: dict[str, Any],
    threshold: float | None,
    decision: Decision,
    asked: _Asked,
) -> _Scorer:
    """Return what scores videos: sentences if there are any to look for, else the given run, else
    the newest one, else novelty.

    The device in `given` becomes the chosen one. Raises UsageError if the run cannot tell what is
    asked of it.
    """
    if asked.look_for or asked.ordinary:
        return _by_words(detector, given, threshold, decision, asked)
    if given.pop("backbone", None):
        raise UsageError("--backbone goes with --look-for; a run knows its own")
    if detector is None and not finished_runs():
        log.info("no finished run in %s/: %s", RUNS, MEANING)
        detector = NOVELTY
    if asked.kinds and str(detector) == NOVELTY:
        raise UsageError(
            "--kind names the events of a run, and there is none",
            hint="train one; or score by words alone: --look-for",
        )
    given["device"] = str(choose_device(given.get("device", "auto")))  # logged once
    if str(detector) != NOVELTY:
        run, threshold_from = open_run(detector, given["device"], threshold, decision)
        namer = _namer_of(run, asked.kinds, given) if asked.kinds else None
        return _ByRun(run, threshold_from, namer)
    unknown = [name for name, value in asdict(decision).items() if value is not None]
    if unknown:
        raise UsageError(
            f"novelty within a video knows no {unknown[0].replace('_', ' ')}",
            hint="train a run, which does: vad train; or give --threshold",
        )
    return _ByNovelty(threshold)


def _by_words(
    detector: str | Path | None,
    given: dict[str, Any],
    threshold: float | None,
    decision: Decision,
    asked: _Asked,
) -> _ByWords:
    """Return the scorer by sentences. Raises UsageError if they do not fit what else is asked."""
    if asked.kinds:
        raise UsageError("--kind names the events of a run", hint="leave --look-for out, or --kind")
    if not asked.look_for:
        raise UsageError("--ordinary goes with --look-for", hint='say what: --look-for "a fire"')
    if detector is not None:
        raise UsageError("--look-for scores without a run", hint="leave --detector out")
    unknown = [name for name, value in asdict(decision).items() if value is not None]
    if unknown:
        raise UsageError(
            f"words alone know no {unknown[0].replace('_', ' ')}",
            hint="train a run, which does: vad train; or give --threshold",
        )
    given.setdefault("backbone", WORDS_BACKBONE)
    given["device"] = str(choose_device(given.get("device", "auto")))
    offline = bool(given.get("offline", False))
    words = words_of(given["backbone"], given.get("weights"), offline=offline)
    contrast = tuple(asked.ordinary) or ORDINARY
    said = Sentences(
        tuple(asked.look_for),
        contrast,
        words.vectors([*asked.look_for, *contrast]),
        words.is_random,
    )
    return _ByWords(said, f"visual/{words.backbone}", threshold)


def _namer_of(run: Run, kinds: Sequence[str], given: Mapping[str, Any]) -> _Namer:
    """Return what names the events of a run by sentences. Raises UsageError if there is only one
    sentence, or if the run reads no features that sentences can be compared with.
    """
    if len(set(kinds)) < 2:
        raise UsageError("one kind names all events alike", hint="give --kind at least twice")
    arrays = [name for name in run.names.values() if name.startswith("visual/")]
    backbones = [name.partition("/")[2] for name in arrays]
    backbone = next((x for x in backbones if x in (*WITH_WORDS, *ENCODERS)), None)
    if backbone is None:
        raise UsageError(
            f"{run.path} reads {' and '.join(run.names.values())}, which are no features of an "
            "image-text backbone",
            hint=f"for --kind, train on those of {', '.join(WITH_WORDS)}",
        )
    words = words_of(backbone, given.get("weights"), offline=bool(given.get("offline", False)))
    said = Sentences(tuple(kinds), (), words.vectors(kinds), words.is_random)
    return _Namer(said, f"visual/{backbone}")


def _scored(
    store: FeatureStore,
    scorer: _Scorer,
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


def _captions(store: FeatureStore, run: Run, video: str) -> tuple[str, ...]:
    """Return the captions of a stored video, one per snippet.

    These are the captions that the run reads; otherwise the first that are stored for the video;
    otherwise, an empty tuple.
    """
    names = sorted(n for n in store.names(video) if n.startswith("captions/"))
    read = f"captions/{captioner_of(run)}"
    name = read if read in names else next(iter(names), None)
    return tuple(map(str, store.read(video, name))) if name else ()


def _provenance(run: Run) -> dict[str, object]:
    """Return the part of a run's card that explains its scores."""
    card = run.card
    return {
        "run": str(run.path),
        "detector": [
            {"name": member.detector, "settings": dict(member.settings)} for member in card.members
        ],
        "trained": card.created,
        "selected_on": card.selection.on,
        "epoch": card.selection.epoch,
        "features": {
            stream.name: stream.provenance and stream.provenance.document
            for stream in card.streams.values()
        },
    }
