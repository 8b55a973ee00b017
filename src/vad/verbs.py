"""The commands of `vad` as Python functions; they are the public interface of the package.

    vad.extract("videos/", "features.zarr")
    vad.train("features.zarr", "labels.csv", "runs/rtfm")
    vad.evaluate("runs/rtfm", "segments.csv").figures
    vad.score("video.mp4", detector="runs/rtfm").frames

Every setting is a keyword argument. Names, types, defaults, ranges and help texts come from the
settings classes, and a test compares the signatures with these classes. `explained` appends the
help texts to each docstring. The libraries of a stage are imported when its function is called.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .config import options
from .errors import VideoError
from .stages.extract.captioners.settings import CaptionSettings
from .stages.extract.settings import N_WORKERS, ComputeSettings, ExtractSettings
from .stages.infer.settings import Decision, ScoreSettings
from .stages.infer.stream.settings import StreamSettings
from .stages.pipelines.executors.settings import ExecutorSettings
from .stages.train.detectors.settings import Settings as DetectorSettings
from .stages.train.settings import TrainSettings

if TYPE_CHECKING:
    from .labels import Labels
    from .stages.extract.compare import Comparison
    from .stages.extract.outcome import Outcome
    from .stages.infer.evaluation.result import Evaluation
    from .stages.infer.evaluation.spread import Spread
    from .stages.infer.onnx import Exported
    from .stages.infer.scores import VideoScores
    from .stages.infer.stream.lines import Line
    from .stages.infer.words import Moment
    from .stages.pipelines.reproduce.run import Result
    from .stages.train.callbacks import Callback
    from .stages.train.run import Run
    from .stages.train.tune.results import SearchResult
    from .store.verify import Report

Verb = TypeVar("Verb", bound=Callable[..., Any])
Place = str | Path  # a file or folder; for a store, also an address such as s3://bucket/f.zarr
Videos = str | Path | Iterable[str | Path]  # files, folders, globs or @list.txt

Crops = Literal["ten", "five", "center", "whole"]
Tail = Literal["repeat-last", "loop", "drop"]
Decoder = Literal["auto", "decord", "pyav"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Executor = Literal["local", "ray"]
Logger = Literal["tensorboard", "wandb", "mlflow"]

SETTINGS: dict[str, tuple[type, ...]] = {}  # function name -> its settings classes


def explained(*classes: type) -> Callable[[Verb], Verb]:
    """Append the help texts of the classes' settings to the docstring of the decorated function."""

    def explain(verb: Verb) -> Verb:
        SETTINGS[verb.__name__] = classes
        known = [option for cls in classes for option in options(cls).values()]
        lines = "".join(f"\n        {option.name}: {option.help}" for option in known)
        verb.__doc__ = f"{verb.__doc__}\n    Settings:{lines}\n    "
        return verb

    return explain


def _settings(given: Mapping[str, object], *classes: type) -> dict[str, object]:
    """Return those of the given arguments that are settings of the classes and not None."""
    names = [name for cls in classes for name in options(cls)]
    return {name: given[name] for name in names if given.get(name) is not None}


@explained(ExtractSettings, ExecutorSettings)
def extract(
    videos: Videos,
    store: Place = "features.zarr",
    *,
    overwrite: bool = False,
    quiet: bool = False,
    backbone: str = "efficientnet-lite0-parts",
    weights: str | None = None,
    recipe: str | None = None,
    crops: Crops | None = None,
    sampling: Literal["timesformer-mil"] | None = None,
    dilation: int | None = None,
    stride: int | None = None,
    max_clips: int | None = None,
    tail: Tail | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    places: Literal["none", "flow", "full"] = "full",
    pool: Literal["mean16", "middle", "every-second"] | None = None,
    shard: str | None = None,
    decoder: Decoder = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    batch: int | None = None,
    workers: int = N_WORKERS,
    time_limit: float = 60.0,
    max_pixels: int = 4096 * 2304,
    fps: float | None = None,
    offline: bool = False,
    accept_truncated: bool = False,
    executor: Executor = "local",
    address: str | None = None,
    actor_gpus: float | None = None,
    actor_cpus: int | None = None,
    max_losses: int = 3,
) -> Outcome:
    """Extract the features of videos into a store; videos that it holds already are skipped.

    videos: files, folders, globs or lists such as @videos.txt; one or several. overwrite: extract
    stored videos again. quiet: show no progress.

    A video that cannot be used is listed in `Outcome.failed` and in `failures.jsonl`, and the
    others go on. Raises UsageError for wrong input.
    """
    given = _settings(locals(), ExtractSettings, ExecutorSettings)
    from .stages.pipelines.executors import run

    return run.extract(videos, store, overwrite=overwrite, quiet=quiet, **given)


def card(run: Place | None = None, out: Place | None = None) -> Path:
    """Write the model card of a run, an HTML page, and return its path.

    run: the folder of a run; by default the newest finished one in runs/. out: by default
    model-card.html in the run's folder. Raises UsageError if there is no such run.
    """
    from .stages.infer.model_card import write_card
    from .stages.pipelines.project import newest_run
    from .stages.train.run import Run

    return write_card(Run.open(newest_run(run), "cpu"), Path(out) if out else None)


@explained(CaptionSettings, ExecutorSettings)
def caption(
    store: Place = "features.zarr",
    *,
    videos: Videos = (),
    overwrite: bool = False,
    quiet: bool = False,
    captioner: str | None = None,
    encoder: str = "minilm",
    name: str | None = None,
    window: int | None = None,
    stride: int | None = None,
    frames: str | None = None,
    fps: float = 30.0,
    device: str = "auto",
    precision: Precision = "auto",
    batch: int = 8,
    workers: int = N_WORKERS,
    time_limit: float = 60.0,
    max_pixels: int = 4096 * 2304,
    offline: bool = False,
    executor: Executor = "local",
    address: str | None = None,
    actor_gpus: float | None = None,
    actor_cpus: int | None = None,
    max_losses: int = 3,
) -> Outcome:
    """Caption every snippet of a store and embed the captions; videos with captions are skipped.

    videos: files to caption, whether the store holds them or not; by default all videos of the
    store. overwrite: caption and embed stored videos again. quiet: show no progress.

    A video that cannot be used is listed in `Outcome.failed` and in `failures.jsonl`, and the
    others go on. Raises UsageError for wrong input.
    """
    given = _settings(locals(), CaptionSettings, ExecutorSettings)
    from .stages.pipelines.executors import run

    return run.caption(store, videos=videos, overwrite=overwrite, quiet=quiet, **given)


@explained(TrainSettings)
def train(
    store: Place = "features.zarr",
    labels: Labels | None = None,
    out: Place | None = None,
    *,
    member: Sequence[str] = (),
    purpose: Literal["streams"] | None = None,
    reviews: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    log_to: Sequence[Logger] = (),
    callbacks: Sequence[Callback] = (),
    detector: str | DetectorSettings | None = None,
    preset: str | None = None,
    weights: str | None = None,
    visual: str | None = None,
    text: str | None = None,
    validation: float = 0.2,
    select: Literal["validation", "test"] = "validation",
    fold: str | None = None,
    seed: int | None = None,
    segments: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    clip: float | None = None,
    crops: int | None = None,
    scale: Literal["none", "standardise", "components"] | None = None,
    components: int | None = None,
    form: Literal["paper", "published"] | None = None,
    smoothing: int | None = None,
    smoothing_rule: Literal["centred", "slide", "fixed"] | None = None,
    allow_random: bool = False,
    device: str = "auto",
) -> Run:
    """Train a detector from video-level labels, and return the run that is written to `out`.

    store: the feature store. labels: the CSV file `video,label`, a mapping {video: label} or a
    DataFrame with these columns; by default labels.csv, or the folders of the videos if one of them
    is called normal. out: the run's folder; by default runs/DETECTOR, numbered if it exists.
    member: members of the run, each DETECTOR:WHAT, where WHAT is an array or a block of columns,
    such as topk:A. purpose: "streams" takes only members with which a core carries three cameras.
    reviews: a CSV file of verdicts on events, as reports save it; by default reviews.csv beside the
    labels. Dismissed events are trained on as normal, confirmed ones as abnormal. resume: continue
    an unfinished run. overwrite: replace a finished run. quiet: show no progress. log_to: where to
    log the figures of every epoch; the package of that name must be installed. callbacks: objects
    that are told the start, every epoch and the end, see `vad.Callback`.

    detector: a name, or settings such as `vad.detectors.RTFM(dropout=0.5)`; by default that of the
    preset or of the weights, or else several members that suit the store's arrays, decided by
    cross-fitting. A setting that is None has the value of the preset, of the weights, or the one
    suggested for the detector; `vad train --help` shows those of rtfm.

    Raises UsageError for wrong input.
    """
    given = _settings(locals(), TrainSettings)
    from .stages.pipelines.project import train as run_training

    return run_training(
        store,
        labels,
        out,
        member=member,
        purpose=purpose,
        reviews=reviews,
        resume=resume,
        overwrite=overwrite,
        quiet=quiet,
        log_to=log_to,
        callbacks=callbacks,
        **given,
    )


@explained(TrainSettings)
def tune(
    store: Place = "features.zarr",
    labels: Labels | None = None,
    out: Place = "runs/tune",
    *,
    trials: int = 30,
    splits: int = 5,
    space: str | Path | Sequence[str] | None = None,
    jobs: int = 1,
    resume: bool = False,
    quiet: bool = False,
    detector: str | DetectorSettings | None = None,
    preset: str | None = None,
    weights: str | None = None,
    visual: str | None = None,
    text: str | None = None,
    validation: float = 0.2,
    select: Literal["validation", "test"] = "validation",
    fold: str | None = None,
    seed: int | None = None,
    segments: int | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    clip: float | None = None,
    crops: int | None = None,
    scale: Literal["none", "standardise", "components"] | None = None,
    components: int | None = None,
    form: Literal["paper", "published"] | None = None,
    smoothing: int | None = None,
    smoothing_rule: Literal["centred", "slide", "fixed"] | None = None,
    allow_random: bool = False,
    device: str = "auto",
) -> SearchResult:
    """Search for better training settings by short trainings, measured on validation videos.

    Test videos are never read. The search starts from the given settings, which are those of
    `vad.train`. trials: their total number. splits: number of validation splits on which each trial
    is measured. space: names of the settings to search, a TOML file, or report-grid; by default lr,
    weight_decay and the detector's own settings. jobs: number of trials that run at the same time.
    resume: continue an interrupted search. quiet: show no progress. store, labels: as for
    `vad.train`. out: the folder of the results, which are also returned.

    Raises UsageError for wrong input.
    """
    given = _settings(locals(), TrainSettings)
    from .stages.pipelines.project import labels_of, with_detector
    from .stages.train.tune.run import tune as search

    return search(
        store,
        labels_of(store, labels),
        out,
        trials=trials,
        splits=splits,
        space=space,
        jobs=jobs,
        resume=resume,
        quiet=quiet,
        **with_detector(given),
    )


def spread(results: Iterable[Run] | Iterable[Evaluation]) -> dict[str, Spread]:
    """Return mean and deviation of every figure of several runs, or of several evaluations.

    results: runs, of which the figures of held-out or validation videos and the threshold are
    known, or what `vad.evaluate` returned for each of them. Figures that a result lacks are left
    out. The deviation is the root of the mean squared distance from the mean.

        runs = [vad.train(seed=seed, out=f"runs/rtfm/seed-{seed}") for seed in range(5)]
        vad.spread(runs)["heldout/video_auc"].mean
        vad.spread(vad.evaluate(run.path, "segments.csv") for run in runs)["frame.auc"]

    Raises UsageError if there is no result.
    """
    from .stages.infer.evaluation.spread import spread as spread_of

    return spread_of(results)


def evaluate(
    run: Place,
    segments: Place | None = None,
    *,
    truth: Place | None = None,
    store: Place | None = None,
    labels: Labels | None = None,
    split: str = "test",
    device: str = "auto",
    offline: bool = False,
) -> Evaluation:
    """Measure a run on videos whose anomalous frames are known.

    segments: the CSV file `video,start_frame,end_frame`. truth: instead of segments, an array of 0
    and 1 for every frame, with the videos in the order of the list. store: by default the store
    that the run was trained on. labels: the videos; by default those that the run lists for
    `split`. device: auto, cpu, cuda or cuda:1. offline: open no network connection.

    Raises UsageError, with the name of the video, for wrong input.
    """
    from .stages.infer.evaluation.run import evaluate as measure

    return measure(
        run,
        segments,
        truth=truth,
        store=store,
        labels=labels,
        split=split,
        device=device,
        offline=offline,
    )


@explained(Decision, ScoreSettings, ComputeSettings)
def score(
    video: Place,
    detector: Place | None = None,
    *,
    threshold: float | None = None,
    weights: str | None = None,
    encoder: str | None = None,
    look_for: Sequence[str] = (),
    ordinary: Sequence[str] = (),
    kinds: Sequence[str] = (),
    backbone: str | None = None,
    prior: float | None = None,
    false_alarms: str | None = None,
    recall: float | None = None,
    camera: str | None = None,
    propagation: Literal["hold", "linear", "gaussian"] = "hold",
    sigma: float = 1.0,
    low: float | None = None,
    min_event: float = 0.5,
    merge_gap: float = 1.0,
    pad_before: float = 0.0,
    pad_after: float = 0.0,
    decoder: Decoder = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    batch: int | None = None,
    workers: int = N_WORKERS,
    time_limit: float = 60.0,
    max_pixels: int = 4096 * 2304,
    fps: float | None = None,
    offline: bool = False,
    accept_truncated: bool = False,
) -> VideoScores:
    """Score one video: `.frames` [frames], `.snippets` [snippets], `.events`, `.save()`.

    detector: a trained run; by default the newest finished one in runs/, and if there is none,
    "novelty": how unlike the rest of the video each moment is, without training. threshold: by
    default the run's. weights: where the backbone's weights are now; encoder: the sentence encoder.
    These two are needed only if the run names ones that are not known here. Scores are between 0
    (ordinary) and 1 (anomalous); those of a calibrated run are chances.

    look_for: sentences that score in place of a run, by the features of an image-text backbone
    (`backbone`, by default "clip-b16"), contrasted with the sentences `ordinary`. kinds: sentences,
    two or more, that name the events of a run on features of an image-text backbone.

    Raises UsageError for wrong input, and VideoError if the video cannot be used.
    """
    given = _settings(locals(), Decision, ScoreSettings, ComputeSettings)
    from .stages.pipelines.score import score_file

    return score_file(
        video,
        detector,
        threshold=threshold,
        weights=weights,
        encoder=encoder,
        look_for=look_for,
        ordinary=ordinary,
        kinds=kinds,
        backbone=backbone,
        **given,
    )


@explained(Decision, ScoreSettings, ComputeSettings, ExecutorSettings)
def score_videos(
    videos: Videos,
    detector: Place | None = None,
    *,
    on_scores: Callable[[VideoScores], None],
    store: Place | None = None,
    threshold: float | None = None,
    quiet: bool = False,
    weights: str | None = None,
    encoder: str | None = None,
    look_for: Sequence[str] = (),
    ordinary: Sequence[str] = (),
    kinds: Sequence[str] = (),
    backbone: str | None = None,
    prior: float | None = None,
    false_alarms: str | None = None,
    recall: float | None = None,
    camera: str | None = None,
    propagation: Literal["hold", "linear", "gaussian"] = "hold",
    sigma: float = 1.0,
    low: float | None = None,
    min_event: float = 0.5,
    merge_gap: float = 1.0,
    pad_before: float = 0.0,
    pad_after: float = 0.0,
    decoder: Decoder = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    batch: int | None = None,
    workers: int = N_WORKERS,
    time_limit: float = 60.0,
    max_pixels: int = 4096 * 2304,
    fps: float | None = None,
    offline: bool = False,
    accept_truncated: bool = False,
    executor: Executor = "local",
    address: str | None = None,
    actor_gpus: float | None = None,
    actor_cpus: int | None = None,
    max_losses: int = 3,
) -> Outcome:
    """Score many videos, and call `on_scores` with the scores of a video as soon as they are made.

    videos: files, folders, globs or lists; one or several. store: keeps the features, and features
    that it holds already are not computed again; by default they are deleted after scoring. quiet:
    show no progress. detector, threshold, weights, encoder, look_for, ordinary, kinds, backbone:
    as for `vad.score`.

    A video that cannot be used is listed in `Outcome.failed`, and the others are scored. Raises
    UsageError for wrong input.
    """
    given = _settings(locals(), Decision, ScoreSettings, ComputeSettings, ExecutorSettings)
    from .stages.pipelines.score import score_files

    return score_files(
        videos,
        detector,
        on_scores=on_scores,
        store=store,
        threshold=threshold,
        quiet=quiet,
        weights=weights,
        encoder=encoder,
        look_for=look_for,
        ordinary=ordinary,
        kinds=kinds,
        backbone=backbone,
        **given,
    )


@explained(Decision, ScoreSettings)
def score_store(
    store: Place,
    detector: Place | None = None,
    *,
    threshold: float | None = None,
    device: str = "auto",
    on_failed: Callable[[str, VideoError], None] | None = None,
    look_for: Sequence[str] = (),
    ordinary: Sequence[str] = (),
    kinds: Sequence[str] = (),
    backbone: str | None = None,
    weights: str | None = None,
    prior: float | None = None,
    false_alarms: str | None = None,
    recall: float | None = None,
    camera: str | None = None,
    propagation: Literal["hold", "linear", "gaussian"] = "hold",
    sigma: float = 1.0,
    low: float | None = None,
    min_event: float = 0.5,
    merge_gap: float = 1.0,
    pad_before: float = 0.0,
    pad_after: float = 0.0,
) -> Iterator[VideoScores]:
    """Score every video of a store, one after the other, without decoding any video.

    detector, threshold: as for `vad.score`. device: of the detector. on_failed: called with the id
    and the error of every damaged video; without it, the first damaged video raises VideoError.
    look_for, ordinary, kinds, backbone: as for `vad.score`; weights: of that backbone.
    Raises UsageError if the features were made with other settings than those that the run was
    trained on.
    """
    given = _settings(locals(), Decision, ScoreSettings)
    from .stages.pipelines.score import score_store as score_each

    return score_each(
        store,
        detector,
        threshold=threshold,
        device=device,
        on_failed=on_failed,
        look_for=look_for,
        ordinary=ordinary,
        kinds=kinds,
        backbone=backbone,
        weights=weights,
        **given,
    )


def search(
    store: Place,
    text: str | None = None,
    *,
    like: str | None = None,
    visual: str | None = None,
    weights: str | None = None,
    top: int = 20,
    offline: bool = False,
) -> list[Moment]:
    """Return the moments of stored videos that are most like a sentence or a moment, best first.

    text: a sentence, for features of an image-text backbone such as clip-b16; or like, a moment
    VIDEO@SECONDS, for any features. visual: the array, if the store has several. weights: where the
    weights of its backbone are now. top: number of moments. offline: open no network connection.
    Raises UsageError for wrong input.
    """
    from .stages.pipelines.search import search as find

    return find(store, text, like=like, visual=visual, weights=weights, top=top, offline=offline)[0]


def explain(
    scores: Place | Iterable[Place] = "scores",
    *,
    captioner: str = "labels",
    top: int = 20,
    device: str = "auto",
    precision: str = "auto",
    offline: bool = False,
    quiet: bool = False,
    on_failed: Callable[[str, VideoError], None] | None = None,
) -> list[VideoScores]:
    """Say what is seen in the events of written scores, in their files, and return the scores.

    scores: JSON files of `vad score`, or folders of these. captioner: labels, git, blip or
    instruct, each also NAME:MODEL; its sentences are generated and can be wrong. top: most events
    of a video, those with the highest scores. device, precision: of the captioner. offline: open no
    network connection. quiet: show no progress. on_failed: called with the id and the error of a
    video that cannot be read; without it, the first such video raises VideoError. Raises UsageError
    for wrong input.
    """
    from .stages.pipelines.explain import explain as run

    return run(
        [scores] if isinstance(scores, str | Path) else scores,
        captioner=captioner,
        top=top,
        device=device,
        precision=precision,
        offline=offline,
        quiet=quiet,
        on_failed=on_failed,
    )


@explained(ComputeSettings)
def calibrate(
    run: Place,
    footage: Videos,
    camera: str,
    *,
    false_alarms: str | None = None,
    store: Place | None = None,
    on_failed: Callable[[str, VideoError], None] | None = None,
    quiet: bool = False,
    weights: str | None = None,
    encoder: str | None = None,
    decoder: Decoder = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    batch: int | None = None,
    workers: int = N_WORKERS,
    time_limit: float = 60.0,
    max_pixels: int = 4096 * 2304,
    fps: float | None = None,
    offline: bool = False,
    accept_truncated: bool = False,
) -> Run:
    """Calibrate a trained run on ordinary, unlabelled footage of one camera; return the result.

    It is written to RUN/cameras/CAMERA, and `vad.score(..., camera=CAMERA)` scores by it. run: the
    trained run. footage: videos of the camera, as files, folders, globs or lists; a few anomalies
    in them do little harm. camera: its name. false_alarms: how often ordinary footage may reach the
    threshold, such as 2/h; by default 1/h, or as rarely as the footage can tell. store: keeps the
    features, and features that it holds already are not computed again. on_failed: called with the
    id and the error of every video that cannot be used; without it, the first raises VideoError.
    quiet: show no progress. weights, encoder: as for `vad.score`.

    Raises UsageError for wrong input, and if the footage is too short for what is asked.
    """
    given = _settings(locals(), ComputeSettings)
    from .stages.pipelines.calibrate import calibrate as run_calibration

    return run_calibration(
        run,
        footage,
        camera,
        false_alarms=false_alarms,
        store=store,
        on_failed=on_failed,
        quiet=quiet,
        weights=weights,
        encoder=encoder,
        **given,
    )


@explained(ScoreSettings)
def events(
    scores: Place | Iterable[Place],
    *,
    threshold: float | None = None,
    propagation: Literal["hold", "linear", "gaussian"] | None = None,
    sigma: float | None = None,
    low: float | None = None,
    min_event: float | None = None,
    merge_gap: float | None = None,
    pad_before: float | None = None,
    pad_after: float | None = None,
) -> list[VideoScores]:
    """Find events again in written scores, with other settings and without video or model.

    scores: JSON files of `vad score`, or folders of these. threshold: score from which an event
    begins. Any argument that is None keeps its value from the file. Raises UsageError if a file
    contains no scores.
    """
    given = _settings(locals(), ScoreSettings)
    from .stages.pipelines.events import reread

    inputs = [scores] if isinstance(scores, str | Path) else scores
    return list(reread(inputs, threshold=threshold, **given))


@explained(Decision, StreamSettings)
def stream(
    source: str,
    detector: Place | None = None,
    *,
    threshold: float | None = None,
    stop: threading.Event | None = None,
    quiet: bool = False,
    device: str = "auto",
    weights: str | None = None,
    fps: float | None = None,
    offline: bool = False,
    prior: float | None = None,
    false_alarms: str | None = None,
    recall: float | None = None,
    camera: str | None = None,
    window: int = 64,
    lookahead: int = 0,
    queue: int = 4,
    speed: float = 0.0,
    loop: bool = False,
    time_limit: float = 15.0,
    give_up: float = 600.0,
) -> Iterator[Line]:
    """Score a live source: yield lines of the schema `vad.stream/1` as they are made.

    source: a file, the number of a camera, or an address rtsp://... detector: a trained run; by
    default the newest finished one in runs/. threshold: by default the run's. stop: an event; when
    it is set, the stream ends with its last line. quiet: log no reports. device, weights: of the
    backbone. fps: of a bare stream in a file, by default its header's. offline: open no
    network connection.

    Raises UsageError for wrong input, and VideoError if the source cannot be opened.
    """
    given = _settings(locals(), Decision, StreamSettings)
    from .stages.pipelines.stream import stream as watch

    return watch(
        source,
        detector,
        threshold=threshold,
        stop=stop,
        quiet=quiet,
        device=device,
        weights=weights,
        fps=fps,
        offline=offline,
        **given,
    )


def watch(
    config: Place = "cameras.toml",
    *,
    stop: threading.Event | None = None,
    on_start: Callable[[], None] | None = None,
    check: bool = False,
    test_alert: bool = False,
) -> None:
    """Watch several cameras and tell events, until `stop` is set.

    config: the file of cameras, zones, hours and sinks; docs/cameras.md shows one. stop: an event;
    without it, the function returns only when all sources are files that have ended. on_start is
    called when everything is loaded and the watch begins. check: read the file, open the runs and
    return. test_alert: send a test alert to every sink and return.

    Mistakes that concern one camera are logged, and the others are watched. Raises UsageError for
    all other mistakes, and if no camera is left; with `check`, for any mistake.
    """
    from .stages.pipelines.watch.loop import watch as run_watch

    run_watch(config, stop=stop, on_start=on_start, check=check, test_alert=test_alert)


def reproduce(
    row: str,
    out: Place | None = None,
    *,
    root: Place = ".",
    features: Place | None = None,
    text: Place | None = None,
    weights: Place | None = None,
    dictionary: Place | None = None,
    settings: Sequence[str] = (),
) -> Result:
    """Reproduce a published result: run its commands, and return measured and published figures.

    row: the name of the result, as `vad reproduce` lists it. out: by default runs/reproduce/ROW.
    root: the folder with the lists and annotations of the data set. features, text, weights,
    dictionary: the published files, if the row needs them. settings: changes to the training, each
    `name=value`.

    Raises UsageError if a file is missing, and says what to obtain and from whom.
    """
    from .stages.pipelines.reproduce.run import reproduce as run_row

    return run_row(
        row,
        out,
        root=root,
        features=features,
        text=text,
        weights=weights,
        dictionary=dictionary,
        settings=settings,
    )


def compare(
    a: Place,
    b: Place,
    *,
    name: str | None = None,
    layout: str = "auto",
    axes: str = "auto",
    least: float = 0.999,
) -> Comparison:
    """Compare the features `a` and `b`, each a store, a file or a folder; `.same` is the verdict.

    name: an array of the stores, such as i3d or text/minilm. layout, axes: of the files, if names
    or shapes are ambiguous. least: the lowest cosine at which features count as the same. Raises
    UsageError if there is nothing to compare.
    """
    from .stages.extract.compare import compare as compare_sides

    return compare_sides(a, b, name=name, layout=layout, axes=axes, least=least)


def import_features(
    paths: Place | Iterable[Place],
    store: Place = "features.zarr",
    *,
    layout: str = "auto",
    name: str | None = None,
    labels: Place | None = None,
    frames: Place | None = None,
    fps: float | None = None,
    axes: str = "auto",
    dtype: str | None = None,
    origin: str = "",
    stream: str = "both",
    overwrite: bool = False,
    quiet: bool = False,
) -> Outcome:
    """Import published features into a store; videos that it holds already are skipped.

    paths: files, folders or lists. layout: rtfm, tevad-text, two-stream, crop-files, vadclip,
    numpy, torch, c3d-text or auto. name: of the array; by default that of the layout. labels: a
    labels file that is compared with the labels in the names of the videos. frames: the CSV file
    `video,frames`; by default 16 frames per snippet. fps: frames per second; by default 30. axes:
    order of the first two axes, if the shapes are ambiguous. dtype: float16 or float32; by default
    as in the files. origin: where the features come from, noted in the store. stream: which of the
    files NAME_rgb.npy and NAME_flow.npy to use: rgb, flow or both, side by side. overwrite: replace
    features made with other settings. quiet: show no progress.

    Raises UsageError for wrong input; a file that cannot be used fails only its video.
    """
    given = {name: value for name, value in locals().items() if name not in ("paths", "store")}
    from .stages.extract.layouts import import_features as bring

    return bring(paths, store, **given)


def import_detector(
    weights: Place,
    out: Place,
    *,
    detector: str | None = None,
    store: Place | None = None,
    visual: str | None = None,
    text: str | None = None,
    dictionary: Place | None = None,
    overwrite: bool = False,
    backbone: str | None = None,
    backbone_weights: str | None = None,
    recipe: str | None = None,
    crops: str | None = None,
    offline: bool = False,
    settings: Mapping[str, object] | None = None,
) -> Run:
    """Make a run from published weights; the detector is recognised by the names in the file.

    weights: the file. out: folder of the run. overwrite: replace a finished run. detector: refuse
    weights of any other detector. store: a store with the features that the run will score. visual,
    text: names of these features. dictionary: that of S3R. settings: settings of the detector, by
    name, that the weights do not contain. backbone: makes the visual features, so that the run
    scores videos; they are not proven equal to those that the weights were trained on.
    backbone_weights, recipe, crops and offline are as for `vad.extract`; the default recipe is that
    of the published features. Raises UsageError if the file or the features do not fit.
    """
    from .stages.train.weights import import_detector as bring

    features = None
    if backbone is not None:
        from .stages.pipelines.features_for_run import features_for_weights

        features = features_for_weights(
            {
                "backbone": backbone,
                "weights": backbone_weights,
                "recipe": recipe,
                "crops": crops,
                "offline": offline,
            }
        )
    return bring(
        weights,
        out,
        detector=detector,
        store=store,
        visual=visual,
        text=text,
        dictionary=dictionary,
        overwrite=overwrite,
        features=features,
        **(settings or {}),
    )


def export_features(
    store: Place,
    out: Place,
    *,
    layout: str = "rtfm",
    name: str | None = None,
    labels: Place | None = None,
    split: str | None = None,
    listed: Place | None = None,
    quiet: bool = False,
) -> list[Path]:
    """Write stored features as float32 in a published layout; return the paths of the files.

    store: the feature store. out: folder for the files. layout: rtfm, tevad-text, crop-files,
    vadclip, numpy, torch or c3d-text. name: of the array, if the store has several. labels: a
    labels file; only its videos are written, abnormal ones first. split: only the videos of this
    split of the labels. listed: a file into which a list of the files is written. quiet: show no
    progress. Raises UsageError for wrong input.
    """
    from .stages.extract.layouts import export_features as write

    return write(
        store, layout, out, name=name, labels=labels, split=split, listed=listed, quiet=quiet
    )


def export_onnx(
    run: Place,
    out: Place | None = None,
    *,
    store: Place | None = None,
    video: Place | None = None,
    backbone: bool = True,
    weights: str | None = None,
) -> Iterator[Exported]:
    """Write a run's networks as ONNX files into `out` (by default RUN/onnx), one after the other.

    Each file is yielded when written, after its network is checked against PyTorch on real input.
    store: its features check the detector; by default the store that the run was trained on. video:
    its first clip checks the backbone. backbone: False leaves the backbone out. weights: where the
    backbone's weights are now. Raises UsageError if there is no real input, InternalError if the
    outputs of ONNX and PyTorch differ.
    """
    from .stages.pipelines.onnx import export_onnx as write

    return write(run, out, store=store, video=video, backbone=backbone, weights=weights)


def verify(
    store: Place = "features.zarr",
    *,
    repair: bool = False,
    sources: bool = False,
    quiet: bool = False,
) -> Report:
    """Check every byte of a store against its checksums; return a report of all faults.

    repair: move faulty videos out of the store; the next extraction makes them again. sources:
    compare the video files too, by size and sha256. quiet: show no progress. Raises UsageError if
    there is no store.
    """
    from .store.verify import verify as check

    return check(store, repair=repair, sources=sources, quiet=quiet)
