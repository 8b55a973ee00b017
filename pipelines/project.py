"""Find the files of a project folder that commands use by default: labels.csv, reviews.csv, runs/.

`vad train` reads labels from labels.csv or from the folders of the videos, and the reviews.csv
beside them, and writes each run into a new folder; `vad score` uses the newest finished run.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal

from vad.datasets.folder import labels_by_folder
from vad.errors import UsageError
from vad.labels import Labels, write_labels, write_unlabelled
from vad.stages.infer.model_card import write_card
from vad.stages.infer.settings import Decision, parse_rate
from vad.stages.train.callbacks import Callback
from vad.stages.train.cameras import find_camera
from vad.stages.train.card import CARD
from vad.stages.train.detectors.table import DETECTORS, row_of_settings
from vad.stages.train.run import Run
from vad.stages.train.seeds import begin, folder_of, runs_of
from vad.stages.train.settings import TrainSettings
from vad.store import FeatureStore

from .paths import LABELS, REVIEWS, RUNS, finished_runs

log = logging.getLogger("vad")


def train(
    store: str | Path,
    labels: Labels | None,
    out: str | Path | None,
    *,
    member: Sequence[str] = (),
    purpose: Literal["streams"] | None = None,
    reviews: str | Path | None = None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    log_to: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> Run:
    """`vad.train`, with all settings as keyword arguments, including those of the detector."""
    from vad.stages.train import training  # loads scikit-learn, which scoring does not need

    given = with_detector(settings)
    path = labels_of(store, labels)
    named = _named(given)
    folder = Path(out) if out else named if overwrite else free_folder(named)
    if runs_of(folder):
        raise UsageError(
            f"{folder} holds runs of several seeds", hint="choose another --out, or name --seeds"
        )
    with _claimed(folder):
        run = training.train(
            store,
            path,
            folder,
            member=member,
            purpose=purpose,
            reviews=reviews or reviews_of(path),
            resume=resume,
            overwrite=overwrite,
            quiet=quiet,
            log_to=log_to,
            callbacks=callbacks,
            **given,
        )
    write_card(run)
    if left := run.left_out(FeatureStore.open(store)):
        log.info("stored, but not read by this run: %s", ", ".join(left))
    return run


def train_seeds(
    seeds: Sequence[int],
    store: str | Path,
    labels: Labels | None,
    out: str | Path | None,
    *,
    resume: bool,
    overwrite: bool,
    **settings: Any,
) -> list[Run]:
    """Train a run for each seed into OUT/seed-N, and return the runs, in the order of the seeds.

    All other arguments are those of `train`. resume: keep finished runs and train the others.
    Raises UsageError if a run is finished and neither `resume` nor `overwrite` is set, or if
    finished runs that would be kept were asked to be something else.
    """
    if settings.get("seed") is not None:
        raise UsageError("both a seed and several seeds are given", hint="leave --seed out")
    settings = with_detector(settings)
    folder = Path(out) if out else _named(settings)
    if not out and not overwrite:
        folder = free_folder(folder, seeds if resume else ())
    finished = [path for seed in seeds if ((path := folder_of(folder, seed)) / CARD).exists()]
    if (folder / CARD).exists():
        raise UsageError(f"{folder} holds a run of one seed", hint="choose another --out")
    if finished and not (resume or overwrite):
        raise UsageError(
            f"{finished[0]} holds a finished run",
            hint="keep it by --resume, replace it by --overwrite, or choose another --out",
        )
    decide_nothing = ("quiet", "device", "log_to", "callbacks")
    asked = {n: v for n, v in settings.items() if n not in decide_nothing and v}
    asked = {"store": str(store), "labels": str(labels or LABELS), **asked}
    begin(folder, json.loads(json.dumps(asked, default=str)), resume=resume)
    runs = list[Run]()
    for seed in seeds:
        path = folder_of(folder, seed)
        log.info("seed %d, %d of %d", seed, len(runs) + 1, len(seeds))
        if resume and path in finished:
            runs.append(Run.open(path))
            continue
        given = {**settings, "seed": seed, "resume": resume, "overwrite": overwrite}
        runs.append(train(store, labels, path, **given))
    return runs


def _named(settings: Mapping[str, object]) -> Path:
    """Return the folder of a run that is given none: runs/DETECTOR or runs/PRESET."""
    return RUNS / str(settings.get("preset") or settings.get("detector") or TrainSettings.detector)


def reviews_of(labels: Labels) -> Path | None:
    """Return the reviews.csv that lies beside the file of the labels, or None if there is none."""
    if not isinstance(labels, str | Path):
        return None
    path = Path(labels).with_name(REVIEWS.name)
    return path if path.exists() else None


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other processes from training into the same folder while the context is open.

    Raises UsageError if another process does so already. The lock is released when its process
    ends.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another process is training into {folder}", hint="choose another --out"
            ) from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def with_detector(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings by name; if `detector` is a settings object, its fields are merged in.

    Raises UsageError if that object is not of a known detector.
    """
    detector = settings.get("detector")
    if detector is None or isinstance(detector, str):
        return settings
    found = row_of_settings(detector)
    if found is None:
        raise UsageError(
            f"detector={detector!r} is no detector",
            hint=f"give a name, of {', '.join(DETECTORS)}, or settings of vad.detectors",
        )
    name, _ = found
    return {**settings, **asdict(detector), "detector": name}


def free_folder(path: Path, resumed: Sequence[int] = ()) -> Path:
    """Return `path`, or the first of NAME-2, NAME-3, ... that contains no finished run.

    With `resumed`, a folder of seeds may contain finished runs, but not those of all these seeds.
    """

    def is_free(folder: Path) -> bool:
        seeds = runs_of(folder)
        goes_on = not {folder_of(folder, seed) for seed in resumed} <= set(seeds)
        return not (folder / CARD).exists() and (not seeds or goes_on)

    numbered = (path.with_name(f"{path.name}-{n}") for n in count(2))
    return next(p for p in chain([path], numbered) if is_free(p))


def newest_run(detector: str | Path | None) -> Path:
    """Return the given run, or else the newest finished one in runs/, whose name is logged.

    Raises UsageError if runs/ contains no finished run.
    """
    if detector is not None:
        return Path(detector)
    runs = finished_runs()
    if not runs:
        raise UsageError(
            f"no finished run in {RUNS}/", hint="train one: vad train; or name one: --detector RUN"
        )
    log.info("using %s, the newest run in %s/", runs[-1], RUNS)
    return runs[-1]


def open_run(
    detector: str | Path | None, device: str, threshold: float | None, decision: Decision
) -> tuple[Run, str]:
    """Open a run, by default the newest, with its prior and threshold as the user wants them.

    Returns the run, or what it is for the camera that the user names, and the origin of its
    threshold, as `VideoScores.threshold_from` has it. Raises UsageError if the run cannot tell what
    is asked of it.
    """
    path, camera, false_alarms = newest_run(detector), decision.camera, decision.false_alarms
    run = Run.open(path if camera is None else find_camera(path, camera), device)
    run = run.at(
        prior=decision.prior,
        threshold=threshold,
        false_alarms_per_s=parse_rate(false_alarms) if false_alarms else None,
        recall=decision.recall,
    )
    ways = {
        "given": threshold is not None,
        f"false alarms {false_alarms}": false_alarms is not None,
        f"recall {decision.recall}": decision.recall is not None,
    }
    return run, next((words for words, is_so in ways.items() if is_so), "run")


def labels_of(store: str | Path, labels: Labels | None) -> Labels:
    """Return the given labels, or else labels.csv, which is written from the folder names if
    missing.

    Raises UsageError if the folder names do not tell the labels; a labels.csv is written for the
    user to fill in.
    """
    if labels is not None:
        return labels
    if LABELS.exists():
        return LABELS
    videos = FeatureStore.open(store).ids()
    if found := labels_by_folder(videos):
        write_labels(LABELS, found)
        n_abnormal = sum(label.label for label in found)
        log.info(
            "%s: written from the folders of the videos, %d abnormal, %d normal",
            *(LABELS, n_abnormal, len(found) - n_abnormal),
        )
        return LABELS
    if not videos:
        raise UsageError(f"{store} holds no video", hint="vad extract VIDEOS stores some")
    write_unlabelled(LABELS, videos)
    raise UsageError(
        f"no labels: {LABELS} is written now and names the {len(videos)} videos of {store}",
        hint="write 1 (abnormal) or 0 (normal) at the end of every line, then train again",
    )
