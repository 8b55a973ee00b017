"""What training from reviews brings, on rendered videos that the reviewer did not see.

    python benchmarks/reviews.py --seeds 3 --json OUT

Each seed renders 140 videos: 40 labelled ones to train on, 15 normal ones whose ten highest events
a person dismisses, and others to measure on, 35 normal and 15 abnormal ones. Three runs of `vad
train` are compared: without the reviews, with them, and with the reviewed videos labelled normal.
`false_alarms` counts the events in the normal videos, `raised` the normal videos with an event,
`found` the abnormal ones, all at the run's own threshold. `raised_alike` are the normal videos
raised at the threshold at which as many abnormal ones are found as without the reviews.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vad import extract
from vad.files import write_json
from vad.stages.infer.events import Event
from vad.stages.infer.scores import VideoScores
from vad.stages.infer.scoring import score_stored
from vad.stages.pipelines.demo.videos import render_demo
from vad.stages.train.run import Run
from vad.stages.train.training import train
from vad.store import FeatureStore

N_VIDEOS = 140
N_TRAIN = 20  # of either class
N_WATCHED = 15
N_OTHERS = (35, 15)  # normal and abnormal
N_DISMISSED = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep videos, features and runs here")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(args.seeds):
            for way, figures in measure((args.folder or Path(temporary)) / str(seed), seed).items():
                rows.append({"seed": seed, "way": way, **figures})
                print(" ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if args.json:
        write_json(args.json, rows)


def measure(folder: Path, seed: int) -> dict[str, dict[str, int]]:
    """Return the figures of the three ways of training, on one rendering."""
    data = render_demo(folder / "data", n_videos=N_VIDEOS, seed=seed, quiet=True)
    with data.labels.open(encoding="utf-8") as file:
        labels = {row["video"]: int(row["label"]) for row in csv.DictReader(file)}
    shuffled = np.random.default_rng(seed).permutation(list(labels)).tolist()
    normal, abnormal = ([v for v in shuffled if labels[v] == value] for value in (0, 1))
    watched = normal[N_TRAIN : N_TRAIN + N_WATCHED]
    others = [*normal[N_TRAIN + N_WATCHED :][: N_OTHERS[0]], *abnormal[N_TRAIN:][: N_OTHERS[1]]]
    trained = {v: labels[v] for v in (*normal[:N_TRAIN], *abnormal[:N_TRAIN])}
    store = folder / "features.zarr"
    extract([data.videos / f"{v}.mp4" for v in (*trained, *watched, *others)], store, quiet=True)
    plain = train(store, trained, folder / "plain", overwrite=True, quiet=True)
    dismissed = highest_events(scores_of(store, plain, watched), N_DISMISSED)
    reviews = folder / "reviews.csv"
    lines = [f"{v},{e.start_frame},{e.end_frame},dismissed" for v, e in dismissed]
    reviews.write_text("\n".join(["video,start_frame,end_frame,verdict", *lines]))
    also_normal = trained | {video: 0 for video, _ in dismissed}
    runs = {
        "without": plain,
        "reviews": train(
            store, trained, folder / "reviewed", reviews=reviews, overwrite=True, quiet=True
        ),
        "labels": train(store, also_normal, folder / "labelled", overwrite=True, quiet=True),
    }
    found: dict[str, dict[str, int]] = {}
    for way, run in runs.items():
        scores = scores_of(store, run, others)
        quiet, loud = ([s for s in scores if labels[s.video] == value] for value in (0, 1))
        figures = {
            "false_alarms": sum(len(s.events) for s in quiet),
            "raised": sum(bool(s.events) for s in quiet),
            "found": sum(bool(s.events) for s in loud),
        }
        n_found = found.get("without", figures)["found"]
        level = sorted((s.peak for s in loud), reverse=True)[max(n_found, 1) - 1]
        found[way] = {**figures, "raised_alike": sum(s.peak >= level for s in quiet)}
    return found


def scores_of(store: Path, run: Run, videos: Sequence[str]) -> list[VideoScores]:
    return list(score_stored(FeatureStore.open(store), run, videos))


def highest_events(scores: Sequence[VideoScores], n: int) -> list[tuple[str, Event]]:
    """Return the `n` events with the highest peaks, at the first threshold that gives so many."""
    for threshold in np.linspace(0.95, 0.05, 19):
        lowered = [replace(s, threshold=float(threshold)) for s in scores]
        events = [(s.video, event) for s in lowered for event in s.events]
        if len(events) >= n:
            return sorted(events, key=lambda pair: -pair[1].peak)[:n]
    raise ValueError(f"fewer than {n} events at any threshold")


if __name__ == "__main__":
    main()
