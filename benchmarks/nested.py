"""Whether members should be trained again on all videos, or the models of the folds be averaged.

    python benchmarks/nested.py --data fight --seeds 3 --json OUT

`vad train` fits every member once for each fold, and at the end on all training videos. One could
average the models of the folds instead. Nested cross-validation compares both on training videos
alone: each fold is held out, the others are dealt into folds again, and the held-out videos are
scored by one model of all the others (`again`) and by the mean of the inner models (`mean`).
`video_auc` ranks the held-out videos by their highest scores, `log_loss` is that of the calibrated
chance of the highest score; frame truth is not read. The data set's own test videos stay out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import DATA_SETS, DataSet
from sklearn.metrics import log_loss, roc_auc_score

from vad.files import write_json
from vad.labels import Label
from vad.stages.train.calibration import Scores, fit_map
from vad.stages.train.candidates import Candidate, find_candidates
from vad.stages.train.ensemble import Task, fit_member, logits_of, make_task
from vad.stages.train.folds import make_folds

MEMBERS = ("topk:A", "topk:C")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=DATA_SETS, required=True)
    parser.add_argument("--member", nargs="+", default=list(MEMBERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", type=Path, help="keep the features here, and use them")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = DATA_SETS[args.data](args.store or Path(folder, "f.zarr"))
        seeds = [measure(data, args.member, seed) for seed in range(args.seeds)]
    found = {
        way: {name: [seed[way][name] for seed in seeds] for name in ("video_auc", "log_loss")}
        for way in ("again", "mean")
    }
    for way, figures in found.items():
        print(
            f"{way:6s}", *(f"{n} {np.mean(v):.3f} +- {np.std(v):.3f}" for n, v in figures.items())
        )
    if args.json:
        write_json(args.json, {"data": args.data, "members": args.member, **found})


def measure(data: DataSet, members: Sequence[str], seed: int) -> dict[str, dict[str, float]]:
    """Return the figures of both ways, over the held-out videos of all outer folds together."""
    task = make_task(data.store, data.labels, {"seed": seed})
    candidates = find_candidates(task.store, task.labels[0].video, members)
    chances: dict[str, list[float]] = {"again": [], "mean": []}
    known: list[int] = []
    for outer in make_folds(task.labels, seed):
        for way, peaks in peaks_of(task, candidates, outer, seed).items():
            chances[way] += peaks
        known += [label.label for label in outer]
    return {
        way: {
            "video_auc": float(roc_auc_score(known, peaks)),
            "log_loss": float(log_loss(known, peaks)),
        }
        for way, peaks in chances.items()
    }


def peaks_of(
    task: Task, candidates: Sequence[Candidate], outer: Sequence[Label], seed: int
) -> dict[str, list[float]]:
    """Return the highest chance of every video of an outer fold, by both ways of training."""
    held = {label.video for label in outer}
    rest = [label for label in task.labels if label.video not in held]
    folds = make_folds(rest, seed)
    inner: Scores = {}  # combined scores of the other videos, by models that have not seen them
    ways: dict[str, Scores] = {"again": {}, "mean": {}}
    for candidate in candidates:
        models = [fit_member(task, candidate, held | {x.video for x in fold}) for fold in folds]
        unseen: Scores = {}
        for model, fold in zip(models, folds, strict=True):
            unseen |= logits_of(task, model, fold)
        each = [logits_of(task, model, outer) for model in models]
        mean = {x.video: np.mean([one[x.video] for one in each], axis=0) for x in outer}
        again = logits_of(task, fit_member(task, candidate, held), outer)
        every = np.concatenate(list(unseen.values()))
        for scores, of in ((inner, unseen), (ways["again"], again), (ways["mean"], mean)):
            for video, logits in of.items():
                z = (logits - every.mean()) / every.std()
                scores[video] = scores.get(video, np.zeros(len(z))) + z / len(candidates)
    known = np.array([label.label for label in rest])
    calibration = fit_map([inner[label.video] for label in rest], known)
    return {
        way: [float(calibration.chances(scores[label.video]).max()) for label in outer]
        for way, scores in ways.items()
    }


if __name__ == "__main__":
    main()
