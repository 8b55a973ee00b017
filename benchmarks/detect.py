"""Detection figures on real data: extract, train from video labels, test, over several seeds.

    python benchmarks/detect.py --data ped2 fight --detector all --seeds 3 --json OUT

Prints a table with one row per detector: the mean over the seeds and, after +-, their standard
deviation; `train_s` is the CPU time of one training, in seconds. If the labels have folds, each
fold is held out once, and the test scores of all folds are pooled. TEVAD and E-TEVAD read the only
kind of features in the store, unless `--set` says otherwise. Epoch and threshold are chosen on a
validation share of the training videos; frame truth is used only for the test. `oracle_auc` is the
AUC of a score that knows only the labels of the test videos. `found` and `raised` are the abnormal
and the normal test videos that the run's own threshold flags; `named` are the found ones whose
highest event is of the video's category; `ece` (ten bins) and `brier` tell how
far frame scores are from chances. The detector `default` is what `vad train` does without a name;
members joined by `+`, such as `topk:A+topk:C`, are trained as `vad train --member` does. For each
data set in turn, `--arrays` first adds the features of other backbones to its store.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DATA_SETS, DataSet
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_recall_curve

from vad import extract
from vad.files import write_json
from vad.labels import read_labels
from vad.stages.infer.evaluation.result import Evaluation
from vad.stages.infer.evaluation.run import evaluate
from vad.stages.infer.scores import VideoScores
from vad.stages.train.detectors.table import DETECTORS
from vad.stages.train.metrics import evaluate as figures_of
from vad.stages.train.streams import choose_streams
from vad.stages.train.training import train
from vad.store import FeatureStore

FIGURES = {
    "auc": "frame/auc",
    "ap": "frame/ap",
    "abnormal_auc": "abnormal_only/auc",
    "abnormal_ap": "abnormal_only/ap",
    "oracle_auc": "oracle/auc",
}
# abnormal and normal test videos flagged, those rightly named; of the frames: calibration error,
# Brier score, F1 of those in events, and the best F1 that one threshold for all could have
DECISIONS = ("found", "raised", "named", "ece", "brier", "f1", "best_f1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=DATA_SETS, nargs="+", required=True)
    parser.add_argument("--detector", nargs="+", help="names, or members such as a:X+b:Y, or all")
    parser.add_argument("--arrays", nargs="+", default=[], metavar="BACKBONE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--store", type=Path, help="keep the features here, and use them")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    if args.store and len(args.data) > 1:
        parser.error("--store holds the features of one data set")
    logging.getLogger("vad").setLevel(
        logging.ERROR
    )  # hides the warnings about few validation videos
    settings = dict(pair.split("=", 1) for pair in args.set)
    named = list(DETECTORS) if args.detector == ["all"] else args.detector
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.data:
            started = time.perf_counter()
            data = DATA_SETS[name](args.store or Path(folder, f"{name}.zarr"))
            for backbone in args.arrays:
                if data.videos is None:
                    parser.error(f"{name} has no videos to extract from")
                extract(data.videos, data.store, backbone=backbone)
            row: dict[str, Any] = {"data": name, "seeds": args.seeds, "settings": settings}
            row["prepare_s"] = round(time.perf_counter() - started, 1)
            print(f"\n{name:10s} " + "".join(f"{figure:>18s}" for figure in FIGURES), "  train_s")
            for detector in named or [data.detector]:
                out = Path(folder, f"{name}-{detector}")
                rows.append({**row, **measure(data, detector, args.seeds, settings, out)})
                print(as_line(rows[-1]), flush=True)
                if args.json:  # after every row, so that results can be read meanwhile
                    write_json(args.json, rows if len(rows) > 1 else rows[0])


def measure(
    data: DataSet, detector: str, n_seeds: int, settings: dict[str, str], out: Path
) -> dict[str, Any]:
    """Return mean, spread and values over the seeds, for every figure and the training time."""
    seeds = [measure_seed(data, detector, seed, settings, out) for seed in range(n_seeds)]
    row: dict[str, Any] = {"detector": detector}
    for name in (*FIGURES, "train_s", *DECISIONS):
        values = [seed[name] for seed in seeds]
        row[name] = {"mean": np.mean(values), "spread": np.std(values), "values": values}
    return json.loads(json.dumps(row))  # type: ignore[no-any-return]


def measure_seed(
    data: DataSet, detector: str, seed: int, settings: dict[str, str], out: Path
) -> dict[str, float]:
    """Return the figures of one seed, over the test videos of all folds together."""
    folds = sorted({label.fold for label in read_labels(data.labels)})
    evaluations: list[Evaluation] = []
    train_s = 0.0
    flagged: list[tuple[int, bool]] = []  # label of every test video, and whether it was flagged
    n_named = 0
    for fold in folds:
        chosen: dict[str, Any] = {"seed": seed, **data.settings, **settings}
        if ":" in detector:
            chosen["member"] = detector.split("+")
        else:
            chosen["detector"] = detector
        if detector in DETECTORS and DETECTORS[detector].text:
            kinds = list(choose_streams(FeatureStore.open(data.store), chosen))
            if len(kinds) == 1:
                chosen.setdefault("fusion", kinds[0])
        if fold:
            chosen["fold"] = fold
        run = out / f"{seed}-{fold}"
        started = time.process_time()
        train(data.store, data.labels, run, quiet=True, **chosen)
        train_s += time.process_time() - started
        evaluations.append(done := evaluate(run, data.segments, store=data.store))
        for label, scores in zip(done.labels, done.scores, strict=True):
            flagged.append((label.label, scores.peak >= scores.threshold))
            highest = max(scores.events, key=lambda event: event.peak, default=None)
            n_named += highest is not None and highest.kind in label.category.split("+")
    figures = figures_of(
        [t for e in evaluations for t in e.truth],
        [s.frames for e in evaluations for s in e.scores],
        np.array([label.label for e in evaluations for label in e.labels]),
    )
    truth = np.concatenate([t for e in evaluations for t in e.truth])
    chances = np.concatenate([s.frames for e in evaluations for s in e.scores])
    in_events = np.concatenate([frames_in_events(s) for e in evaluations for s in e.scores])
    return {name: figures.value(path) or 0.0 for name, path in FIGURES.items()} | {
        "train_s": train_s / len(folds),
        "found": sum(raised for label, raised in flagged if label),
        "raised": sum(raised for label, raised in flagged if not label),
        "named": n_named,
        "ece": calibration_error(truth, chances),
        "brier": float(np.mean((chances - truth) ** 2)),
        "f1": float(f1_score(truth, in_events)),
        "best_f1": best_f1(truth, chances),
    }


def frames_in_events(scores: VideoScores) -> NDArray[np.bool_]:
    """Return which frames [frames] of a video belong to an event."""
    inside = np.zeros(len(scores.frames), bool)
    for event in scores.events:
        inside[event.start_frame : event.end_frame] = True
    return inside


def best_f1(truth: NDArray[np.generic], scores: NDArray[np.float32]) -> float:
    """Return the highest F1 of frame scores [frames] that any threshold gives."""
    precision, recall, _ = precision_recall_curve(truth, scores)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)))


def calibration_error(truth: NDArray[np.generic], chances: NDArray[np.float32]) -> float:
    """Return the expected calibration error of frame scores: ten equal bins, weighted by frames."""
    bins = np.minimum((chances * 10).astype(int), 9)
    return float(
        sum(
            abs(chances[bins == b].mean() - truth[bins == b].mean()) * np.mean(bins == b)
            for b in np.unique(bins)
        )
    )


def as_line(row: dict[str, Any]) -> str:
    """Return one row of the table as text."""
    cells = [f"{row[name]['mean']:.4f} +- {row[name]['spread']:.4f}" for name in FIGURES]
    return (
        f"{row['detector']:10s} "
        + "".join(f"{c:>18s}" for c in cells)
        + (f"{row['train_s']['mean']:9.1f}   ")
        + "  ".join(f"{name} {row[name]['mean']:.3g}" for name in DECISIONS)
    )


if __name__ == "__main__":
    main()
