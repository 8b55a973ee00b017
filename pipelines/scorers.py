"""What scores stored videos: a trained run, sentences, or novelty within the video."""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from vad.config import build
from vad.device import choose_device
from vad.errors import UsageError, VideoError
from vad.stages.extract.outcome import Outcome
from vad.stages.extract.plan import make_plan
from vad.stages.extract.settings import ExtractSettings
from vad.stages.extract.sources import Source
from vad.stages.extract.words import ENCODERS, WITH_WORDS, words_of
from vad.stages.infer.novelty import MEANING, score_novelty
from vad.stages.infer.novelty import NAME as NOVELTY
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.scoring import score_stored
from vad.stages.infer.settings import Decision
from vad.stages.infer.words import ORDINARY, Sentences, score_by_words
from vad.stages.train.run import Run
from vad.store import FeatureStore

from .executors.run import backbone_for_plan, run_plan_on
from .executors.settings import split
from .features_for_run import captioner_of, make_features
from .paths import RUNS, finished_runs
from .project import open_run

log = logging.getLogger("vad")

RANDOM_KINDS = "RANDOM WEIGHTS: these kinds mean nothing"
WORDS_BACKBONE = "clip-b16"  # whose words are compared if no backbone is named


class Scorer(Protocol):
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
class Asked:
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


class _WithoutRun(ABC):
    """Scores videos one by one, from the features that the settings name."""

    def make_features(
        self,
        sources: list[Source],
        store: str | Path,
        given: Mapping[str, object],
        *,
        quiet: bool,
        on_stored: Callable[[str], None],
    ) -> Outcome:
        where, rest = split(given, where="score")
        settings = build(ExtractSettings, rest, where="score")
        backbone = backbone_for_plan(settings, where)
        plan = make_plan(sources, store, backbone, settings)
        opened = FeatureStore.create(store)
        return run_plan_on(
            plan, opened, backbone, settings, where, quiet=quiet, on_stored=on_stored
        )

    def score(
        self,
        store: FeatureStore,
        ids: Iterable[str],
        on_failed: Callable[[str, VideoError], None] | None,
    ) -> Iterator[VideoScores]:
        for video in ids:
            try:
                yield self.score_one(store, video)
            except VideoError as error:
                if on_failed is None:
                    raise
                on_failed(video, error)

    @abstractmethod
    def score_one(self, store: FeatureStore, video: str) -> VideoScores:
        """Return the scores of a stored video."""


@dataclass(frozen=True)
class _ByWords(_WithoutRun):
    """Scores by sentences."""

    said: Sentences
    array: str
    threshold: float | None

    @property
    def names(self) -> Sequence[str]:
        return [self.array]

    def score_one(self, store: FeatureStore, video: str) -> VideoScores:
        return score_by_words(store, video, self.array, self.said, self.threshold)


@dataclass(frozen=True)
class _ByNovelty(_WithoutRun):
    """Scores the novelty of moments within their video."""

    threshold: float | None
    names: Sequence[str] = ()

    def score_one(self, store: FeatureStore, video: str) -> VideoScores:
        return score_novelty(store, video, self.threshold)


def scorer_of(
    detector: str | Path | None,
    given: dict[str, Any],
    threshold: float | None,
    decision: Decision,
    asked: Asked,
) -> Scorer:
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
    _refuse(decision, "novelty within a video knows")
    if given.get("encoder"):
        raise UsageError("novelty reads no text", hint="leave --encoder out")
    return _ByNovelty(threshold)


def _refuse(decision: Decision, who_knows: str) -> None:
    """Raise UsageError if a setting is given that only a run can answer."""
    if given := [name for name, value in asdict(decision).items() if value is not None]:
        raise UsageError(
            f"{who_knows} no {given[0].replace('_', ' ')}",
            hint="train a run, which does: vad train; or give --threshold",
        )


def _by_words(
    detector: str | Path | None,
    given: dict[str, Any],
    threshold: float | None,
    decision: Decision,
    asked: Asked,
) -> _ByWords:
    """Return the scorer by sentences. Raises UsageError if they do not fit what else is asked."""
    if asked.kinds:
        raise UsageError("--kind names the events of a run", hint="leave --look-for out, or --kind")
    if not asked.look_for:
        raise UsageError("--ordinary goes with --look-for", hint='say what: --look-for "a fire"')
    if detector is not None:
        raise UsageError("--look-for scores without a run", hint="leave --detector out")
    _refuse(decision, "words alone know")
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
