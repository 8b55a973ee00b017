"""An evaluation of UCF-Crime's size: 290 videos, 1.1 million frames, and what its intervals cost.

    python benchmarks/evaluate.py --json OUT

The videos have the lengths and events of UCF-Crime's test set; their features are noise, shifted
during the events. Two things are measured: the whole evaluation, as `vad evaluate` runs it (scores,
figures, plots, page); and, on the same scores, 1000 bootstrap resamples of the confidence
intervals, against scikit-learn on the frames of every resample (timed on a few of these). Peak
memory is that of the process.
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from vad.datasets import Annotated, read_dataset
from vad.files import write_json
from vad.labels import Label, frame_truth, write_labels, write_segments
from vad.stages.infer.evaluation.files import save
from vad.stages.infer.evaluation.result import Evaluation
from vad.stages.infer.evaluation.run import evaluate
from vad.stages.train.metrics import Pool
from vad.stages.train.metrics.bootstrap import draw, ranking_intervals
from vad.stages.train.training import train
from vad.store import FeatureStore, Provenance, VideoRecord

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("VAD_TEST_DATA", ROOT.parent / "shared" / "data")) / "ucf-crime"
FPS = 30.0
DIM = 16
N_TRAIN = 8  # enough to train a detector that runs
N_PLAIN = 3  # resamples timed with scikit-learn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    args = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_store(folder)
        train(
            folder / "store.zarr",
            folder / "labels.csv",
            folder / "run",
            epochs=1,
            quiet=True,
            detector="rtfm",
        )
        started = time.perf_counter()
        evaluation = evaluate(folder / "run", folder / "segments.csv")
        result["score_s"] = time.perf_counter() - started
        counts = evaluation.figures.counts
        result["figures_s"] = time.perf_counter() - started - result["score_s"]
        save(evaluation, folder / "out")
        result["total_s"] = time.perf_counter() - started
        result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        result["page_mb"] = (folder / "out" / "evaluation.html").stat().st_size / 2**20
    result |= {"n_videos": counts.n_videos, "n_frames": counts.n_frames}
    result |= intervals(evaluation)
    write_json(args.json, result)
    for key, value in result.items():
        print(f"{key:24s} {value:,.2f}" if isinstance(value, float) else f"{key:24s} {value:,}")


def make_store(folder: Path) -> None:
    """Write a store, labels and segments of the test set, and a few training videos."""
    random = np.random.default_rng(0)
    found = read_dataset("ucf-crime", DATA)
    store = FeatureStore.create(folder / "store.zarr")
    with (DATA / "test_frames.csv").open() as file:
        n_frames = {row["video"]: int(row["frames"]) for row in csv.DictReader(file)}
    kept = [label for label in found.labels if label.split == "test"]
    for label in kept:
        put(store, label.video, n_frames[label.video], found, random)
    for index in range(N_TRAIN):
        kept.append(Label(f"train{index}", index % 2, split="train"))
        put(store, kept[-1].video, 480, found, random)
    write_labels(folder / "labels.csv", kept)
    write_segments(folder / "segments.csv", found.segments)


def put(
    store: FeatureStore, video: str, n_frames: int, found: Annotated, random: np.random.Generator
) -> None:
    """Store one video whose features are noise, shifted in anomalous snippets."""
    anomalous = frame_truth(video, n_frames, found.segments)[::16, None]
    features = random.normal(size=(len(anomalous), DIM)) + anomalous
    times = np.arange(n_frames) / FPS
    record = VideoRecord(
        source=video,
        source_bytes=0,
        source_mtime_ns=0,
        source_sha256=video,
        n_frames=n_frames,
        fps=FPS,
        duration_s=n_frames / FPS,
        width=320,
        height=240,
        container="mov",
        codec="h264",
        decoder="none",
        n_frames_declared=n_frames,
        n_bad_packets=0,
        tail="repeat-last",
    )
    draft = store.draft(video)
    draft.append("visual/noise", features[:, None].astype(np.float16))
    made = Provenance.of({"backbone": "noise", "weights": {}})
    draft.commit(record, times, {"visual/noise": made})


def intervals(evaluation: Evaluation) -> dict[str, float]:
    """Time 1000 resamples of AUC, AP and PR-AUC, and scikit-learn on the same frames."""
    truth = evaluation.truth
    scores = [s.frames.astype(np.float64) for s in evaluation.scores]
    is_abnormal = np.array([label.label for label in evaluation.labels], bool)
    started = time.perf_counter()
    counts = draw(is_abnormal, 1000, np.random.default_rng(0))
    ranking_intervals(Pool.of(truth, scores), counts)
    ours_s = time.perf_counter() - started
    started = time.perf_counter()
    for weights in counts[:N_PLAIN]:
        videos = np.repeat(np.arange(len(truth)), weights)
        frames = np.concatenate([truth[i] for i in videos])
        values = np.concatenate([scores[i] for i in videos])
        roc_auc_score(frames, values)
        average_precision_score(frames, values)
    plain_s = (time.perf_counter() - started) / N_PLAIN * 1000
    return {"intervals_s": ours_s, "plain_intervals_s": plain_s, "ratio": plain_s / ours_s}


if __name__ == "__main__":
    main()
