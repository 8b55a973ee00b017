"""Detection figures on real data: extract, train from video labels, test, over several seeds.

    python benchmarks/detect.py --data ped2 --detector rtfm --seeds 3 --json OUT

`ped2` trains on the split of its labels; `fight` trains once for every fold and pools the scores of
the held-out folds. Epoch and threshold are chosen on a validation share of the training videos;
frame truth is read only to measure. `spread` is the standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from vad.extract.run import extract
from vad.files import write_json
from vad.infer.evaluation import Evaluation, evaluate
from vad.labels import read_labels
from vad.train.metrics import evaluate as figures_of
from vad.train.run import train

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("VAD_TEST_DATA", ROOT.parent / "shared" / "data"))
FIGURES = {
    "auc": ("frame", "auc"),
    "ap": ("frame", "ap"),
    "abnormal_auc": ("abnormal_only", "auc"),
    "abnormal_ap": ("abnormal_only", "ap"),
    "oracle_auc": ("oracle", "auc"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", choices=("ped2", "fight"), required=True)
    parser.add_argument("--detector", default="rtfm")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--store", type=Path, help="keep the features here, and use them")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    settings = dict(pair.split("=", 1) for pair in args.set)
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or Path(folder, f"{args.data}.zarr")
        started = time.perf_counter()
        extract(DATA / args.data / "videos", store)
        extract_s = time.perf_counter() - started
        started = time.perf_counter()
        seeds = [
            measure(store, DATA / args.data, Path(folder), args.detector, seed, settings)
            for seed in range(args.seeds)
        ]
    result: dict[str, Any] = {
        "data": args.data,
        "detector": args.detector,
        "settings": settings,
        "seeds": args.seeds,
        "extract_s": round(extract_s, 1),
        "train_s_per_seed": round((time.perf_counter() - started) / args.seeds, 1),
    }
    for name in FIGURES:
        values = [seed[name] for seed in seeds]
        mean, spread = float(np.mean(values)), float(np.std(values))
        result[name] = {"mean": mean, "spread": spread, "values": values}
        print(f"{name:14s} {mean:.4f} +- {spread:.4f}")
    write_json(args.json, result)


def measure(
    store: Path, data: Path, folder: Path, detector: str, seed: int, settings: dict[str, str]
) -> dict[str, float]:
    """The figures of one seed, over the test videos of all folds together."""
    folds = sorted({label.fold for label in read_labels(data / "labels.csv")})
    evaluations: list[Evaluation] = []
    for fold in folds:
        out = folder / f"{detector}-{seed}-{fold}"
        chosen: dict[str, Any] = {"detector": detector, "seed": seed, **settings}
        if fold:
            chosen["fold"] = fold
        train(store, data / "labels.csv", out, quiet=True, **chosen)
        evaluations.append(evaluate(out, data / "segments.csv"))
    figures = figures_of(
        [t for e in evaluations for t in e.truth],
        [s.frames for e in evaluations for s in e.scores],
        np.array([label.label for e in evaluations for label in e.labels]),
    )
    return {name: figures[group][key] for name, (group, key) in FIGURES.items()}


if __name__ == "__main__":
    main()
